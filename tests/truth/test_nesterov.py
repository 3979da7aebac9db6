"""liu2022nesterov's system against autograd, torch's optimisers, brute-force Jacobians and roots of polynomials."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ansatzlab.data.dataset import Dataset
from ansatzlab.laws.liu2022nesterov.descent import contraction, descend, linearised
from ansatzlab.laws.liu2022nesterov.jacobian_gram import Extremes, extremes, jacobian_gram, limit_gram
from ansatzlab.laws.liu2022nesterov.network import build, deep_linear, from_model, resnet
from ansatzlab.laws.liu2022nesterov.presets import PRESETS, Tuning, spectral_radius, stability_limit, tune
from ansatzlab.laws.liu2022nesterov.problem import Problem, log_spaced
from ansatzlab.laws.liu2022nesterov.system import follow
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize

ENDS = [Extremes(3.0, 3.0), Extremes(2.0, 0.5), Extremes(0.7, 0.7 / 300)]


def noisy(seed=0, size=15):
    """Data of rank 4 in 6 inputs whose targets no linear map fits."""
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((size, 4), (4, 6), (size, 3))]
    return Dataset("noisy", draw[0] @ draw[1], draw[2], "rank 4, random targets")


def networks(problem):
    user = DeepLinear([6, 4, 3])
    initialize(user, "gaussian", seed=6)
    perturbed = resnet(problem, depth=3, width=7, seed=2)
    generator = torch.Generator().manual_seed(5)
    moved = tuple(0.3 * torch.randn(W.shape, generator=generator, dtype=torch.float64) for W in perturbed.weights)
    return [
        deep_linear(problem, depth=3, width=5, seed=1),
        replace(perturbed, weights=moved),
        from_model(problem, user),
    ]


def outputs_by_hand(network, weights, inputs):
    """The network, written out from its definition, with one column an example."""
    h = inputs.mT if network.entry is None else network.entry @ inputs.mT
    for factor, W in zip(network.factors, weights, strict=True):
        h = factor * W @ h + (h if network.skips else 0)
    return (h if network.leaving is None else network.leaving @ h).mT


@pytest.mark.parametrize("which", range(3), ids=["deep linear", "resnet", "user's"])
def test_gradients_are_those_of_autograd_on_all_examples(which):
    data = noisy()
    network = networks(Problem.of(data))[which]
    weights = [W.clone().requires_grad_() for W in network.weights]
    loss = (outputs_by_hand(network, weights, data.inputs) - data.targets).square().sum() / 2
    residual, slopes = network.gradients(network.weights)
    for expected, (E, A) in zip(torch.autograd.grad(loss, weights), slopes, strict=True):
        torch.testing.assert_close(E.mT @ A, expected, rtol=1e-11, atol=1e-11)
    floor = Problem.of(data).floor
    assert floor > 1
    assert (float(residual.norm()) ** 2 + floor**2) / 2 == pytest.approx(float(loss.detach()), rel=1e-12)
    torch.testing.assert_close(
        network.outputs(network.weights, data.inputs), outputs_by_hand(network, network.weights, data.inputs)
    )


@pytest.mark.parametrize("which", range(3), ids=["deep linear", "resnet", "user's"])
def test_the_jacobian_gram_has_the_non_zero_spectrum_of_the_brute_force_one(which):
    data = noisy(size=9)
    network = networks(Problem.of(data))[which]

    def flat(*weights):
        return outputs_by_hand(network, weights, data.inputs).reshape(-1)

    jacobian = torch.cat(
        [part.flatten(1) for part in torch.func.jacrev(flat, argnums=(0, 1, 2)[: network.depth])(*network.weights)],
        dim=1,
    )
    brute = torch.linalg.eigvalsh(jacobian @ jacobian.mT)
    ours = torch.linalg.eigvalsh(jacobian_gram(network))
    assert (len(brute), len(ours)) == (27, 12)  # n c, r c
    assert float(brute[:15].abs().max()) < 1e-10 * float(brute[-1])
    torch.testing.assert_close(ours, brute[15:], rtol=1e-9, atol=1e-9 * float(brute[-1]))


def test_the_jacobian_gram_moves_the_residual_as_a_small_gradient_step_does():
    network = deep_linear(Problem.of(noisy()), depth=4, width=9, seed=3)
    rate = 1e-7
    residual, slopes = network.gradients(network.weights)
    stepped = [W - rate * E.mT @ A for W, (E, A) in zip(network.weights, slopes, strict=True)]
    moved = (network.residual(stepped) - residual).reshape(-1) / -rate
    expected = jacobian_gram(network) @ residual.reshape(-1)
    assert float((moved - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize(("rule", "momentum"), [("gd", 0.0), ("heavy_ball", 0.7), ("nesterov", 0.7)])
def test_descents_are_those_of_torch_on_all_examples(rule, momentum):
    data = noisy()
    network = deep_linear(Problem.of(data), depth=3, width=6, seed=4)
    rate = 0.2 / float(torch.linalg.eigvalsh(jacobian_gram(network))[-1])
    weights = [W.clone().requires_grad_() for W in network.weights]
    optimizer = torch.optim.SGD(weights, lr=rate, momentum=momentum, nesterov=rule == "nesterov")
    before = [W.clone() for W in network.weights]
    for moment in descend(network, Tuning(rule, rate, momentum, math.nan), steps=25):
        # torch keeps the point ahead, V = W + β (W − W_before), in place of W
        beta = momentum if rule == "nesterov" else 0.0
        for W, old, theirs in zip(moment.weights, before, weights, strict=True):
            torch.testing.assert_close(W + beta * (W - old), theirs.detach(), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(moment.residual, network.residual(moment.weights))
        before = [W.clone() for W in moment.weights]
        optimizer.zero_grad()
        ((outputs_by_hand(network, weights, data.inputs) - data.targets).square().sum() / 2).backward()
        optimizer.step()
    assert moment.step == 25


@pytest.mark.parametrize(("rule", "momentum"), [("gd", 0.0), ("heavy_ball", 0.6), ("nesterov", 0.6)])
def test_the_twin_is_the_descent_on_a_linear_model(rule, momentum):
    generator = torch.Generator().manual_seed(0)
    jacobian = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    target = torch.randn(5, generator=generator, dtype=torch.float64)
    eigenvalues, basis = torch.linalg.eigh(jacobian @ jacobian.mT)
    rate = 0.5 / float(eigenvalues[-1])
    w = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=rate, momentum=momentum, nesterov=rule == "nesterov")
    twin = linearised(eigenvalues, -target @ basis, Tuning(rule, rate, momentum, math.nan))
    before = w.detach().clone()
    for _ in range(40):
        ahead = w.detach().clone()
        # from V back to W: V = W + β (W − W_before)
        now = (ahead + momentum * before) / (1 + momentum) if rule == "nesterov" else ahead
        torch.testing.assert_close(next(twin), (jacobian @ now - target) @ basis, rtol=1e-9, atol=1e-12)
        before = now
        optimizer.zero_grad()
        ((jacobian @ w - target).square().sum() / 2).backward()
        optimizer.step()


@pytest.mark.parametrize("ends", ENDS, ids=["kappa 1", "kappa 4", "kappa 300"])
@pytest.mark.parametrize("method", PRESETS)
def test_a_preset_contracts_as_promised_at_every_eigenvalue(method, ends):
    tuning = tune(method, ends)
    spectrum = np.geomspace(ends.smallest, ends.largest, 401)
    radii = []
    for eigenvalue in spectrum:
        kept = 1 - tuning.learning_rate * eigenvalue
        beta = tuning.momentum
        p, q = ((1 + beta) * kept, beta * kept) if tuning.rule == "nesterov" else (kept + beta, beta)
        roots = np.roots([1.0, -p, q])
        radii.append(np.abs(roots).max())
        # a double root is known to the root of the rounding
        ours = spectral_radius(tuning.rule, tuning.learning_rate, beta, eigenvalue)
        assert ours == pytest.approx(radii[-1], abs=1e-7)
    assert max(radii) == pytest.approx(tuning.contraction, abs=1e-7)


def test_the_contractions_are_the_published_ones():
    ends = Extremes(1.0, 1 / 64)
    assert tune("gd", ends).contraction == pytest.approx(1 - 1 / 64)
    assert tune("nesterov", ends).contraction == pytest.approx(1 - 1 / 8)
    assert tune("polyak", ends).contraction == pytest.approx(7 / 9)
    assert tune("lessard", ends).contraction == pytest.approx(1 - 2 / math.sqrt(193))
    assert tune("nesterov", Extremes(2.0, 2.0)).momentum == 0


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("rule", ["gd", "heavy_ball", "nesterov"])
def test_the_stability_limit_is_where_a_root_leaves_the_unit_circle(rule, momentum):
    beta = 0.0 if rule == "gd" else momentum
    limit = stability_limit(rule, beta, 2.5)
    assert spectral_radius(rule, 0.999 * limit, beta, 2.5) < 1 < spectral_radius(rule, 1.001 * limit, beta, 2.5)


def test_polyaks_step_leaves_a_margin_of_one_over_kappa_and_nesterovs_a_third():
    ends = Extremes(5.0, 0.05)
    polyak, nesterov = (tune(name, ends) for name in ("polyak", "nesterov"))
    margin = polyak.learning_rate / stability_limit("heavy_ball", polyak.momentum, ends.largest)
    assert margin == pytest.approx(ends.condition / (ends.condition + 1))
    assert nesterov.learning_rate / stability_limit("nesterov", nesterov.momentum, ends.largest) < 0.8


def test_wide_networks_have_the_limits_gram_and_sixteen_times_the_width_a_quarter_of_the_distance():
    problem = Problem.of(log_spaced(seed=0, condition=9.0))
    limit = limit_gram(problem, 3)
    assert extremes(torch.linalg.eigvalsh(limit)).largest == pytest.approx(1.0)  # L s_max²/c
    distances = [
        np.mean(
            [float((jacobian_gram(deep_linear(problem, depth=3, width=m, seed=s)) - limit).norm()) for s in range(8)]
        )
        for m in (32, 512)
    ]
    assert distances[0] / distances[1] == pytest.approx(4, rel=0.35)


def test_a_resnets_gram_is_the_closed_form():
    problem = Problem.of(log_spaced(seed=1, condition=9.0))
    network = resnet(problem, depth=5, width=12, seed=0)
    AX, B = network.entry @ problem.inputs.mT, network.leaving
    expected = 5 * torch.kron(AX.mT @ AX, B @ B.mT)
    torch.testing.assert_close(jacobian_gram(network), expected)
    ends = extremes(torch.linalg.eigvalsh(expected))
    product = float(torch.linalg.cond(AX.mT @ AX) * torch.linalg.cond(B @ B.mT))
    assert ends.condition == pytest.approx(product, rel=1e-8)


def test_no_power_of_the_width_overflows():
    problem = Problem.of(log_spaced(seed=0, condition=4.0))
    network = deep_linear(problem, depth=300, width=32, seed=0)  # 32^(299/2) twice is beyond float64
    gram = jacobian_gram(deep_linear(problem, depth=40, width=400, seed=0))
    assert bool(network.residual(network.weights).isfinite().all())
    assert bool(gram.isfinite().all())
    assert float(gram.norm() / limit_gram(problem, 40).norm()) == pytest.approx(1, abs=0.7)


@pytest.mark.parametrize(("kind", "width"), [("deep_linear", 512), ("resnet", 128)])
def test_the_rates_are_those_of_the_law(kind, width):
    slopes = {}
    for method in ("gd", "nesterov"):
        points = []
        for condition in (4.0, 9.0, 36.0):
            network = build(Problem.of(log_spaced(seed=3, condition=condition)), kind, depth=2, width=width, seed=8)
            found = follow(network, method, until=1e-9)
            points.append((found.ends.condition, 1 - found.contraction))
            assert float(found.deviations.max()) < 0.1
            assert 1 - found.contraction == pytest.approx(1 - found.end_contraction, rel=0.15)
        slopes[method] = np.polyfit(*np.log(np.array(points).T), 1)[0]
    assert slopes["gd"] == pytest.approx(-1, abs=0.05)
    assert -0.62 <= slopes["nesterov"] <= -0.45


@pytest.mark.parametrize("lost", [0.0, 0.05, 0.3])
def test_a_smallest_eigenvalue_that_falls_costs_the_root_of_its_share(lost):
    ends = Extremes(1.0, 1 / 256)
    tuning = tune("nesterov", ends)
    radius = spectral_radius("nesterov", tuning.learning_rate, tuning.momentum, ends.smallest * (1 - lost))
    kept = 1 - (1 - lost) / 256
    assert radius == pytest.approx((16 * kept + math.sqrt(lost * kept)) / 17, abs=1e-9)
    assert (1 - radius) * 16 == pytest.approx(1 - math.sqrt(lost), abs=0.07)


def test_the_end_contraction_is_that_of_the_last_jacobian():
    network = deep_linear(Problem.of(log_spaced(seed=0, condition=16.0)), depth=3, width=12, seed=1)
    found = follow(network, "gd", until=1e-3)
    last = torch.linalg.eigvalsh(jacobian_gram(replace(network, weights=found.weights)))
    expected = float((1 - found.tuning.learning_rate * last).abs().max())
    assert found.end_contraction == pytest.approx(expected, rel=1e-12)
    assert found.end_contraction != pytest.approx(found.tuning.contraction, rel=1e-4)


def test_a_double_root_is_fitted_below_the_promise_and_a_single_one_at_it():
    steps = np.arange(400)
    assert contraction(0.9**steps) == pytest.approx(0.9, rel=1e-12)
    fitted = contraction((1 + steps) * 0.9**steps)
    assert 0.9 < fitted < 0.92
