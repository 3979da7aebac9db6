"""The verdict in words: untrained networks never hold, exact laws do, and what means nothing is called so."""

import copy
import dataclasses
import math
from itertools import pairwise

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from ansatzlab.errors import InputError
from ansatzlab.linalg.null import haar_orthogonal
from ansatzlab.linalg.spectrum import ansatz_spectrum
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Signs
from ansatzlab.measurement.verdict import Criteria, judge, structural_null
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize


def gaussian(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def seeded(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def perceptron(*widths, activation=nn.ReLU, seed=0):
    def build():
        layers = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), activation()]
        return nn.Sequential(*layers[:-1])

    return seeded(build, seed)


def convolutions():
    first, second = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3)
    tail = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), *tail)


# --- untrained networks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("widths", [(64, 128, 10), (20, 1000, 10), (64, 256, 10), (64, 256, 256, 10)], ids=str)
def test_an_untrained_perceptron_does_not_hold(widths, seed):
    measured = measure(perceptron(*widths, seed=seed), [gaussian(400, widths[0], seed=seed, dtype=torch.float32)])
    *hidden, last = measured.values()
    for exponent in (1 / len(measured), 0.5, 1.0):
        assert last.verdict(exponent).word == "tautological"
        for layer in hidden:
            found = layer.verdict(exponent)
            assert found.word in ("no better than null", "aligned")  # aligned: about 1 % of them, by chance
            assert found.alignment.residual > 0.2


@pytest.mark.parametrize("seed", range(3))
def test_an_untrained_convolutional_network_does_not_hold(seed):
    inputs = gaussian(200, 1, 8, 8, seed=seed, dtype=torch.float32)
    first, second, last = measure(seeded(convolutions, seed), [inputs]).values()
    for exponent in (1 / 3, 0.5, 1.0):
        assert first.verdict(exponent).word == "no better than null"
        assert second.verdict(exponent).word == "no better than null"
        assert last.verdict(exponent).word == "tautological"


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_the_z_of_untrained_networks_is_that_of_a_null(exponent):
    inputs = gaussian(400, 64, dtype=torch.float32)
    criteria = Criteria(draws=50)
    found = [
        measure(perceptron(64, 128, 10, seed=seed), [inputs], layers="0")["0"].verdict(exponent, criteria=criteria)
        for seed in range(30)
    ]
    z = torch.tensor([verdict.null.z for verdict in found])
    assert abs(float(z.mean())) < 3 / 30**0.5
    assert 0.6 < float(z.std()) < 1.4
    assert min(verdict.haar.z for verdict in found) > 15  # against a rotation of the inputs all would be news


# --- laws that hold -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulation", ["gram", "factor"])
@pytest.mark.parametrize("widths", [(6, 5, 4), (8, 7, 6, 5), (30, 6, 6, 6, 6)], ids=str)
def test_a_balanced_network_holds_at_its_exponent(widths, accumulation):
    model = DeepLinear(widths)
    initialize(model, "balanced", seed=0)
    *hidden, last = measure(model, [gaussian(50, widths[0])], accumulation=accumulation).values()
    for place, layer in enumerate(hidden):
        exponent = 1 / (len(hidden) + 1 - place)
        found = layer.verdict(exponent)
        assert found.word == "holds"
        assert found.alignment.residual < 1e-7
        assert found.null.z > 3
        assert layer.verdict(3 * exponent).word != "holds"
    assert last.verdict(1.0).word == "tautological"


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    inputs = torch.tensor(data.data / 16)
    return inputs - inputs.mean(0), torch.tensor(data.target)


def train(model, digits, *, decay, steps=400):
    """Train by Adam on cross-entropy, with an L2 penalty, the rate falling to 0; return the accuracy."""
    inputs, labels = digits
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        chosen = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(step))[:256]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    return float((model(inputs).argmax(1) == labels).double().mean())


def test_a_linear_network_trained_on_digits_with_weight_decay_holds(digits):
    model = perceptron(64, 32, 32, 10, activation=nn.Identity).double()
    before = copy.deepcopy(model)
    assert train(model, digits, decay=1e-2) > 0.97
    first, second, last = measure(model, [digits[0]], initial=before).values()
    for layer, exponent in ((first, 1 / 3), (second, 1 / 2)):
        found = layer.verdict(exponent)
        assert found.word == "holds"
        assert found.alignment.residual < 0.02
        assert found.null.residual_mean > 0.3
        assert found.null.z > 5
        assert found.start.residual > 0.6
        assert layer.start.verdict(exponent).word == "no better than null"
    assert last.verdict(1.0).word == "tautological"


def test_a_tanh_perceptron_trained_on_digits_holds_at_a_half(digits):
    model = perceptron(64, 64, 10, activation=nn.Tanh).double()
    before = copy.deepcopy(model)
    assert train(model, digits, decay=1e-2) > 0.97
    layer = measure(model, [digits[0]], initial=before)["0"]
    found = layer.verdict(0.5)
    assert found.word == "holds"
    assert found.alignment.residual < 0.05
    assert found.null.z > 5
    assert layer.verdict(1.0).word != "holds"
    assert layer.start.verdict(0.5).word == "no better than null"


def test_a_relu_perceptron_trained_on_digits_comes_near_and_is_called_aligned(digits):
    """Its residual at ½ is 0.13, far beyond the null of 0.39 ± 0.04, and above 0.1: said so, not rounded up."""
    model = perceptron(64, 64, 10).double()
    assert train(model, digits, decay=1e-2) > 0.97
    found = measure(model, [digits[0]])["0"].verdict(0.5)
    assert found.word == "aligned"
    assert 0.1 < found.alignment.residual < 0.2
    assert found.null.z > 5
    assert "but above 0.1" in found.reason


# --- nothing to judge -----------------------------------------------------------------------------------------------


def trained_layer(change=lambda _model: None, *, layer="0", **arguments):
    model = perceptron(6, 5, 4, activation=nn.Tanh, seed=1).double()
    with torch.no_grad():
        change(model)
    return measure(model, [gaussian(30, 6)], **arguments)[layer]


def test_zeroed_weights_are_collapsed():
    found = trained_layer(lambda model: model[0].weight.zero_()).verdict(0.5)
    assert (found.word, found.reason) == ("collapsed", "the weights are zero")
    assert (found.null, found.haar) == (None, None)
    assert trained_layer(lambda model: model[2].weight.zero_(), layer="2").verdict(0.5).word == "collapsed"


def test_a_layer_behind_which_all_is_zero_is_collapsed():
    found = trained_layer(lambda model: model[2].weight.zero_()).verdict(0.5)
    assert found.word == "collapsed"
    assert found.reason == "the AGOP is zero: the outputs no longer depend on this layer"


def test_weights_that_shrank_are_collapsed():
    before = perceptron(6, 5, 4, activation=nn.Tanh, seed=1).double().state_dict()

    def verdict(share):
        return trained_layer(lambda model: model[0].weight.mul_(share), initial=before).verdict(0.5)

    assert verdict(0.9e-3).word == "collapsed"
    assert "shrank to 9.0e-04 of their initial norm" in verdict(0.9e-3).reason
    assert verdict(1.1e-3).word != "collapsed"


def test_one_output_is_tautological_and_rank_one_not_identifiable():
    model = DeepLinear([6, 5, 1])
    initialize(model, "pytorch_default", seed=0)
    first, last = measure(model, [gaussian(30, 6)]).values()
    assert last.verdict(1.0).word == "tautological"
    assert first.verdict(0.5).word == "not identifiable"
    assert "rank 1" in first.verdict(0.5).reason


def test_weights_that_did_not_change_say_nothing_about_their_change():
    before = perceptron(6, 5, 4, activation=nn.Tanh, seed=1).double()
    found = trained_layer(initial=before).verdict(0.5, init_removed=True)
    assert (found.word, found.reason) == ("not identifiable", "W − W₀ is zero: nothing was learned")
    moved = trained_layer(lambda model: model[0].weight.add_(gaussian(5, 6)), initial=before)
    assert moved.verdict(0.5, init_removed=True).word in ("no better than null", "aligned")
    assert moved.verdict(0.5, init_removed=True).start is None
    assert moved.verdict(0.5).start.convention == Convention(0.5)


def test_a_centred_agop_that_is_zero_is_not_a_collapse():
    model = DeepLinear([6, 5, 4])
    initialize(model, "pytorch_default", seed=0)
    first, last = measure(model, [gaussian(30, 6)]).values()
    found = first.verdict(0.5, centered=True)
    assert (found.word, found.reason[:19]) == ("not identifiable", "the centred AGOP is")
    assert last.verdict(0.5, centered=True).word == "tautological"
    assert trained_layer().verdict(0.5, centered=True).word in ("no better than null", "aligned")


@pytest.mark.parametrize(("dtype", "width"), [(torch.bfloat16, 1000), (torch.float16, 60_000)])
def test_gradients_that_are_too_coarse_for_the_width_are_unsupported(dtype, width):
    model = seeded(lambda: nn.Sequential(nn.Linear(width, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype))
    inputs = gaussian(8, width).to(dtype)
    found = measure(model, [inputs], layers="0", check="never")["0"].verdict(0.5)
    assert found.word == "unsupported"
    assert f"gradients in {dtype} resolve no spectrum of a layer of width {width}" in found.reason
    assert (found.alignment, found.null, found.haar, found.start) == (None, None, None, None)


def test_what_was_not_measured_is_an_error_and_not_a_verdict():
    with pytest.raises(InputError, match="init_removed needs the initial weights"):
        trained_layer().verdict(0.5, init_removed=True)
    with pytest.raises(InputError, match="centered=True needs each output's mean gradient"):
        trained_layer(seeds=Signs(1)).verdict(0.5, centered=True)


# --- the numbers ----------------------------------------------------------------------------------------------------


def test_the_null_is_that_of_rotated_gradients():
    layer = trained_layer()
    found = layer.verdict(0.5, comparator="pearson", criteria=Criteria(draws=400, seed=7))
    generator = torch.Generator().manual_seed(11)
    spectra = []
    for turn in haar_orthogonal(5, generator, count=400):
        spectra.append(ansatz_spectrum(layer.blocks[0], gram=turn @ layer.sums.mean_gram()[0] @ turn.T))
    values = torch.tensor([spectrum.alignment(0.5, "pearson") for spectrum in spectra])
    residuals = torch.tensor([spectrum.residual(0.5) for spectrum in spectra])
    deviation = 4 * float(residuals.std()) / 20 * 2**0.5
    assert found.null.residual_mean == pytest.approx(float(residuals.mean()), abs=deviation)
    assert found.null.residual_sd == pytest.approx(float(residuals.std()), rel=0.2)
    assert found.null.mean == pytest.approx(float(values.mean()), abs=4 * float(values.std()) / 20 * 2**0.5)
    assert found.null.sd == pytest.approx(float(values.std()), rel=0.2)
    distance = found.null.residual_mean - found.alignment.residual
    assert found.null.z == pytest.approx(distance / found.null.residual_sd)
    assert found.null.draws == 400
    assert found.alignment == layer.alignment(0.5, comparator="pearson")


def test_the_same_seed_gives_the_same_null_from_a_gram_and_from_a_factor():
    gram, factor = (trained_layer(accumulation=kind) for kind in ("gram", "factor"))
    first, second = gram.verdict(0.5), factor.verdict(0.5)
    assert first.null.z == pytest.approx(second.null.z, rel=1e-6)
    assert gram.verdict(0.5) == first
    assert gram.verdict(0.5, criteria=Criteria(seed=1)).null != first.null


@pytest.mark.parametrize(
    ("criteria", "word"),
    [
        (Criteria(largest_residual=0.9, least_z=-100), "holds"),
        (Criteria(largest_residual=0.0, least_z=-100), "aligned"),
        (Criteria(largest_residual=0.9, least_z=100), "no better than null"),
    ],
    ids=["loose", "no residual", "far beyond"],
)
def test_the_criteria_decide_and_are_recorded(criteria, word):
    found = judge(trained_layer(), Convention(0.5), criteria)
    assert found.word == word
    assert found.criteria == criteria
    assert f"{found.alignment.residual:.3f}" in found.reason
    assert f"{found.null.residual_mean:.3f} ± {found.null.residual_sd:.3f}" in found.reason


def test_the_default_criteria_are_those_that_the_documentation_names():
    found = trained_layer().verdict(0.5)
    assert dataclasses.astuple(found.criteria) == (0.1, 3.0, 20, 0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"draws": 1},
        {"largest_residual": -0.1},
        {"largest_residual": 1.0},
        {"largest_residual": math.nan},
        {"least_z": math.nan},
        {"least_z": math.inf},
    ],
    ids=str,
)
def test_criteria_that_judge_nothing_are_refused(arguments):
    with pytest.raises(InputError, match=r"wanted at least two draws, a residual in \[0, 1\) and a finite z"):
        Criteria(**arguments)


def test_a_null_of_scores_that_do_not_exist_is_nan():
    """The centred AGOP of a last layer is zero: there is nothing to turn."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    layer = measure(model, gaussian(20, 4))["2"]
    null = structural_null(layer, layer.read(Convention(exponent=0.5, centered=True)), Criteria())
    assert all(map(math.isnan, (null.mean, null.sd, null.z)))
