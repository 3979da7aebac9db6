"""Standard errors where they are easily wrong: lengths, scales, the order of the data, shared signs."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from ansatzlab.measurement import sample as sample_module
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.sample import HASHES, MOST, RunningSample, bound, hashes
from ansatzlab.measurement.seeds import Signs


def gaussian(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def perceptron(*widths):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        steps = [step for a, b in pairwise(widths) for step in (nn.Linear(a, b), nn.Tanh())]
        return nn.Sequential(*steps[:-1]).double()


class Summed(nn.Module):
    """The sum over positions: every output gradient of an example counts as often as it is long."""

    def __init__(self):
        super().__init__()
        self.net = perceptron(5, 6, 3)

    def forward(self, x):
        return self.net(x).sum(1)


@pytest.mark.parametrize("lengths", [(8, 8, 8), (1, 2, 4, 8, 16, 30)], ids=["equal", "unequal"])
@pytest.mark.parametrize("centered", [False, True])
def test_an_error_is_the_infinitesimal_jackknife_whatever_the_lengths(lengths, centered):
    """The derivative by each example's weight, by central differences."""
    model, few = Summed(), 4
    batches = [0.7 * gaussian(few, length, 5, seed=length + i) + 0.3 for i, length in enumerate(lengths)]

    def read(weights):
        found = measure(model, iter(batches), example_weights=weights, check="never")["net.0"]
        return found.alignment(0.5, centered=centered)

    everyone, step = torch.ones(few * len(lengths), dtype=torch.float64), 1e-4
    slopes = [
        (read(everyone + step * one).value - read(everyone - step * one).value) / (2 * step)
        for one in torch.eye(len(everyone), dtype=torch.float64)
    ]
    assert read(everyone).error == pytest.approx(math.hypot(*slopes), rel=1e-5)


class Scaled(nn.Module):
    def __init__(self, net, scale):
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, x):
        return self.net(x) * self.scale


def errors(scale, outputs, dtype, *, centered=False):
    """Of outputs fewer than the layer's width the sample keeps gradients, of more their squares."""
    model = Scaled(perceptron(4, 8, outputs), scale).to(dtype)
    layer = measure(model, [gaussian(50, 4).to(dtype)], check="never")["net.0"]
    assert (layer.sums.sample.rows is None) == (outputs > 8)
    return layer.alignment(0.5, centered=centered).error, layer.fit_exponent().error


@pytest.mark.parametrize("outputs", [5, 20])
@pytest.mark.parametrize("scale", [1e-60, 1e-25, 1e-10, 1e-7, 1e7, 1e11, 1e25, 1e60])
@pytest.mark.parametrize("centered", [False, True])
def test_an_error_does_not_depend_on_the_scale_of_the_outputs(outputs, scale, centered):
    wanted = errors(1.0, outputs, torch.float64, centered=centered)
    assert min(wanted) > 1e-3
    assert errors(scale, outputs, torch.float64, centered=centered) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("outputs", [5, 20])
@pytest.mark.parametrize("centered", [False, True])
def test_nor_on_whether_some_outputs_gradients_are_kept_in_single_precision(outputs, centered, monkeypatch):
    """Scales around the smallest that are: every output's gradients count, and each is kept in a dtype of its own."""
    scales = torch.logspace(-7, -5, outputs, dtype=torch.float64)[torch.arange(outputs).roll(1)]
    model, batches = Scaled(perceptron(4, 8, outputs), scales), gaussian(50, 4).split(17)

    def read():
        layer = measure(model, batches, check="never")["net.0"]
        return layer.sums.sample.dtype, layer.alignment(0.5, centered=centered).error

    dtype, error = read()
    assert dtype == torch.float64
    monkeypatch.setattr(sample_module, "SINGLE", (math.inf, 0.0))
    dtype, wanted = read()
    assert dtype == torch.float64
    assert wanted > 1e-3
    assert error == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("scale", "dtype"), [(1.0, torch.float32), (1e-8, torch.float64), (1e8, torch.float64)])
def test_gradients_of_a_float64_network_are_kept_in_single_precision_where_it_holds_them(scale, dtype):
    layer = measure(Scaled(perceptron(4, 8, 5), scale), [gaussian(50, 4)], check="never")["net.0"]
    assert layer.sums.sample.rows.dtype == dtype


@pytest.mark.parametrize("width", [3, 1], ids=["rows", "squares"])
def test_parts_of_different_scales_merge_without_loss(width):
    gradients = gaussian(6, 2, 1, width)

    def part(scale):
        sample = RunningSample(directions=1)
        sample.begin(6, 2, MOST)
        sample.add(scale * gradients, 0)
        sample.close(6, None)
        return sample.finish()

    ones = torch.ones(1, width, 1, dtype=torch.float64)
    merged = (part(1.0) + part(1e-70)).quadratic(ones, ones[:, :1])
    wanted = gradients.sum((2, 3)).square().sum(1) if width > 1 else gradients.square().sum((1, 2, 3))
    torch.testing.assert_close(merged, torch.cat([wanted, 1e-140 * wanted]), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("scale", "outputs"), [(1e-30, 5), (1e-13, 20), (1e15, 20), (1e25, 5)])
def test_nor_in_float32_within_its_range(scale, outputs):
    wanted = errors(1.0, outputs, torch.float64)
    assert errors(scale, outputs, torch.float32) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-22, 1e22])
def test_outside_the_range_of_float32_there_is_no_error(scale):
    assert all(math.isnan(error) for error in errors(scale, 20, torch.float32))


def test_signs_that_all_examples_share_leave_no_error():
    model, inputs = perceptron(10, 24, 40), gaussian(200, 10)
    shared = measure(model, [inputs], seeds=Signs(2, shared=True))["0"]
    read = shared.alignment(0.5)
    assert math.isnan(read.error)
    assert math.isnan(read.residual_error)
    assert math.isnan(shared.alignment(0.5, centered=True).error)
    assert math.isnan(shared.fit_exponent().error)
    assert measure(model, [inputs], seeds=Signs(2))["0"].alignment(0.5).error > 0
    assert measure(model, [inputs], seeds=Signs(40, shared=True))["0"].alignment(0.5).error > 0


# --- which examples are kept ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", [2, 3, 10, 16, 64])
def test_the_sample_follows_no_period_of_the_data(period):
    """As many of every phase as of any other, within what drawing at random would give (5 sd)."""
    places = torch.arange(2**16)
    kept = places[hashes(places) < bound(places, 4096)]
    assert len(kept) == 4096
    counts = (kept % period).bincount(minlength=period).double()
    mean = len(kept) / period
    assert float((counts - mean).abs().max()) < 5 * mean**0.5


def test_every_place_has_a_hash_of_its_own():
    found = hashes(torch.arange(2**20))
    assert len(found.unique()) == 2**20
    assert 0 <= int(found.min()) < int(found.max()) < HASHES


def test_an_error_does_not_follow_the_order_of_the_data():
    """Every 16th example is another kind. All orders estimate one error, from 512 examples: to some 20 %."""
    model, inputs = perceptron(10, 24, 12, 3), 0.1 * gaussian(8192, 10) + 1
    inputs[1::16] = 2 * gaussian(512, 10, seed=1)
    orders = [inputs, inputs.roll(-1, 0), inputs[torch.randperm(8192, generator=torch.Generator().manual_seed(0))]]
    found = [measure(model, order.split(1024), check="never")["0"].alignment(0.5).error for order in orders]
    assert max(found) < 2 * min(found), found


def kept(sizes, most):
    """The places that are kept of batches of these sizes."""
    sample = RunningSample(directions=1)
    for size in sizes:
        sample.begin(size, 1, most)
        sample.add(torch.ones(size, 1, 1, 2), 0)
        sample.close(size, None)
    return sample.finish()


@pytest.mark.parametrize("sizes", [(100,), (30, 30, 40), (1,) * 100])
def test_the_sample_is_full_and_does_not_depend_on_the_batches(sizes):
    sample = kept(sizes, 16)
    assert len(sample.places) == len(sample.rows) == len(sample.positions) == 16
    wanted = hashes(torch.arange(100)).argsort()[:16].sort().values
    assert torch.equal(sample.places, wanted)


def test_merged_samples_are_the_examples_of_the_smallest_hashes_and_no_more_than_one_would_keep():
    merged = kept((300,), MOST) + kept((500, 200), MOST)
    both = torch.cat([hashes(torch.arange(300)), hashes(torch.arange(700))])
    assert MOST - 1 <= len(merged.places) <= MOST  # two of the same place are kept or left together
    assert torch.equal(hashes(merged.places).sort().values, both.sort().values[: len(merged.places)])
