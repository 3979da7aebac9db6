"""The noise floor chapter: its plan, its judging on planted tables, its training and its prediction."""

import math

import pytest
import torch

from ansatzlab.data.synthetic import low_rank_linear
from ansatzlab.errors import DivergedError, InputError
from ansatzlab.laws.judge import judge_claim
from ansatzlab.laws.runs import RunTable
from ansatzlab.laws.tansley2025nfa.noise.chapter import CHAPTER
from ansatzlab.laws.tansley2025nfa.noise.claims import CLAIMS
from ansatzlab.laws.tansley2025nfa.noise.design import Design, plan
from ansatzlab.laws.tansley2025nfa.noise.statistics import halving
from ansatzlab.laws.tansley2025nfa.noise.theory import balanced_minimum, predicted_brackets
from ansatzlab.laws.tansley2025nfa.noise.training import train_to_floor
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.store.schema import to_table
from ansatzlab.sweeps.run import run
from ansatzlab.training.balance import imbalance
from ansatzlab.training.objective import LinearSquareLoss

SMALL = {
    "depth": 3,
    "width": 4,
    "points": [[0.1, 0.2], [0.05, 0.2]],
    "noise": 0.5,
    "size": 40,
    "input_dim": 5,
    "spectrum": [2.0, 1.5, 1.0],
    "batch_size": 4,
    "replicas": 2,
    "burn_in": 6.0,
    "average": 20.0,
}


@pytest.mark.parametrize("claim", CLAIMS, ids=[claim.key for claim in CLAIMS])
def test_every_claim_is_judged_as_planted(claim) -> None:
    for truth, outcome in ((True, "HOLDS"), (False, "FAILS")):
        findings = judge_claim(claim, RunTable(CHAPTER.planted(truth)))
        assert {finding.outcome for finding in findings} == {outcome}
        assert all(finding.condition.startswith(("label noise, L = ", "interpolating, L = ")) for finding in findings)
    assert [f.outcome for f in judge_claim(claim, RunTable(CHAPTER.planted(True).slice(0, 0)))] == ["INCONCLUSIVE"]


def test_the_plan_has_every_depth_both_data_and_each_point_once() -> None:
    specs = plan(Design(), "digits")
    assert len(specs) == 12
    assert len({spec.run_id for spec in specs}) == 12
    points = specs[0].options["points"]
    assert points == [[0.08, 0.02], [0.04, 0.02], [0.02, 0.02], [0.04, 0.01], [0.04, 0.04]]


def test_rates_of_which_none_is_half_of_another_give_no_halving() -> None:
    table = CHAPTER.planted(True)
    rates = table["step_size"].to_pylist()
    changed = table.set_column(table.column_names.index("step_size"), "step_size", [[rate**1.3 for rate in rates]])
    assert all(math.isnan(s.value) and "half" in s.reason for s in halving(RunTable(changed)))


def test_a_run_that_failed_gives_its_reason_and_no_figure() -> None:
    (spec, *_) = plan(Design(floor_examples=1, seeds=0), "digits")
    rows = run(spec.model_copy(update={"options": {**spec.options, "points": [[50.0, 0.1]], "burn_in": 200.0}}))
    table = to_table(rows)
    (sample,) = CLAIMS[0].samples(RunTable(table))
    assert math.isnan(sample.value)
    assert sample.reason.startswith(("diverged", "failed"))
    assert CHAPTER.figures(RunTable(table)) == ()


def test_a_training_reports_the_floor_of_every_point_and_pair() -> None:
    rows = list(train_to_floor(seed=0, **SMALL))
    assert [(row["snapshot"], row["layer_index"]) for row in rows] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    for row in rows:
        assert row["step"] == 300 + 1000
        assert row["floor_error"] < 0.05
        assert row["floor"] == pytest.approx(row["floor_predicted"], rel=0.05)
    assert rows[2]["floor"] / rows[0]["floor"] == pytest.approx(0.5, abs=0.15)
    assert rows[2]["floor"] == pytest.approx(rows[2]["floor_foretold"], rel=0.5)


def test_a_training_that_diverges_says_so() -> None:
    with pytest.raises(DivergedError, match="stopped being finite"):
        list(train_to_floor(seed=0, **{**SMALL, "points": [[20.0, 0.2]]}))


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_minimum_is_stationary_and_balanced(depth: int) -> None:
    data = low_rank_linear(seed=1, size=40, input_dim=5, output_dim=3, noise=0.3)
    weights = balanced_minimum(data, depth, 0.05)
    _, gradients = LinearSquareLoss(data)(weights)
    for W, g, d in zip(weights, gradients, imbalance(weights), strict=False):
        assert float((g + 0.05 * W).norm()) < 1e-8
        assert float(d.norm()) < 1e-6


def test_a_decay_that_leaves_no_minimum_away_from_zero_is_refused() -> None:
    data = low_rank_linear(seed=1, size=40, input_dim=5, output_dim=3, spectrum=[1e-3], noise=0.0)
    with pytest.raises(InputError, match="lower the decay"):
        balanced_minimum(data, 3, 0.5)


@pytest.mark.parametrize("depth", [2, 3])
def test_the_foretold_bracket_is_the_mean_over_all_batches(depth: int) -> None:
    """Against brute force: autograd on every ordered batch of two of five examples, drawn with replacement."""
    data = low_rank_linear(seed=2, size=5, input_dim=3, output_dim=2, spectrum=[1.0, 0.8], noise=0.3)
    weights = balanced_minimum(data, depth, 0.05)
    model = DeepLinear([3, *[2] * (depth - 1), 2])
    with torch.no_grad():
        for layer, W in zip(model.layers, weights, strict=True):
            layer.weight.copy_(W)
    means = [torch.zeros(2, 2, dtype=torch.float64) for _ in weights[1:]]
    for i in range(5):
        for j in range(5):
            rows = torch.tensor([i, j])
            loss = (model(data.inputs[rows]) - data.targets[rows]).square().sum() / 4
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            means = [mean + s / 25 for mean, s in zip(means, imbalance(gradients), strict=True)]
    for found, mean in zip(predicted_brackets(weights, data, 2), means, strict=True):
        torch.testing.assert_close(found, mean, rtol=0, atol=1e-9)
        assert float(mean.norm()) > 1e-3
