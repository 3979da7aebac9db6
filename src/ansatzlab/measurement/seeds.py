"""Which combinations of the outputs are differentiated."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exact:
    """Every output once: one backward pass per output, no sampling error.

    Definition:
        Summing ``(∂f_c/∂z)ᵀ(∂f_c/∂z)`` over all c gives the AGOP's factor exactly. Differentiating the *sum* of the
        outputs once would give the outer product of the sum instead, which is another matrix.
    """
