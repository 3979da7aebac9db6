import math

import pytest
import torch
from torch.testing import assert_close

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.linalg.spectrum import ansatz_spectrum

W = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
EYE = torch.eye(2, dtype=torch.float64)


def test_exactly_one_form_of_the_gradients_is_wanted() -> None:
    with pytest.raises(TypeError, match="give exactly one of gram= and factor="):
        ansatz_spectrum(W)
    with pytest.raises(TypeError, match="give exactly one of gram= and factor="):
        ansatz_spectrum(W, gram=EYE, factor=EYE)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradients_that_are_not_finite_are_refused(bad: float) -> None:
    broken = EYE.clone()
    broken[0, 0] = bad
    with pytest.raises(InputError, match="not finite"):
        ansatz_spectrum(W, gram=broken)
    with pytest.raises(InputError, match="not finite"):
        ansatz_spectrum(W, factor=broken)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    broken = W.clone()
    broken[0, 0] = bad
    with pytest.raises(
        InputError, match=r"ansatz_spectrum\(weight\): got a \(2, 3\) matrix with 1 entries that are not"
    ):
        ansatz_spectrum(broken, gram=EYE)


def test_unknown_comparator_is_refused_by_name() -> None:
    spectrum = ansatz_spectrum(W, gram=EYE)
    unchecked = type(spectrum).alignment.__wrapped__  # as without the tests' type checker
    with pytest.raises(UnknownNameError, match="unknown comparator 'pearsn'; did you mean 'pearson'"):
        unchecked(spectrum, 0.5, "pearsn")


@pytest.mark.parametrize("form", ["gram", "factor"])
def test_zero_weights_have_no_answer(form: str) -> None:
    spectrum = ansatz_spectrum(torch.zeros(2, 3, dtype=torch.float64), **{form: EYE})
    assert spectrum.rank == 0
    assert spectrum.weight_gram_norm == 0
    for answer in (spectrum.alignment(0.5), spectrum.residual(0.5), spectrum.relative_error(0.5)):
        assert math.isnan(answer)


@pytest.mark.parametrize("form", ["gram", "factor"])
def test_without_gradients_nothing_of_the_weights_is_explained(form: str) -> None:
    spectrum = ansatz_spectrum(W, **{form: torch.zeros(2, 2, dtype=torch.float64)})
    assert spectrum.rank == 0
    assert_close(spectrum.off_energy, float((W.mT @ W).norm()))
    assert spectrum.residual(0.5) == 1.0
    assert spectrum.relative_error(0.5) == 1.0
    for comparator in ("cosine", "pearson", "traceless"):
        assert math.isnan(spectrum.alignment(0.5, comparator))


def test_centred_comparators_are_undefined_where_the_centred_part_vanishes() -> None:
    flat = ansatz_spectrum(torch.eye(3, dtype=torch.float64), gram=torch.diag(torch.tensor([3.0, 2.0, 1.0]).double()))
    assert math.isnan(flat.alignment(0.5, "traceless")), "M is the identity"
    assert 0 < flat.alignment(0.5) < 1


def test_powers_are_safe_from_overflow() -> None:
    spectrum = ansatz_spectrum(W, gram=1e300 * EYE)
    assert_close(spectrum.powers(4.0)[0].item(), 1.0, rtol=0, atol=0)
    assert math.isfinite(spectrum.alignment(4.0))
    assert math.isfinite(spectrum.residual(4.0))


def test_the_last_layer_is_exact_at_exponent_one() -> None:
    spectrum = ansatz_spectrum(W, gram=EYE)
    assert spectrum.residual(1.0) < 1e-15
    assert spectrum.relative_error(1.0) < 1e-15
    assert_close(spectrum.relative_error(1.0, scale=3.0), 2.0)


def test_arguments_are_left_as_they_were() -> None:
    weight, gram = W.clone(), EYE.clone()
    ansatz_spectrum(weight, gram=gram)
    ansatz_spectrum(weight, factor=gram)
    assert_close((weight, gram), (W, EYE), rtol=0, atol=0)
