"""What may be chosen about a figure."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.linalg.spectrum import Comparator

Score = Literal["alignment", "residual", "exponent"]
"""What a layer is given: the alignment or the scale-free residual at an exponent, or the exponent that fits best."""

Clock = Literal["step", "flow_time", "snapshot"]


@dataclass(frozen=True)
class Options:
    """What may be chosen about a figure; a kind that has no use for a choice leaves it.

    Attributes:
        by: The settings that tell the curves apart, those of the user's own included; the runs of one curve are
            pooled. Empty for all that the runs differ in, but for seeds.
        layers: The layers by name; empty for all but those where the ansatz is a tautology.
        exponent: α; None for the table's own, or else the layer law's 1/(L − l + 1) in layer l of L.
        comparator: How WᵀW and the AGOP's power are compared.
        score: What layers are given, where a kind leaves that open.
        clock: What a training is drawn over; None for steps or, where there are none, the flow time.

    Raises:
        InputError: If the exponent is not a positive number, or a name is given twice.
        UnknownNameError: If a name is not known.

    Example:
        >>> Options(by=("optimizer",), exponent=0.5).comparator
        'cosine'
    """

    by: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    exponent: float | None = None
    comparator: Comparator = "cosine"
    score: Score = "alignment"
    clock: Clock | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        if self.exponent is not None and not 0 < self.exponent < math.inf:
            raise InputError(f"exponent: got {self.exponent}; wanted a positive number, for example 0.5.")
        for kind, got, known in (
            ("comparator", self.comparator, get_args(Comparator)),
            ("score", self.score, get_args(Score)),
            ("clock", self.clock or "step", get_args(Clock)),
        ):
            if got not in known:
                raise UnknownNameError(kind, got, known)
        for what, names in (("by", self.by), ("layers", self.layers)):
            if len(set(names)) < len(names):
                raise InputError(f"{what}: got {', '.join(names)}; wanted each name once; leave the repeated one out.")


DEFAULTS = Options()
