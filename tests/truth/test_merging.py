"""Merging by the sum of weights: bounds that hold for every network, closed forms, and what descents leave."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ansatzlab.laws.kuzborskij2025lowrank.descent import Descent, descend, forward, gaussian_chain
from ansatzlab.laws.kuzborskij2025lowrank.merge_report import deviation_bounds, merge_report
from ansatzlab.laws.kuzborskij2025lowrank.merged.theory import foretold_bounds, rank_one_deviation
from ansatzlab.laws.kuzborskij2025lowrank.merged.training import train_and_merge
from ansatzlab.laws.kuzborskij2025lowrank.network import chain_module, read_network
from ansatzlab.laws.kuzborskij2025lowrank.tasks import Task, coherence, mixed_pair, on_disjoint_features

SMALL = {"examples": 8, "inputs": 8, "width": 30, "learning_rate": 0.5, "snapshots": 6}


def random_task(name, seed, examples=6, inputs=4):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, inputs, generator=generator, dtype=torch.float64)
    return Task(name, x, torch.where(x[:, 0] < 0, -1, 1))


@given(st.integers(0, 10**6), st.sampled_from(["relu", "identity"]), st.integers(1, 4), st.booleans())
@settings(max_examples=40, deadline=None)
def test_no_output_moves_by_more_than_its_bound(seed, activation, depth, shared):
    widths = [4, *[5] * (depth - 1), 1]
    a, b = gaussian_chain(widths, seed), gaussian_chain(widths, seed + 1)
    if shared and depth > 1:
        b[-1] = a[-1].clone()
    task = random_task("A", seed + 2)
    merged = [W if torch.equal(W, V) else W + V for W, V in zip(a, b, strict=True)]
    own, new = (forward(each, task.inputs, activation)[-1][:, 0] for each in (a, merged))
    networks = [read_network(chain_module(each, activation), task.inputs) for each in (a, b)]
    bounds = deviation_bounds(*networks, task.inputs)
    if networks[0].activation:
        assert bool(((new - own).abs() <= bounds * (1 + 1e-12) + 1e-13).all())


def test_the_bound_of_one_hidden_layer_with_a_shared_readout_is_that_of_the_specification():
    a, b = gaussian_chain((4, 5, 1), 0), gaussian_chain((4, 5, 1), 1)
    b[1] = a[1].clone()
    task = random_task("A", 2)
    networks = [read_network(chain_module(each, "relu"), task.inputs) for each in (a, b)]
    wanted = a[1].norm() * (task.inputs @ b[0].mT).norm(dim=1)
    torch.testing.assert_close(deviation_bounds(*networks, task.inputs), wanted, rtol=1e-12, atol=0.0)


def test_no_bound_is_claimed_for_squares():
    networks = [
        read_network(chain_module(gaussian_chain((4, 5, 1), s), "relu_squared"), torch.eye(4).double()) for s in (0, 1)
    ]
    assert bool(deviation_bounds(*networks, torch.eye(4).double()).isnan().all())


def test_what_is_foretold_bounds_what_training_leaves():
    pair = mixed_pair(seed=0, examples=8, inputs=8, mixing=0.3)
    start = gaussian_chain((16, 30, 1), 5)
    for steps, decay in ((0, 0.01), (5, 0.01), (400, 0.01), (100, 0.0)):
        weights = [weight.clone() for weight in start]
        recipe = Descent(decay, 0.5, steps)
        *_, moment = descend(weights, (pair[1].inputs, pair[1].labels), "relu", recipe, frozen=(1,))
        felt = start[1].norm() * (pair[0].inputs @ moment.weights[0].mT).norm(dim=1)
        bounds = foretold_bounds(start[1], start[0], pair[1].inputs, pair[0].inputs, recipe)
        assert bool((felt <= bounds * (1 + 1e-12)).all())
        if steps == 0:
            torch.testing.assert_close(felt, bounds)


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_what_is_foretold_is_the_sum_over_steps(decay):
    u, W = gaussian_chain((3, 4, 1), 0)[::-1]
    x, z = torch.tensor([[1.0, 2.0, 0.0]]).double(), torch.tensor([[0.0, 1.0, 1.0], [3.0, -2.0, 0.0]]).double()
    kept, size = 1 - 2 * 0.3 * decay, float(u.norm())
    fed = 0.3 * size * 2.0 * sum(kept**s for s in range(7))  # the inner products are 2 and −1
    wanted = size * (kept**7 * float((W @ x[0]).norm()) + fed)
    assert float(foretold_bounds(u, W, z, x, Descent(decay, 0.3, 7))) == pytest.approx(wanted, rel=1e-12)


def test_off_the_inputs_a_layer_keeps_a_power_of_its_start():
    rows = list(train_and_merge(seed=0, kind="readout_shared", weight_decay=0.02, steps=300, **SMALL))
    assert max(row["span_error"] for row in rows) < 1e-12


def test_merging_networks_on_orthogonal_inputs_loses_what_decay_has_not_forgotten():
    rows = list(train_and_merge(seed=0, kind="readout_shared", weight_decay=0.02, steps=1800, **SMALL))
    fall = math.log(rows[-1]["deviation_a"] / rows[1]["deviation_a"]) / (rows[-1]["step"] - rows[1]["step"])
    assert fall / math.log(1 - 0.5 * 0.02) == pytest.approx(1.0, rel=0.1)
    assert all(row["bound_share"] <= 1 and row["foretold_share"] <= 1 for row in rows)
    assert rows[-1]["lost_a"] == rows[-1]["lost_b"] == 0
    (kept,) = train_and_merge(seed=0, kind="readout_shared", weight_decay=0.0, steps=1800, **(SMALL | {"snapshots": 1}))
    assert kept["deviation_a"] > 100 * rows[-1]["deviation_a"]


def rank_one(sizes, directions, ends):
    """Matrices ``s_k l_k r_kᵀ`` whose neighbouring directions agree."""
    vectors = [ends, *directions, torch.ones(1, dtype=torch.float64)]
    return [s * torch.outer(left, right) for s, right, left in zip(sizes, vectors, vectors[1:], strict=False)]


def unit(seed, size):
    return torch.nn.functional.normalize(
        torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=0
    )


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_rank_one_networks_merge_as_foretold(depth):
    a, b = (
        rank_one(
            [1.0 + place * factor for place in range(depth)], [unit(seed + place, 6) for place in range(depth - 1)], end
        )
        for seed, factor, end in (
            (10, 0.3, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)),
            (20, 0.4, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)),
        )
    )
    x = torch.tensor([[2.0, 0.0, 1.0]], dtype=torch.float64)
    own, merged = (forward(each, x, "identity")[-1][0, 0] for each in (a, [W + V for W, V in zip(a, b, strict=True)]))
    assert rank_one_deviation(a, b) == pytest.approx(abs(float(merged / own) - 1), rel=1e-9)
    if depth == 2:  # (s_B/s_A) times the overlap
        assert rank_one_deviation(a, b) == pytest.approx(1.4 / 1.3 * abs(float(unit(10, 6) @ unit(20, 6))), rel=1e-9)


def test_linear_networks_with_orthogonal_rows_merge_exactly():
    tasks = [Task(name, x, torch.ones(2)) for name, x in zip("AB", torch.eye(4).double().split(2), strict=True)]
    a, b = (chain_module([task.inputs.mean(0, keepdim=True)], "identity") for task in tasks)
    report = merge_report(a, b, *tasks)
    assert report.coherence == 0.0
    assert [account.deviation for account in report.accounts] == [0.0, 0.0]
    assert [account.bound_share for account in report.accounts] == [0.0, 0.0]
    assert report.warnings == ()


def test_what_was_lost_is_counted_by_hand():
    # f_A(x) = x₁, f_B(x) = −2 x₁ + x₂; merged −x₁ + x₂. On A: margins 1, 3, −1 become −1, 1, 1.
    a, b = (chain_module([torch.tensor([row], dtype=torch.float64)], "identity") for row in ([1.0, 0.0], [-2.0, 1.0]))
    task = Task("A", torch.tensor([[1.0, 0.0], [3.0, 4.0], [-1.0, 0.0]]).double(), torch.ones(3))
    other = Task("B", torch.tensor([[0.0, 1.0]]).double(), torch.ones(1))
    report = merge_report(a, b, task, other)
    account = report.accounts[0]
    assert (account.lost, account.gained, account.certified) == (1, 1, 0 + (3 > 2 * 3 - 4) * 1)
    assert account.deviation == 2.0
    assert account.relative_deviation == pytest.approx(2 / 3)
    assert account.least_margin == -1.0
    assert account.own_loss == pytest.approx(sum(math.log1p(math.exp(-m)) for m in (1, 3, -1)) / 3)
    assert account.merged_loss == pytest.approx(sum(math.log1p(math.exp(-m)) for m in (-1, 1, 1)) / 3)
    assert report.statement().startswith("Lost: 1 of 2 right answers on A; outputs move by up to 2 (on A")
    assert report.coherence == pytest.approx(0.8)
    assert (account.own_accuracy, account.other_accuracy) == pytest.approx((2 / 3, 1 / 3))
    learnt, orthogonal = report.warnings
    assert learnt.startswith("on task A its own network is right on 66.7% only: it has not learnt its task")
    assert "not orthogonal" in orthogonal


def starts(activation, examples=6):
    """Reports of merging networks of one start, and of two."""
    tasks = on_disjoint_features(random_task("A", 0, examples, 20), random_task("B", 1, examples, 20))
    recipe = Descent(0.01, 0.5, 800)

    def network(task, seed):
        weights = gaussian_chain((40, 80, 1), seed)
        *_, moment = descend(weights, (task.inputs, task.labels), activation, recipe)
        return chain_module(moment.weights, activation)

    return [merge_report(network(tasks[0], 3), network(tasks[1], seed), *tasks) for seed in (3, 4)]


def test_twins_are_warned_of_and_strangers_are_not():
    twins, strangers = starts("identity")
    assert any("same seed" in warning for warning in twins.warnings)
    assert not any("same seed" in warning for warning in strangers.warnings)
    assert twins.overlaps[0].value > 3 * strangers.overlaps[0].value
    assert twins.start_cosine == pytest.approx(1.0, abs=1e-6)
    assert abs(strangers.start_cosine) < 0.1


def test_a_common_start_shows_only_where_no_input_is():
    twins, strangers = starts("relu")
    assert twins.start_cosine == pytest.approx(1.0, abs=1e-6)
    assert abs(strangers.start_cosine) < 0.1
    assert all(math.isnan(report.start_cosine) for report in starts("relu", examples=30))


def test_mixing_sets_the_coherence():
    whole = coherence(*(task.inputs for task in mixed_pair(seed=0, examples=8, inputs=8, mixing=1.0)))
    for mixing in (0.0, 0.2, 0.5):
        a, b = mixed_pair(seed=0, examples=8, inputs=8, mixing=mixing)
        assert coherence(a.inputs, b.inputs) == pytest.approx(mixing * whole, abs=1e-15)
        torch.testing.assert_close(a.inputs.norm(dim=1), b.inputs.norm(dim=1))
