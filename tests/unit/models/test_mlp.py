import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ansatzlab.errors import InputError
from ansatzlab.models.mlp import ACTIVATIONS, MLP


def test_linear_layers_carry_the_promised_names() -> None:
    model = MLP([3, 7, 5, 2])
    named = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    assert list(named) == ["layers.0", "layers.1", "layers.2"]
    assert [tuple(module.weight.shape) for module in named.values()] == [(7, 3), (5, 7), (2, 5)]


def test_forward_is_the_formula() -> None:
    model = MLP([3, 7, 2], activation="tanh")
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, last = model.layers
    expected = (x @ first.weight.mT + first.bias).tanh() @ last.weight.mT + last.bias
    assert_close(model(x), expected)


def test_depth_one_is_a_linear_map() -> None:
    model = MLP([3, 2], bias=False)
    x = torch.eye(3, dtype=torch.float64)
    assert_close(model(x), model.layers[0].weight.mT)


def test_parameters_are_float64_unless_asked_otherwise() -> None:
    assert {p.dtype for p in MLP([3, 4, 2]).parameters()} == {torch.float64}
    assert {p.dtype for p in MLP([3, 4, 2], dtype=torch.float32).parameters()} == {torch.float32}


def test_bias_can_be_left_out() -> None:
    assert [name for name, _ in MLP([3, 4, 2], bias=False).named_parameters()] == ["layers.0.weight", "layers.1.weight"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("identity", [-2.0, 0.0, 3.0]),
        ("leaky_relu", [-0.02, 0.0, 3.0]),
        ("quadratic", [4.0, 0.0, 9.0]),
        ("relu", [0.0, 0.0, 3.0]),
    ],
)
def test_activation_values(name: str, expected: list[float]) -> None:
    z = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)
    assert_close(ACTIVATIONS[name](z), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_maps_over_single_examples(name: str) -> None:
    model = MLP([3, 4, 2], activation=name)
    x = torch.ones(5, 3, dtype=torch.float64)
    assert_close(torch.func.vmap(model)(x), model(x))


def test_repr_shows_the_activation() -> None:
    assert "activation='gelu'" in repr(MLP([3, 4, 2], activation="gelu"))


@pytest.mark.parametrize("widths", [[], [3], [3, 0, 2], [3, -1]])
def test_unusable_widths_are_refused(widths: list[int]) -> None:
    with pytest.raises(InputError, match=r"got widths .*; wanted at least two positive integers; give"):
        MLP(widths)


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(InputError, match="unknown activation 'rellu'; did you mean 'relu'"):
        MLP([3, 2], activation="rellu")
