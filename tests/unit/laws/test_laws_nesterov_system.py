"""The system of liu2022nesterov: what it refuses, what it leaves as it is, what it reports."""

import math

import numpy as np
import pytest
import torch

from ansatzlab.data.dataset import Dataset
from ansatzlab.data.registry import load
from ansatzlab.errors import DivergedError, InputError, UnknownNameError
from ansatzlab.laws.liu2022nesterov.descent import WINDOW, contraction, descend, steps_to
from ansatzlab.laws.liu2022nesterov.jacobian_gram import Extremes, extremes, jacobian_gram
from ansatzlab.laws.liu2022nesterov.network import build, deep_linear, from_model, resnet
from ansatzlab.laws.liu2022nesterov.presets import Tuning, stability_limit, tune
from ansatzlab.laws.liu2022nesterov.problem import Problem, directions, log_spaced, principal
from ansatzlab.laws.liu2022nesterov.system import LOOKS, follow
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.training.schedule import log_spaced_steps

ENDS = Extremes(largest=2.0, smallest=0.02)
PROBLEM = Problem.of(log_spaced(seed=0, condition=9.0))
NETWORK = deep_linear(PROBLEM, depth=2, width=30, seed=0)


def test_the_synthetic_data_have_their_spectrum_and_a_teacher():
    data = log_spaced(seed=4, condition=256.0)
    squares = torch.linalg.svdvals(data.inputs) ** 2
    torch.testing.assert_close(squares, 256.0 ** -torch.linspace(0, 1, 6, dtype=torch.float64))
    problem = Problem.of(data)
    assert problem.condition == pytest.approx(256)
    assert problem.floor < 1e-12
    assert float((data.inputs @ torch.linalg.pinv(data.inputs) @ data.targets - data.targets).norm()) < 1e-10
    teachers = [torch.linalg.pinv(d.inputs) @ d.targets for d in (data, log_spaced(seed=4, condition=4.0))]
    torch.testing.assert_close(teachers[0], teachers[1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kept", [1, 4, 10])
def test_principal_directions_keep_the_largest_singular_values_and_are_scaled(kept):
    data = load("diabetes")
    problem = Problem.of(principal(data, kept))
    values = torch.linalg.svdvals(data.inputs)
    torch.testing.assert_close(problem.singular_values, values[:kept] / values[0])
    solution = torch.linalg.lstsq(problem.inputs, problem.targets).solution
    assert float(solution.norm()) == pytest.approx(math.sqrt(kept))


def test_the_numbers_of_directions_are_spread_over_the_condition_numbers():
    data = log_spaced(seed=0, condition=243.0)  # κ = 1, 3, 9, 27, 81, 243
    assert directions(data, 1e9, 10) == (2, 3, 4, 5, 6)
    assert directions(data, 243.0, 3) == (2, 4, 6)
    assert directions(data, 242.0, 2) == (2, 5)
    assert directions(log_spaced(seed=0, condition=1.5), 100.0, 3) == (6,)


def test_rank_and_floor_are_those_of_the_data():
    inputs = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 0.0, 0.0]]).double()
    targets = torch.tensor([[1.0], [2.0], [5.0]]).double()
    problem = Problem.of(Dataset("line", inputs, targets, "rank one"))
    assert len(problem.inputs) == 1
    assert problem.floor == pytest.approx(5)
    assert problem.condition == 1
    network = deep_linear(problem, depth=2, width=30, seed=0)
    assert follow(network, "nesterov", until=1e-8).tuning.momentum == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Problem.of(Dataset("none", torch.zeros(3, 2).double(), torch.ones(3, 1).double(), "")),
            "are all zero",
        ),
        (lambda: log_spaced(seed=0, condition=0.5), "got condition 0.5"),
        (lambda: log_spaced(seed=0, condition=math.inf), "got condition inf"),
        (lambda: log_spaced(seed=0, condition=4.0, size=5), "5 examples of 6 inputs"),
        (lambda: deep_linear(PROBLEM, depth=1, width=4, seed=0), "got depth 1"),
        (lambda: deep_linear(PROBLEM, depth=2, width=0, seed=0), "got width 0"),
        (lambda: resnet(PROBLEM, depth=2, width=5, seed=0), "got width 5 with 6 inputs and 3 outputs"),
        (lambda: build(PROBLEM, "mlp", depth=2, width=5, seed=0), "unknown network 'mlp'"),
        (lambda: from_model(PROBLEM, DeepLinear([6, 4, 3], bias=True)), "has biases"),
        (lambda: from_model(PROBLEM, DeepLinear([5, 4, 3])), "5 inputs and 3 outputs; the data have 6 and 3"),
        (lambda: extremes(torch.tensor([1e-13, 1.0]).double()), "κ is infinite"),
        (lambda: extremes(torch.tensor([0.0, 0.0]).double()), "κ is infinite"),
        (lambda: extremes(torch.tensor([math.nan, 1.0]).double()), "not finite"),
        (lambda: contraction([]), "no residual to begin with"),
        (lambda: contraction([0.0, 0.0]), "no residual to begin with"),
        (lambda: tune("gd", ENDS, learning_rate=1.0), "below 1, from which on it diverges"),
        (lambda: tune("nesterov", ENDS, learning_rate=1.0, momentum=0.5), "below 0.75, from which"),
        (lambda: tune("heavy_ball", ENDS, learning_rate=0.0), "got learning_rate 0 "),
        (lambda: tune("heavy_ball", ENDS, learning_rate=math.nan), "got learning_rate nan"),
        (lambda: tune("nesterov", ENDS, momentum=1.0), r"momentum 1.0 for nesterov; wanted a number in \[0, 1\)"),
        (lambda: tune("nesterov", ENDS, momentum=-0.1), "got momentum -0.1"),
        (lambda: tune("gd", ENDS, momentum=0.5), "wanted no momentum"),
        (lambda: Tuning("gd", 0.5, 0.9, math.nan), "got momentum 0.9 for gd; wanted no momentum"),
        (lambda: Tuning("nesterov", 0.5, 1.2, math.nan), r"got momentum 1.2 for nesterov; wanted a number in \[0, 1\)"),
        (lambda: Tuning("nesterov", 0.5, math.nan, math.nan), "got momentum nan"),
        (lambda: Tuning("gd", -0.5, 0.0, math.nan), "got learning_rate -0.5 for gd; wanted a positive finite number"),
        (lambda: Tuning("gd", 0.0, 0.0, math.nan), "got learning_rate 0 "),
        (lambda: Tuning("gd", math.nan, 0.0, math.nan), "got learning_rate nan"),
        (lambda: Tuning("gd", math.inf, 0.0, math.nan), "got learning_rate inf"),
        (lambda: Extremes(1.0, 0.0), "got λ_max = 1 and λ_min = 0; wanted positive finite numbers"),
        (lambda: Extremes(1.0, 2.0), "λ_max no less than λ_min"),
        (lambda: Extremes(math.inf, 1.0), "got λ_max = inf"),
        (lambda: Extremes(1.0, math.nan), "λ_min = nan"),
        (lambda: follow(NETWORK, steps=-1), "got steps=-1; wanted 0 or more"),
        (lambda: jacobian_gram(NETWORK, [math.nan * W for W in NETWORK.weights]), "jacobian gram: it is not finite"),
    ],
)
def test_what_cannot_be_used_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_targets_that_the_directions_do_not_explain_are_refused():
    data = Dataset("crossed", torch.diag(torch.tensor([10.0, 1.0])).double(), torch.tensor([[0.0], [1.0]]).double(), "")
    with pytest.raises(InputError, match="do not depend on the first 1 principal directions"):
        principal(data, 1)
    assert principal(data, 2).inputs.shape == (2, 2)
    with pytest.raises(InputError, match="got 3 principal directions; wanted 1 to 2, its rank"):
        principal(data, 3)


def test_an_unknown_method_is_refused_by_name():
    with pytest.raises(UnknownNameError, match="unknown descent 'nestrov'; did you mean 'nesterov'"):
        tune("nestrov", ENDS)


def test_an_unknown_rule_is_refused_by_name():
    tuning = Tuning("gd", 0.5, 0.0, math.nan)
    object.__setattr__(tuning, "rule", "nestrov")  # the types that tests check would refuse it before
    with pytest.raises(UnknownNameError, match="unknown rule 'nestrov'; did you mean 'nesterov'"):
        tuning.__post_init__()


def test_a_step_above_the_reciprocal_of_the_largest_eigenvalue_is_warned_about():
    with pytest.warns(UserWarning, match="is above 1/λ_max = 0.5"):
        tuning = tune("nesterov", ENDS, learning_rate=0.6)
    assert tuning.learning_rate == 0.6
    assert tune("nesterov", ENDS, learning_rate=0.4).contraction > tune("nesterov", ENDS).contraction


def test_a_network_that_fits_at_the_start_is_refused():
    network = resnet(PROBLEM, depth=2, width=8, seed=0)
    outputs = network.outputs(network.weights, PROBLEM.inputs)
    fitted = Problem(PROBLEM.inputs, outputs, PROBLEM.singular_values, 0.0)
    with pytest.raises(InputError, match="the first residual is 0; wanted a positive finite one"):
        follow(resnet(fitted, depth=2, width=8, seed=0))


@pytest.mark.parametrize(("rule", "momentum"), [("gd", 0.0), ("heavy_ball", 0.5), ("nesterov", 0.5)])
def test_a_step_that_diverges_with_the_networks_own_gram_is_refused(rule, momentum):
    largest = float(torch.linalg.eigvalsh(jacobian_gram(NETWORK))[-1])
    limit = stability_limit(rule, momentum, largest)
    with pytest.raises(InputError, match=f"for {rule} with λ_max = .*from which on it diverges"):
        follow(NETWORK, Tuning(rule, 1.001 * limit, momentum, math.nan))
    assert len(follow(NETWORK, Tuning(rule, 0.9 * limit, momentum, math.nan), steps=0).sizes) == 1


def test_a_tuning_to_a_spectrum_that_is_not_the_networks_is_refused_where_it_diverges():
    ends = follow(NETWORK, "gd", steps=0).ends
    with pytest.raises(InputError, match=r"for gd with λ_max = .*from which on it diverges"):
        follow(NETWORK, "gd", tuned_to=Extremes(0.4 * ends.largest, ends.smallest))
    assert follow(NETWORK, "gd", tuned_to=Extremes(0.6 * ends.largest, ends.smallest), steps=0).ends == ends


def test_a_model_with_weights_that_are_not_finite_is_refused():
    model = DeepLinear([6, 12, 3])
    with torch.no_grad():
        model.layers[0].weight[0, 0] = math.nan
    with pytest.raises(InputError, match="jacobian gram: it is not finite; wanted finite weights and data"):
        follow(from_model(PROBLEM, model))


def test_a_descent_that_diverges_says_so_and_one_that_runs_out_of_steps_does_not():
    network = deep_linear(PROBLEM, depth=3, width=20, seed=0)
    with pytest.raises(DivergedError, match="lower the learning rate") as caught:
        list(descend(network, Tuning("gd", 100.0, 0.0, 0.5), steps=1000))
    assert caught.value.step > 0
    short = follow(network, "gd", steps=7)
    assert len(short.sizes) == 8
    assert math.isnan(short.contraction)
    assert short.steps_to(1e-6) is None


def test_the_network_and_the_users_model_are_left_as_they_are():
    model = DeepLinear([6, 12, 3])
    initialize(model, "gaussian", seed=0)
    kept = [parameter.detach().clone() for parameter in model.parameters()]
    network = from_model(PROBLEM, model)
    before = [W.clone() for W in network.weights]
    careful = Tuning("nesterov", 0.1, 0.5, math.nan)
    found = follow(network, careful, steps=20)
    assert found.tuning is careful
    for W, old, parameter, first in zip(network.weights, before, model.parameters(), kept, strict=True):
        assert torch.equal(W, old)
        assert torch.equal(parameter, first)
    assert found.looked_at[0] == 0
    assert found.moved[0] == 0
    moved = max(float((W - old).norm()) for W, old in zip(found.weights, before, strict=True))
    assert found.moved[-1] == pytest.approx(moved)
    assert found.looked_at[-1] == 20


def test_a_descent_that_stops_early_is_looked_at_where_it_stops():
    network = deep_linear(PROBLEM, depth=2, width=30, seed=0)
    found = follow(network, "gd", steps=900, until=0.03)
    last = len(found.sizes) - 1
    assert last not in log_spaced_steps(900, LOOKS)
    assert found.looked_at[-1] == last
    moved = max(float((W - old).norm()) for W, old in zip(found.weights, network.weights, strict=True))
    assert found.moved[-1] == pytest.approx(moved)
    assert found.sizes[-1] <= 0.03 * found.sizes[0] < found.sizes[-2]


def test_nesterov_with_a_condition_number_of_one_is_gradient_descent():
    ends = Extremes(2.0, 2.0)
    network = deep_linear(PROBLEM, depth=3, width=10, seed=1)
    runs = [
        follow(network, method, tuned_to=ends, steps=15).sizes for method in ("gd", "nesterov", "heavy_ball", "polyak")
    ]
    for sizes in runs[1:]:
        assert np.allclose(sizes, runs[0], rtol=1e-12)


def test_the_contraction_is_that_of_the_window_alone():
    steps = np.arange(300)
    sizes = 0.5 ** np.minimum(steps, 14) * 0.9 ** np.maximum(steps - 14, 0)  # from 6e-5 on slowly
    assert contraction(sizes) == pytest.approx(0.9, rel=1e-3)
    sizes[np.flatnonzero(sizes < WINDOW[0])] = 1e-12
    assert contraction(sizes) == pytest.approx(0.9, rel=1e-3)
    assert contraction(7 * sizes) == pytest.approx(contraction(sizes), rel=1e-12)
    assert math.isnan(contraction([1.0, 1e-5, 1e-12]))
    assert math.isnan(contraction([1.0, 0.9, 0.8]))


def test_steps_are_counted_to_the_first_that_reaches_the_share():
    assert steps_to([1.0, 1e-7, 1.0, 1e-7], 1e-6) == 1
    assert steps_to([1.0, 0.5], 0.1) is None
