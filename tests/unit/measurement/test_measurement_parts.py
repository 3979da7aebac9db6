"""Parts of a layer: rows, heads, gates, groups."""

import pytest
import torch
from torch import nn

from ansatzlab.errors import InputError, ModelError, UnknownNameError
from ansatzlab.measurement.outputs import Outputs
from ansatzlab.measurement.reference import reference_agop
from ansatzlab.measurement.run import measure
from ansatzlab.testing.cases import Called, normal


def seeded(build) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().double().eval()


def test_rows_are_the_rows_of_the_weight_with_their_block():
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)))
    layer = measure(model, normal(8, 5))["0"]
    part = layer.rows(slice(1, 4))
    W = model[0].weight.detach()[1:4]
    torch.testing.assert_close(part.agop(), W.T @ layer.sums.mean_gram()[0, 1:4, 1:4] @ W)
    torch.testing.assert_close(part.weight_gram(), W.T @ W)
    assert (part.name, part.shape) == ("0.1:4", (3, 5))


def test_the_groups_of_a_convolution_are_blocks_of_its_agop():
    model = seeded(lambda: nn.Sequential(nn.Conv1d(4, 6, 2, groups=2), nn.Tanh(), nn.Flatten()))
    layer = measure(model, normal(3, 4, 5))["0"]
    assert list(layer.parts) == ["group0", "group1"]
    assert (layer.shape, layer.groups, layer.positions) == ((6, 4), 2, 4.0)
    G = layer.agop()
    torch.testing.assert_close(layer.parts["group0"].agop(), G[:4, :4])
    torch.testing.assert_close(layer.parts["group1"].agop(), G[4:, 4:])
    assert layer.parts["group1"].shape == (3, 4)


def test_rows_of_a_grouped_convolution_are_refused():
    model = seeded(lambda: nn.Sequential(nn.Conv1d(4, 6, 2, groups=2), nn.Tanh(), nn.Flatten()))
    with pytest.raises(InputError, match=r"layer '0': rows cannot be told apart .it has groups"):
        measure(model, normal(3, 4, 5))["0"].rows(slice(0, 2))


def test_rows_of_a_layer_that_was_reduced_to_its_column_space_are_refused():
    model = seeded(lambda: nn.Sequential(nn.Linear(2, 9), nn.Tanh(), nn.Linear(9, 3)))
    layer = measure(model, normal(3, 2))["0"]
    assert layer.shape == (9, 2)
    with pytest.raises(InputError, match="so tall that only its column space was kept"):
        layer.rows(slice(0, 2))


def test_an_unknown_word_for_positions_is_refused():
    outputs = Outputs()
    object.__setattr__(outputs, "positions", "final")  # in tests the annotation would refuse it first
    with pytest.raises(UnknownNameError, match=r"unknown positions= of Outputs 'final'.*each, last, mean"):
        outputs.__post_init__()


def test_the_old_weight_norm_is_measured_as_a_plain_layer_but_not_read_from_a_state_dict():
    """It sets the weight in a hook, where the new one is a parametrisation."""
    plain = seeded(lambda: nn.Linear(5, 6))
    with pytest.warns(FutureWarning, match="deprecated"):
        hooked = nn.utils.weight_norm(seeded(lambda: nn.Linear(5, 6)))
    x = normal(4, 5)
    wanted = measure(plain, x)[""].agop()
    torch.testing.assert_close(measure(hooked, x)[""].agop(), wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(reference_agop(hooked, x)[""], wanted, rtol=1e-12, atol=1e-12)
    with pytest.raises(ModelError, match="the weight of layer '' is set by a hook when the model runs"):
        measure(hooked, x, initial=hooked.state_dict())


def test_behind_a_step_that_is_flat_almost_everywhere_the_agop_is_zero():
    """Rounding has a derivative, zero: unlike argmax, which has none and is refused, it is measured, and said so."""
    model = Called(seeded(lambda: nn.Linear(5, 3)), lambda layer, x: layer(x).round() + x[:, :3])
    layer = measure(model, normal(8, 5))["layer"]
    assert float(layer.agop().norm()) == 0.0
    assert layer.fit_exponent().reason == "the AGOP is zero"


def test_a_layer_that_all_examples_share_is_refused_when_it_was_asked_for():
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places, self.last = nn.Embedding(4, 5), nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.last(x + self.places(torch.arange(x.shape[1])))).mean(1)

    model = seeded(Placed)
    assert list(measure(model, normal(4, 4, 5))) == ["last"]
    with pytest.raises(ModelError, match=r"layer 'places'.*depends on other examples"):
        measure(model, normal(4, 4, 5), layers="places")
    with pytest.raises(ModelError, match="layer 'places' gives an output of shape"):
        measure(model, normal(3, 4, 5), layers="places")
