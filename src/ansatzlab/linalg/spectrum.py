"""Every exponent of the ansatz from one decomposition."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.linalg.psd import Eigensystem, factor_eigensystem, gram_eigensystem, refuse_nonfinite, rounding_cut
from ansatzlab.shapes import Eigenvalues, OutputFactor, OutputGram, Weight

Comparator = Literal["cosine", "pearson", "traceless"]

COARSEST = 1e-2
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


def ansatz_spectrum(
    weight: Weight,
    *,
    gram: OutputGram | None = None,
    factor: OutputFactor | None = None,
    gradient_dtype: torch.dtype = torch.float64,
    gram_rounding: float = 0.0,
) -> Spectrum:
    """Decompose the AGOP ``G = Wᵀ K W`` of a layer against ``M = WᵀW``, on the smaller side of W.

    Definition:
        With the thin ``W = U Σ Qᵀ``, ``G = Q (Σ Uᵀ K U Σ) Qᵀ`` and ``M = Q Σ² Qᵀ``: everything happens in k × k
        matrices, k = min(o, i), and no i × i matrix is formed.

    Conventions:
        The rank is cut before any root is taken. From ``gram`` the cut on λ is the rounding of the accumulation,
        ``size · eps``; from ``factor`` it is its square. Gradients computed in a coarser dtype put a floor
        ``(size · eps(gradient_dtype))²`` under either.

    Args:
        weight: W, shape (o, i).
        gram: K, the mean second moment of the output gradients, shape (o, o). Give this or ``factor``.
        factor: R with ``K = RᵀR``, shape (p, o): keeps small eigenvalues that forming K would drown.
        gradient_dtype: The dtype in which the output gradients were computed.
        gram_rounding: The absolute size of rounding in ``gram``, for one that is a difference of larger matrices.

    Returns:
        The spectrum.

    Raises:
        InputError: If an entry is not finite, or the gradients are too coarse to resolve any spectrum of this width.
        TypeError: If not exactly one of ``gram`` and ``factor`` is given.

    Cost:
        O(o i k) for the decomposition of W and O(k³) for that of G.

    Example:
        >>> W = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
        >>> s = ansatz_spectrum(W, gram=W @ W.T)    # the last-but-one layer of a balanced pair: G = M²
        >>> round(s.residual(0.5), 12), round(s.residual(1.0), 3)
        (0.0, 0.182)
    """
    if (gram is None) == (factor is None):
        raise TypeError("ansatz_spectrum: give exactly one of gram= and factor=.")
    refuse_nonfinite(weight, "ansatz_spectrum(weight)")
    left, sigma, right = torch.linalg.svd(weight, full_matrices=False)
    reduced = left * sigma
    size = max(weight.shape)
    floor = rounding_cut(size, gradient_dtype) ** 2
    if floor > COARSEST:
        raise InputError(
            f"ansatz_spectrum: gradients in {gradient_dtype} resolve no spectrum of a layer of width {size}; wanted "
            "float32 or float64; measure model.float()."
        )
    if gram is not None:
        system = gram_eigensystem(
            reduced.mT @ gram @ reduced,
            cut=max(floor, rounding_cut(size, gram.dtype)),
            floor=gram_rounding * float(sigma[0]) ** 2,
        )
    else:
        assert factor is not None
        system = factor_eigensystem(factor @ reduced, cut=floor)
    return _against(system, sigma.square(), right.sum(1), dimension=weight.shape[1])


def _against(system: Eigensystem, weight_gram: Tensor, ones: Tensor, *, dimension: int) -> Spectrum:
    """Read the weight Gram matrix, diagonal in these coordinates, in the eigenbasis of the AGOP."""
    rotated = system.basis.mT @ (weight_gram[:, None] * system.basis)
    energies = rotated.diagonal()[: system.rank].clone()
    rotated.diagonal()[: system.rank] = 0
    return Spectrum(
        eigenvalues=system.values,
        energies=energies,
        off_energy=float(rotated.norm()),
        sums=system.vectors.mT @ ones,
        trace=float(weight_gram.sum()),
        total=float((weight_gram * ones.square()).sum()),
        dimension=dimension,
        cut=system.cut,
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
