"""A layer's weight on its smaller side, in which all spectral quantities are computed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.linalg.psd import refuse_nonfinite, triangular_factor


@dataclass(frozen=True)
class ReducedWeight:
    """A layer's weight in coordinates in which no dimension is larger than the smaller side of W.

    Definition:
        ``W = L Qᵀ`` with orthonormal columns in Q, which is never formed: it leaves spectra and energies as they are.

    Attributes:
        blocks: L, shape (g, o, k), k = min(o, i).
        ones: ``Qᵀ 1``, shape (g, k).
        total: ``1ᵀ M 1``.
        dimension: The number of layer inputs, of all blocks.
        size: The larger side of a block.
    """

    blocks: Float[Tensor, "g o k"]
    ones: Float[Tensor, "g k"]
    total: float
    dimension: int
    size: int


def reduce_weight(weight: Float[Tensor, "*g o i"], *, squared: bool = False) -> ReducedWeight:
    """Reduce a weight (or g blocks of one) to its smaller side, in float64.

    Args:
        weight: W, shape (o, i), or (g, o, i) for g blocks.
        squared: Whether small singular values of W may carry the rounding of ``WWᵀ``, as eigenvalues read from a summed
            K do anyway: faster by several times where W is wider than tall and well conditioned.

    Raises:
        InputError: If an entry is not finite.
    """
    refuse_nonfinite(weight, "ansatz_spectrum(weight)")
    blocks = weight.reshape(-1, *weight.shape[-2:])
    reduced, ones = _reduce(blocks, squared=squared)
    return ReducedWeight(
        blocks=reduced,
        ones=ones,
        total=float(blocks.sum(-1, dtype=torch.float64).square().sum()),
        dimension=blocks.shape[0] * blocks.shape[-1],
        size=max(weight.shape[-2:]),
    )


_CHUNK = 2**19
"""Numbers of W that are reduced at a time: fewer take less memory, more take fewer products or triangles."""

_WORST = 1e-3
"""The smallest ratio of a Cholesky factor's diagonal with which it stands for the triangle of W."""


def _reduce(blocks: Float[Tensor, "g o i"], *, squared: bool) -> tuple[Float[Tensor, "g o k"], Float[Tensor, "g k"]]:
    """Return L and ``Qᵀ1`` with ``W = L Qᵀ``, Q orthonormal columns: L is W itself where that is no wider than tall."""
    count, height, width = blocks.shape
    if width <= height:
        return blocks.double(), blocks.new_ones(count, width, dtype=torch.float64)
    parts = torch.split(blocks, max(_CHUNK // (count * height), height // 2), dim=-1)
    return (_by_cholesky(blocks, parts) if squared else None) or _by_triangle(parts)


def _by_cholesky(
    blocks: Float[Tensor, "g o i"], parts: Sequence[Tensor]
) -> tuple[Float[Tensor, "g o o"], Float[Tensor, "g o"]] | None:
    """Return L as the Cholesky factor of ``WWᵀ``, or None where W is too ill conditioned for that."""
    gram = blocks.new_zeros(len(blocks), blocks.shape[1], blocks.shape[1], dtype=torch.float64)
    for part in parts:
        columns = part.double()
        gram.baddbmm_(columns, columns.mT)
    lower, failures = torch.linalg.cholesky_ex(gram)
    diagonal = lower.diagonal(dim1=-2, dim2=-1)
    if bool(failures.any()) or not bool((diagonal.amin(-1) > _WORST * diagonal.amax(-1)).all()):
        return None
    sums = blocks.sum(-1, dtype=torch.float64)[..., None]
    return lower, torch.linalg.solve_triangular(lower, sums, upper=False)[..., 0]


def _by_triangle(parts: Sequence[Tensor]) -> tuple[Float[Tensor, "g o o"], Float[Tensor, "g o"]]:
    """Return L and ``Qᵀ1`` from the triangle of ``[Wᵀ | 1]``, made of a few columns of W at a time.

    ``Qᵀ1`` is its last column, so that Q is never formed, and a wide layer needs no second copy of itself.
    """
    count, height = parts[0].shape[:2]
    triangle = parts[0].new_zeros(count, 0, height + 1, dtype=torch.float64)
    for part in parts:
        known = triangle.shape[1]
        rows = part.new_ones(count, known + part.shape[-1], height + 1, dtype=torch.float64)
        rows[:, :known] = triangle
        rows[:, known:, :height] = part.mT
        triangle = triangular_factor(rows)
    return triangle[:, :height, :height].mT.contiguous(), triangle[:, :height, height]
