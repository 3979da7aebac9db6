"""Explanations: the network stays as it was, in whatever mode it is, and has to be the one that was measured."""

import pytest
import torch
from torch import nn

import ansatzlab
from ansatzlab.errors import InputError
from ansatzlab.measurement.explanation import explain


def images(count=8):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


class Counting(nn.Module):
    """Counts its calls and draws a random number at each, in any mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        torch.rand(1)
        return x


def network():
    """Everything that a careless forward pass would disturb: batch statistics, dropout, power iterations."""
    torch.manual_seed(0)
    last = nn.utils.parametrizations.spectral_norm(nn.Linear(108, 4))
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), last, Counting()
    )
    model(images())
    return model.eval()


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_network_in_training_mode_is_explained_in_evaluation_mode_and_left_as_it_was():
    model, example = network(), images()[:1]
    measurement = ansatzlab.measure(model, images(), check="never")
    wanted = explain(model, measurement, example)
    model.train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    before, random = state_of(model), torch.random.get_rng_state()
    found = explain(model, measurement, example, baseline=images().mean(0, keepdim=True))
    assert torch.equal(torch.random.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert list(found) == ["0", "5"]
    for name, each in explain(model, measurement, example).items():
        assert torch.equal(each.values, wanted[name].values), name


@pytest.mark.parametrize(("height", "width"), [(6, 8), (40, 2)])  # the second is kept in a basis of its columns
def test_other_weights_than_those_of_the_measurement_are_refused(height, width):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, height), nn.Tanh(), nn.Linear(height, 4)).double()
    inputs = torch.randn(9, width, dtype=torch.float64)
    measurement = ansatzlab.measure(model, inputs)
    assert (measurement["0"].blocks.shape[1] == height) == (height == 6)
    whole = explain(model, measurement, inputs[:1])
    for name, each in explain(model.float(), measurement, inputs[:1].float()).items():
        torch.testing.assert_close(each.values.double(), whole[name].values, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        model.double()[0].weight.mul_(1.001)
    with pytest.raises(InputError, match="layer '0' has other weights than when it was measured"):
        explain(model, measurement, inputs[:1])
    assert list(explain(model, measurement, inputs[:1], layers=["2"])) == ["2"]


def test_another_network_is_refused():
    torch.manual_seed(0)
    one, other = (nn.Sequential(nn.Linear(5, width), nn.Linear(width, 2)) for width in (6, 7))
    inputs = torch.randn(9, 5)
    with pytest.raises(InputError, match="layer '0' has other weights"):
        explain(other, ansatzlab.measure(one, inputs), inputs[:1])
