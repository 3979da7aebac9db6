import pytest
import torch

from ansatzlab.counterexamples.search import Goal, fit_of, search
from ansatzlab.data.dataset import Dataset
from ansatzlab.data.registry import load
from ansatzlab.errors import InputError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"accuracy": None}, "both or neither"),
        ({"loss": 0.1}, "both or neither"),
        ({"activation": "tanh"}, "cannot be rescaled"),
        ({"hidden": ()}, "a hidden layer"),
        ({"accuracy": 0.0}, "a share above 0"),
        ({"accuracy": 1.01}, "at most 1"),
        ({"accuracy": float("nan")}, "at most 1"),
        ({"accuracy": None, "loss": 0.0}, "a positive number"),
        ({"accuracy": None, "loss": float("inf")}, "a positive number"),
        ({"activation": "rely"}, "unknown activation 'rely'; did you mean 'relu'"),
        ({"activation": "rely", "balanced": False}, "unknown activation"),
        ({"hidden": (8, 0)}, "positive widths"),
        ({"steps": 0}, "positive widths, steps"),
        ({"learning_rate": 0.0}, "positive widths, steps"),
        ({"learning_rate": float("nan")}, "positive widths, steps"),
    ],
)
def test_a_goal_that_cannot_be_looked_for_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Goal(**fields)


def test_an_accuracy_needs_classes() -> None:
    with pytest.raises(InputError, match="not one-hot"):
        search(load("diabetes"), Goal())


def test_an_accuracy_of_one_may_be_asked() -> None:
    assert Goal(accuracy=1.0).accuracy == 1


def test_a_plain_training_that_does_not_fit_is_said() -> None:
    with pytest.raises(InputError, match="plain training reached accuracy"):
        search(load("digits", size=100), Goal(hidden=(8,), training_steps=2))
    with pytest.raises(InputError, match="plain training reached loss"):
        search(load("diabetes", size=50), Goal(hidden=(8,), accuracy=None, loss=1e-9, training_steps=2))


def test_a_classification_is_scored_by_accuracy_and_a_regression_is_not() -> None:
    eye = torch.eye(3, dtype=torch.float64)
    data = Dataset("three", inputs=eye, targets=eye, description="Three points.")
    found = search(data, Goal(hidden=(8,), training_steps=300, steps=2, accuracy=0.9))
    assert found.fit.accuracy == fit_of(found.model, data, "cross_entropy").accuracy
    regression = fit_of(found.model, data, "square")
    assert regression.accuracy != regression.accuracy
