"""The law's statistics, verdicts and figures on planted tables and on tables that were damaged on purpose."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from ansatzlab.laws.figure import Figure
from ansatzlab.laws.judge import Finding, judge, judge_claim, overall
from ansatzlab.laws.law import Sample
from ansatzlab.laws.reading import each_run
from ansatzlab.laws.runs import Row, RunTable
from ansatzlab.laws.tansley2025nfa.law import LAW as WHOLE
from ansatzlab.laws.tansley2025nfa.linear import statistics
from ansatzlab.laws.tansley2025nfa.linear.chapter import CHAPTER
from ansatzlab.laws.tansley2025nfa.linear.design import (
    BALANCED_DESCENT,
    BALANCED_FLOW,
    COLLAPSE,
    DECAY,
    NO_DECAY,
    STOCHASTIC,
)
from ansatzlab.store.schema import to_table

EXPERIMENTS = {
    BALANCED_FLOW: ("A.", "A′."),
    BALANCED_DESCENT: ("A″.",),
    DECAY: ("B.",),
    NO_DECAY: ("B′.",),
    COLLAPSE: ("B″.",),
    STOCHASTIC: ("D.",),
}
"""Every experiment with the beginnings of the keys of the claims that read it."""

LAW = replace(WHOLE, chapters=(CHAPTER,))
TRUTH, FALSEHOOD = CHAPTER.planted(True), CHAPTER.planted(False)
Change = Callable[[Row], Row]


def rows_of(experiment: str) -> list[Row]:
    return [row for row in TRUTH.to_pylist() if row["experiment"] == experiment]


MIDDLE_RATE = sorted({row["learning_rate"] for row in rows_of(BALANCED_DESCENT)})[1]


def matches(row: Row, where: dict[str, object]) -> bool:
    return all(row[name] == value for name, value in where.items())


def edited(experiment: str, change: Change, **where: object) -> pa.Table:
    """The planted runs of one experiment, with a change made to the rows that have these values."""
    return to_table([row | change(row) if matches(row, where) else row for row in rows_of(experiment)])


def without(experiment: str, **where: object) -> pa.Table:
    """The planted runs of one experiment, without the rows that have these values."""
    return to_table([row for row in rows_of(experiment) if not matches(row, where)])


def energies(exponent: float, factor: float = 1.0) -> Change:
    """M = factor · G^exponent."""
    return lambda row: {"energies": (factor * np.array(row["eigenvalues"]) ** exponent).tolist()}


def findings_of(table: pa.Table, *beginnings: str) -> list[Finding]:
    claims = [claim for claim in LAW.claims if claim.key.startswith(beginnings)]
    return [finding for claim in claims for finding in judge_claim(claim, RunTable(table))]


def read(key: str, table: pa.Table) -> Sequence[Sample]:
    """What the claim with this key reads out of a table."""
    (claim,) = [claim for claim in LAW.claims if claim.key == key]
    return claim.samples(RunTable(table))


def value_of(samples: Sequence[Sample], condition: str, seed: int = 0) -> float:
    (value,) = [sample.value for sample in samples if (sample.condition, sample.seed) == (condition, seed)]
    return value


# --- planted tables ----------------------------------------------------------------------------------------------


def test_of_a_planted_truth_every_finding_holds() -> None:
    findings = judge(LAW, RunTable(TRUTH))
    assert {finding.claim for finding in findings} == {claim.key for claim in LAW.claims}
    assert {(finding.claim, finding.reason) for finding in findings if finding.outcome != "HOLDS"} == set()
    assert overall(findings) == "HOLDS"


def test_of_a_planted_falsehood_every_claim_fails_somewhere() -> None:
    findings = judge(LAW, RunTable(FALSEHOOD))
    failed = {finding.claim for finding in findings if finding.outcome == "FAILS"}
    assert {claim.key for claim in LAW.claims} - failed == set()
    assert overall(findings) == "FAILS"


def test_of_an_empty_table_every_claim_is_inconclusive() -> None:
    findings = judge(LAW, RunTable(TRUTH.slice(0, 0)))
    assert [finding.claim for finding in findings] == [claim.key for claim in LAW.claims]
    assert {finding.outcome for finding in findings} == {"INCONCLUSIVE"}
    assert overall(findings) == "INCONCLUSIVE"


def test_every_claim_belongs_to_one_experiment() -> None:
    beginnings = [beginning for group in EXPERIMENTS.values() for beginning in group]
    assert all(sum(claim.key.startswith(beginning) for beginning in beginnings) == 1 for claim in LAW.claims)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_speaks_for_its_claims_and_for_no_other(experiment: str) -> None:
    for finding in judge(LAW, RunTable(to_table(rows_of(experiment)))):
        own = finding.claim.startswith(EXPERIMENTS[experiment])
        assert finding.outcome == ("HOLDS" if own else "INCONCLUSIVE"), finding.claim


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_two_seeds_conclude_nothing(experiment: str) -> None:
    findings = findings_of(without(experiment, seed=1), *EXPERIMENTS[experiment])
    assert {finding.outcome for finding in findings} == {"INCONCLUSIVE"}


# --- runs that have no answer ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["diverged", "failed"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_run_that_did_not_finish_never_holds_and_says_why(experiment: str, status: str) -> None:
    """One seed of three: its conditions must not hold, and the reason must say what happened."""
    table = edited(experiment, lambda _: {"status": status, "error": "out of luck"}, seed=2)
    findings = findings_of(table, *EXPERIMENTS[experiment])
    assert {finding.outcome for finding in findings} == {"INCONCLUSIVE"}
    assert all(f"{status}: out of luck" in finding.reason for finding in findings)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_runs_that_stopped_before_their_first_snapshot_are_survived(experiment: str) -> None:
    stopped = {"status": "failed", "error": "at once", "layer": None, "layer_index": None, "snapshot": None}
    first_rows = {row["run_id"]: row | stopped for row in rows_of(experiment)}
    table = to_table(list(first_rows.values()))
    assert {finding.outcome for finding in findings_of(table, *EXPERIMENTS[experiment])} == {"INCONCLUSIVE"}
    assert CHAPTER.figures(RunTable(table)) == ()


def test_a_collapsed_network_gives_no_rate_and_is_called_collapsed() -> None:
    table = edited(DECAY, lambda row: {"weight_norm": 1e-5 if row["snapshot"] else 1.0})
    findings = findings_of(table, "B.")
    assert findings
    for finding in findings:
        assert finding.outcome == "INCONCLUSIVE"
        assert finding.counts
        assert "collapsed" in finding.reason
    assert overall(findings) == "INCONCLUSIVE"


def test_a_network_of_which_one_layer_survives_is_not_collapsed() -> None:
    table = edited(DECAY, lambda row: {"weight_norm": 1e-5 if row["snapshot"] and row["layer_index"] > 1 else 1.0})
    assert {finding.outcome for finding in findings_of(table, "B.")} == {"HOLDS"}


@pytest.mark.parametrize(("rate", "regime"), [(0.0, True), (0.5, False), (1.0, True)])
def test_an_eigenvalue_on_its_way_to_zero_has_no_rate(rate: float, regime: bool) -> None:
    """Eigenvalues of G₁^{1/L} that stay, or that fall as e^{−2λt}, have one; the imbalance has one in any case."""

    def change(row: Row) -> Row:
        dying = {"eigenvalues": [16.0, 4.0, 3.9 * math.exp(-rate * clock(row) * int(row["depth"]))]}
        return dying | planted_error(1.0)(row | dying)

    rates, imbalances = (findings_of(edited(DECAY, change), key) for key in ("B.rate", "B.imbalance"))
    assert {finding.outcome for finding in rates} == {"HOLDS" if regime else "INCONCLUSIVE"}
    if not regime:
        told = "outside the regime: 1 of 3 eigenvalues are still on the way to zero"
        assert {finding.reason for finding in rates} == {told}
    assert {finding.outcome for finding in imbalances} == {"HOLDS"}


def test_a_flat_spectrum_is_not_identifiable_and_does_not_count() -> None:
    flat = {"eigenvalues": [4.0, 4.0, 4.0], "energies": [2.0, 2.0, 2.0]}
    table = edited(BALANCED_FLOW, lambda _: flat, depth=2)
    findings = [f for f in findings_of(table, "A.exponent", "A.not-one") if f.condition == "L = 2"]
    assert len(findings) == 2
    for finding in findings:
        assert (finding.outcome, finding.counts) == ("INCONCLUSIVE", False)
        assert finding.reason.startswith("not identifiable: the AGOP's kept eigenvalues are equal")
    everything = findings_of(table, *EXPERIMENTS[BALANCED_FLOW])
    assert overall(everything) == "HOLDS", "what cannot be asked does not spoil the rest"


# --- each statistic reads what was planted in it -----------------------------------------------------------------


def test_balanced_error_is_the_worst_moment_of_the_first_layer_with_constant_one() -> None:
    table = edited(BALANCED_FLOW, energies(1 / 3, 1.25), depth=3, snapshot=1, layer_index=1, seed=0)
    samples = read("A.error", table)
    assert value_of(samples, "L = 3") == pytest.approx(0.2)  # (1.25 − 1)/1.25
    assert value_of(samples, "L = 3", seed=1) < 1e-15
    deeper = edited(BALANCED_FLOW, energies(1 / 3, 1.25), depth=3, layer_index=2)
    assert value_of(read("A.error", deeper), "L = 3") < 1e-15


def test_exponent_errors_are_the_worst_moment_of_each_layer() -> None:
    table = edited(BALANCED_FLOW, energies(1 / 3 + 0.01), depth=3, snapshot=0, layer_index=1)
    assert value_of(read("A.exponent", table), "L = 3") == pytest.approx(0.01)
    assert value_of(read("A′.layers", table), "L = 3, layer 2") < 1e-12
    table = edited(BALANCED_FLOW, energies(1 / 2 - 0.02), depth=3, snapshot=1, layer_index=2)
    assert value_of(read("A′.layers", table), "L = 3, layer 2") == pytest.approx(0.02)
    conditions = {sample.condition for sample in read("A′.layers", TRUTH)}
    assert conditions == {"L = 3, layer 2", "L = 4, layer 2", "L = 4, layer 3"}


def test_the_exponent_of_layer_l_counts_the_layers_above() -> None:
    assert [statistics.law_exponent(4, layer) for layer in (1, 2, 3, 4)] == [1 / 4, 1 / 3, 1 / 2, 1.0]
    assert statistics.law_exponent(5) == 1 / 5


def test_last_layer_residual_does_not_see_the_constant() -> None:
    scaled = edited(BALANCED_FLOW, energies(1.0, 7.0), depth=2, layer_index=2)
    assert value_of(read("A′.last", scaled), "L = 2") < 1e-15
    bent = edited(BALANCED_FLOW, energies(1.1), depth=2, snapshot=0, layer_index=2)
    assert value_of(read("A′.last", bent), "L = 2") > 1e-3


def residual_by_definition(row: Row, exponent: float) -> float:
    b, p = np.array(row["energies"]), np.array(row["eigenvalues"]) ** exponent
    return float(np.linalg.norm(b - (b @ p) / (p @ p) * p) / np.linalg.norm(b))


def end_of(experiment: str, depth: int) -> Row:
    rows = [r for r in TRUTH.to_pylist() if (r["experiment"], r["depth"], r["layer_index"]) == (experiment, depth, 1)]
    return max(rows, key=lambda row: row["snapshot"])


def test_wrong_exponents_are_judged_at_the_end_of_deep_enough_flows() -> None:
    table = edited(BALANCED_FLOW, energies(0.9), snapshot=0)  # the start does not matter
    sizes = each_run(BALANCED_FLOW, statistics.wrong_residual(0.5), keep=statistics.at_least(3))(RunTable(table))
    assert {sample.condition for sample in sizes} == {"L = 3", "L = 4"}
    for depth in (3, 4):
        wanted = residual_by_definition(end_of(BALANCED_FLOW, depth), 0.5)
        assert value_of(sizes, f"L = {depth}") == pytest.approx(wanted)


def test_decades_between_exponents_are_read_above_rounding() -> None:
    exact = read("A.not-one", TRUTH)
    wrong = residual_by_definition(end_of(BALANCED_FLOW, 2), 1.0)
    assert value_of(exact, "L = 2") == pytest.approx(math.log10(wrong / statistics.ROUNDING), abs=1.0)
    table = edited(BALANCED_FLOW, energies(0.75), depth=2)
    row = end_of(BALANCED_FLOW, 2) | energies(0.75)(end_of(BALANCED_FLOW, 2))
    ratio = residual_by_definition(row, 1.0) / residual_by_definition(row, 0.5)
    assert value_of(read("A.not-one", table), "L = 2") == pytest.approx(math.log10(ratio))


@pytest.mark.parametrize("slope", [0.5, 1.0, 1.37])
def test_the_drift_slope_is_that_of_the_largest_imbalance(slope: float) -> None:
    table = edited(
        BALANCED_DESCENT,
        lambda row: {"imbalance_norm": 3 * row["learning_rate"] ** slope if row["layer_index"] == 1 else 99.0},
    )
    samples = read("A″.drift", table)
    assert len(samples) == 9
    assert all(sample.value == pytest.approx(slope) for sample in samples)


def test_two_step_sizes_give_no_slope() -> None:
    samples = read("A″.drift", without(BALANCED_DESCENT, learning_rate=MIDDLE_RATE, seed=0))
    assert math.isnan(value_of(samples, "L = 2"))
    assert value_of(samples, "L = 2", seed=1) == pytest.approx(1.0)


def clock(row: Row) -> float:
    return 2 * float(row["weight_decay"]) * float(row["flow_time"])


def test_the_imbalance_rate_is_that_of_the_pair_furthest_from_one() -> None:
    rates = {1: 0.95, 2: 1.3, 3: 0.8}
    table = edited(DECAY, lambda row: {"imbalance_norm": math.exp(-rates.get(row["layer_index"], 1.0) * clock(row))})
    samples = read("B.imbalance", table)
    for depth, rate in ((2, 0.95), (3, 1.3), (4, 1.3)):
        assert value_of(samples, f"L = {depth}, λ = 0.1") == pytest.approx(rate)


def planted_error(rate: float) -> Change:
    """A relative error of exactly e^{−rate · 2λt}/2."""

    def change(row: Row) -> Row:
        error = math.exp(-rate * clock(row)) / 2
        return energies(1 / int(row["depth"]), 1 / (1 - error))(row)

    return change


@pytest.mark.parametrize("rate", [0.5, 1.0, 1.1])
def test_the_rate_and_the_decades_of_the_error_are_those_planted(rate: float) -> None:
    table = edited(DECAY, planted_error(rate))
    for depth in (2, 3, 4):
        condition = f"L = {depth}, λ = 0.1"
        assert value_of(read("B.rate", table), condition) == pytest.approx(rate, rel=1e-6)
        decades = rate * 16 / math.log(10)
        assert value_of(read("B.decades", table), condition) == pytest.approx(decades, rel=1e-6)


def test_rates_do_not_see_the_transient_nor_what_follows_the_loss_of_a_rank() -> None:
    """Before 2λt = 6 and after 14 anything may happen, and after an eigenvalue was cut inside the window too."""

    def change(row: Row) -> Row:
        if 6 <= clock(row) <= 11:
            return planted_error(1.0)(row)
        if clock(row) < 6 or clock(row) > 14:
            return energies(0.7)(row)
        return {"eigenvalues": row["eigenvalues"][:2], "energies": [5.0, 5.0], "sums": [0.0, 0.0]}

    samples = read("B.rate", edited(DECAY, change))
    assert all(sample.value == pytest.approx(1.0, rel=1e-6) for sample in samples)


def test_conservation_is_the_worst_moment_of_the_worst_pair() -> None:
    table = edited(NO_DECAY, lambda _: {"imbalance_norm": 0.97}, depth=4, snapshot=1, layer_index=3)
    assert value_of(read("B′.conserved", table), "L = 4") == pytest.approx(0.03)
    assert value_of(read("B′.conserved", table), "L = 3") == 0.0


def test_violation_is_the_residual_at_the_end() -> None:
    for depth in (2, 3, 4):
        wanted = residual_by_definition(end_of(NO_DECAY, depth), 1 / depth)
        assert value_of(read("B′.violated", TRUTH), f"L = {depth}") == pytest.approx(wanted)


def test_what_remains_of_the_weights_is_that_of_the_largest_layer() -> None:
    table = edited(COLLAPSE, lambda _: {"weight_norm": 0.25}, depth=3, snapshot=1, layer_index=2)
    assert value_of(read("B″.collapse", table), "L = 3, λ = 1") == 0.25
    assert value_of(read("B″.collapse", table), "L = 2, λ = 1") == pytest.approx(1e-5)


def test_the_discrete_law_is_judged_by_its_worst_step_and_pair() -> None:
    table = edited(STOCHASTIC, lambda _: {"discrete_balance_error": 1e-3}, depth=4, layer_index=3)
    assert value_of(read("D.discrete", table), "L = 4, λ = 0.01") == 1e-3
    assert value_of(read("D.discrete", table), "L = 3, λ = 0.01") == 1e-15


# --- figures -----------------------------------------------------------------------------------------------------


def check_figures(figures: Sequence[Figure]) -> set[str]:
    """Every curve has as many ordinates as abscissae, and its median lies within its spread."""
    for figure in figures:
        assert figure.curves
        for curve in figure.curves:
            assert len(curve.x) == len(curve.y) > 0, (figure.key, curve.label)
            if curve.low:
                assert len(curve.low) == len(curve.high) == len(curve.y)
                assert all(a <= b <= c for a, b, c in zip(curve.low, curve.y, curve.high, strict=True))
        labels = [curve.label for curve in figure.curves]
        assert len(set(labels)) == len(labels)
    return {figure.key for figure in figures}


ALL_FIGURES = {"exponent", "layers", "balanced", "decay", "no-decay", "drift"}
FIGURES_OF = {BALANCED_FLOW: {"exponent", "layers", "balanced"}, DECAY: {"decay"}, NO_DECAY: {"no-decay"}}
FIGURES_OF |= {BALANCED_DESCENT: {"drift"}, COLLAPSE: set(), STOCHASTIC: set()}


@pytest.mark.parametrize("table", [TRUTH, FALSEHOOD], ids=["truth", "falsehood"])
def test_planted_tables_are_drawn_completely(table: pa.Table) -> None:
    assert check_figures(CHAPTER.figures(RunTable(table))) == ALL_FIGURES


def test_an_empty_table_has_no_figures() -> None:
    assert CHAPTER.figures(RunTable(TRUTH.slice(0, 0))) == ()


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize(
    "where",
    [{"seed": 9}, {"seed": 0}, {"depth": 2}, {"seed": 1, "depth": 4}, {"learning_rate": MIDDLE_RATE, "seed": 0}],
    ids=str,
)
def test_partial_tables_are_drawn_and_figures_without_runs_left_out(experiment: str, where: dict[str, object]) -> None:
    assert check_figures(CHAPTER.figures(RunTable(without(experiment, **where)))) == FIGURES_OF[experiment]


def test_runs_that_diverged_are_not_drawn() -> None:
    (whole,) = CHAPTER.figures(RunTable(to_table(rows_of(NO_DECAY))))
    change = {"status": "diverged", "error": "x", "energies": [1e30, 1.0, 1.0]}
    table = edited(NO_DECAY, lambda _: change, seed=0)
    (drawn,) = CHAPTER.figures(RunTable(table))
    for curve, complete in zip(drawn.curves, whole.curves, strict=True):
        assert (curve.y, curve.low, curve.high) == (complete.y, complete.low, complete.high), (
            "the other seeds are alike"
        )


def test_the_exponent_figure_has_its_minimum_at_the_law() -> None:
    (figure,) = (
        figure for figure in CHAPTER.figures(RunTable(to_table(rows_of(BALANCED_FLOW)))) if figure.key == "exponent"
    )
    for curve in figure.curves:
        depth = int(curve.label.removeprefix("L = "))
        assert curve.x[int(np.argmin(curve.y))] == pytest.approx(1 / depth)


def test_the_layers_figure_puts_fits_on_the_diagonal() -> None:
    (figure,) = (
        figure for figure in CHAPTER.figures(RunTable(to_table(rows_of(BALANCED_FLOW)))) if figure.key == "layers"
    )
    fits = figure.curves[0]
    np.testing.assert_allclose(fits.y, fits.x, rtol=1e-9)
    np.testing.assert_allclose(fits.x, [1 / 4, 1 / 3, 1 / 2])
