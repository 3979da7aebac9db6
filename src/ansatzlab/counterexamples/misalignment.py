"""How well the best exponent aligns a layer, as something that can be descended on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.linalg.exponent import LARGEST, SMALLEST
from ansatzlab.shapes import InputGram, OutputGram, Weight

SMALLEST_RATIO = 1e-10
"""Eigenvalues of the AGOP below this share of the largest count as this share, so that their roots have a slope."""


def exponent_grid(count: int = 12) -> tuple[float, ...]:
    """Return exponents from 0.05 to 4 in equal ratios.

    Example:
        >>> exponent_grid(3)
        (0.05, 0.447213595499958, 4.0)
    """
    ratio = LARGEST / SMALLEST
    return tuple(SMALLEST * ratio ** (index / (count - 1)) for index in range(count))


@dataclass(frozen=True)
class Slope:
    """The smooth maximum of the cosines of M and G^α over several α, and its derivatives.

    Attributes:
        value: ``τ log Σ_α exp(cos_α/τ)``: between the largest cosine and ``τ log(number of exponents)`` above it.
        by_weight_gram: Its derivative by M.
        by_agop: Its derivative by G.
    """

    value: float
    by_weight_gram: InputGram
    by_agop: InputGram


def best_alignment(W: Weight, K: OutputGram, exponents: Sequence[float], temperature: float) -> Float[Tensor, ""]:
    """Return the smooth maximum over exponents of the cosine of ``M = WᵀW`` and ``(WᵀKW)^α``, differentiable in both.

    Definition:
        ``τ log Σ_α exp(cos(M, G^α)/τ)``.

    Conventions:
        The derivative is that of Daleckii and Krein, in closed form: differentiating an eigendecomposition would
        divide by differences of eigenvalues. The value returned is the true one; its graph is the linearisation.

    Args:
        W: The layer's weights; with fewer outputs than inputs, of full rank.
        K: The mean second moment of its output gradients.
        exponents: The exponents α, positive.
        temperature: τ, positive.

    Returns:
        A number.

    Precision:
        Eigenvalues below `SMALLEST_RATIO` of the largest are raised to it.

    Cost:
        O(k³ + a k²), k the smaller side of W, a the number of exponents.

    Source:
        The derivative by G is derived in docs/devdocs/errors.md.

    Example:
        >>> W = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
        >>> round(float(best_alignment(W, W @ W.T, [0.5], 0.1)), 9)    # G = M²
        1.0
    """
    reduced = torch.linalg.cholesky(W @ W.mT) if W.shape[0] < W.shape[1] else W
    M, G = reduced.mT @ reduced, reduced.mT @ K @ reduced
    slope = alignment_slope(M.detach(), G.detach(), exponents, temperature)
    linear = (slope.by_weight_gram * M).sum() + (slope.by_agop * G).sum()
    return slope.value + linear - linear.detach()


def alignment_slope(M: InputGram, G: InputGram, exponents: Sequence[float], temperature: float) -> Slope:
    """Return the smooth maximum over exponents of the cosine of M and ``G^α``, with its derivatives.

    Args:
        M: The weight Gram matrix.
        G: The AGOP, not zero.
        exponents: The exponents α, positive.
        temperature: τ of the smooth maximum, positive.

    Returns:
        The value and its derivatives.

    Precision:
        Divided differences are formed from logarithms and do not cancel.

    Source:
        docs/devdocs/errors.md.

    Example:
        >>> M = torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64))
        >>> bool(alignment_slope(M, M, [1.0], 0.1).by_agop.abs().max() < 1e-12)    # cannot get better
        True
    """
    eigenvalues, V = torch.linalg.eigh(G)
    largest = eigenvalues[-1]
    logs = (eigenvalues / largest).clamp_min(SMALLEST_RATIO).log()
    rotated = V.mT @ M @ V
    norm = M.norm()
    cosines, by_M, by_G = [], [], []
    for exponent in exponents:
        powers = (exponent * logs).exp()
        inner, size = powers @ rotated.diagonal(), powers.norm()
        cosine = inner / (norm * size)
        misfit = rotated - torch.diag(inner / size**2 * powers)
        cosines.append(cosine)
        by_G.append(_divided_differences(logs, exponent) * misfit / (norm * size * largest))
        by_M.append(torch.diag(powers) / (norm * size) - cosine / norm**2 * rotated)
    scores = torch.stack(cosines) / temperature
    shares = scores.softmax(0)[:, None, None]
    return Slope(
        value=float(temperature * scores.logsumexp(0)),
        by_weight_gram=V @ (shares * torch.stack(by_M)).sum(0) @ V.mT,
        by_agop=V @ (shares * torch.stack(by_G)).sum(0) @ V.mT,
    )


def _divided_differences(logs: Float[Tensor, " k"], exponent: float) -> InputGram:
    """Return ``(λ_i^α − λ_j^α)/(λ_i − λ_j)``, and ``α λ_i^{α−1}`` where the two are equal, from log λ."""
    gaps = -(logs[:, None] - logs[None, :]).abs()
    larger = torch.maximum(logs[:, None], logs[None, :])
    ratio = torch.where(gaps == 0, exponent, torch.expm1(exponent * gaps) / torch.expm1(gaps).where(gaps != 0, -1.0))
    return ratio * ((exponent - 1) * larger).exp()
