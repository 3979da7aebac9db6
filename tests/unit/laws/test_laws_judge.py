import math

import pytest

from ansatzlab.errors import UnknownNameError
from ansatzlab.laws.judge import Finding, controls, judge, overall
from ansatzlab.laws.law import Chapter, Claim, Law, Role, Sample, Threshold
from ansatzlab.laws.registry import LAWS, get_law
from ansatzlab.laws.runs import RunTable
from ansatzlab.store.schema import BASE_SCHEMA

EMPTY = BASE_SCHEMA.empty_table()
BELOW_ONE = Threshold(high=1.0)


def claim(*samples: Sample, key: str = "c", threshold: Threshold = BELOW_ONE, role: Role = "claim") -> Claim:
    return Claim(key, "A statement.", "a number", threshold, lambda _: samples, role)


def law(*claims: Claim) -> Law:
    return Law(
        key="nobody2025nothing",
        title="",
        authors="",
        source="",
        url="",
        summary="",
        chapters=(Chapter("all", "", claims, {}, lambda _design, _data: (), lambda _: (), lambda _: EMPTY),),
    )


def samples(*values: float, condition: str = "L = 2", reason: str = "", applies: bool = True) -> list[Sample]:
    return [Sample(condition, seed, value, reason, applies) for seed, value in enumerate(values)]


def verdict(*of: Sample, threshold: Threshold = BELOW_ONE) -> Finding:
    (finding,) = judge(law(claim(*of, threshold=threshold)), RunTable(EMPTY))
    return finding


# --- thresholds --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (Threshold(high=1e-9), "≤ 1e-09"),
        (Threshold(low=0.1), "≥ 0.1"),
        (Threshold(0.9, 1.1), "in [0.9, 1.1]"),
        (Threshold(-1.0, 0.0), "in [-1, 0]"),
    ],
)
def test_a_threshold_reads_as_a_condition(threshold: Threshold, words: str) -> None:
    assert str(threshold) == words


@pytest.mark.parametrize(
    ("threshold", "inside", "outside"),
    [
        (Threshold(high=1.0), [1.0, 0.0, -math.inf], [math.nextafter(1.0, 2.0), math.inf, math.nan]),
        (Threshold(low=1.0), [1.0, 2.0, math.inf], [math.nextafter(1.0, 0.0), -math.inf, math.nan]),
        (Threshold(0.9, 1.1), [0.9, 1.0, 1.1], [0.89, 1.11, math.nan]),
        (Threshold(), [-math.inf, 0.0, math.inf], [math.nan]),
    ],
)
def test_both_ends_belong_to_a_threshold_and_nan_never_does(
    threshold: Threshold, inside: list[float], outside: list[float]
) -> None:
    assert [value in threshold for value in inside] == [True] * len(inside)
    assert [value in threshold for value in outside] == [False] * len(outside)


# --- one condition -----------------------------------------------------------------------------------------------


def test_every_seed_within_holds() -> None:
    finding = verdict(*samples(0.5, 1.0, 0.1, 0.2))
    assert (finding.outcome, finding.counts, finding.seeds) == ("HOLDS", True, 4)
    assert (finding.value, finding.low, finding.high) == (pytest.approx(0.35), 0.1, 1.0)
    assert (finding.claim, finding.condition, finding.threshold, finding.role) == ("c", "L = 2", "≤ 1", "claim")
    assert finding.reason == "all 4 seeds within"


@pytest.mark.parametrize("values", [(0.5, 0.5, 1.5), (1.5,), (0.1, 0.1, 0.1, 0.1, math.inf), (2.0, 2.0, 2.0)])
def test_one_seed_outside_fails_however_many_hold(values: tuple[float, ...]) -> None:
    finding = verdict(*samples(*values))
    assert finding.outcome == "FAILS"
    assert finding.counts
    assert finding.reason == f"{sum(value > 1 for value in values)} of {len(values)} seeds outside"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_seeds_conclude_nothing(count: int) -> None:
    finding = verdict(*samples(*[0.5] * count))
    assert (finding.outcome, finding.counts, finding.seeds) == ("INCONCLUSIVE", True, count)
    assert finding.reason == f"seeds with a value: {count}; wanted: 3"


def test_without_a_sample_there_is_one_finding_without_a_condition() -> None:
    finding = verdict()
    assert (finding.outcome, finding.condition, finding.seeds) == ("INCONCLUSIVE", "", 0)
    assert all(math.isnan(number) for number in (finding.value, finding.low, finding.high))


def test_a_run_without_a_value_gives_its_reason() -> None:
    finding = verdict(*samples(0.5, 0.5), Sample("L = 2", 2, math.nan, "diverged: at step 3"))
    assert (finding.outcome, finding.seeds) == ("INCONCLUSIVE", 2)
    assert finding.reason == "diverged: at step 3"


def test_reasons_are_told_once_each() -> None:
    finding = verdict(*samples(math.nan, math.nan, reason="failed: b"), Sample("L = 2", 2, math.nan, "diverged: a"))
    assert finding.reason == "diverged: a; failed: b"


def test_enough_seeds_conclude_but_those_without_a_value_are_said() -> None:
    bad = [Sample("L = 2", 3, math.nan, "collapsed: to zero"), Sample("L = 2", 4, math.nan, "collapsed: to zero")]
    holds, fails = verdict(*samples(0.5, 0.5, 0.5), *bad), verdict(*samples(0.5, 0.5, 1.5), *bad)
    assert (holds.outcome, holds.reason) == ("HOLDS", "all 3 seeds within; 2 gave no value: collapsed: to zero")
    assert (fails.outcome, fails.reason) == ("FAILS", "1 of 3 seeds outside; 2 gave no value: collapsed: to zero")


def test_a_condition_to_which_a_claim_does_not_apply_does_not_count() -> None:
    finding = verdict(*samples(math.nan, math.nan, math.nan, reason="rank 1", applies=False))
    assert (finding.outcome, finding.counts) == ("INCONCLUSIVE", False)
    assert finding.reason == "rank 1"


def test_a_condition_to_which_it_applies_in_some_seeds_counts() -> None:
    finding = verdict(*samples(0.5), *samples(math.nan, math.nan, reason="rank 1", applies=False))
    assert (finding.outcome, finding.counts) == ("INCONCLUSIVE", True)
    collapsed = verdict(*samples(math.nan, math.nan, math.nan, reason="collapsed: to zero"))
    assert (collapsed.outcome, collapsed.counts) == ("INCONCLUSIVE", True)


@pytest.mark.parametrize("role", ["control", "tautology"])
def test_controls_and_tautologies_are_judged_and_do_not_count(role: Role) -> None:
    (finding,) = judge(law(claim(*samples(2.0, 2.0, 2.0), role=role)), RunTable(EMPTY))
    assert (finding.outcome, finding.counts, finding.role) == ("FAILS", False, role)


# --- the whole ---------------------------------------------------------------------------------------------------


def test_conditions_are_judged_apart_in_the_order_of_claims_and_samples() -> None:
    shallow, deep = samples(0.5, 0.5, 0.5), samples(0.5, 1.5, 0.5, condition="L = 3")
    mixed = [sample for pair in zip(shallow, deep, strict=True) for sample in pair]
    findings = judge(law(claim(*mixed, key="a"), claim(key="b"), claim(*shallow, key="c")), RunTable(EMPTY))
    assert [(finding.claim, finding.condition, finding.outcome) for finding in findings] == [
        ("a", "L = 2", "HOLDS"),
        ("a", "L = 3", "FAILS"),
        ("b", "", "INCONCLUSIVE"),
        ("c", "L = 2", "HOLDS"),
    ]


def test_claims_are_all_given_the_table() -> None:
    seen: list[RunTable] = []

    def read(table: RunTable) -> list[Sample]:
        seen.append(table)
        return []

    table = RunTable(EMPTY)
    judge(law(Claim("c", "", "", BELOW_ONE, read), Claim("d", "", "", BELOW_ONE, read)), table)
    assert [each is table for each in seen] == [True, True]


HOLDING, FAILING = claim(*samples(0.0, 0.0, 0.0)), claim(*samples(2.0, 2.0, 2.0))
SILENT, UNIDENTIFIED = claim(), claim(*samples(math.nan, reason="flat", applies=False))
CONTROL = claim(*samples(2.0), role="control")


@pytest.mark.parametrize(
    ("claims", "outcome"),
    [
        ([HOLDING, HOLDING], "HOLDS"),
        ([HOLDING, FAILING], "FAILS"),
        ([SILENT, FAILING], "FAILS"),
        ([HOLDING, SILENT], "INCONCLUSIVE"),
        ([HOLDING, UNIDENTIFIED], "HOLDS"),
        ([UNIDENTIFIED], "INCONCLUSIVE"),
        ([HOLDING, CONTROL], "HOLDS"),
        ([CONTROL], "INCONCLUSIVE"),
        ([], "INCONCLUSIVE"),
    ],
)
def test_the_whole_fails_with_one_and_holds_with_all_that_count(claims: list[Claim], outcome: str) -> None:
    assert overall(judge(law(*claims), RunTable(EMPTY))) == outcome


# --- planted tables and the registry -----------------------------------------------------------------------------


def test_controls_notice_claims_that_are_not_judged_as_planted() -> None:
    blind = claim(*samples(0.0, 0.0, 0.0))  # holds whatever it is shown
    truth, falsehood, empty = controls(law(blind, claim()))
    assert (truth.outcome, truth.value, truth.reason) == ("FAILS", 1.0, "1 of 2 claims came out HOLDS")
    assert (falsehood.outcome, falsehood.value) == ("FAILS", 0.0)
    assert (empty.outcome, empty.value) == ("FAILS", 1.0)
    assert not any(finding.counts for finding in (truth, falsehood, empty))


def test_laws_are_found_by_their_key() -> None:
    assert all(get_law(key).key == key for key in LAWS)
    with pytest.raises(UnknownNameError, match="unknown law 'tansley2025'; did you mean 'tansley2025nfa'"):
        get_law("tansley2025")
