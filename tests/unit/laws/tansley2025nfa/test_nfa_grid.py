"""The grid: what is planned, what theory predicts of planted runs, and how its claims are read."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ansatzlab.errors import UnknownNameError
from ansatzlab.laws.figure import HeatMap
from ansatzlab.laws.judge import judge_claim
from ansatzlab.laws.runs import RunTable
from ansatzlab.laws.tansley2025nfa.grid import claims, theory
from ansatzlab.laws.tansley2025nfa.grid.chapter import CHAPTER
from ansatzlab.laws.tansley2025nfa.grid.design import DESIGNS, GRID, OPTIMIZERS, Design, plan
from ansatzlab.store.schema import to_table
from ansatzlab.sweeps.run import run_stack

TRUTH = CHAPTER.planted(True)


def planted(optimizer, decay, start="gaussian"):
    """The planted run of seed 0."""
    (run,) = (
        run
        for run in RunTable(TRUTH).runs(GRID)
        if (theory.optimizer_of(run), run.weight_decay, run.spec["init"]["scheme"], run.seed)
        == (optimizer, decay, start, 0)
    )
    return run


def with_columns(run, **columns):
    """The run with other values at the end of every layer."""
    return replace(run, layers=tuple((*rows[:-1], rows[-1] | columns) for rows in run.layers))


def test_the_full_grid_is_what_the_readme_says():
    specs = plan(DESIGNS["full"], "digits")
    assert len(specs) == (6 * 4 - 1) * 5 * 4 * 3 * 2  # adamw without decay is adam
    assert {theory.optimizer_of(run) for run in RunTable(TRUTH).runs(GRID)} == set(OPTIMIZERS)


@pytest.mark.parametrize(("field", "what"), [("grid_optimizers", "optimiser"), ("grid_starts", "start")])
def test_an_unknown_name_is_refused(field, what):
    with pytest.raises(UnknownNameError, match=f"unknown {what}.*'sgdd'"):
        plan(Design(**{field: ("sgdd",)}), "digits")


@pytest.mark.parametrize(
    ("optimizer", "decay", "start", "prediction"),
    [
        ("gd", 0.0, "balanced", "holds"),
        ("gd", 0.0, "gaussian", "fails"),
        ("heavy_ball", 0.01, "gaussian", "holds"),
        ("adam", 0.01, "gaussian", "holds"),
        ("adam", 0.0, "balanced", "silent"),
        ("adamw", 0.01, "balanced", "fails"),
    ],
)
def test_what_theory_predicts(optimizer, decay, start, prediction):
    assert theory.predict(planted(optimizer, decay, start)) == prediction


def test_far_from_a_stationary_point_theory_is_silent():
    assert theory.predict(with_columns(planted("adam", 0.01), stationarity=0.3)) == "silent"


def test_half_way_down_theory_is_silent():
    run = planted("gd", 0.01)
    size = run.spectra()[-1].weight_gram_norm
    lasting = -math.log(0.1 * size / run.column("imbalance_norm")[0]) / (2 * 0.01)
    assert theory.predict(with_columns(run, flow_time=lasting)) == "silent"


def test_momentum_counts_in_the_clock():
    assert theory.decay_clock(planted("heavy_ball", 0.01)) == pytest.approx(theory.decay_clock(planted("gd", 0.01)))


@pytest.fixture(scope="module")
def trained():
    """Short trainings of every optimiser on digits, from which the bound is checked."""
    design = Design(
        seeds=(0,),
        grid_depths=(3,),
        grid_decays=(0.03,),
        grid_starts=("gaussian", "orthogonal"),
        grid_steps=60,
        grid_width=6,
        grid_synthetic=False,
    )
    specs = plan(design, "digits")
    rows = [row for name in range(0, len(specs), 2) for row in run_stack(specs[name : name + 2])]
    return RunTable(to_table(rows)).runs(GRID)


def test_the_bound_at_a_nearly_stationary_point_is_one(trained):
    """It holds at any point at which the gradient of the whole loss is known."""
    whole = [run for run in trained if theory.optimizer_of(run) != "sgd"]
    assert len(whole) == 10
    for run in whole:
        assert theory.measured_imbalance(run) <= theory.certified_imbalance(run) * (1 + 1e-9)


def test_the_observed_null_is_worse_than_a_perfect_fit_and_only_at_the_end(trained):
    for run in trained:
        assert np.isnan(run.column("null_residual")[0])
        assert 0.0 < run.column("null_residual")[-1] < 1.0


def test_a_failed_run_is_not_left_out_in_silence():
    rows = TRUTH.to_pylist()
    broken = [
        row | {"status": "failed", "error": "boom"} if row["seed"] == 1 and row["dynamics"] == "Adam" else row
        for row in rows
    ]
    for key in ("G.holds", "G.fails", "G.silent", "G.moves", "G.coupled"):
        claim = next(claim for claim in CHAPTER.claims if claim.key == key)
        found = [finding for finding in judge_claim(claim, RunTable(to_table(broken))) if "boom" in finding.reason]
        assert {finding.outcome for finding in found} == {"INCONCLUSIVE"}, key


@pytest.mark.parametrize(
    "nothing", [{"weight_norm": 1e-4}, {"eigenvalues": [], "energies": [], "sums": []}], ids=["weights", "gradients"]
)
def test_a_network_with_nothing_left_is_left_out(nothing):
    rows = [row | (nothing if row["snapshot"] == 1 else {}) for row in TRUTH.to_pylist()]
    assert [
        finding.outcome for claim in CHAPTER.claims for finding in judge_claim(claim, RunTable(to_table(rows)))
    ] == ["INCONCLUSIVE"] * len(CHAPTER.claims)
    assert CHAPTER.figures(RunTable(to_table(rows))) == ()


def test_the_heat_map_has_a_cell_for_each_decay_with_the_prediction_in_it():
    heat_map = CHAPTER.figures(RunTable(TRUTH))[0]
    assert isinstance(heat_map, HeatMap)
    gaussian = next(panel for panel in heat_map.panels if panel.title == "start: gaussian")
    assert gaussian.columns == ("0", "0.01")
    marks = dict(zip(gaussian.rows, gaussian.marks, strict=True))
    assert [mark.split()[0] for mark in marks["gd"]] == ["✗", "✓"]
    assert [mark.split()[0] for mark in marks["adam"]] == ["·", "✓"]
    assert [mark[:1] for mark in marks["adamw"]] == ["", "✗"]


def test_the_worst_run_of_a_seed_decides():
    reader = claims.read(
        lambda _: True, lambda run: float(run.seed == 2 and run.weight_decay == 0.01), max, claims.by_optimizer
    )
    assert {(sample.seed, sample.value) for sample in reader(RunTable(TRUTH))} == {(0, 0.0), (1, 0.0), (2, 1.0)}
