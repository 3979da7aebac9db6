"""How every read-out of a spectrum moves, to first order, when the AGOP moves a little.

A read-out f of a layer changes by ``Σ_g ⟨E_g, dG̃_g⟩`` when the AGOP changes by ``dG̃`` in its own eigenbasis. The
functions here return E. Read at the gradients of one example, E is that example's influence; the influences together
give the standard error over examples.
"""

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
    differences, _ = _divided_differences(frame, exponent)
    powers = _powers(frame, exponent)
    direction = _removed_direction(frame, spectrum, comparator)
    d = spectrum.dimension
    share = {"cosine": 0.0, "pearson": spectrum.total / d, "traceless": spectrum.trace / d**0.5}[comparator]
    power_share = (powers * direction.diagonal(dim1=-2, dim2=-1)).sum()
    inner = (powers * frame.weight_gram.diagonal(dim1=-2, dim2=-1)).sum() - share * power_share
    model = powers.square().sum() - power_share**2
    target = spectrum.weight_gram_norm**2 - share**2
    if model <= 0 or target <= 0:
        return torch.full_like(frame.weight_gram, torch.nan)
    scale = inner / model
    misfit = frame.weight_gram - scale * torch.diag_embed(powers) - (share - scale * power_share) * direction
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
    differences, log_differences = _divided_differences(frame, exponent)
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
    return torch.zeros_like(frame.weight_gram)


def _divided_differences(frame: Eigenframe, exponent: float) -> tuple[Gradient, Gradient]:
    """Return the divided differences of ``x^α`` and of ``x^α log x`` at ``x = λ/λ_1``, each over λ_1.

    With L the larger logarithm of a pair and ``t ≤ 0`` the smaller minus the larger,
    ``(x^α − y^α)/(x − y) = e^{(α−1)L} expm1(αt)/expm1(t)``, in which nothing cancels; the second is its derivative
    by α.
    """
    logs = _logs(frame)
    kept = frame.eigenvalues > 0
    both = kept[..., :, None] & kept[..., None, :]
    any_kept = kept[..., :, None] | kept[..., None, :]
    row, column = logs[..., :, None], logs[..., None, :]
    largest = torch.where(any_kept, torch.maximum(row, column), 0.0)
    gap = torch.where(both, -(row - column).abs(), 0.0)
    apart = gap < 0
    below = torch.where(apart, torch.expm1(gap), 1.0)
    ratio = torch.where(apart, torch.expm1(exponent * gap) / below, exponent)
    ratio = torch.where(both, ratio, 1.0)
    ratio_slope = torch.where(apart, gap / below, 1.0) * torch.exp(exponent * gap)
    ratio_slope = torch.where(both, ratio_slope, 0.0)
    scale = torch.where(any_kept, torch.exp((exponent - 1) * largest), 0.0) / frame.eigenvalues.max()
    return scale * ratio, scale * (largest * ratio + ratio_slope)
