"""How alike two large square matrices are that live on a small subspace, without forming them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Square = Float[Tensor, "g k k"]


@dataclass(frozen=True)
class Subspace:
    """Coordinates in which matrices on d inputs are small.

    Attributes:
        ones: The vector (1, …, 1) in these coordinates, one row per block, shape (g, k).
        dimension: d, the number of inputs of all blocks.
    """

    ones: Float[Tensor, "g k"]
    dimension: int


def whole(count: int, size: int) -> Subspace:
    """Return the plain coordinates of that many blocks of a size."""
    return Subspace(torch.ones(count, size, dtype=torch.float64), count * size)


def row_space(
    first: Float[Tensor, "g o i"], second: Float[Tensor, "g o i"]
) -> tuple[Float[Tensor, "g o k"], Float[Tensor, "g o k"], Subspace]:
    """Write the rows of two matrices in an orthonormal basis of what they span together, if that is smaller.

    Args:
        first: A matrix (g blocks of it), float64.
        second: Another of the same shape.

    Returns:
        Both in the basis, and the basis as a `Subspace`: ``AᵀB`` of what is returned is that of what was given, in
        these coordinates.

    Cost:
        O(g i o²) where i > 2 o; else nothing.
    """
    count, height, width = first.shape
    if width <= 2 * height:
        return first, second, whole(count, width)
    basis = torch.linalg.qr(torch.cat([first.mT, second.mT], dim=-1)).Q
    return first @ basis, second @ basis, Subspace(basis.sum(-2), count * width)


@dataclass(frozen=True)
class Likeness:
    """How alike two matrices are.

    Attributes:
        cosine: ``⟨A, B⟩/(‖A‖ ‖B‖)``.
        pearson: The same after each matrix's mean entry is subtracted.
        residual: ``min_c ‖A − cB‖/‖A‖``.
    """

    cosine: float
    pearson: float
    residual: float


def compare(a: Square, b: Square, subspace: Subspace) -> Likeness:
    """Compare two matrices given on a subspace, as `ansatzlab.linalg.similarity` does the full ones.

    Definition:
        Of blocks, their direct sums are compared: the zeros between blocks are entries too.

    Args:
        a: The first, shape (g, k, k), float64.
        b: The second.
        subspace: Their coordinates.

    Returns:
        The three numbers; nan where a matrix, or its deviation from its mean entry, is zero.

    Example:
        >>> a = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))[None]
        >>> compare(a, 3 * a, whole(1, 2))
        Likeness(cosine=1.0, pearson=1.0, residual=0.0)
    """
    inner, square, other = (float((left * right).sum()) for left, right in ((a, b), (a, a), (b, b)))
    mean, other_mean = (_total(matrix, subspace) / subspace.dimension for matrix in (a, b))
    scale = inner / other if other else 0.0
    return Likeness(
        cosine=_ratio(inner, square, other),
        pearson=_ratio(inner - mean * other_mean, square - mean**2, other - other_mean**2),
        residual=float((a - scale * b).norm()) / square**0.5 if square else float("nan"),
    )


def _total(matrix: Square, subspace: Subspace) -> float:
    """Return the sum of the matrix's entries."""
    ones = subspace.ones.to(matrix)
    return float(torch.einsum("gk,gkl,gl->", ones, matrix, ones))


def _ratio(inner: float, first: float, second: float) -> float:
    return inner / (first * second) ** 0.5 if first > 0 and second > 0 else float("nan")
