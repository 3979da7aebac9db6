"""Stationary points of logistic loss with decay: gradients against autograd, identities, closed forms, and descents."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import softplus

from ansatzlab.laws.kuzborskij2025lowrank import descent as descents
from ansatzlab.laws.kuzborskij2025lowrank.descent import (
    ACTIVATIONS,
    Descent,
    descend,
    forward,
    gaussian_chain,
    gradients,
)
from ansatzlab.laws.kuzborskij2025lowrank.fitting import fit
from ansatzlab.laws.kuzborskij2025lowrank.network import chain_module, read_network
from ansatzlab.laws.kuzborskij2025lowrank.stationarity import LARGEST_PULL, stationarity_report
from ansatzlab.laws.kuzborskij2025lowrank.structure import stable_rank, structure_of
from ansatzlab.laws.kuzborskij2025lowrank.tasks import sign_task

TASK = sign_task(seed=0, examples=12, inputs=5)
WIDTHS = (5, 7, 6, 1)


def by_autograd(weights, inputs, labels, activation):
    leaves = [weight.clone().requires_grad_(True) for weight in weights]
    h = inputs
    for place, W in enumerate(leaves):
        h = h @ W.mT
        if place < len(leaves) - 1 and activation != "identity":
            h = torch.relu(h) ** ACTIVATIONS[activation].degree
    return torch.autograd.grad(softplus(-labels * h[..., 0]).mean(-1).sum(), leaves)


def check_gradients(activation):
    weights = gaussian_chain(WIDTHS, seed=1)
    found = gradients(weights, TASK.inputs, TASK.labels, activation)
    for got, wanted in zip(found, by_autograd(weights, TASK.inputs, TASK.labels, activation), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_closed_form_gradients_are_those_of_autograd(activation):
    check_gradients(activation)


def test_a_missing_factor_of_the_slope_is_seen(monkeypatch):
    wrong = {**ACTIVATIONS, "relu": descents.Activation(ACTIVATIONS["relu"].value, lambda back, _: back, 1)}
    monkeypatch.setattr(descents, "ACTIVATIONS", wrong)
    with pytest.raises(AssertionError, match="not close"):
        check_gradients("relu")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_stack_has_the_gradients_of_its_members(activation):
    members = [gaussian_chain(WIDTHS, seed=seed) for seed in (1, 2)]
    tasks = [sign_task(seed=seed, examples=12, inputs=5) for seed in (3, 4)]
    stack = [torch.stack(pair) for pair in zip(*members, strict=True)]
    x, y = (torch.stack([getattr(task, name) for task in tasks]) for name in ("inputs", "labels"))
    together = gradients(stack, x, y, activation)
    for place, (weights, task) in enumerate(zip(members, tasks, strict=True)):
        alone = gradients(weights, task.inputs, task.labels, activation)
        for one, all_ in zip(alone, together, strict=True):
            torch.testing.assert_close(all_[place], one, rtol=1e-12, atol=1e-15)


def test_the_gradients_of_a_linear_chain_have_rank_one():
    for slope in gradients(gaussian_chain(WIDTHS, seed=1), TASK.inputs, TASK.labels, "identity"):
        assert stable_rank(slope) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_eulers_identity_holds_at_any_weights(activation):
    weights = gaussian_chain(WIDTHS, seed=2)
    margins = TASK.labels * forward(weights, TASK.inputs, activation)[-1][:, 0]
    pull = float((margins / (1 + margins.exp())).mean())
    degrees = list(read_network(chain_module(weights, activation), TASK.inputs).degrees.values())
    products = [
        float((W * g).sum())
        for W, g in zip(weights, gradients(weights, TASK.inputs, TASK.labels, activation), strict=True)
    ]
    assert products == pytest.approx([-p * pull for p in degrees], rel=1e-12)
    k = ACTIVATIONS[activation].degree
    assert degrees == [k**2, k, 1]


def test_the_largest_pull_is_the_largest():
    m = np.linspace(0, 5, 2_000_001)
    assert (m / (1 + np.exp(m))).max() == pytest.approx(LARGEST_PULL, rel=1e-12)


@pytest.mark.parametrize("name", ["fit", "descend"])
def test_training_is_torchs_with_twice_the_decay(name):
    weights = gaussian_chain(WIDTHS, seed=3)
    reference = chain_module(weights, "relu")
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.3, weight_decay=0.02)
    for _ in range(50):
        optimizer.zero_grad()
        softplus(-TASK.labels * reference(TASK.inputs)[:, 0]).mean().backward()
        optimizer.step()
    recipe = Descent(decay=0.01, learning_rate=0.3, steps=50)
    if name == "fit":
        found = list(fit(chain_module(weights, "relu"), TASK, recipe).model.parameters())
    else:
        (moment,) = descend(weights, (TASK.inputs, TASK.labels), "relu", recipe)
        found = list(moment.weights)
    for got, wanted in zip(found, reference.parameters(), strict=True):
        torch.testing.assert_close(got.detach(), wanted.detach(), rtol=1e-11, atol=1e-13)


def test_both_average_the_gradients_of_the_last_steps():
    weights = gaussian_chain(WIDTHS, seed=3)
    recipe = Descent(decay=0.01, learning_rate=0.3, steps=20, average=7)
    fitted = fit(chain_module(weights, "relu"), TASK, recipe)
    *_, moment = descend(weights, (TASK.inputs, TASK.labels), "relu", recipe)
    for got, wanted in zip(fitted.gradients.values(), moment.averaged, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-13)


def test_a_fit_that_ends_early_averages_over_one_block_to_two():
    weights = gaussian_chain(WIDTHS, seed=3)
    recipe = Descent(decay=0.03, learning_rate=0.3, steps=4000, average=7)
    fitted = fit(chain_module(weights, "identity"), TASK, recipe, tolerance=0.3)
    assert 14 < fitted.steps < 4000
    count = 7 + (fitted.steps - 4000) % 7  # blocks end where all steps would have
    slopes = []
    for moment in descend(weights, (TASK.inputs, TASK.labels), "identity", recipe, range(fitted.steps)):
        if fitted.steps - count <= moment.step < fitted.steps:
            slopes.append(gradients(moment.weights, TASK.inputs, TASK.labels, "identity"))
    assert len(slopes) == count
    for got, wanted in zip(fitted.gradients.values(), zip(*slopes, strict=True), strict=True):
        torch.testing.assert_close(got, torch.stack(wanted).mean(0), rtol=1e-9, atol=1e-12)


def test_a_network_of_two_numbers_has_the_closed_form():
    # f(x) = v w x at x = y = 1 is stationary where 2λ w² = 2λ v² = m/(1 + e^m), m = v w: 1 + e^m = 1/(2λ).
    decay = 0.1
    m = math.log(1 / (2 * decay) - 1)
    root = torch.tensor([[math.sqrt(m)]], dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.float64)
    report = stationarity_report(chain_module([root, root], "relu"), one, one[:, 0], decay)
    assert report.residual < 1e-14
    assert report.cosine == pytest.approx(1.0, abs=1e-15)
    assert report.pull == pytest.approx(2 * decay * m, rel=1e-14)
    assert report.worst_euler_residual < 1e-14
    assert report.structure.rank_product == report.structure.rank_bound == pytest.approx(1.0)
    # Off it by a factor of the first matrix the residual is that of (g + 2λθ) by hand.
    off = stationarity_report(chain_module([2 * root, root], "relu"), one, one[:, 0], decay)
    s = 1 / (1 + math.exp(2 * m))
    g = np.array([-s * math.sqrt(m), -s * 2 * math.sqrt(m)])
    theta = np.array([2 * math.sqrt(m), math.sqrt(m)])
    assert off.residual == pytest.approx(np.linalg.norm(g + 2 * decay * theta) / np.linalg.norm(2 * decay * theta))
    assert off.cosine == pytest.approx(-g @ theta / np.linalg.norm(g) / np.linalg.norm(theta))
    assert off.structure.neuron_imbalance == pytest.approx(3 / 4)


@given(st.integers(0, 10**6), st.sampled_from(["relu", "identity"]), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_the_product_of_stable_ranks_never_exceeds_its_bound(seed, activation, depth):
    weights = gaussian_chain([5, *[6] * (depth - 1), 1], seed=seed)
    structure = structure_of(chain_module(weights, activation), TASK.inputs)
    if not math.isnan(structure.rank_bound):
        assert 1 - 1e-12 <= structure.rank_product <= structure.rank_bound * (1 + 1e-12)


def test_the_bound_is_that_of_the_input_that_says_most():
    weights = gaussian_chain((5, 6, 1), seed=8)
    outputs = forward(weights, TASK.inputs, "relu")[-1][:, 0]
    each = [
        (float(weights[0].norm() * weights[1].norm()) * math.sqrt(float(x @ x)) / abs(float(f))) ** 2
        for x, f in zip(TASK.inputs, outputs, strict=True)
        if f
    ]
    assert structure_of(chain_module(weights, "relu"), TASK.inputs).rank_bound == pytest.approx(min(each), rel=1e-12)


def test_an_input_of_zeros_bounds_nothing():
    weights = gaussian_chain((5, 6, 1), seed=8)
    with_zero = torch.cat([TASK.inputs, torch.zeros(1, 5, dtype=torch.float64)])
    found, wanted = (structure_of(chain_module(weights, "relu"), each) for each in (with_zero, TASK.inputs))
    assert found.rank_bound == wanted.rank_bound
    assert math.isfinite(found.rank_bound)


def test_the_bound_is_attained_where_one_input_is_all_there_is():
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    structure = structure_of(chain_module([x.clone(), torch.ones(1, 1, dtype=torch.float64)], "identity"), x)
    assert structure.rank_bound == pytest.approx(1.0, rel=1e-12)


def followed(activation, decay, rate, steps):
    """The imbalances of neighbouring layers, over their degrees, at some moments of a descent."""
    weights = gaussian_chain((5, 30, 30, 1), seed=4, scales=(1.5, 1.0, 1.0))
    recipe = Descent(decay, rate, steps)
    k, moments = ACTIVATIONS[activation].degree, [steps * place // 20 for place in range(21)]
    found = []
    for moment in descend(weights, (TASK.inputs, TASK.labels), activation, recipe, moments):
        shares = [float(W.square().sum()) / k ** (2 - place) for place, W in enumerate(moment.weights)]
        found.append([one - other for one, other in pairwise(shares)])
    return np.array(moments) * rate, np.array(found)


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_imbalance_falls_at_four_times_the_decay(activation):
    times, found = followed(activation, decay=0.02, rate=0.02, steps=1500)
    for each in found.T:
        assert -np.polyfit(times, np.log(np.abs(each)), 1)[0] == pytest.approx(0.08, rel=5e-3)


def test_without_decay_imbalance_stays():
    _, found = followed("relu", decay=0.0, rate=0.02, steps=1500)
    assert found[-1] == pytest.approx(found[0], rel=5e-3)


def trained(activation, decay, rate, steps, average=0):
    weights = gaussian_chain((5, 20, 1), seed=5)
    *_, moment = descend(
        weights, (TASK.inputs, TASK.labels), activation, Descent(decay, rate, steps, average), frozen=()
    )
    model = chain_module(moment.weights, activation)
    names = [name for name, _ in model.named_parameters()]
    means = None if moment.averaged is None else dict(zip(names, moment.averaged, strict=True))
    return model, means


def test_a_linear_network_ends_aligned_balanced_and_of_rank_one():
    model, _ = trained("identity", 0.01, 0.5, 3000)
    report = stationarity_report(model, TASK.inputs, TASK.labels, 0.01, flow_time=1500.0)
    assert 1 - report.cosine < 1e-12
    assert report.worst_euler_residual < 1e-10
    assert all(layer.stable_rank < 1 + 1e-9 for layer in report.structure.layers)
    assert report.structure.neuron_imbalance < 1e-10
    assert all(layer.squared_norm <= LARGEST_PULL / 0.02 for layer in report.structure.layers)
    assert (report.not_balanced_yet, report.collapsed) == (False, False)


def test_a_relu_network_is_aligned_with_the_averaged_gradient_only():
    model, means = trained("relu", 0.01, 0.1, 6000, average=3000)
    last = stationarity_report(model, TASK.inputs, TASK.labels, 0.01)
    mean = stationarity_report(model, TASK.inputs, TASK.labels, 0.01, gradients=means)
    assert 1 - last.cosine > 1e-3
    assert mean.cosine > 0.999
    assert last.worst_euler_residual < 1e-3
    assert (last.averaged, mean.averaged) == (False, True)


def test_squares_share_norms_by_their_degrees():
    model, _ = trained("relu_squared", 0.02, 0.05, 5000)
    report = stationarity_report(model, TASK.inputs, TASK.labels, 0.02)
    first, second = report.structure.layers
    assert (first.degree, second.degree) == (2, 1)
    assert first.squared_norm / second.squared_norm == pytest.approx(2.0, abs=1e-4)
    assert report.structure.spread < 1e-4
    assert math.isnan(report.structure.rank_bound)


def test_too_large_a_decay_is_reported_as_collapse():
    model, _ = trained("relu", 0.4, 0.1, 800)
    report = stationarity_report(model, TASK.inputs, TASK.labels, 0.4)
    assert report.collapsed
    assert math.isnan(report.cosine)
    assert math.isnan(report.residual)
    assert "Collapsed" in report.statement()
    zero = stationarity_report(chain_module([0 * TASK.inputs[:1]], "relu"), TASK.inputs, TASK.labels, 0.1)
    assert (zero.collapsed, math.isnan(zero.cosine)) == (True, True)


def test_a_training_that_is_too_short_is_not_balanced_yet():
    model, _ = trained("relu", 0.01, 0.1, 1000)
    assert stationarity_report(model, TASK.inputs, TASK.labels, 0.01, flow_time=100.0).not_balanced_yet
    assert stationarity_report(model, TASK.inputs, TASK.labels, 0.01).not_balanced_yet is None


def test_frozen_matrices_are_not_asked_to_be_stationary():
    weights = gaussian_chain((5, 20, 1), seed=5)
    recipe = Descent(0.01, 0.5, 3000)
    *_, moment = descend(weights, (TASK.inputs, TASK.labels), "identity", recipe, frozen=(1,))
    torch.testing.assert_close(moment.weights[1], gaussian_chain((5, 20, 1), seed=5)[1], rtol=0, atol=0)
    report = stationarity_report(chain_module(moment.weights, "identity", (1,)), TASK.inputs, TASK.labels, 0.01)
    assert [layer.name for layer in report.structure.layers] == ["0.weight"]
    assert report.residual < 1e-10


def test_the_report_leaves_the_network_and_the_generator_alone():
    model = nn.Sequential(nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 1, bias=False)).double()
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    stationarity_report(model, TASK.inputs, TASK.labels, 0.01)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(state, torch.get_rng_state())
