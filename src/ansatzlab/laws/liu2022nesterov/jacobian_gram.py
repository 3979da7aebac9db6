"""The Gram matrix of a linear network's Jacobian, exact and in the limit of infinite width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import InputError
from ansatzlab.laws.liu2022nesterov.network import LinearNetwork, Matrix
from ansatzlab.laws.liu2022nesterov.problem import Problem

SINGULAR = 1e-12
"""A smallest eigenvalue below this share of the largest counts as none."""


@dataclass(frozen=True)
class Extremes:
    """The ends of the spectrum that a descent is tuned to.

    Attributes:
        largest: λ_max, finite.
        smallest: λ_min, on the range; positive.
    """

    largest: float
    smallest: float

    def __post_init__(self) -> None:
        """Refuse what has no condition number.

        Raises:
            InputError: If λ_min is not positive, or λ_max is less or not finite.
        """
        if not 0 < self.smallest <= self.largest < math.inf:
            raise InputError(
                f"extremes: got λ_max = {self.largest:g} and λ_min = {self.smallest:g}; wanted positive finite "
                "numbers, λ_max no less than λ_min; change them."
            )

    @property
    def condition(self) -> float:
        """κ."""
        return self.largest / self.smallest


def jacobian_gram(network: LinearNetwork, weights: Sequence[Matrix] | None = None) -> Float[Tensor, "p p"]:
    """Return the Gram matrix of the outputs' Jacobian in the weights, by default at the start.

    Definition:
        ``H = Σ_l (A_{l−1} A_{l−1}ᵀ) ⊗ (B_l B_lᵀ)``: of layer l, A (r, i) is what enters it and B (c, o) the map from
        what leaves it to the outputs, its factor included. It acts on the residual (r, c) read row by row.

    Conventions:
        In the coordinates of the inputs' row space (see `Problem`), so that the exact null space, ``(n − r) c``
        dimensions, is left out.

    Args:
        network: The network.
        weights: Where; None for the weights at the start, which gives H_0.

    Returns:
        The matrix, ``p = r c``.

    Raises:
        InputError: If it is not finite.

    Cost:
        ``p²`` numbers.
    """
    at = network.weights if weights is None else weights
    states, maps = network.states(at), network.output_maps(at)
    parts = [torch.kron(A @ A.mT, B @ B.mT) for A, B in zip(states[:-1], maps, strict=True)]
    H = torch.stack(parts).sum(0)
    if not bool(H.isfinite().all()):
        raise InputError("jacobian gram: it is not finite; wanted finite weights and data; check them.")
    return H


def limit_gram(problem: Problem, depth: int) -> Float[Tensor, "p p"]:
    """Return what the Gram matrix of a deep linear network's Jacobian tends to as its width grows.

    Definition:
        ``(L/c) XᵀX ⊗ I_c``.

    Args:
        problem: The data.
        depth: L.

    Returns:
        The matrix.

    Example:
        >>> from ansatzlab.laws.liu2022nesterov.problem import log_spaced
        >>> H = limit_gram(Problem.of(log_spaced(seed=0, condition=16.0)), depth=6)
        >>> round(float(torch.linalg.cond(H)), 9), round(float(torch.linalg.matrix_norm(H, ord=2)), 9)
        (16.0, 2.0)
    """
    outputs = problem.targets.shape[1]
    unit = torch.eye(outputs, dtype=torch.float64)
    return depth / outputs * torch.kron(problem.inputs @ problem.inputs.mT, unit)


def extremes(eigenvalues: Float[Tensor, " p"]) -> Extremes:
    """Return the ends of a spectrum.

    Args:
        eigenvalues: The eigenvalues, ascending, the exact null space left out.

    Returns:
        The ends.

    Raises:
        InputError: If an eigenvalue is not finite, or the smallest is none (see `SINGULAR`).
    """
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    if not bool(eigenvalues.isfinite().all()):
        raise InputError("jacobian gram: an eigenvalue is not finite; wanted finite weights and data; check them.")
    if smallest < SINGULAR * largest or largest <= 0:
        raise InputError(
            f"jacobian gram: the eigenvalues go from {smallest:.1e} to {largest:.1e}, so that κ is infinite; wanted "
            f"a smallest one above {SINGULAR:g} of the largest; raise the width or keep fewer principal directions."
        )
    return Extremes(largest, smallest)
