"""Every exponent of the ansatz from one decomposition."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.linalg.psd import (
    factor_eigenpairs,
    gram_eigenpairs,
    refuse_nonfinite,
    rounding_cut,
)
from ansatzlab.linalg.reduction import ReducedWeight, reduce_weight
from ansatzlab.shapes import Eigenvalues

Comparator = Literal["cosine", "pearson", "traceless"]

COARSEST = 5e-2
"""The largest relative rank cut with which a spectrum is still worth reading."""


@dataclass(frozen=True)
class Spectrum:
    """What relates a layer's weight Gram matrix M to every power of its AGOP G.

    Definition:
        With ``G = Σ_j λ_j v_j v_jᵀ`` over the kept eigenvalues and ``b_j = v_jᵀ M v_j``,
        ``⟨M, G^α⟩ = Σ λ_j^α b_j``, ``‖G^α‖² = Σ λ_j^{2α}`` and ``‖M‖² = off_energy² + Σ b_j²``.

    Attributes:
        eigenvalues: λ, the kept eigenvalues of the AGOP, descending, shape (r,).
        energies: b, the weight energies along its eigenvectors, shape (r,).
        off_energy: ``‖M − Σ_j b_j v_j v_jᵀ‖``: all of M that no power of G can reach. Kept instead of ‖M‖ because
            residuals are then sums of squares and do not cancel.
        sums: ``v_jᵀ 1``, shape (r,), for the Pearson correlation.
        trace: ``tr M``.
        total: ``1ᵀ M 1``, the sum of M's entries.
        dimension: d, the number of layer inputs.
        cut: The relative cut on λ (see `ansatzlab.linalg.psd`).

    Source:
        Derived in docs/devdocs/spectrum.md.
    """

    eigenvalues: Eigenvalues
    energies: Float[Tensor, " r"]
    off_energy: float
    sums: Float[Tensor, " r"]
    trace: float
    total: float
    dimension: int
    cut: float

    @property
    def rank(self) -> int:
        """The numerical rank of the AGOP."""
        return len(self.eigenvalues)

    @property
    def weight_gram_norm(self) -> float:
        """``‖M‖``, the Frobenius norm of the weight Gram matrix."""
        return float(torch.hypot(self.energies.norm(), torch.tensor(self.off_energy, dtype=self.energies.dtype)))

    @property
    def agop_norm(self) -> float:
        """``‖G‖``, the Frobenius norm of the AGOP."""
        return float(self.eigenvalues.norm())

    def columns(self) -> dict[str, object]:
        """Return the attributes as columns of a table: lists and numbers, the dimension among them as a float."""
        return {
            "eigenvalues": self.eigenvalues.tolist(),
            "energies": self.energies.tolist(),
            "sums": self.sums.tolist(),
            "off_energy": self.off_energy,
            "trace": self.trace,
            "total": self.total,
            "dimension": float(self.dimension),
            "cut": self.cut,
        }

    def powers(self, exponent: float) -> Eigenvalues:
        """Return ``(λ_j/λ_1)^α``: the eigenvalues of ``G^α``, relative to the largest, safe from overflow."""
        return (self.eigenvalues / self.eigenvalues[:1]).pow(exponent)

    def alignment(self, exponent: float, comparator: Comparator = "cosine") -> float:
        """Return how alike M and ``G^α`` are.

        Definition:
            ``⟨M°, (G^α)°⟩ / (‖M°‖ ‖(G^α)°‖)``, with A° = A (cosine), A − mean entry (pearson) or
            A − tr(A)/d · I (traceless).

        Args:
            exponent: The exponent α of the AGOP.
            comparator: Which of the three.

        Returns:
            A number in [−1, 1]; nan where a centred matrix vanishes or there is no AGOP at all.

        Raises:
            UnknownNameError: If the comparator is unknown.

        Cost:
            O(r).
        """
        if comparator not in get_args(Comparator):
            raise UnknownNameError("comparator", comparator, get_args(Comparator))
        powers = self.powers(exponent)
        inner, model, target = powers @ self.energies, powers @ powers, self.weight_gram_norm**2
        d = self.dimension
        if comparator == "pearson":
            mean = powers @ self.sums.square() / d
            inner, model, target = inner - mean * self.total / d, model - mean**2, target - (self.total / d) ** 2
        if comparator == "traceless":
            trace = powers.sum()
            inner, model = inner - trace * self.trace / d, model - trace**2 / d
            target -= self.trace**2 / d
        if model <= 0 or target <= 0:
            return float("nan")
        return float(inner / (model.sqrt() * target**0.5))

    def residual(self, exponent: float) -> float:
        """Return the scale-free residual ``min_c ‖M − c G^α‖ / ‖M‖``.

        Conventions:
            Equal to ``sqrt(1 − cosine²)`` but without its cancellation: exact to rounding.

        Args:
            exponent: The exponent α of the AGOP.

        Returns:
            A number in [0, 1]; 1 if there is no AGOP, nan if the weights are zero.

        Cost:
            O(r).
        """
        return _ratio(self.squared_misfit(exponent) ** 0.5, self.weight_gram_norm)

    def squared_misfit(self, exponent: float) -> float:
        """Return ``min_c ‖M − c G^α‖²``, the square of `residual` before it is divided by ‖M‖."""
        if self.rank == 0:
            return self.off_energy**2
        powers = self.powers(exponent)
        scale = (powers @ self.energies) / (powers @ powers)
        return self.off_energy**2 + float((self.energies - scale * powers).square().sum())

    def relative_error(self, exponent: float, scale: float = 1.0) -> float:
        """Return ``‖M − c G^α‖ / ‖M‖`` for a **given** constant c, as a theorem that names its constant needs it.

        Args:
            exponent: The exponent α of the AGOP.
            scale: The constant c; 1 in the balanced theorem of tansley2025nfa.

        Returns:
            A number ≥ 0; nan if the weights are zero.

        Cost:
            O(r).
        """
        misfit = (self.energies - scale * self.eigenvalues.pow(exponent)).square().sum()
        return _ratio((self.off_energy**2 + float(misfit)) ** 0.5, self.weight_gram_norm)


@dataclass(frozen=True)
class Eigenframe:
    """A layer in the eigenbasis of its AGOP: what a small change of the output gradients does is read here.

    Definition:
        An output gradient b of block g adds ``t tᵀ``, ``t = b · transform[g]``, to the AGOP in its own eigenbasis.

    Attributes:
        transform: ``W V``, shape (g, o, k), V the eigenbasis in the coordinates of the smaller side.
        eigenvalues: λ, shape (g, k), descending within a block; 0 where an eigenvalue was cut.
        ones: ``Vᵀ 1``, shape (g, k).
    """

    transform: Float[Tensor, "g o k"]
    eigenvalues: Float[Tensor, "g k"]
    ones: Float[Tensor, "g k"]

    @property
    def weight_gram(self) -> Float[Tensor, "g k k"]:
        """M in the eigenbasis, shape (g, k, k)."""
        return self.transform.mT @ self.transform


def ansatz_spectrum(
    weight: Float[Tensor, "*g o i"],
    *,
    gram: Float[Tensor, "*g o o"] | None = None,
    factor: Float[Tensor, "*g p o"] | None = None,
    gradient_dtype: torch.dtype = torch.float64,
    gram_rounding: float = 0.0,
) -> Spectrum:
    """Decompose the AGOP ``G = Wᵀ K W`` of a layer against ``M = WᵀW``, on the smaller side of W.

    Definition:
        With ``Wᵀ = Q T`` (triangular T, where W has more columns than rows; otherwise Q = I), ``G = Q (T K Tᵀ) Qᵀ`` and
        ``M = Q (T Tᵀ) Qᵀ``: everything happens in k × k matrices, k = min(o, i), and no i × i matrix is formed. A layer
        of several blocks (a grouped convolution) is their direct sum: its eigenvalues are those of all blocks.

    Conventions:
        The rank is cut before any root is taken, over all blocks together. From ``gram`` the cut on λ is the rounding
        of the accumulation, ``size · eps``; from ``factor`` it is its square. Gradients computed in a coarser dtype put
        a floor ``size · eps(gradient_dtype)²`` under either.

    Args:
        weight: W, shape (o, i), or (g, o, i) for g blocks.
        gram: K, the mean second moment of the output gradients, shape (…, o, o). Give this or ``factor``.
        factor: R with ``K = RᵀR``, shape (…, p, o): keeps small eigenvalues that forming K would drown.
        gradient_dtype: The dtype in which the output gradients were computed.
        gram_rounding: The absolute size of rounding in ``gram``, for one that is a difference of larger matrices.

    Returns:
        The spectrum.

    Raises:
        InputError: If an entry is not finite, or the gradients are too coarse to resolve any spectrum of this width.
        TypeError: If not exactly one of ``gram`` and ``factor`` is given.

    Cost:
        O(o i k) for the triangle of W and O(k³) for the eigenvectors of G.

    Example:
        >>> W = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
        >>> s = ansatz_spectrum(W, gram=W @ W.T)    # the last-but-one layer of a balanced pair: G = M²
        >>> round(s.residual(0.5), 12), round(s.residual(1.0), 3)
        (0.0, 0.182)
    """
    return decompose(weight, gram=gram, factor=factor, gradient_dtype=gradient_dtype, gram_rounding=gram_rounding)[0]


def decompose(
    weight: Float[Tensor, "*g o i"] | ReducedWeight,
    *,
    gram: Float[Tensor, "*g o o"] | None = None,
    factor: Float[Tensor, "*g p o"] | None = None,
    gradient_dtype: torch.dtype = torch.float64,
    gram_rounding: float = 0.0,
) -> tuple[Spectrum, Eigenframe]:
    """Return the spectrum of `ansatz_spectrum`, and beside it the frame that first-order errors are read in."""
    if (gram is None) == (factor is None):
        raise TypeError("ansatz_spectrum: give exactly one of gram= and factor=.")
    whole = weight if isinstance(weight, ReducedWeight) else reduce_weight(weight, squared=factor is None)
    reduced, size = whole.blocks, whole.size
    floor = size * torch.finfo(gradient_dtype).eps ** 2
    if floor > COARSEST:
        raise InputError(
            f"ansatz_spectrum: gradients in {gradient_dtype} resolve no spectrum of a layer of width {size}; wanted "
            "float32 or float64; measure model.float()."
        )
    if gram is not None:
        refuse_nonfinite(gram, "ansatz_spectrum(gram)")
        cut = max(floor, rounding_cut(size, gram.dtype))
        values, basis = gram_eigenpairs(reduced.mT @ gram.double().reshape(-1, *gram.shape[-2:]) @ reduced)
    else:
        assert factor is not None
        refuse_nonfinite(factor, "ansatz_spectrum(factor)")
        cut = max(floor, rounding_cut(size, factor.dtype) ** 2)
        values, basis = factor_eigenpairs(factor.double().reshape(-1, *factor.shape[-2:]) @ reduced)
    lowest = cut * float(values.max())
    if gram_rounding:
        lowest = max(lowest, gram_rounding * float(torch.linalg.matrix_norm(reduced, ord=2).max()) ** 2)
    transform = reduced @ basis
    frame = Eigenframe(
        transform=transform,
        eigenvalues=torch.where(values > lowest, values, 0.0),
        ones=(basis.mT @ whole.ones[..., None]).squeeze(-1),
    )
    return _read(frame, total=whole.total, dimension=whole.dimension, cut=cut), frame


def _read(frame: Eigenframe, *, total: float, dimension: int, cut: float) -> Spectrum:
    """Read every kept eigenvalue, of all blocks, with the weight energy along its eigenvector."""
    kept = frame.eigenvalues > 0
    rest = frame.weight_gram
    energies = rest.diagonal(dim1=-2, dim2=-1).clone()
    eigenvalues, order = frame.eigenvalues[kept].sort(descending=True)
    rest.diagonal(dim1=-2, dim2=-1)[kept] = 0
    return Spectrum(
        eigenvalues=eigenvalues,
        energies=energies[kept][order],
        off_energy=float(rest.norm()),
        sums=frame.ones[kept][order],
        trace=float(energies.sum()),
        total=total,
        dimension=dimension,
        cut=cut,
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
