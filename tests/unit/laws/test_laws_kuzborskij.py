"""The law kuzborskij2025lowrank: what is planned, how it is judged, and that a small run of it is recorded."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from ansatzlab.data.registry import load
from ansatzlab.errors import InputError
from ansatzlab.laws.figure import Figure, TextTable
from ansatzlab.laws.judge import Finding, controls, judge, judge_claim, overall
from ansatzlab.laws.kuzborskij2025lowrank.law import LAW
from ansatzlab.laws.kuzborskij2025lowrank.merged import design as merged
from ansatzlab.laws.kuzborskij2025lowrank.merged.statistics import overlap_error, slope
from ansatzlab.laws.kuzborskij2025lowrank.real import design as real
from ansatzlab.laws.kuzborskij2025lowrank.stationary import design as stationary
from ansatzlab.laws.kuzborskij2025lowrank.tasks import class_task, on_disjoint_features
from ansatzlab.laws.runs import Row, RunTable
from ansatzlab.store.schema import to_table
from ansatzlab.sweeps.run import run
from ansatzlab.sweeps.task import TaskSpec
from ansatzlab.testing.contracts import check_law

TRUTH = LAW.planted(True)
STATIONARY = {"data": "signs", "examples": 10, "inputs": 4, "activation": "relu", "depth": 3, "width": 6}
TRAINING = {"weight_decay": 0.02, "learning_rate": 0.1, "steps": 30}
MERGED = {"data": "mixed_signs", "examples": 6, "inputs": 5, "width": 7}


def edited(change: Row, table: pa.Table = TRUTH, /, **where: object) -> pa.Table:
    rows = table.to_pylist()
    return to_table([row | change if all(row[k] == v for k, v in where.items()) else row for row in rows])


def verdicts(table: pa.Table, key: str) -> list[Finding]:
    (claim,) = (claim for claim in LAW.claims if claim.key == key)
    return list(judge_claim(claim, RunTable(table)))


def test_the_law_keeps_the_contract():
    check_law(LAW)
    assert [finding.outcome for finding in controls(LAW)] == ["HOLDS"] * 3
    assert overall(judge(LAW, RunTable(TRUTH))) == "HOLDS"


@pytest.mark.parametrize(
    ("key", "change", "where"),
    [
        ("S.aligned", {"cosine": 1 - 2e-8}, {"experiment": stationary.LINEAR}),
        ("S.norms", {"euler": -2e-4}, {"experiment": stationary.LINEAR, "layer_index": 2}),
        ("S.rank-one", {"stable_rank": 1.02}, {"experiment": stationary.LINEAR, "layer_index": 1}),
        ("S.averaged", {"averaged_cosine": 0.998}, {"experiment": stationary.RELU}),
        ("S.instant", {"cosine": 0.9995}, {"experiment": stationary.RELU}),
        ("S.relu-norms", {"spread": 2e-3}, {"experiment": stationary.RELU}),
        ("S.relu-euler", {"euler": 2e-3}, {"experiment": stationary.RELU, "layer_index": 3}),
        ("S.low-rank", {"stable_rank": 2.1}, {"experiment": stationary.RELU, "layer_index": 2}),
        ("S.rate", {"squared_norm": 9.0}, {"experiment": stationary.RATE, "layer_index": 2, "snapshot": 3}),
        (
            "S.rate-undecayed",
            {"squared_norm": 9.0},
            {"experiment": stationary.RATE_UNDECAYED, "layer_index": 1, "snapshot": 3},
        ),
        ("S.squares", {"squared_norm": 2.001}, {"experiment": stationary.SQUARES, "layer_index": 1}),
        ("S.rank-bound", {"rank_product": 21.0}, {"experiment": stationary.UNDECAYED, "snapshot": 1}),
        ("S.collapse", {"collapsed": 0.0}, {"experiment": stationary.COLLAPSE}),
        ("M.decay", {"deviation_b": 1.0}, {"experiment": merged.ORTHOGONAL, "snapshot": 2}),
        ("M.undecayed", {"deviation_a": 1e-9, "deviation_b": 1e-9}, {"experiment": merged.UNDECAYED}),
        ("M.bound", {"foretold_share": 1.01}, {"experiment": merged.MIXED, "snapshot": 0}),
        ("M.bound", {"bound_share": 1.01}, {"experiment": merged.ORTHOGONAL, "snapshot": 0}),
        ("M.span", {"span_error": 1e-5}, {"experiment": merged.UNDECAYED, "snapshot": 1}),
        ("M.all-layers", {"relative_deviation": 1e-9}, {"experiment": merged.ALL_LAYERS}),
        ("M.overlap", {"foretold_error": 0.03}, {"experiment": merged.LINEAR}),
        ("M.overlap-bare", {"relative_deviation_b": 0.15}, {"experiment": merged.LINEAR}),
        ("M.overlap-size", {"overlap": 0.91}, {"experiment": merged.LINEAR}),
        ("M.undecayed-lost", {"lost_a": 0.0, "lost_b": 0.0}, {"experiment": merged.UNDECAYED}),
        ("M.mixed-lost", {"lost_a": 0.0, "lost_b": 0.0}, {"experiment": merged.MIXED}),
        ("M.twins", {"relative_deviation": 0.05}, {"experiment": merged.TWINS}),
        ("R.aligned", {"cosine": 0.99}, {"experiment": real.LINEAR}),
        ("R.norms", {"euler": 1e-3}, {"experiment": real.LINEAR, "layer_index": 2}),
        ("R.rank-one", {"stable_rank": 1.1}, {"experiment": real.LINEAR, "layer_index": 1}),
        ("R.averaged", {"averaged_cosine": 0.99}, {"experiment": real.RELU}),
        ("R.relu-norms", {"spread": 0.01}, {"experiment": real.RELU}),
        ("R.low-rank", {"stable_rank": 3.0}, {"experiment": real.RELU, "layer_index": 1}),
        ("R.disjoint", {"deviation_a": 1.0}, {"experiment": real.DISJOINT, "snapshot": 2}),
        ("R.kept", {"lost_b": 0.025}, {"experiment": real.DISJOINT}),
        ("R.as-they-are", {"lost_a": 0.025}, {"experiment": real.AS_THEY_ARE}),
        ("R.overlapping", {"deviation_a": 1e-9, "deviation_b": 1e-9}, {"experiment": real.AS_THEY_ARE}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_seed_outside_fails_a_claim(key: str, change: Row, where: Row):
    assert {finding.outcome for finding in verdicts(edited(change, seed=1, **where), key)} >= {"FAILS"}
    assert {finding.outcome for finding in verdicts(TRUTH, key)} == {"HOLDS"}


@pytest.mark.parametrize(("key", "deviation"), [("M.linear", 1.0), ("M.monotone", 1e-12)])
def test_the_growth_with_mixing_is_read_within_a_seed(key: str, deviation: float):
    rows = []
    for row in TRUTH.to_pylist():
        mixed = row["experiment"] == merged.MIXED and row["seed"] == 1 and '"mixing":0.1' in row["spec"]
        rows.append(row | ({"deviation_a": deviation, "deviation_b": deviation} if mixed else {}))
    (finding,) = verdicts(to_table(rows), key)
    assert (finding.outcome, finding.seeds) == ("FAILS", 3)


def test_a_failed_run_is_told_and_not_judged():
    table = edited({"status": "failed", "error": "it broke"}, seed=0)
    findings = judge(LAW, RunTable(table))
    assert all(finding.outcome == "INCONCLUSIVE" for finding in findings)
    assert all("it broke" in finding.reason for finding in findings)
    assert all(chapter.figures(RunTable(table)) for chapter in LAW.chapters)


def test_a_collapsed_network_is_no_evidence():
    table = edited({"cosine": math.nan, "collapsed": 1.0}, experiment=stationary.LINEAR)
    (finding,) = verdicts(table, "S.aligned")
    assert (finding.outcome, finding.value) == ("INCONCLUSIVE", pytest.approx(math.nan, nan_ok=True))
    assert finding.reason.startswith("collapsed")


@pytest.mark.parametrize(
    ("key", "experiment"),
    [
        ("S.aligned", stationary.LINEAR),
        ("S.norms", stationary.LINEAR),
        ("S.rank-one", stationary.LINEAR),
        ("S.averaged", stationary.RELU),
        ("S.instant", stationary.RELU),
        ("S.relu-norms", stationary.RELU),
        ("S.relu-euler", stationary.RELU),
        ("S.low-rank", stationary.RELU),
        ("S.squares", stationary.SQUARES),
        ("M.overlap", merged.LINEAR),
        ("M.overlap-bare", merged.LINEAR),
        ("R.aligned", real.LINEAR),
        ("R.norms", real.LINEAR),
        ("R.rank-one", real.LINEAR),
        ("R.averaged", real.RELU),
        ("R.relu-norms", real.RELU),
        ("R.low-rank", real.RELU),
    ],
)
@pytest.mark.parametrize("change", [{"flow_time": 20.0}, {"not_balanced_yet": 1.0}])
def test_a_training_that_is_too_short_refutes_nothing(key: str, experiment: str, change: Row):
    findings = verdicts(edited(change, LAW.planted(False), experiment=experiment), key)
    assert {finding.outcome for finding in findings} == {"INCONCLUSIVE"}
    assert all(finding.reason.startswith("too short to be balanced: ") for finding in findings)
    assert all(finding.counts == (finding.role == "claim") for finding in findings)


def test_what_has_not_collapsed_in_a_short_training_may_still():
    table = edited({"flow_time": 1.0}, LAW.planted(False), experiment=stationary.COLLAPSE)
    assert verdicts(table, "S.collapse")[0].outcome == "INCONCLUSIVE"
    assert verdicts(edited({"flow_time": 1.0}, experiment=stationary.COLLAPSE), "S.collapse")[0].outcome == "HOLDS"


def test_how_long_is_long_enough_depends_on_the_tolerance():
    for flow_time, outcome in ((1500.0, "INCONCLUSIVE"), (2000.0, "HOLDS")):  # λ = 0.003, ln(100/1e-8)/(4λ) = 1919
        (finding,) = verdicts(edited({"flow_time": flow_time}, experiment=stationary.LINEAR), "S.aligned")
        assert finding.outcome == outcome


def test_a_planned_decay_that_needs_longer_is_not_judged():
    settings = {"linear_decays": 1e-4, "linear_steps": 60}
    specs = LAW.within("quick", ["stationary"]).plan("quick", "digits", settings)
    rows = [row for spec in specs if spec.experiment == stationary.LINEAR for row in run(spec)]
    assert {row["not_balanced_yet"] for row in rows} == {1.0}
    for key in ("S.aligned", "S.norms", "S.rank-one"):
        (finding,) = verdicts(to_table(rows), key)
        assert (finding.outcome, finding.counts) == ("INCONCLUSIVE", True)
        assert "steps times η are 30, wanted" in finding.reason


@pytest.mark.parametrize(("key", "experiment"), [("M.decay", merged.ORTHOGONAL), ("R.disjoint", real.DISJOINT)])
def test_a_slope_is_fitted_above_rounding_only(key: str, experiment: str):
    rounded = {"deviation_a": 3e-16, "deviation_b": 0.0, "relative_deviation": 1e-16}
    longer = [
        row | {"snapshot": 3 + place, "step": 4000 + place} | rounded
        for row in TRUTH.to_pylist()
        if row["experiment"] == experiment and row["snapshot"] == 2
        for place in range(3)
    ]
    table = to_table([*TRUTH.to_pylist(), *longer])
    assert {finding.outcome for finding in verdicts(table, key)} == {"HOLDS"}
    short = edited(rounded, experiment=experiment, snapshot=2)
    for finding in verdicts(short, key):
        assert (finding.outcome, finding.counts) == ("INCONCLUSIVE", True)
        assert "only 2 of 3 moments" in finding.reason


def test_a_change_of_exactly_zero_gives_no_ratio():
    table = edited({"deviation_a": 0.0, "deviation_b": 0.0, "relative_deviation": 0.0}, experiment=merged.ORTHOGONAL)
    for key in ("M.undecayed", "M.all-layers"):
        assert "exactly zero" in verdicts(table, key)[0].reason
    assert verdicts(table, "M.monotone")[0].outcome == "HOLDS"


def test_an_identity_does_not_count_and_the_bare_overlap_does():
    roles = {claim.key: claim.role for claim in LAW.claims}
    assert roles["M.overlap"] == "tautology"
    assert roles["M.overlap-bare"] == roles["M.overlap-size"] == "claim"


def test_where_inputs_are_not_orthogonal_nothing_is_judged_and_the_loss_is_told():
    change = {"coherence": 0.7, "lost_a": 0.05, "deviation_a": 4.0, "least_margin_b": 1.5}
    (finding,) = verdicts(edited(change, experiment=real.AS_THEY_ARE), "R.as-they-are")
    assert (finding.outcome, finding.role) == ("INCONCLUSIVE", "control")
    for told in ("the assumption is not met: coherence 0.70", "move by 4", "least margin 1.5", "5.0%"):
        assert told in finding.reason


def test_a_planned_slope_is_the_power_of_what_a_step_leaves():
    planted = RunTable(TRUTH).runs(merged.ORTHOGONAL)[0]
    assert slope(planted) == pytest.approx(1.0)
    assert overlap_error(RunTable(TRUTH).runs(merged.LINEAR)[0]) == pytest.approx(0.001)


def test_figures_hold_every_group_of_runs():
    ranks, balance, ends = LAW.chapters[0].figures(RunTable(TRUTH))
    assert isinstance(ranks, Figure)
    assert isinstance(balance, Figure)
    assert isinstance(ends, TextTable)
    assert balance.curves[-1].dashed
    assert balance.curves[0].y[0] == 1.0
    forgetting, overlap, accounts = LAW.chapters[1].figures(RunTable(TRUTH))
    assert [curve.label for curve in overlap.curves] == ["K = 2, independent starts", "K = 2, same start", "1/√width"]
    assert forgetting.curves[0].label == "λ = 0.004, ε = 0"
    assert len({row[0] for row in accounts.rows}) == len(accounts.rows)
    assert LAW.chapters[2].figures(RunTable(TRUTH.slice(0, 0))) == ()


def test_the_penalty_is_half_of_torchs():
    specs = stationary.plan(stationary.Design(), "digits")
    linear = next(spec for spec in specs if spec.experiment == stationary.LINEAR)
    assert linear.options["weight_decay"] == 2 * stationary.Design().linear_decays[0]


def test_a_stationary_run_is_recorded_as_the_store_wants_it():
    spec = TaskSpec(experiment="x", task=stationary.TASK, options={**STATIONARY, **TRAINING, "average": 10})
    (read,) = RunTable(to_table(run(spec))).runs("x")
    assert (read.failure, read.depth, read.weight_decay) == ("", 3, 0.02)
    assert read.column("step")[-1] == 30
    assert read.column("flow_time")[-1] == pytest.approx(3.0)
    assert not math.isnan(read.column("averaged_cosine")[-1])
    assert np.isnan(read.column("averaged_cosine")[:-1]).all()


@pytest.mark.parametrize("kind", ["readout_shared", "all_layers", "linear"])
def test_a_merged_run_is_recorded_as_the_store_wants_it(kind: str):
    options = {**MERGED, **TRAINING, "kind": kind, "depth": 3 if kind == "linear" else 2, "snapshots": 3}
    (read,) = RunTable(to_table(run(TaskSpec(experiment="x", task=merged.TASK, options=options)))).runs("x")
    assert read.failure == ""
    assert read.column("step").tolist() == [10, 20, 30]
    assert len(read.layers) == (2 if kind == "linear" else 1)
    assert not np.isnan(read.column("deviation_a")).any()


def test_what_training_cannot_use_is_refused():
    for change in ({"learning_rate": 60.0}, {"activation": "relu", "width": 0}, {"no_such": 1}):
        rows = run(TaskSpec(experiment="x", task=stationary.TASK, options={**STATIONARY, **TRAINING, **change}))
        assert rows[0]["status"] == "failed"


@pytest.mark.parametrize("data", ["diabetes", "low_rank_linear"])
def test_data_without_classes_are_refused_with_what_to_do(data: str):
    with pytest.raises(InputError, match="--only stationary --only merging"):
        LAW.plan("quick", data, {})
    assert LAW.within("quick", ["stationary", "merging"]).plan("quick", data, {})


@pytest.mark.parametrize(
    ("classes", "message"), [(((0, 1), (2, 10)), "wanted classes"), (((0, 1), (1, 2)), "every class once")]
)
def test_classes_that_are_not_there_or_twice_are_refused(classes, message):
    with pytest.raises(InputError, match=message):
        LAW.plan("quick", "digits", {"task_classes": classes})


def test_a_users_file_of_classes_is_split_into_tasks(tmp_path: Path):
    path = tmp_path / "mine.npz"
    rng = np.random.default_rng(0)
    np.savez(path, inputs=rng.normal(size=(60, 5)), targets=np.arange(60) % 4)
    specs = LAW.within("quick", ["real"]).plan("quick", str(path), {"task_examples": 8, "seeds": 0})
    assert {spec.options["data"] for spec in specs} == {str(path)}
    small = {"real_linear_steps": 5, "real_relu_steps": 5, "real_merged_steps": 8, "real_average": 0}
    specs = LAW.within("quick", ["real"]).plan("quick", str(path), {"task_examples": 8, "seeds": 0, **small})
    rows = [row for spec in specs for row in run(spec)]
    assert {row["status"] for row in rows} == {"finished"}
    with pytest.raises(InputError, match="lower task_examples"):
        class_task(load(str(path)), (0, 1), examples=40, radius=1.0, seed=0)


def test_the_examples_of_a_class_are_drawn_labelled_and_scaled():
    digits = load("digits")
    task = class_task(digits, (3, 5), examples=20, radius=2.5, seed=0)
    assert task.labels.tolist() == [-1.0] * 10 + [1.0] * 10
    torch.testing.assert_close(task.inputs.norm(dim=1), torch.full((20,), 2.5, dtype=torch.float64))
    cosines = torch.nn.functional.normalize(digits.inputs, dim=1) @ task.inputs.mT / 2.5
    assert (digits.targets.argmax(1)[cosines.argmax(0)] == torch.tensor([3] * 10 + [5] * 10)).all()
    left, right = on_disjoint_features(task, task)
    assert not (left.inputs @ right.inputs.mT).any()


def test_where_nothing_moves_nothing_grows():
    still = edited({"deviation_a": 0.0, "deviation_b": 0.0})
    assert {(each.outcome, each.reason) for each in verdicts(still, "M.monotone")} == {
        ("INCONCLUSIVE", "nothing moved")
    }
