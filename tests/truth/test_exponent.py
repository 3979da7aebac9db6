"""The fitted exponent against planted ones, and its interval against planted noise."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ansatzlab.linalg.exponent import fit_exponent
from ansatzlab.linalg.spectrum import Spectrum, ansatz_spectrum

PLANTED = (1 / 8, 1 / 5, 1 / 4, 1 / 3, 1 / 2, 1.0, 2.0)


def haar(rows: int, columns: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.init.orthogonal_(torch.empty(rows, columns, dtype=torch.float64), generator=generator)


def planted(exponent: float, eigenvalues: Tensor, inputs: int = 9, noise: Tensor | None = None) -> Spectrum:
    """The spectrum of a layer whose AGOP G has these eigenvalues, on whose range ``M = G^exponent + noise``.

    With M = CᵀC there, W = C Vᵀ is the weight and R = diag(√λ) C⁻¹ the factor of K: Wᵀ RᵀR W = V diag(λ) Vᵀ.
    """
    rank = len(eigenvalues)
    on_range = torch.diag(eigenvalues.pow(exponent))
    if noise is not None:
        on_range = on_range + noise
    C = torch.linalg.cholesky(on_range).mT
    factor = torch.linalg.solve(C, torch.diag(eigenvalues.sqrt()), left=False)
    return ansatz_spectrum(C @ haar(inputs, rank, 0).mT, factor=factor)


def spread(count: int, decades: float) -> Tensor:
    return torch.logspace(decades, 0, count, dtype=torch.float64)


@pytest.mark.parametrize("exponent", PLANTED)
@pytest.mark.parametrize("decades", [1.0, 2.0])
@pytest.mark.parametrize("rank", [2, 3, 9])
def test_a_planted_exponent_is_recovered(exponent: float, decades: float, rank: int) -> None:
    fit = fit_exponent(planted(exponent, spread(rank, decades)))
    assert_close(fit.value, exponent, rtol=0, atol=1e-12)
    assert fit.low <= exponent <= fit.high, "the interval covers the truth"
    assert fit.high - fit.low < 1e-9, "what is exact is known exactly"
    assert fit.residual < 1e-14
    assert (fit.identifiable, fit.at_bound, fit.rank) == (True, False, rank)
    assert_close(fit.spread, 10**decades, rtol=1e-12, atol=0)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.floats(0.06, 3.9), st.lists(st.floats(1.0, 100.0), min_size=2, max_size=6), st.floats(1e-6, 1e6))
def test_any_exponent_of_any_spectrum_and_scale_is_recovered(
    exponent: float, values: list[float], scale: float
) -> None:
    eigenvalues = torch.tensor([200.0, *values], dtype=torch.float64)
    exact = planted(exponent, eigenvalues.sort(descending=True).values)
    scaled = ansatz_spectrum(
        scale * torch.diag(eigenvalues.pow(exponent / 2)), factor=torch.diag(eigenvalues.pow((1 - exponent) / 2))
    )
    for spectrum in (exact, scaled):
        assert_close(fit_exponent(spectrum).value, exponent, rtol=0, atol=1e-11)


def test_the_value_is_the_global_minimum_of_the_residual() -> None:
    """Against a scan of the residual itself, on a noisy law."""
    rng = np.random.default_rng(0)
    noise = symmetric_noise(rng, 5, 0.1)
    spectrum = planted(0.5, spread(5, 2.0), noise=noise)
    fit = fit_exponent(spectrum)
    scan = np.linspace(0.05, 4.0, 4001)
    residuals = [spectrum.residual(float(alpha)) for alpha in scan]
    assert fit.residual <= min(residuals) * (1 + 1e-12)
    assert abs(fit.value - scan[int(np.argmin(residuals))]) < 1e-3


def test_the_floor_is_the_cosine_with_the_projector() -> None:
    """tr(PMP)/(√r ‖M‖), with M reaching beyond the range of G."""
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(6, 8, dtype=torch.float64, generator=generator)
    R = torch.randn(3, 6, dtype=torch.float64, generator=generator)
    M = W.mT @ W
    P = torch.linalg.pinv(R @ W) @ (R @ W)
    wanted = float((P @ M @ P).trace() / (math.sqrt(3) * M.norm()))
    fit = fit_exponent(ansatz_spectrum(W, factor=R))
    assert_close(fit.floor, wanted, rtol=1e-11, atol=0)


# --- the interval ------------------------------------------------------------------------------------------------


def symmetric_noise(rng: np.random.Generator, size: int, scale: float, *, diagonal: float = 1.0) -> Tensor:
    """A symmetric Gaussian matrix, isotropic in the Frobenius norm: diagonal entries σ, the others σ/√2."""
    square = rng.normal(size=(size, size))
    noise = scale * (square + square.T) / 2
    np.fill_diagonal(noise, diagonal * np.diag(noise))
    return torch.from_numpy(noise)


@cache
def noisy_laws(scale: float, count: int, *, entrywise: bool = False) -> tuple[Spectrum, ...]:
    rng = np.random.default_rng(20240501)
    diagonal = 1 / math.sqrt(2) if entrywise else 1.0
    noises = (symmetric_noise(rng, 6, scale, diagonal=diagonal) for _ in range(count))
    return tuple(planted(1 / 3, spread(6, 1.5), noise=noise) for noise in noises)


def coverage(spectra: tuple[Spectrum, ...], confidence: float) -> float:
    fits = [fit_exponent(spectrum, confidence=confidence) for spectrum in spectra]
    return float(np.mean([fit.low <= 1 / 3 <= fit.high for fit in fits]))


@pytest.mark.parametrize("confidence", [0.68, 0.95])
def test_the_interval_covers_at_its_nominal_rate(confidence: float) -> None:
    """Frobenius-isotropic Gaussian noise on the range of G, small against M's smallest eigenvalue (σ = 0.03 against 1).

    200 draws: the coverage has a standard error of sqrt(p(1 − p)/200), 3.3 % and 1.5 %. Three of them are allowed.
    """
    found = coverage(noisy_laws(0.03, 200), confidence)
    assert abs(found - confidence) < 3 * math.sqrt(confidence * (1 - confidence) / 200)


def test_the_interval_is_cautious_for_noise_of_one_size_in_every_entry() -> None:
    """Off-diagonal entries then carry twice the energy for the same noise along λ, so the interval is too wide."""
    assert coverage(noisy_laws(0.03, 60, entrywise=True), 0.95) >= 0.95


def test_the_interval_widens_in_proportion_to_the_noise() -> None:
    def width(scale: float) -> float:
        return float(np.median([fit.high - fit.low for fit in map(fit_exponent, noisy_laws(scale, 10))]))

    assert_close(width(0.01) / width(0.001), 10.0, rtol=0.1, atol=0)
    assert_close(width(0.03) / width(0.01), 3.0, rtol=0.1, atol=0)


def test_the_interval_widens_with_the_confidence() -> None:
    spectrum = planted(1 / 3, spread(6, 1.5), noise=symmetric_noise(np.random.default_rng(1), 6, 0.03))
    fits = [fit_exponent(spectrum, confidence=level) for level in (0.5, 0.68, 0.95, 0.99)]
    widths = [fit.high - fit.low for fit in fits]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1] / 3
    assert len({fit.value for fit in fits}) == 1
    assert all(fit.low < fit.value < fit.high for fit in fits)


@pytest.mark.parametrize("largest", [1.003, 1.02, 1.5, 100.0])
def test_the_interval_of_an_exact_law_is_found_however_narrow_the_spectrum(largest: float) -> None:
    """The squared misfit spans thirty decades there; a root sought in it took more steps than SciPy allows."""
    for seed in range(60):
        values = torch.linspace(1.0, largest, 8, dtype=torch.float64)
        left, right = haar(8, 8, seed), haar(8, 8, 1000 + seed)
        fit = fit_exponent(ansatz_spectrum((left * values) @ right.mT, factor=values.square()[:, None] * left.mT))
        assert fit.identifiable
        assert fit.low <= fit.value <= fit.high
        assert fit.value == pytest.approx(1 / 3, abs=1e-11)
