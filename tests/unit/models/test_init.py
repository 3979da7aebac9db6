import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ansatzlab.errors import InputError
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import SCHEMES, geometric_spectrum, initialize
from ansatzlab.models.mlp import MLP

DRAWN = sorted(SCHEMES.keys() - {"identity"})


def parameters(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def initialized(scheme: str, *, seed: int = 0, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> MLP:
    model = MLP([5, 7, 3], dtype=dtype)
    initialize(model, scheme, seed=seed, scale=scale)
    return model


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_parameters_depend_on_the_seed_and_on_nothing_else(scheme: str) -> None:
    first = MLP([5, 7, 3])
    state = torch.get_rng_state()
    initialize(first, scheme, seed=0)
    assert_close(torch.get_rng_state(), state, rtol=0, atol=0)
    torch.manual_seed(99)
    assert_close(parameters(initialized(scheme)), parameters(first), rtol=0, atol=0)


@pytest.mark.parametrize("scheme", DRAWN)
def test_another_seed_gives_other_weights(scheme: str) -> None:
    assert not torch.equal(parameters(initialized(scheme, seed=1))[0], parameters(initialized(scheme))[0])


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_scale_multiplies_every_parameter(scheme: str) -> None:
    plain = parameters(initialized(scheme))
    assert_close(parameters(initialized(scheme, scale=3.0)), [3.0 * parameter for parameter in plain])
    assert_close(parameters(initialized(scheme, scale=0.0)), [0.0 * parameter for parameter in plain])


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_float32_gets_the_same_weights_rounded(scheme: str) -> None:
    rounded = [parameter.float() for parameter in parameters(initialized(scheme))]
    assert_close(parameters(initialized(scheme, dtype=torch.float32)), rounded)


@pytest.mark.parametrize("scheme", sorted(SCHEMES.keys() - {"pytorch_default"}))
def test_biases_are_zero(scheme: str) -> None:
    assert all(not layer.bias.any() for layer in initialized(scheme).layers)


def test_pytorch_default_is_what_torch_does() -> None:
    torch.manual_seed(3)
    expected = parameters(MLP([5, 7, 3]))
    assert_close(parameters(initialized("pytorch_default", seed=3)), expected)


@pytest.mark.parametrize(
    ("scheme", "std"),
    [
        ("gaussian", 300**-0.5),
        ("small", 1e-2 * 300**-0.5),
        ("he", math.sqrt(2 / 300)),
        ("xavier", math.sqrt(2 / (300 + 200))),
        ("pytorch_default", (3 * 300) ** -0.5),
    ],
)
def test_standard_deviation_of_random_weights(scheme: str, std: float) -> None:
    model = MLP([300, 200])
    initialize(model, scheme, seed=0)
    W = model.layers[0].weight.detach()
    # 60,000 draws: the relative standard error of a deviation is 0.3 %; 1.5 % is five of them.
    assert_close(W.std().item(), std, rtol=0.015, atol=0)
    assert abs(W.mean().item()) < 5 * std / math.sqrt(W.numel())


@pytest.mark.parametrize("widths", [[6, 4], [4, 6]])
def test_orthogonal_along_the_smaller_side(widths: list[int]) -> None:
    model = MLP(widths)
    initialize(model, "orthogonal", seed=0)
    W = model.layers[0].weight.detach()
    gram = W @ W.mT if W.shape[0] < W.shape[1] else W.mT @ W
    assert_close(gram, torch.eye(4, dtype=torch.float64))


def test_identity_is_a_rectangular_eye() -> None:
    model = DeepLinear([4, 2, 3])
    initialize(model, "identity", seed=0, scale=2.0)
    assert_close(model.layers[0].weight.detach(), 2 * torch.eye(2, 4, dtype=torch.float64))
    assert_close(model.layers[1].weight.detach(), 2 * torch.eye(3, 2, dtype=torch.float64))


def test_geometric_spectrum() -> None:
    spectrum = geometric_spectrum(5)
    assert_close(spectrum[[0, -1]], torch.tensor([0.8, 0.2], dtype=torch.float64))
    ratios = spectrum[1:] / spectrum[:-1]
    assert_close(ratios, ratios[:1].expand(4))
    assert_close(geometric_spectrum(1), torch.tensor([0.8], dtype=torch.float64))


def test_gradients_stay_enabled() -> None:
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in initialized("balanced").parameters())


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(InputError, match="unknown initialisation 'balance'; did you mean 'balanced'"):
        initialized("balance")


@pytest.mark.parametrize("scale", [-1.0, math.inf, math.nan])
def test_unusable_scale_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match=r"initialize: got scale .*; wanted a finite number that is not negative"):
        initialized("gaussian", scale=scale)


@pytest.mark.parametrize("singular_values", [[], [1.0] * 4, [1.0, 0.0], [1.0, -1.0], [math.nan], [math.inf]])
def test_unusable_singular_values_are_refused(singular_values: list[float]) -> None:
    with pytest.raises(InputError, match=r"balanced: got singular_values .*; wanted 1 to 3 positive finite numbers"):
        initialize(MLP([5, 7, 3]), "balanced", seed=0, singular_values=singular_values)


def test_singular_values_belong_to_balanced() -> None:
    with pytest.raises(InputError, match="got singular_values for scheme 'he'; only 'balanced' takes them"):
        initialize(MLP([5, 7, 3]), "he", seed=0, singular_values=[1.0])


def test_balanced_needs_a_chain() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2))
    with pytest.raises(InputError, match="linear layer 1 with 4 outputs before one with 5 inputs; wanted equal widths"):
        initialize(model, "balanced", seed=0)


@pytest.mark.parametrize("model", [nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), nn.ReLU()])
def test_other_models_are_refused_untouched(model: nn.Module) -> None:
    before = parameters(model)
    with pytest.raises(InputError, match=r"got a \w+ with [01] linear layers .*; wanted linear layers only"):
        initialize(model, "gaussian", seed=0)
    assert_close(parameters(model), before, rtol=0, atol=0)
