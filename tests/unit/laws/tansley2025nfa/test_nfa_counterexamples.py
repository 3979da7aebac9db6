"""The chapter's claims and figures on planted tables, and its tasks on small networks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ansatzlab.errors import InputError
from ansatzlab.laws.figure import Figure, TextTable
from ansatzlab.laws.judge import controls, judge, judge_claim
from ansatzlab.laws.runs import RunTable
from ansatzlab.laws.tansley2025nfa.counterexamples.chapter import CHAPTER
from ansatzlab.laws.tansley2025nfa.counterexamples.claims import CLAIMS, interference_cosine
from ansatzlab.laws.tansley2025nfa.counterexamples.design import SEARCH, Design, plan
from ansatzlab.laws.tansley2025nfa.counterexamples.tasks import SCORES, measure_family, search_and_compare
from ansatzlab.laws.tansley2025nfa.law import LAW as WHOLE
from ansatzlab.store.schema import to_table
from ansatzlab.sweeps.spec import DataSpec

LAW = replace(WHOLE, chapters=(CHAPTER,))
TRUTH = CHAPTER.planted(True)


def changed(key: str, name: str, value: object, **options: object) -> pa.Table:
    """The planted truth with one column of some runs changed, and nothing that other claims read."""
    rows = TRUTH.to_pylist()
    for row in rows:
        told = json.loads(row["spec"])["options"]
        if all(told.get(option) == wanted for option, wanted in options.items()):
            row[name] = value
    assert key
    return to_table(rows)


def outcomes(key: str, table: pa.Table) -> dict[str, str]:
    claim = next(claim for claim in CLAIMS if claim.key == key)
    return {finding.condition: finding.outcome for finding in judge_claim(claim, RunTable(table))}


def test_planted_tables_are_judged_as_planted() -> None:
    assert [finding.outcome for finding in controls(LAW)] == ["HOLDS"] * 3
    assert {finding.outcome for finding in judge(LAW, RunTable(TRUTH))} == {"HOLDS"}


@pytest.mark.parametrize(
    ("key", "column", "value", "options", "condition"),
    [
        ("C.fit", "loss", 2e-6, {"family": "plateau"}, "plateau"),
        ("C.fit-every", "largest_residual", 1e-3, {"family": "rare_firing"}, "rare firing"),
        ("C.violated", "residual_half", 0.05, {"family": "non_homogeneous"}, "non homogeneous"),
        ("C.reversed", "best_cosine", 0.31, {"R": 50.0}, "reversed spectrum, R = 50"),
        ("C.reversed", "floor", 0.31, {"R": 50.0}, "reversed spectrum, R = 50"),
        ("C.reversed-loss", "loss", 1e-9, {"R": 50.0}, "reversed spectrum, R = 50"),
        ("C.interference-one", "cosine_one", 0.26, {"m": 64}, "interference, m = 64"),
        ("C.search-fit", "accuracy", 0.94, {"balanced": True}, "digits, balanced network"),
    ],
)
def test_one_number_that_is_off_fails_its_claim_alone(
    key: str, column: str, value: float, options: dict[str, object], condition: str
) -> None:
    found = outcomes(key, changed(key, column, value, **options))
    assert found.pop(condition) == "FAILS"
    assert set(found.values()) <= {"HOLDS"}


def test_the_scores_of_the_weak_reversed_spectra_are_not_asked_to_be_low() -> None:
    assert [name for name in outcomes("C.reversed", TRUTH) if name.endswith("R = 20")] == []


def test_interference_s_predicted_cosine_is_one_at_exponent_zero() -> None:
    assert interference_cosine(0.0, 9) == pytest.approx(1.0)


def test_the_search_takes_the_user_s_data_where_they_have_classes() -> None:
    chosen = [
        {spec.options["data"] for spec in plan(Design(), data) if spec.experiment == SEARCH}
        for data in ("digits", "diabetes")
    ]
    assert chosen == [{"digits"}, {"digits"}]


def test_a_file_with_classes_is_searched_and_a_change_of_it_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    ids = []
    for scale in (1.0, 2.0):
        np.savez(path, inputs=scale * np.eye(6), targets=np.arange(6) % 2)
        specs = [spec for spec in plan(Design(), str(path)) if spec.experiment == SEARCH]
        ids.append({spec.run_id for spec in specs})
    assert not ids[0] & ids[1]
    assert {spec.options["digest"] for spec in specs} == {DataSpec.of(str(path)).digest}
    np.savez(path, inputs=np.eye(6), targets=np.arange(6) % 2)
    with pytest.raises(InputError, match="the file changed since the run was planned"):
        next(search_and_compare(seed=0, **specs[0].options))


def test_an_unknown_activation_of_the_search_is_refused_and_only_homogeneous_ones_are_balanced() -> None:
    with pytest.raises(InputError, match="unknown activation 'rellu'; did you mean 'relu'"):
        plan(Design(search_activation="rellu"), "digits")
    for activation, balanced in (("relu", {True, False}), ("tanh", {False})):
        specs = plan(Design(search_activation=activation), "digits")
        assert {spec.options["balanced"] for spec in specs if spec.experiment == SEARCH} == balanced


def test_the_figures_show_every_network_and_leave_out_what_was_not_run() -> None:
    table, exponents, reverse = CHAPTER.figures(RunTable(TRUTH))
    assert isinstance(table, TextTable)
    assert isinstance(exponents, Figure)
    assert isinstance(reverse, Figure)
    assert all(len(row) == len(table.header) for row in table.rows)
    assert len(table.rows) == 3 + 4 + 7 + 1 + 4
    assert [curve.dashed for curve in reverse.curves] == [False, True, True]
    assert CHAPTER.figures(RunTable(TRUTH.slice(0, 0))) == ()


def test_a_family_s_task_yields_what_the_claims_read() -> None:
    (row,) = measure_family(seed=0, family="cancellation", neurons=3, pairs=1)
    assert set(SCORES) <= set(row)
    assert row["loss"] < 1e-6
    assert row["best_exponent"] is None  # not identifiable


def test_a_search_s_task_yields_both_networks() -> None:
    before, after = search_and_compare(
        seed=0,
        data="digits",
        hidden=[16],
        activation="relu",
        accuracy=0.9,
        balanced=True,
        training_steps=400,
        steps=25,
        held_out=0.2,
    )
    assert (before["snapshot"], after["snapshot"]) == (0, 1)
    assert after["best_cosine"] <= before["best_cosine"]
    assert after["accuracy"] >= 0.9
    assert 0.8 < after["held_out_accuracy"] < 1
    assert (after["held_out_accuracy"] * 359) % 1 == pytest.approx(0, abs=1e-9)  # of 359 examples
