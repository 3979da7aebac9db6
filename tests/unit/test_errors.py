import pytest

from ansatzlab import errors
from ansatzlab.errors import AnsatzError, DamagedFileWarning, DivergedError, InputError, UnknownNameError


def test_every_error_can_be_caught_as_one_of_ours() -> None:
    raised = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert {error for error in raised if not issubclass(error, AnsatzError)} == {DamagedFileWarning}
    assert issubclass(DamagedFileWarning, UserWarning)


def test_input_errors_are_value_errors_too() -> None:
    with pytest.raises(ValueError, match="wanted something else"):
        raise InputError("got this, wanted something else")


def test_an_unknown_name_is_answered_with_its_neighbour_and_all_names() -> None:
    error = UnknownNameError("law", "tansly", ["other", "tansley"])
    assert isinstance(error, InputError)
    assert str(error) == "unknown law 'tansly'; did you mean 'tansley'? Known: other, tansley."


def test_an_unknown_name_without_a_neighbour_is_answered_with_all_names() -> None:
    assert str(UnknownNameError("loss", "zzz", {"square": 1, "absolute": 2})) == (
        "unknown loss 'zzz'. Known: absolute, square."
    )


def test_a_divergence_knows_its_step() -> None:
    error = DivergedError("stopped at step 3", 3)
    assert (str(error), error.step) == ("stopped at step 3", 3)
    assert not isinstance(error, InputError)
