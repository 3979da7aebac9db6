"""The three laws that look at trained networks beside the ansatz's rivals, on planted tables and on small trainings."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from ansatzlab.errors import InputError
from ansatzlab.laws.beaglehole2024alignment.law import LAW as ALIGNMENT
from ansatzlab.laws.boixadsera2025fact.claims import COUPLED, DECOUPLED
from ansatzlab.laws.boixadsera2025fact.law import LAW as FACT
from ansatzlab.laws.boixadsera2025fact.training import left_structure, train_and_compare
from ansatzlab.laws.comparison import described, over_steps
from ansatzlab.laws.figure import Figure, TextTable
from ansatzlab.laws.judge import Finding, judge, judge_claim, overall
from ansatzlab.laws.law import Law
from ansatzlab.laws.radhakrishnan2024nfa.law import LAW as ANSATZ
from ansatzlab.laws.runs import Row, RunTable
from ansatzlab.linalg.null import haar_orthogonal
from ansatzlab.linalg.similarity import cosine
from ansatzlab.measurement.run import measure
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.store.schema import to_table
from ansatzlab.sweeps.run import run
from ansatzlab.sweeps.task import TaskSpec
from ansatzlab.testing.contracts import check_law

LAWS = {law.key: law for law in (FACT, ANSATZ, ALIGNMENT)}
Change = Callable[[Row], Row]


def edited(law: Law, change: Change, **where: object) -> pa.Table:
    rows = law.planted(True).to_pylist()
    return to_table([row | change(row) if all(row[k] == v for k, v in where.items()) else row for row in rows])


def verdicts(law: Law, table: pa.Table, key: str) -> list[Finding]:
    (claim,) = (claim for claim in law.claims if claim.key == key)
    return list(judge_claim(claim, RunTable(table)))


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_the_law_keeps_the_contract(law: Law):
    check_law(law)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_planted_truth_holds_and_falsehood_fails(law: Law):
    assert overall(judge(law, RunTable(law.planted(True)))) == "HOLDS"
    assert overall(judge(law, RunTable(law.planted(False)))) == "FAILS"


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_failed_run_is_told_and_not_judged(law: Law):
    table = edited(law, lambda _: {"status": "failed", "error": "it broke"}, seed=0)
    findings = judge(law, RunTable(table))
    assert all(finding.outcome != "HOLDS" for finding in findings)
    assert any("it broke" in finding.reason for finding in findings)
    assert law.chapters[0].figures(RunTable(table))


@pytest.mark.parametrize(
    ("law", "key", "change"),
    [
        (FACT, "F.correlation", {"fact_pearson": 0.94, "experiment": COUPLED}),
        (FACT, "F.above-nfa", {"nfa-best_cosine": 0.9995, "experiment": COUPLED}),
        (FACT, "F.certificate", {"explicit": 0.1, "experiment": DECOUPLED}),
        (FACT, "F.decoupled", {"fact_mismatch": 0.05, "experiment": DECOUPLED}),
        (FACT, "F.decoupled-correlation", {"fact_cosine": 0.96, "experiment": DECOUPLED}),
        (FACT, "F.beyond-null", {"fact_cosine_null": 0.9, "experiment": COUPLED}),
        (ANSATZ, "R.above-initial", {"initial-gram_cosine": 0.95}),
        (ANSATZ, "R.beyond-null", {"nfa_0.5_cosine_null": 0.94}),
        (ANSATZ, "R.high", {"c-nfc-centered_1_cosine": 0.79}),
        (ALIGNMENT, "C.left", {"left_cosine_null": 0.85}),
        (ALIGNMENT, "C.drives", {"nfa_1_pearson": 0.7}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_seed_and_one_hidden_layer_outside_fails_a_claim(law: Law, key: str, change: Row):
    where = {"seed": 1, "layer_index": 1, **{k: v for k, v in change.items() if k == "experiment"}}
    findings = verdicts(law, edited(law, lambda _: change, **where), key)
    assert {finding.outcome for finding in findings} >= {"FAILS"}
    assert all(finding.outcome == "HOLDS" for finding in verdicts(law, law.planted(True), key))


def test_the_last_layer_is_not_judged_by_scores():
    table = edited(FACT, lambda _: {"fact_cosine": 0.0, "fact_pearson": 0.0}, layer_index=3)
    assert all(finding.outcome == "HOLDS" for finding in verdicts(FACT, table, "F.correlation"))


def test_the_mismatch_is_judged_in_the_last_layer_too():
    table = edited(FACT, lambda _: {"certificate": 1.0}, layer_index=3, experiment=COUPLED)
    assert {finding.outcome for finding in verdicts(FACT, table, "F.converges")} == {"FAILS"}


def test_kinks_are_a_control_apart():
    conditions = {f.condition.partition(",")[0] for f in verdicts(FACT, FACT.planted(True), "F.converges")}
    kinked = {f.condition.partition(",")[0] for f in verdicts(FACT, FACT.planted(True), "F.kinks")}
    assert (conditions, kinked) == ({"gelu", "identity"}, {"relu"})
    linear = {f.condition.partition(",")[0] for f in verdicts(FACT, FACT.planted(True), "F.above-nfa")}
    assert linear == {"relu", "gelu"}


def test_the_scale_is_compared_within_a_seed():
    (finding,) = verdicts(ALIGNMENT, ALIGNMENT.planted(True), "C.scale")
    assert finding.value == pytest.approx(0.2)
    assert finding.condition == "smallest initial weights against largest"
    alone = to_table([r for r in ALIGNMENT.planted(True).to_pylist() if json.loads(r["spec"])["options"]["scale"] == 1])
    assert [f.outcome for f in verdicts(ALIGNMENT, alone, "C.scale")] == ["INCONCLUSIVE"]


def test_figures_hold_the_numbers_of_the_table():
    scores, mismatches, table = FACT.chapters[0].figures(RunTable(FACT.planted(True)))
    assert isinstance(scores, Figure)
    assert scores.curves[0].y == pytest.approx([0.999, 0.999])
    assert isinstance(mismatches, Figure)
    assert [curve.label for curve in mismatches.curves][-1] == "relu, adamw with λ = 0.01"
    assert isinstance(table, TextTable)
    assert len(table.rows) == 4 * 3 * 2
    assert all(len(row) == len(table.header) for row in table.rows)
    assert table.rows[1][3] == "0.999"


def test_a_curve_takes_the_best_column_in_the_worst_layer():
    (first, *_) = RunTable(ANSATZ.planted(True)).runs("nfa-trained")
    curve = over_steps("a", [first], ["nfa_0.5_cosine", "nfa_1_cosine"])
    assert curve.y == pytest.approx([0.85, 0.95])
    assert described(first) == "relu, adam"


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_the_plan_follows_the_settings(law: Law):
    specs = law.plan("quick", "linnerud", {"seeds": [4, 5], "hidden": 7})
    assert {spec.seed for spec in specs} == {4, 5}
    assert all(isinstance(spec, TaskSpec) and spec.options["hidden"] == [7] for spec in specs)
    assert {spec.identity()["data"] for spec in specs} == {"linnerud"}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_data_that_cannot_be_used_are_refused_and_a_changed_file_is_another_run(law: Law, tmp_path: Path):
    with pytest.raises(InputError, match="unknown data set 'nope'"):
        law.plan("quick", "nope", {})
    path = tmp_path / "mine.npz"
    planned = []
    for scale in (1.0, 2.0):
        np.savez(path, inputs=scale * np.eye(4), targets=np.eye(4))
        planned.append(law.plan("quick", str(path), {"hidden": [5], "steps": 100}))
    assert not {spec.run_id for spec in planned[0]} & {spec.run_id for spec in planned[1]}
    ((stale, *_), (fresh, *_)) = (run(specs[0]) for specs in planned)
    assert fresh["status"] == "finished"
    assert (stale["status"], "the file changed since the run was planned" in stale["error"]) == ("failed", True)


def test_an_unknown_activation_is_refused():
    with pytest.raises(InputError, match="unknown activation 'rellu'; did you mean 'relu'"):
        FACT.plan("quick", "digits", {"activations": "rellu"})


def test_scales_must_ascend():
    for wrong in ([1.0, 0.5], [1.0]):
        with pytest.raises(InputError, match="from the smallest to the largest"):
            ALIGNMENT.plan("quick", "digits", {"scales": wrong})


SMALL = {"data": "linnerud", "hidden": [5], "learning_rate": 0.01, "steps": 20, "snapshots": 3, "draws": 3}


@pytest.mark.parametrize("key", LAWS)
def test_small_trainings_give_every_column_that_is_read(key: str):
    law = LAWS[key]
    settings = {"hidden": [5], "steps": 100, "snapshots": 3, "draws": 2}
    specs = law.plan("quick", "linnerud", settings)[:2]
    rows = [row for spec in specs for row in run(spec)]
    assert {row["status"] for row in rows} == {"finished"}
    table = to_table(rows)
    findings = judge(law, RunTable(table))
    assert all(finding.seeds == 1 for finding in findings if finding.condition)
    assert law.chapters[0].figures(RunTable(table))


def test_what_is_recorded_is_what_the_network_was_before_and_after():
    rows = list(train_and_compare(seed=3, optimizer="adam", weight_decay=0.1, **SMALL))
    model = MLP([3, 5, 3], bias=False)
    initialize(model, "he", seed=3)
    norms = [float(layer.weight.detach().norm()) for layer in model.layers]
    assert [row["weight_norm"] for row in rows[:2]] == pytest.approx(norms)
    assert [row["layer"] for row in rows[:2]] == ["layers.0", "layers.1"]
    assert {row["depth"] for row in rows} == {2}
    assert [row["snapshot"] for row in rows[::2]] == [0, 1, 2]
    assert "c-nfc_1_cosine" not in rows[0]
    assert "c-nfc_1_cosine" in rows[-1]
    for row in rows:
        assert row["explicit"] == pytest.approx(row["certificate"], rel=1e-9)
        assert row["fact_mismatch"] == pytest.approx(row["certificate"], rel=1e-9)
        assert row["fact_cosine_null"] != row["fact_cosine"]


def test_without_decay_there_is_no_fact_in_the_rows():
    rows = list(train_and_compare(seed=3, optimizer="gd", **SMALL))
    assert not any("fact" in name for row in rows for name, value in row.items() if value is not None)
    assert all(row["explicit"] is None for row in rows)


def test_classification_with_cross_entropy_and_batches():
    options = {**SMALL, "data": "digits", "size": 40, "batch_size": 8}
    rows = list(train_and_compare(seed=0, optimizer="sgd", loss="cross_entropy", weight_decay=0.01, **options))
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert 0 <= rows[-1]["accuracy"] <= 1
    assert rows[-1]["explicit"] == pytest.approx(rows[-1]["certificate"], rel=1e-9)
    with pytest.raises(InputError, match="loss='hinge'"):
        list(train_and_compare(seed=0, loss="hinge", **SMALL))


def test_the_null_of_the_left_structure_is_that_of_random_rotations():
    """The closed form against drawn rotations."""
    model, start = MLP([3, 6, 4], bias=False), MLP([3, 6, 4], bias=False)
    for seed, each in enumerate((model, start)):
        initialize(each, "he", seed=seed)
    inputs = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layer = measure(model, [inputs], initial=start)["layers.0"]
    moved, K = layer.blocks[0] - layer.initial[0], layer.sums.mean_gram()[0]
    found = left_structure(layer)
    assert found["left_cosine"] == pytest.approx(cosine(moved @ moved.T, K))
    turns = haar_orthogonal(6, torch.Generator().manual_seed(1), count=4000)
    drawn = [cosine(moved @ moved.T, turn @ K @ turn.T) for turn in turns]
    assert found["left_cosine_null"] == pytest.approx(np.mean(drawn), abs=0.01)
    assert found["left_cosine_null_sd"] == pytest.approx(np.std(drawn), rel=0.05)


def test_nan_is_no_value():
    table = edited(FACT, lambda _: {"fact_cosine": math.nan}, seed=2, experiment=COUPLED)
    (finding, *_) = verdicts(FACT, table, "F.correlation")
    assert finding.outcome == "INCONCLUSIVE"
    assert finding.seeds == 2
    assert np.isfinite(finding.value)


def test_a_seed_without_its_smallest_weights_is_not_judged_by_others():
    rows = ALIGNMENT.planted(True).to_pylist()
    gone = [row for row in rows if not (row["seed"] == 0 and json.loads(row["spec"])["options"]["scale"] < 1)]
    (finding,) = verdicts(ALIGNMENT, to_table(gone), "C.drives")
    assert (finding.outcome, finding.seeds) == ("INCONCLUSIVE", 2)
    assert finding.reason.startswith("runs are missing")
