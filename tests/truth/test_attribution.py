"""The diagonal, attributions and explanations against AGOPs that are formed, from their definition, in float64.

`reference_agop` forms G from Jacobians; its powers are taken of G itself, and patches are cut and put together by
torch's own unfold and fold.
"""

import math

import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian
from torch.nn import functional

from ansatzlab.data.shipped import digits
from ansatzlab.errors import InputError
from ansatzlab.linalg.psd import gram_eigensystem, psd_power
from ansatzlab.measurement.attribution import Attribution, agop_core, agop_diagonal, attribute
from ansatzlab.measurement.explanation import explain
from ansatzlab.measurement.outputs import Outputs
from ansatzlab.measurement.reference import reference_agop
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Signs
from ansatzlab.testing.cases import normal
from ansatzlab.testing.compare import assert_close

POWERS = (0.0, 0.5, 1.0, 2.0)


@pytest.fixture(scope="module")
def trained():
    """Real digits, and a network that has learnt some of them."""
    data = digits()
    images, targets = data.inputs[:400].double(), data.targets[:400].double()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, targets.shape[1])).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        (model(images) - targets).square().mean().backward()
        optimizer.step()
    return model.requires_grad_(False), images[:60]


def power(gram, exponent):
    return gram if exponent == 1 else psd_power(gram_eigensystem(gram), exponent)


def quadratic(gram, step):
    """Split by the definition: one coordinate at a time."""
    return torch.stack([step[j] * (gram[j] @ step) for j in range(len(step))])


# real data


@pytest.mark.parametrize("exponent", POWERS)
@pytest.mark.parametrize("centered", [False, True])
def test_on_real_digits_the_diagonal_and_an_attribution_are_those_of_the_formed_agop(trained, exponent, centered):
    model, images = trained
    measured = measure(model, images)
    truths = reference_agop(model, images, centered=centered)
    truth = power(truths["0"], exponent)
    tolerance = 1e-10 if exponent else 1e-7  # a projector's error is eps λ₁/λ of the smallest eigenvalue
    diagonal = agop_diagonal(measured["0"], exponent, centered=centered)
    assert_close(diagonal, truth.diagonal()[None], what="diagonal", tolerance=tolerance)
    step = images[3] - images.mean(0)
    found = attribute(measured["0"], images[3], exponent, images.mean(0), centered=centered)
    assert_close(found.values, quadratic(truth, step), what="values", tolerance=tolerance)
    assert found.total == pytest.approx(float(step @ truth @ step), rel=tolerance)
    assert found.completeness == pytest.approx(1, abs=1e-11)


def test_the_total_is_the_mean_square_of_what_the_step_does_to_the_outputs(trained):
    model, images = trained
    measured = measure(model, images)
    baseline = images.mean(0)
    step = images[7] - baseline
    moved = torch.stack([jacobian(model, image) @ step for image in images])
    (found,) = explain(model, measured, images[7:8], baseline=baseline[None], layers=["0"]).values()
    assert found.total == pytest.approx(float(moved.square().sum(1).mean()), rel=1e-12)
    assert float(found.values.sum()) == pytest.approx(found.total, rel=1e-12)


def test_with_the_mean_as_baseline_the_datas_zero_does_not_matter(trained):
    model, images = trained
    shifted = nn.Sequential(nn.Linear(64, 24), *model[1:]).double()
    shifted.load_state_dict(model.state_dict())
    with torch.no_grad():
        shifted[0].bias -= shifted[0].weight @ torch.full((64,), 0.7, dtype=torch.float64)
    found = []
    for network, inputs in ((model, images), (shifted, images + 0.7)):
        measured = measure(network, inputs)
        found.append(explain(network, measured, inputs[:1], baseline=inputs.mean(0, keepdim=True))["0"].values)
    assert_close(found[1], found[0], what="values")
    bare = [attribute(measure(model, images)["0"], inputs).values for inputs in (images[0], images[0] + 0.7)]
    assert float((bare[1] - bare[0]).norm() / bare[0].norm()) > 0.1  # with zero for a baseline it does


# convolutions

CONVOLUTIONS = {
    "plain": {"kernel_size": 3},
    "padded": {"kernel_size": 3, "padding": 1},
    "strided, dilated": {"kernel_size": (2, 3), "stride": 2, "dilation": (1, 2), "padding": (0, 2)},
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_an_image_is_attributed_by_patches_that_are_folded_back(name, exponent):
    options = CONVOLUTIONS[name]
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(3, 4, **options), nn.Tanh(), nn.Flatten(), nn.LazyLinear(2)).double()
    images = normal(9, 3, 7, 7)
    model(images)
    measured = measure(model, images)
    baseline = images.mean(0, keepdim=True)
    found = explain(model, measured, images[4:5], exponent, baseline)["0"]
    truth = power(reference_agop(model, images, layers="0")["0"], exponent)
    patches = functional.unfold(images[4:5] - baseline, **options)[0].T
    split = torch.stack([quadratic(truth, patch) for patch in patches])
    folded = functional.fold(split.T[None], (7, 7), **options)
    assert_close(found.values, folded, what="values")
    assert found.total == pytest.approx(float((patches @ truth * patches).sum()), rel=1e-10)
    assert found.completeness == pytest.approx(1, abs=1e-11)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_nothing_is_lost_in_the_padding(mode):
    torch.manual_seed(1)
    convolution = nn.Conv2d(2, 4, 3, padding=2, groups=2, padding_mode=mode)
    model = nn.Sequential(convolution, nn.Tanh(), nn.Flatten(), nn.LazyLinear(2)).double()
    images = normal(5, 2, 6, 6)
    model(images)
    measured = measure(model, images)
    found = explain(model, measured, images[:1], baseline=images.mean(0, keepdim=True))["0"]
    assert found.values.shape == (1, 2, 6, 6)
    assert found.completeness == pytest.approx(1, abs=1e-11)


def test_groups_are_a_direct_sum():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Tanh(), nn.Flatten(), nn.LazyLinear(2)).double()
    images = normal(6, 4, 5, 5)
    model(images)
    measured = measure(model, images)
    truth = reference_agop(model, images, layers="0")["0"]
    assert_close(agop_diagonal(measured["0"]).flatten(), truth.diagonal(), what="diagonal")
    found = explain(model, measured, images[:1])["0"]
    for group, gram in enumerate((truth[:18, :18], truth[18:, 18:])):
        channels = slice(2 * group, 2 * group + 2)
        patches = functional.unfold(images[:1, channels], 3)[0].T
        split = torch.stack([quadratic(gram, patch) for patch in patches])
        assert_close(found.values[:, channels], functional.fold(split.T[None], (5, 5), 3), what=f"group {group}")
    for exponent in (0.5, 2.0):
        whole = power(truth, exponent)
        assert_close(agop_diagonal(measured["0"], exponent).flatten(), whole.diagonal(), what=f"power {exponent}")


# tokens


class Reader(nn.Module):
    """Tokens, embedded, mixed over positions by a map that is used twice, then read."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(30, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, tokens):
        states = self.embed(tokens)
        states = states + torch.tanh(self.mix(states.cumsum(1)))
        return self.head(torch.tanh(self.mix(states)).mean(1))


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(3)
    tokens = torch.randint(30, (8, 5), generator=torch.Generator().manual_seed(0))
    model = Reader().double()
    return model, tokens, measure(model, tokens)


@pytest.mark.parametrize("exponent", POWERS)
def test_a_token_gets_its_own_number_at_every_position(reader, exponent):
    model, tokens, measured = reader
    truth = power(reference_agop(model, tokens, layers="embed")["embed"], exponent)
    found = explain(model, measured, tokens[:1], exponent, layers=["embed"])["embed"]
    assert_close(found.values, truth.diagonal()[tokens[:1]], what="values", tolerance=1e-9)
    assert found.completeness == pytest.approx(1, abs=1e-12)
    assert_close(agop_diagonal(measured["embed"], exponent)[0], truth.diagonal(), what="diagonal", tolerance=1e-9)
    other = torch.tensor(4)
    changed = attribute(measured["embed"], tokens[0], exponent, other)
    for value, token in zip(changed.values, tokens[0].tolist(), strict=True):
        step = functional.one_hot(torch.tensor(token), 30).double() - functional.one_hot(other, 30).double()
        assert float(value) == pytest.approx(float(step @ truth @ step), rel=1e-8, abs=1e-14)


def test_a_layer_that_is_called_twice_is_attributed_at_both_calls(reader):
    model, tokens, measured = reader
    truth = reference_agop(model, tokens, layers="mix")["mix"]
    found = explain(model, measured, tokens[:1], layers=["mix"])["mix"]
    with torch.no_grad():
        states = model.embed(tokens[:1])
        sums = states.cumsum(1)
        entered = torch.stack([sums, states + torch.tanh(model.mix(sums))])
    assert_close(found.values, entered * (entered @ truth), what="values")
    assert found.total == pytest.approx(float((entered * (entered @ truth)).sum()), rel=1e-11)


@pytest.mark.parametrize("accumulation", ["gram", "factor"])
def test_a_tall_layer_in_its_column_space_and_a_factor_give_the_same(accumulation):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 40), nn.Tanh(), nn.Linear(40, 3)).double()
    inputs = normal(12, 4)
    layer = measure(model, inputs, accumulation=accumulation)["0"]
    assert layer.blocks.shape == (1, 4, 4)
    truth = reference_agop(model, inputs, layers="0")["0"]
    for exponent in (0.5, 1.0, 3.0):
        found = attribute(layer, inputs[:3], exponent)
        wanted = torch.stack([quadratic(power(truth, exponent), x) for x in inputs[:3]])
        assert_close(found.values, wanted, what=f"power {exponent}", tolerance=1e-9)


def test_a_sequence_of_states_is_attributed_position_by_position():
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True).double().eval()
    states = normal(6, 5, 8)
    output = Outputs(positions="mean")
    measured = measure(model, states, output=output)
    truths = reference_agop(model, states, output=output)
    found = explain(model, measured, states[:1])
    for name in ("self_attn.q_proj", "self_attn.v_proj"):
        assert_close(found[name].values, states[:1] * (states[:1] @ truths[name]), what=name)
    assert list(found) == list(measured)
    for each in found.values():
        assert each.completeness == pytest.approx(1, abs=1e-11)


# what is refused, and what stays


@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_rounding_is_not_raised_to_a_power(exponent):
    """The gradients of a linear network are the same everywhere: the AGOP has rank 2 and, centred, rank 0."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2)).double()
    layer = measure(model, normal(9, 6))["0"]
    product = model[1].weight.detach() @ model[0].weight.detach()
    truth = power(product.T @ product, exponent)
    found = attribute(layer, normal(6), exponent)
    assert_close(found.values, quadratic(truth, normal(6)), what="values", tolerance=1e-9)
    assert attribute(layer, normal(6), exponent, centered=True).values.tolist() == [0.0] * 6


def test_powers_of_a_layer_without_gradients_are_zero():
    dead = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        dead[0].bias.fill_(-100.0)
    layer = measure(dead, normal(5, 4))["0"]
    for exponent in POWERS:
        found = attribute(layer, torch.ones(4, dtype=torch.float64), exponent)
        assert found.values.tolist() == [0.0] * 4
        assert (found.total, found.completeness) == (0.0, 1.0)


def test_an_incomplete_attribution_says_so():
    assert Attribution("a", torch.ones(2), torch.tensor([1.0, 2.0]), 4.0, 1.0).completeness == 0.75
    assert Attribution("a", torch.ones(1), torch.tensor([1.0]), 0.0, 1.0).completeness == 2.0


@pytest.mark.parametrize("exponent", [-0.5, math.inf, math.nan])
def test_an_exponent_that_is_none_is_refused(reader, exponent):
    with pytest.raises(InputError, match="wanted a number of at least 0"):
        agop_core(reader[2]["mix"], exponent)


def test_inputs_that_do_not_fit_are_refused(reader, trained):
    model, tokens, measured = reader
    with pytest.raises(InputError, match=r"go rows of 6 numbers, got shape \(5,\)"):
        attribute(measured["mix"], torch.ones(5))
    with pytest.raises(InputError, match="go tokens from 0 to 29"):
        attribute(measured["embed"], torch.tensor([30]))
    with pytest.raises(InputError, match="go tokens from 0 to 29"):
        attribute(measured["embed"], torch.ones(3))
    with pytest.raises(InputError, match="wanted finite numbers"):
        attribute(measured["mix"], torch.full((6,), math.nan))
    with pytest.raises(InputError, match="wanted finite numbers"):
        attribute(measured["mix"], torch.ones(6), 1.0, torch.full((6,), math.inf))
    with pytest.raises(InputError, match=r"a baseline of shape \(5,\) for inputs of \(6,\)"):
        attribute(measured["mix"], torch.ones(6), 1.0, torch.ones(5))
    with pytest.raises(InputError, match="got 8 examples; wanted one"):
        explain(model, measured, tokens)
    with pytest.raises(InputError, match=r"the baseline sends shape \(1, 4\) and the example \(1, 5\)"):
        explain(model, measured, tokens[:1], baseline=tokens[:1, :4], layers=["embed"])
    signs = measure(trained[0], trained[1], seeds=Signs(2))["0"]
    with pytest.raises(InputError, match="centered=True needs"):
        attribute(signs, trained[1][0], centered=True)


def test_explaining_leaves_the_network_as_it_was(reader):
    model, tokens, measured = reader
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    explain(model, measured, tokens[:1])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    with pytest.raises(InputError):
        explain(model, Measurement({}, {}), tokens[:1])
