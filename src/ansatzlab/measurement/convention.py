"""How an alignment is read out of a measurement: every choice on which published code disagrees, as data."""

import math
from dataclasses import dataclass

from ansatzlab.linalg.spectrum import Comparator


@dataclass(frozen=True)
class Convention:
    """The choices behind one alignment.

    Attributes:
        exponent: α, the power on the AGOP.
        comparator: How two matrices are compared.
        centered: Whether each network output's mean gradient is taken out of the AGOP.
        init_removed: Whether W − W₀ stands for W, in the weight Gram matrix and in the AGOP alike.
    """

    exponent: float
    comparator: Comparator = "cosine"
    centered: bool = False
    init_removed: bool = False


@dataclass(frozen=True)
class Alignment:
    """How a layer's weight Gram matrix stands to a power of its AGOP.

    Attributes:
        value: The similarity that the convention asks for.
        residual: The scale-free residual ``min_c ‖M − c G^α‖ / ‖M‖`` at the same exponent.
        rank: The numerical rank of the AGOP.
        convention: How it was read.
        error: The standard error of ``value`` as an estimate for the distribution that the examples were drawn from,
            the random signs' share included; nan from fewer than four examples, and where all share their signs.
        residual_error: The standard error of ``residual``.
    """

    value: float
    residual: float
    rank: int
    convention: Convention
    error: float = math.nan
    residual_error: float = math.nan
