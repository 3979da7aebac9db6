import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ansatzlab.errors import InputError
from ansatzlab.models.deep_linear import DeepLinear


def test_layers_carry_the_promised_names_and_no_bias() -> None:
    model = DeepLinear([5, 4, 3, 2])
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert names == ["layers.0", "layers.1", "layers.2"]
    assert all(layer.bias is None for layer in model.layers)


def test_end_to_end_is_the_map_and_is_differentiable() -> None:
    model = DeepLinear([5, 4, 3, 2])
    first, second, third = (layer.weight for layer in model.layers)
    product = model.end_to_end()
    assert_close(product, third @ second @ first)
    assert_close(model(torch.eye(5, dtype=torch.float64)), product.mT)
    product.sum().backward()
    assert all(layer.weight.grad is not None for layer in model.layers)


def test_bias_shifts_the_outputs_only() -> None:
    model = DeepLinear([3, 4, 2], bias=True)
    x = torch.eye(3, dtype=torch.float64)
    shift = model(torch.zeros(3, dtype=torch.float64))
    assert_close(model(x), x @ model.end_to_end().mT + shift)


def test_dtype_is_an_argument() -> None:
    assert DeepLinear([3, 4, 2]).end_to_end().dtype == torch.float64
    assert DeepLinear([3, 4, 2], dtype=torch.float32).end_to_end().dtype == torch.float32


@pytest.mark.parametrize(("widths", "depth"), [([64, 10], 1), ([64], 0), ([], 0)])
def test_fewer_than_two_layers_are_refused(widths: list[int], depth: int) -> None:
    with pytest.raises(InputError, match=rf"DeepLinear: got widths .*, i.e. depth {depth}; .* at least 2 layers; give"):
        DeepLinear(widths)


def test_widths_must_be_positive() -> None:
    with pytest.raises(InputError, match="wanted at least two positive integers"):
        DeepLinear([3, 0, 2])
