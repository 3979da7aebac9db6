import math

import pytest
import torch

from ansatzlab.counterexamples.family import linear_layers_of, one_hidden_layer
from ansatzlab.counterexamples.reading import neuron_imbalance, read
from ansatzlab.counterexamples.registry import FAMILIES, get_family
from ansatzlab.counterexamples.search import rescale
from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP

SMALL = {
    "interference": {"m": 4, "examples": 200},
    "plateau": {"m": 4},
    "cancellation": {"neurons": 2, "pairs": 2},
    "rare_firing": {"m": 3, "largest": 2.0},
    "reversed_spectrum": {"m": 4, "R": 3.0},
    "non_homogeneous": {"m": 4, "largest": 1.0},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_the_name_it_is_known_by_and_says_what_it_claims(name: str) -> None:
    family = get_family(name)
    assert family.name == name
    assert family.statement
    assert set(SMALL[name]) <= set(family.settings)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_seed_builds_the_same_network_and_another_does_not(name: str) -> None:
    first, same, other = (get_family(name).build(seed=seed, **SMALL[name]) for seed in (0, 0, 3))
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), same.model.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.model.parameters(), other.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("interference", {"m": 1}, "at least 2"),
        ("interference", {"m": 4.0}, "a whole number"),
        ("plateau", {"m": 6}, "a power of two"),
        ("plateau", {"gain": math.inf}, "a finite number"),
        ("plateau", {"gain": True}, "a finite number"),
        ("cancellation", {"strength": -1.0}, "a positive number"),
        ("rare_firing", {"largest": 1.0}, "more than 1"),
        ("reversed_spectrum", {"rarity": 2}, "more than 2"),
        ("reversed_spectrum", {"descend": 0}, "true or false"),
        ("non_homogeneous", {"largest": 21}, "at most 20"),
    ],
)
def test_a_setting_that_will_not_do_is_refused_by_name(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        get_family(name).build(seed=0, **settings)
    assert next(iter(settings)) in str(caught.value)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'plateau'"):
        get_family("plateu")
    with pytest.raises(UnknownNameError, match="did you mean 'gain'"):
        get_family("plateau").build(seed=0, gains=3.0)


def test_jitter_is_refused_where_it_is_no_size() -> None:
    example = get_family("plateau").build(seed=0, m=4)
    with pytest.raises(InputError, match="jitter"):
        read(example, jitter=-1.0)
    assert math.isnan(read(example, jitter=0.5).gram_error)


def test_imbalance_is_relative_to_the_largest_neuron() -> None:
    W = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    assert neuron_imbalance(one_hidden_layer(W, W, "relu")) == 0
    assert neuron_imbalance(one_hidden_layer(W, 2 * W, "relu")) == pytest.approx((16 - 4) / 16)


def test_rescaling_balances_every_neuron_and_keeps_the_function() -> None:
    model = MLP([5, 7, 6, 3], activation="relu", bias=False)
    initialize(model, "he", seed=0)
    with torch.no_grad():
        linear_layers_of(model)[0].weight[2] = 0.0  # a dead neuron stays as it is
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before = model(x)
    rescale(model, sweeps=200)
    torch.testing.assert_close(model(x), before)
    lower, upper = linear_layers_of(model)[:2]
    alive = lower.weight.norm(dim=1) > 0
    torch.testing.assert_close(lower.weight.norm(dim=1)[alive], upper.weight.norm(dim=0)[alive])
