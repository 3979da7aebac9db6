"""liu2022nesterov: its judging on planted tables, its plan, its runs, its figures."""

import json
import math
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ansatzlab.errors import UnknownNameError
from ansatzlab.laws.judge import judge_claim
from ansatzlab.laws.liu2022nesterov.claims import CLAIMS
from ansatzlab.laws.liu2022nesterov.design import DESIGNS, GRAM, RATES, REAL, RESNET, Design, plan
from ansatzlab.laws.liu2022nesterov.figures import figures
from ansatzlab.laws.liu2022nesterov.planted import planted as build_planted
from ansatzlab.laws.liu2022nesterov.statistics import described, points, slope
from ansatzlab.laws.liu2022nesterov.tasks import (
    count_trained,
    descend_and_compare,
    follow_twin,
    measure_distance,
    weight_seed,
)
from ansatzlab.laws.reading import families
from ansatzlab.laws.runs import RunTable
from ansatzlab.store.schema import to_table
from ansatzlab.sweeps.run import run
from ansatzlab.sweeps.task import TaskSpec

planted = cache(build_planted)
BY_KEY = {claim.key: claim for claim in CLAIMS}
SHAPE = {"depth": 2, "width": 40, "condition": 5.0}


def changed(table, column, change, keep=None):
    """The table with a column's values changed where the mask is true."""
    values = table[column].to_pylist()
    mask = [True] * len(values) if keep is None else keep.to_pylist()
    new = [change(v) if v is not None and m else v for v, m in zip(values, mask, strict=True)]
    return table.set_column(table.column_names.index(column), column, pa.array(new, pa.float64()))


def outcomes(key, table):
    return {finding.condition: finding.outcome for finding in judge_claim(BY_KEY[key], RunTable(table))}


@pytest.mark.parametrize("claim", CLAIMS, ids=BY_KEY)
def test_every_claim_is_judged_as_planted(claim):
    for truth, outcome in ((True, "HOLDS"), (False, "FAILS")):
        assert {finding.outcome for finding in judge_claim(claim, RunTable(planted(truth)))} == {outcome}
    assert [finding.outcome for finding in judge_claim(claim, RunTable(planted(True).slice(0, 0)))] == ["INCONCLUSIVE"]


def test_slopes_are_judged_by_network_and_tuning():
    conditions = outcomes("M.nesterov-slope", planted(True))
    assert "deep linear, L = 6, m = 512" in conditions
    assert "deep linear, L = 3, m = 256, tuned to the limit" in conditions
    assert "ResNet, L = 16, m = 128" in conditions
    assert not any("digits" in condition for condition in conditions)
    data = [f"digits: deep linear, L = 3, m = {width}" for width in (512, 1024)]
    assert list(outcomes("M.data-nesterov", planted(True))) == data
    assert list(outcomes("M.data-gd", planted(True))) == data[:1]


def test_one_seed_outside_fails_its_condition_alone():
    table = planted(True)
    this = pc.and_(
        pc.equal(table["experiment"], RATES), pc.and_(pc.equal(table["seed"], 1), pc.equal(table["depth"], 6))
    )
    judged = outcomes("M.gd-slope", changed(table, "contraction", lambda _: 0.5, this))
    assert [condition for condition, outcome in judged.items() if outcome == "FAILS"] == ["deep linear, L = 6, m = 512"]


def test_the_slope_is_that_of_the_logarithms_and_says_when_it_has_none():
    table = planted(True)
    steeper = changed(table, "contraction", lambda rho: 1 - (1 - rho) ** 2)
    before, after = ({s.condition: s.value for s in slope("gd", RATES)(RunTable(t))} for t in (table, steeper))
    assert before["deep linear, L = 3, m = 512"] == pytest.approx(-1)
    assert after == pytest.approx({condition: 2 * value for condition, value in before.items()})
    few = changed(table, "condition", lambda kappa: kappa if kappa > 50 else 1.0)
    silent = slope("gd", RATES)(RunTable(few))
    assert all(math.isnan(s.value) and not s.applies and s.reason.startswith("fewer than 3") for s in silent)
    lost = table.drop_columns("contraction")
    assert all(math.isnan(s.value) and "could not be fitted" in s.reason for s in slope("gd", RATES)(RunTable(lost)))


def test_the_constant_of_gradient_descent_is_the_one_furthest_from_the_first_measured():
    table = planted(True)
    values = [sample.value for sample in BY_KEY["M.gd-constant"].samples(RunTable(table))]
    assert values == pytest.approx([0.9] * 6)
    assert set(outcomes("M.gd-constant", table)) == {
        f"deep linear, L = {depth}, m = 256, tuned to the limit" for depth in (3, 6)
    }
    one = pc.equal(table["data_condition"], 64.0)
    slower = changed(table, "contraction", lambda rho: 1 - 0.5 * (1 - rho), one)
    values = [sample.value for sample in BY_KEY["M.gd-constant"].samples(RunTable(slower))]
    assert values == pytest.approx([0.45] * 6)
    lost = BY_KEY["M.gd-constant"].samples(RunTable(table.drop_columns("contraction")))
    assert {sample.reason for sample in lost} == {"a contraction could not be fitted"}


def test_the_floor_is_a_tautology_by_pythagoras():
    rows = list(descend_and_compare(seed=0, optimizer="gd", data="linnerud", directions=3, depth=2, width=40))
    assert rows[-1]["residual"] < 1e-9
    # what is left above the floor is half the square of a residual that ended at 1e-9 of the start
    assert abs(rows[-1]["left"] / rows[-1]["floor"] - 1) < 1e-14
    assert BY_KEY["M.data-floor"].role == "tautology"


def test_a_method_that_is_slower_once_loses_its_lead():
    table = planted(True)
    method = pc.and_(pc.equal(table["dynamics"], "nesterov"), pc.greater(table["condition"], 200))
    assert set(outcomes("M.order", changed(table, "steps_to_reach", lambda steps: 50 * steps, method)).values()) == {
        "FAILS"
    }
    below = pc.and_(pc.equal(table["dynamics"], "nesterov"), pc.less(table["condition"], 10))
    assert set(outcomes("M.order", changed(table, "steps_to_reach", lambda steps: 50 * steps, below)).values()) == {
        "HOLDS"
    }


def test_what_never_arrives_is_behind_what_does():
    table = planted(True)
    never = {
        name: changed(table, "steps_to_reach", lambda _: math.nan, pc.equal(table["dynamics"], name))
        for name in ("gd", "nesterov")
    }
    assert set(outcomes("M.order", never["gd"]).values()) == {"HOLDS"}
    assert set(outcomes("M.order", never["nesterov"]).values()) == {"FAILS"}
    assert all(
        math.isnan(s.value) and s.reason == "not reached" for s in BY_KEY["M.speedup"].samples(RunTable(never["gd"]))
    )


def test_the_speedup_is_counted_for_a_fourfold_condition_number():
    table = planted(True)
    plain = pc.equal(table["dynamics"], "gd")
    faster = changed(table, "steps_to_reach", lambda steps: steps**1.5, plain)
    (sample, *_) = BY_KEY["M.speedup"].samples(RunTable(faster))
    assert sample.value == pytest.approx(4)


def test_the_plan_has_every_method_seed_and_condition_once():
    specs = plan(Design(), "linnerud")
    assert len({spec.run_id for spec in specs}) == len(specs)
    rates = [spec.options for spec in specs if spec.experiment == RATES and spec.seed == 2]
    assert len(rates) == 5 * 3
    assert {spec.experiment for spec in plan(DESIGNS["full"], "linnerud")} >= {spec.experiment for spec in specs}
    (real, *_) = [spec for spec in specs if spec.experiment == REAL]
    assert real.options["data"] == "linnerud"
    assert {spec.options["directions"] for spec in specs if spec.experiment == REAL} == {2, 3}
    assert real.identity()["data"] == "linnerud"
    with pytest.raises(UnknownNameError, match="unknown descent 'nag'"):
        plan(Design(reach_methods="nag"), "linnerud")


def test_widths_are_ordered_whatever_is_written():
    specs = plan(Design(twin_widths=(90, 30, 60)), "linnerud")
    assert {tuple(spec.options["widths"]) for spec in specs if spec.task.endswith("follow_twin")} == {(30, 60, 90)}


def test_a_descent_reports_what_it_showed():
    rows = list(descend_and_compare(seed=0, optimizer="nesterov", **SHAPE))
    assert [row["snapshot"] for row in rows] == list(range(len(rows)))
    assert (rows[0]["residual"], rows[0]["twin_residual"]) == pytest.approx((1, 1), rel=1e-12)
    assert rows[0]["moved_by_now"] == 0
    last = rows[-1]
    assert last["residual"] < 1e-9 < rows[-2]["residual"]
    assert last["data_condition"] == pytest.approx(5)
    assert last["condition"] > 1
    assert last["tuned_contraction"] == pytest.approx(1 - last["condition"] ** -0.5)
    assert last["contraction"] == pytest.approx(last["tuned_contraction"], abs=0.1)
    assert last["end_contraction"] == pytest.approx(last["tuned_contraction"], abs=0.1)
    assert last["steps_to_reach"] < last["step"]
    assert last["left"] < 1e-8
    assert last["floor"] < 1e-12
    assert last["moved"] >= rows[3]["moved_by_now"] > 0
    assert "gram_error" not in last


def test_real_data_end_at_their_floor():
    row = list(descend_and_compare(seed=0, optimizer="gd", data="linnerud", directions=3, depth=2, width=40))[-1]
    assert row["floor"] > 0.5
    assert row["left"] == pytest.approx(row["floor"], rel=1e-9)
    assert row["data_condition"] > 4
    assert row["rank"] == 3


def test_a_resnet_reports_how_exact_its_gram_is():
    row = list(descend_and_compare(seed=0, optimizer="nesterov", kind="resnet", **SHAPE))[-1]
    assert row["gram_error"] < 1e-12
    assert row["weight_norm"] == 0
    assert 0 < row["spectral_norm"] <= row["moved"] * 1.001


def test_the_tuning_is_to_the_gram_or_its_limit():
    shapes = {
        tuned: list(descend_and_compare(seed=0, optimizer="gd", tuned_to=tuned, **SHAPE)) for tuned in ("gram", "limit")
    }
    assert shapes["limit"][-1]["learning_rate"] == pytest.approx(3 / 2)  # c/(L s_max²)
    assert shapes["gram"][-1]["learning_rate"] != pytest.approx(3 / 2, rel=1e-3)
    for kind, tuned in (("resnet", "limit"), ("deep_linear", "elsewhere")):
        spec = TaskSpec(
            experiment=RATES,
            task="ansatzlab.laws.liu2022nesterov.tasks:descend_and_compare",
            options={**SHAPE, "optimizer": "gd", "kind": kind, "tuned_to": tuned},
        )
        (row,) = run(spec)
        assert row["status"] == "failed"
        assert f"tuned_to='{tuned}' for {kind}; wanted 'gram'" in row["error"]


def test_a_run_that_failed_gives_its_reason_and_no_point():
    shared = {"depth": 2, "width": 40, "optimizer": "gd"}
    specs = [
        TaskSpec(
            experiment=RATES,
            task="ansatzlab.laws.liu2022nesterov.tasks:descend_and_compare",
            options={**shared, "condition": condition, **({"kind": "other"} if condition == 16 else {})},
        )
        for condition in (4.0, 9.0, 16.0)
    ]
    table = to_table([row for spec in specs for row in run(spec)])
    (sample,) = BY_KEY["M.gd-slope"].samples(RunTable(table))
    assert math.isnan(sample.value)
    assert "unknown network 'other'" in sample.reason
    figures(RunTable(table))


def test_measurements_are_means_over_independent_networks():
    shared = {"seed": 0, "depth": 2, "widths": [20, 400], "condition": 4.0}
    one, two = (list(measure_distance(draws=draws, **shared)) for draws in (1, 2))
    assert [row["width"] for row in one] == [20, 400]
    assert one[0]["distance"] != two[0]["distance"]
    assert one[0]["distance"] > 2 * one[1]["distance"]
    assert one[0]["distance_frobenius"] < one[0]["distance"] * 2
    narrow, wide = follow_twin(draws=2, **shared)
    assert narrow["deviation"] > 2 * wide["deviation"] > 0
    assert wide["weight_norm"] == pytest.approx(math.sqrt(6 * 400), rel=0.1)
    counted = list(count_trained(draws=3, optimizer="nesterov", steps=60, **shared))
    assert counted[1]["trained"] == 1
    assert all(0 <= row["trained"] + row["diverged"] <= 1 for row in counted)
    assert list(count_trained(draws=3, optimizer="gd", steps=2, **shared))[1]["trained"] == 0


def test_weights_of_different_seeds_and_draws_differ():
    seeds = [weight_seed(seed, draw) for seed in range(20) for draw in range(20)]
    assert len(set(seeds)) == 400
    assert weight_seed(3) not in range(100)


def test_figures_show_the_first_seed_beside_its_twin_and_every_network():
    residuals, rates, resnets, methods, gram, twin = figures(RunTable(planted(True)))
    assert [curve.label for curve in residuals.curves][:2] == ["gradient descent", "gradient descent, linearised"]
    assert sum(curve.dashed for curve in rates.curves) == 2
    assert len(rates.curves) == 2 * 3 + 1 + 2
    assert len(resnets.curves) == 2 * 2 + 2 + 2
    gradient = rates.curves[0]
    assert np.allclose(np.array(gradient.y) * np.array(gradient.x), 0.9)
    assert {row[0] for row in methods.rows} >= {"deep linear, L = 3, m = 128", "ResNet, L = 16, m = 512"}
    assert methods.rows[0][:6] == ("deep linear, L = 3, m = 512", "gradient descent", "4", "4", "0.225", "0.225")
    assert {curve.label for curve in gram.curves if curve.dashed} == {"1.6 √(L/m), L = 2", "1.6 √(L/m), L = 8"}
    assert len(twin.curves) == 4


def test_points_of_a_family_are_in_the_order_of_the_condition_number():
    found = families(RunTable(planted(True)).runs(RATES), described)
    assert {condition for condition, _ in found} == {"deep linear, L = 3, m = 512", "deep linear, L = 6, m = 512"}
    for family in found.values():
        assert points(family, "nesterov", "data_condition").ravel().tolist() == [4.0, 16.0, 64.0, 256.0]


@pytest.mark.parametrize(("key", "column"), [("M.resnet-norm", "spectral_norm"), ("M.lazy", "moved")])
def test_a_number_that_is_missing_in_one_run_is_not_passed_over(key, column):
    table = planted(True)
    runs = RunTable(table).runs(RESNET if key == "M.resnet-norm" else RATES)
    (first, *_) = [run for run in runs if (run.seed, run.options["optimizer"]) == (0, "nesterov")]
    kept = pc.not_equal(table["spec"], first_spec(table, first))
    holes = pc.if_else(kept, table[column], pa.scalar(None, pa.float64()))
    gone = table.set_column(table.column_names.index(column), column, holes)
    assert "INCONCLUSIVE" in outcomes(key, gone).values()


def first_spec(table, run):
    """The spec of a run as the table has it."""
    return next(spec for spec in table["spec"].to_pylist() if json.loads(spec) == run.spec)


def test_a_measurement_that_failed_is_told_for_every_width():
    table = planted(True)
    rows = [
        row | ({"status": "failed", "error": "x"} if (row["experiment"], row["seed"]) == (GRAM, 0) else {})
        for row in table.to_pylist()
    ]
    whole, holed = (judge_claim(BY_KEY["M.gram-limit"], RunTable(each)) for each in (table, to_table(rows)))
    assert [each.condition for each in whole] == [each.condition for each in holed]
    assert {(each.outcome, each.seeds, each.reason) for each in holed} == {("INCONCLUSIVE", 2, "failed: x")}
