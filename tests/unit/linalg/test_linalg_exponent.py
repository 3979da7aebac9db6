import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ansatzlab.errors import InputError
from ansatzlab.linalg.exponent import FLAT, LARGEST, SMALLEST, fit_exponent
from ansatzlab.linalg.spectrum import Spectrum, ansatz_spectrum


def diagonal(values: list[float]) -> Tensor:
    return torch.diag(torch.tensor(values, dtype=torch.float64))


def law(eigenvalues: list[float], exponent: float) -> Spectrum:
    """``M = G^exponent``, both diagonal."""
    weights = diagonal([value ** (exponent / 2) for value in eigenvalues])
    return ansatz_spectrum(weights, factor=diagonal([value ** ((1 - exponent) / 2) for value in eigenvalues]))


@pytest.mark.parametrize(
    ("spectrum", "reason", "rank"),
    [
        (ansatz_spectrum(diagonal([1.0, 2.0]), gram=diagonal([0.0, 0.0])), "the AGOP is zero", 0),
        (ansatz_spectrum(diagonal([0.0, 0.0]), gram=diagonal([1.0, 1.0])), "the AGOP is zero", 0),
        (ansatz_spectrum(diagonal([1.0, 2.0]), gram=diagonal([1.0, 0.0])), "rank 1", 1),
        (ansatz_spectrum(diagonal([2.0, 2.0, 2.0]), gram=diagonal([1.0, 1.0, 1.0])), r"are equal \(.* = 1\)", 3),
        (law([1.005, 1.0], 0.5), r"are equal \(largest/smallest = 1.005\)", 2),
    ],
    ids=["no gradients", "no weights", "rank one", "flat", "nearly flat"],
)
def test_where_every_exponent_fits_there_is_no_number(spectrum: Spectrum, reason: str, rank: int) -> None:
    fit = fit_exponent(spectrum)
    assert not fit.identifiable
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(fit.reason)
    assert all(math.isnan(number) for number in (fit.value, fit.low, fit.high))
    assert (fit.rank, fit.at_bound) == (rank, False)


def test_just_above_flat_is_identifiable() -> None:
    assert fit_exponent(law([FLAT + 0.01, 1.0], 0.5)).identifiable


def test_an_interval_as_wide_as_the_search_is_no_answer() -> None:
    """Two eigenvalues close to each other and most of M elsewhere: whatever the exponent, the residual is the same."""
    weight = diagonal([1.0, 1.0, 5.0])
    fit = fit_exponent(ansatz_spectrum(weight, gram=diagonal([1.1, 1.0, 0.0])))
    assert not fit.identifiable
    assert fit.reason == "every exponent from 0.05 to 4 fits within the interval"
    assert math.isnan(fit.value)
    assert fit.rank == 2


@pytest.mark.parametrize(("exponent", "end"), [(0.01, SMALLEST), (6.0, LARGEST)])
def test_an_exponent_outside_the_search_is_reported_at_its_bound(exponent: float, end: float) -> None:
    fit = fit_exponent(law([9.0, 4.0, 1.0], exponent))
    assert fit.at_bound
    assert fit.identifiable
    assert_close(fit.value, end)
    assert min(fit.low, fit.high, key=lambda edge: abs(edge - end)) == pytest.approx(end)
    assert fit.residual > 1e-3


@pytest.mark.parametrize("exponent", [SMALLEST, LARGEST])
def test_an_exponent_on_the_bound_is_found_and_said_to_be_there(exponent: float) -> None:
    fit = fit_exponent(law([9.0, 4.0, 1.0], exponent))
    assert_close(fit.value, exponent, rtol=0, atol=1e-12)
    assert fit.at_bound


def test_the_search_range_is_an_argument() -> None:
    spectrum = law([9.0, 4.0, 1.0], 6.0)
    fit = fit_exponent(spectrum, smallest=0.5, largest=10.0)
    assert_close(fit.value, 6.0, rtol=0, atol=1e-12)
    assert not fit.at_bound
    assert_close(fit_exponent(spectrum, smallest=7.0, largest=10.0).value, 7.0)


def test_the_floor_of_a_flat_spectrum_is_high() -> None:
    assert_close(fit_exponent(law([1.2, 1.1, 1.0], 0.5)).floor, 1.0, rtol=0, atol=0.01)
    assert math.isnan(fit_exponent(ansatz_spectrum(diagonal([1.0, 2.0]), gram=diagonal([0.0, 0.0]))).floor)


def test_the_floor_does_not_depend_on_the_eigenvalues_of_the_agop() -> None:
    W = diagonal([3.0, 2.0, 1.0])  # M = diag(9, 4, 1): 14/(√3 √98)
    for gram in (diagonal([1.0, 2.0, 3.0]), diagonal([1.0, 1.0, 50.0])):
        assert_close(fit_exponent(ansatz_spectrum(W, gram=gram)).floor, 14 / math.sqrt(3 * 98))


@pytest.mark.parametrize(
    "arguments",
    [
        {"smallest": 0.0},
        {"smallest": -1.0},
        {"smallest": 2.0, "largest": 1.0},
        {"smallest": 1.0, "largest": 1.0},
        {"confidence": 0.0},
        {"confidence": 1.0},
        {"smallest": math.nan},
        {"confidence": math.nan},
    ],
)
def test_unusable_arguments_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(InputError, match="wanted 0 < smallest < largest and 0 < confidence < 1"):
        fit_exponent(law([4.0, 1.0], 0.5), **arguments)
