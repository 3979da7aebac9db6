"""The exponent that fits best, how sure that is, and when the question has no answer."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import fdtri

from ansatzlab.errors import InputError
from ansatzlab.linalg.spectrum import Spectrum

SMALLEST, LARGEST = 0.05, 4.0
"""The exponents that are searched. Towards 0 every flat spectrum fits, so the search must stop short of it."""

FLAT = 1.01
"""Below this ratio of the largest to the smallest kept eigenvalue the spectrum tells no exponent from another."""


@dataclass(frozen=True)
class ExponentFit:
    """The best exponent of a layer.

    Attributes:
        value: The α in the searched range with the smallest scale-free residual; nan where not identifiable.
        low: Lower end of the interval.
        high: Upper end of the interval.
        confidence: The interval's nominal level.
        residual: The scale-free residual at ``value``; where that is not identifiable, at the best exponent searched
            or, if none was, at α → 0.
        identifiable: Whether the spectrum can tell exponents apart at all.
        reason: Why not, in words; empty where identifiable.
        rank: The number of kept eigenvalues.
        spread: The largest over the smallest kept eigenvalue.
        floor: The cosine that α → 0 would score, ``tr(PMP)/(√r ‖M‖)``: high for a flat spectrum whatever the law.
        at_bound: Whether the best exponent is an end of the searched range.
        error: The standard error of ``value`` from sampling examples, where a measurement supplies it; else nan.
    """

    value: float
    low: float
    high: float
    confidence: float
    residual: float
    identifiable: bool
    reason: str
    rank: int
    spread: float
    floor: float
    at_bound: bool
    error: float = math.nan


def fit_exponent(
    spectrum: Spectrum, *, smallest: float = SMALLEST, largest: float = LARGEST, confidence: float = 0.95
) -> ExponentFit:
    """Find the exponent α for which ``c G^α`` comes closest to M.

    Definition:
        ``α* = argmin_α min_c ‖M − c G^α‖²`` over ``[smallest, largest]``. The interval is the profile interval of that
        least-squares problem: every α with ``SSE(α) ≤ SSE(α*) (1 + F/ν)``, F the quantile of the F(1, ν) distribution
        and ``ν = r(r+1)/2 − 2`` the free entries of M on the range of G, plus what rounding alone can move.

    Conventions:
        The interval says how sharply *these matrices* pick an exponent when M's departures from the law are taken for
        noise. It is not a sampling error.

    Args:
        spectrum: The layer's spectrum.
        smallest: Where the search starts; positive.
        largest: Where it ends.
        confidence: The interval's nominal level, in (0, 1).

    Returns:
        The fit; *not identifiable*, with the reason, for rank 0 or 1, a flat spectrum, or an interval as wide as the
        search.

    Raises:
        InputError: If the range or the level is not as above.

    Precision:
        On an exact law with a spread of 10 or more, about 1e-13.

    Cost:
        A few hundred evaluations of O(r): about 2 ms.

    Source:
        Derived in docs/devdocs/spectrum.md.

    Example:
        >>> from ansatzlab.linalg.spectrum import ansatz_spectrum
        >>> W = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
        >>> fit = fit_exponent(ansatz_spectrum(W, gram=W @ W @ W @ W))    # G = M³
        >>> round(fit.value, 9), fit.high - fit.low < 1e-9
        (0.333333333, True)
    """
    if not 0 < smallest < largest or not 0 < confidence < 1:
        raise InputError(
            f"fit_exponent: got smallest={smallest}, largest={largest}, confidence={confidence}; wanted "
            "0 < smallest < largest and 0 < confidence < 1."
        )
    spread = float(spectrum.eigenvalues[0] / spectrum.eigenvalues[-1]) if spectrum.rank else math.nan
    reason = _why_not_identifiable(spectrum, spread)
    value = low = high = math.nan
    residual = spectrum.residual(0.0)
    at_bound = False
    if not reason:
        value = _minimum(spectrum, smallest, largest)
        low, high = _profile_interval(spectrum, value, smallest, largest, confidence)
        residual = spectrum.residual(value)
        at_bound = min(value / smallest, largest / value) < 1 + 1e-6
        if low <= smallest and high >= largest:
            reason = f"every exponent from {smallest:g} to {largest:g} fits within the interval"
            value = low = high = math.nan
    return ExponentFit(
        value=value,
        low=low,
        high=high,
        confidence=confidence,
        residual=residual,
        identifiable=not reason,
        reason=reason,
        rank=spectrum.rank,
        spread=spread,
        floor=spectrum.alignment(0.0) if spectrum.rank else math.nan,
        at_bound=at_bound,
    )


def _why_not_identifiable(spectrum: Spectrum, spread: float) -> str:
    if spectrum.rank == 0:
        return "the AGOP is zero"
    if spectrum.rank == 1:
        return "the AGOP has rank 1: every exponent gives the same matrix up to scale"
    if spread < FLAT:
        return f"the AGOP's kept eigenvalues are equal (largest/smallest = {spread:.4g}): every exponent fits alike"
    return ""


def _minimum(spectrum: Spectrum, smallest: float, largest: float) -> float:
    """Return the global minimiser: a grid finds the valley, a root of the derivative its bottom.

    With ``p_j = λ_j^α``, ``l_j = log λ_j``: ``SSE'(α) = 0`` where ``(l p·b)(p·p) = (p·b)(l p·p)``. A root is found to
    rounding; minimising SSE itself would stop at the square root of rounding.
    """
    energies = spectrum.energies.cpu().numpy()
    logs = np.log((spectrum.eigenvalues / spectrum.eigenvalues[0]).cpu().numpy())
    grid = np.geomspace(smallest, largest, 200)
    best = int(np.argmax(_cosines(grid, logs, energies)))
    left, right = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])
    if _slope(left, logs, energies) > 0 > _slope(right, logs, energies):
        return float(brentq(_slope, left, right, args=(logs, energies), xtol=1e-15))
    candidates = np.array([left, grid[best], right])
    return float(candidates[np.argmax(_cosines(candidates, logs, energies))])


def _cosines(exponents: np.ndarray, logs: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Return the cosines of M and ``G^α`` for several α, up to the factor 1/‖M‖."""
    powers = np.exp(np.multiply.outer(exponents, logs))
    score: np.ndarray = powers @ energies / np.linalg.norm(powers, axis=-1)
    return score


def _slope(exponent: float, logs: np.ndarray, energies: np.ndarray) -> float:
    """Return the derivative of the cosine by α, up to a positive factor."""
    powers = np.exp(exponent * logs)
    steep = logs * powers
    return float((steep @ energies) * (powers @ powers) - (powers @ energies) * (steep @ powers))


def _profile_interval(
    spectrum: Spectrum, value: float, smallest: float, largest: float, confidence: float
) -> tuple[float, float]:
    freedom = spectrum.rank * (spectrum.rank + 1) / 2 - 2
    rounding = (spectrum.rank * torch.finfo(spectrum.energies.dtype).eps * spectrum.weight_gram_norm) ** 2
    quantile = float(fdtri(1, freedom, confidence))
    allowed = (spectrum.squared_misfit(value) + rounding) * (1 + quantile / freedom)
    return (
        _crossing(spectrum, allowed, value, smallest),
        _crossing(spectrum, allowed, value, largest),
    )


def _crossing(spectrum: Spectrum, allowed: float, inside: float, outside: float) -> float:
    """Return where between two exponents the misfit passes the allowed one, or the outer end if it does not.

    The root is sought in the misfit, which is nearly straight there. Its square spans thirty decades where the law is
    exact, and interpolation on it creeps.
    """
    if spectrum.squared_misfit(outside) <= allowed:
        return outside

    def excess(exponent: float) -> float:
        return float(spectrum.squared_misfit(exponent) ** 0.5 - allowed**0.5)

    return float(brentq(excess, inside, outside, xtol=1e-15))
