"""How every read-out of a spectrum moves, to first order, when the AGOP moves a little.

A read-out f of a layer changes by ``Σ_g ⟨E_g, dG̃_g⟩`` when the AGOP changes by ``dG̃`` in its own eigenbasis. The
functions here return E. Read at the gradients of one example, E is that example's influence; the influences together
give the standard error over examples.
"""

from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import UnknownNameError
from ansatzlab.linalg.spectrum import Comparator, Eigenframe, Spectrum

Gradient = Float[Tensor, "g k k"]


def alignment_gradient(
    frame: Eigenframe, spectrum: Spectrum, exponent: float, comparator: Comparator = "cosine"
) -> Gradient:
    """Return the derivative of `Spectrum.alignment` by the AGOP.

    Definition:
        With ``κ = ⟨M°, (G^α)°⟩/‖(G^α)°‖²``: ``E = Γ ∘ (M° − κ (G^α)°) / (‖M°‖ ‖(G^α)°‖)`` in the eigenbasis, Γ the
        divided differences ``(λ_i^α − λ_j^α)/(λ_i − λ_j)`` and ``α λ^{α−1}`` where ``λ_i = λ_j`` (Daleckii–Krein).

    Conventions:
        M and the numerical rank are held fixed. A pair of a kept and a cut eigenvalue counts, with ``λ_i^{α−1}``:
        eigenvectors turn into the null space. A pair of cut ones does not (E = 0): no first-order change that keeps the
        rank has an entry there, and for α < 1 the derivative would diverge.

    Args:
        frame: The layer in the eigenbasis of its AGOP.
        spectrum: The spectrum that `decompose` returned with it.
        exponent: The exponent α.
        comparator: Which alignment.

    Returns:
        E, symmetric, shape (g, k, k), per unit of G; nan where the alignment is nan.

    Raises:
        UnknownNameError: If the comparator is unknown.

    Precision:
        Divided differences are formed from logarithms and do not cancel: about 1e-14 for equal, nearly equal and
        distant eigenvalues alike.

    Cost:
        O(g k²).

    Source:
        Derived in docs/devdocs/errors.md.

    Example:
        >>> from ansatzlab.linalg.spectrum import decompose
        >>> W = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
        >>> spectrum, frame = decompose(W, gram=torch.eye(2, dtype=torch.float64))    # G = M = diag(4, 1)
        >>> E = alignment_gradient(frame, spectrum, 2.0)
        >>> round(float((E * torch.diag(frame.eigenvalues[0])).sum()), 12) + 0.0    # a scale of G changes nothing
        0.0
    """
    if comparator not in get_args(Comparator):
        raise UnknownNameError("comparator", comparator, get_args(Comparator))
    differences = _pairs(frame).differences(exponent)
    powers = _powers(frame, exponent)
    direction = _removed_direction(frame, spectrum, comparator)
    d = spectrum.dimension
    share = {"cosine": 0.0, "pearson": spectrum.total / d, "traceless": spectrum.trace / d**0.5}[comparator]
    power_share = (powers * direction.diagonal(dim1=-2, dim2=-1)).sum()
    weight_gram = frame.weight_gram
    inner = (powers * weight_gram.diagonal(dim1=-2, dim2=-1)).sum() - share * power_share
    model = powers.square().sum() - power_share**2
    target = spectrum.weight_gram_norm**2 - share**2
    if model <= 0 or target <= 0:
        return torch.full_like(weight_gram, torch.nan)
    scale = inner / model
    misfit = weight_gram - scale * torch.diag_embed(powers) - (share - scale * power_share) * direction
    gradient: Tensor = differences * misfit / (model.sqrt() * target**0.5)
    return gradient


def residual_gradient(frame: Eigenframe, spectrum: Spectrum, exponent: float) -> Gradient:
    """Return the derivative of `Spectrum.residual` by the AGOP.

    Definition:
        ``ρ = √(1 − cos²)``, hence ``dρ = −(cos/ρ) d cos``.

    Conventions:
        As `alignment_gradient`. An exact law has no derivative: ρ is a norm, which grows in every direction from 0. A
        residual of at most ``r · eps``, r the rank, counts as exact.

    Args:
        frame: The layer in the eigenbasis of its AGOP.
        spectrum: The spectrum that `decompose` returned with it.
        exponent: The exponent α.

    Returns:
        E, symmetric, shape (g, k, k), per unit of G; nan where the law is exact, the AGOP zero or the weights zero.

    Precision:
        Relative to ‖E‖ about ``eps/ρ``: the misfit is a small difference of larger matrices.

    Cost:
        O(g k²).

    Source:
        Derived in docs/devdocs/errors.md.

    Example:
        >>> from ansatzlab.linalg.spectrum import decompose
        >>> W = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
        >>> spectrum, frame = decompose(W, gram=torch.eye(2, dtype=torch.float64))    # G = M
        >>> residual_gradient(frame, spectrum, 1.0).isnan().all()
        tensor(True)
    """
    residual = spectrum.residual(exponent)
    if not residual > spectrum.rank * torch.finfo(frame.weight_gram.dtype).eps:
        return torch.full_like(frame.weight_gram, torch.nan)
    return -spectrum.alignment(exponent) / residual * alignment_gradient(frame, spectrum, exponent)


def exponent_gradient(frame: Eigenframe, spectrum: Spectrum, exponent: float) -> Gradient:
    """Return the derivative of the fitted exponent by the AGOP.

    Definition:
        α* solves ``F(α, G) = ⟨M, G^α log G⟩/⟨M, G^α⟩ − tr(G^{2α} log G)/tr(G^{2α}) = 0``, so
        ``E = −(∂F/∂G)/(∂F/∂α)`` (implicit function theorem).

    Conventions:
        As `alignment_gradient`. Meant for an exponent inside the searched range; one at a bound does not move with G.

    Args:
        frame: The layer in the eigenbasis of its AGOP.
        spectrum: The spectrum that `decompose` returned with it.
        exponent: The fitted exponent α*: `ExponentFit.value`, where it is identifiable and not ``at_bound``.

    Returns:
        E, symmetric, shape (g, k, k), per unit of G; nan where the exponent is, or where the cosine is not curved
        downwards there.

    Precision:
        Limited by how well α* is conditioned: the rounding of ∂F/∂G over ``|∂F/∂α|``, which is of the order of the
        variance of log λ.

    Cost:
        O(g k²).

    Source:
        Derived in docs/devdocs/errors.md.

    Example:
        >>> from ansatzlab.linalg.spectrum import decompose
        >>> W = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
        >>> spectrum, frame = decompose(W, gram=torch.eye(2, dtype=torch.float64))    # G = M = diag(4, 1): α* = 1
        >>> wider = torch.diag(torch.tensor([0.04, 0.0], dtype=torch.float64))    # then α* = log 4 / log 4.04
        >>> round(float((exponent_gradient(frame, spectrum, 1.0) * wider).sum()), 4)
        -0.0072
    """
    logs = (spectrum.eigenvalues / spectrum.eigenvalues[:1]).log()
    powers = spectrum.powers(exponent)
    inner, model = powers @ spectrum.energies, powers @ powers
    mean = (powers.square() @ logs) / model
    curvature = _variance(logs, powers * spectrum.energies) - 2 * _variance(logs, powers.square())
    if not curvature < 0:
        return torch.full_like(frame.weight_gram, torch.nan)
    pairs = _pairs(frame)
    differences, log_differences = pairs.differences(exponent), pairs.log_differences(exponent)
    all_powers, all_logs = _powers(frame, exponent), _logs(frame)
    tilted = torch.where(frame.eigenvalues > 0, all_powers * (all_logs - mean), 0.0)
    slope = (log_differences - mean * differences) * (frame.weight_gram / inner - torch.diag_embed(all_powers) / model)
    return -(slope - differences * torch.diag_embed(tilted) / model) / curvature


def _logs(frame: Eigenframe) -> Float[Tensor, "g k"]:
    """Return ``log(λ_j/λ_1)``, λ_1 the largest of all blocks; −∞ where an eigenvalue was cut."""
    return (frame.eigenvalues / frame.eigenvalues.max()).log()


def _powers(frame: Eigenframe, exponent: float) -> Float[Tensor, "g k"]:
    """Return ``(λ_j/λ_1)^α``, 0 where an eigenvalue was cut, whatever α."""
    return torch.where(frame.eigenvalues > 0, (frame.eigenvalues / frame.eigenvalues.max()).pow(exponent), 0.0)


def _variance(logs: Float[Tensor, " r"], weights: Float[Tensor, " r"]) -> Tensor:
    shares = weights / weights.sum()
    variance: Tensor = shares @ (logs - shares @ logs).square()
    return variance


def _removed_direction(frame: Eigenframe, spectrum: Spectrum, comparator: Comparator) -> Gradient:
    """Return the unit matrix that a comparator's centring projects out, as the eigenbasis sees it."""
    if comparator == "pearson":
        mean: Tensor = frame.ones[..., :, None] * frame.ones[..., None, :] / spectrum.dimension
        return mean
    if comparator == "traceless":
        identity: Tensor = torch.diag_embed(torch.ones_like(frame.eigenvalues)) / spectrum.dimension**0.5
        return identity
    return frame.transform.new_zeros(*frame.eigenvalues.shape, frame.eigenvalues.shape[-1])


@dataclass(frozen=True)
class _Pairs:
    """Every pair of eigenvalues, by their logarithms.

    Attributes:
        both: Whether both are kept.
        largest: The larger logarithm; 0 where none is kept.
        gap: The smaller minus the larger, 0 where they are equal or one is cut.
        below: ``expm1(gap)``, 1 where the gap is 0.
        scale: ``1/λ_1``, 0 where none is kept.
    """

    both: Tensor
    largest: Tensor
    gap: Tensor
    below: Tensor
    scale: Tensor

    def differences(self, exponent: float) -> Gradient:
        """Return the divided differences of ``x^α`` at ``x = λ/λ_1``, over λ_1.

        With L the larger logarithm of a pair and ``t ≤ 0`` the smaller minus the larger,
        ``(x^α − y^α)/(x − y) = e^{(α−1)L} expm1(αt)/expm1(t)``, in which nothing cancels.
        """
        return self.scale * torch.exp((exponent - 1) * self.largest) * self._ratio(exponent)

    def log_differences(self, exponent: float) -> Gradient:
        """Return those of ``x^α log x``: the derivative by α."""
        slope = torch.where(self.gap < 0, self.gap / self.below, 1.0) * torch.exp(exponent * self.gap)
        slope = torch.where(self.both, slope, 0.0)
        scale = self.scale * torch.exp((exponent - 1) * self.largest)
        return scale * (self.largest * self._ratio(exponent) + slope)

    def _ratio(self, exponent: float) -> Tensor:
        ratio = torch.where(self.gap < 0, torch.expm1(exponent * self.gap) / self.below, exponent)
        return torch.where(self.both, ratio, 1.0)


def _pairs(frame: Eigenframe) -> _Pairs:
    logs = _logs(frame)
    kept = frame.eigenvalues > 0
    both = kept[..., :, None] & kept[..., None, :]
    any_kept = kept[..., :, None] | kept[..., None, :]
    row, column = logs[..., :, None], logs[..., None, :]
    gap = torch.where(both, -(row - column).abs(), 0.0)
    return _Pairs(
        both=both,
        largest=torch.where(any_kept, torch.maximum(row, column), 0.0),
        gap=gap,
        below=torch.where(gap < 0, torch.expm1(gap), 1.0),
        scale=any_kept.to(logs) / frame.eigenvalues.max(),
    )
