"""Judging a law: from a table of runs to one verdict per claim and condition, by pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from ansatzlab.laws.law import Claim, Law, Role, Sample, Threshold
from ansatzlab.laws.runs import RunTable

Outcome = Literal["HOLDS", "FAILS", "INCONCLUSIVE"]

MINIMUM_SEEDS = 3
"""Fewer seeds than this show no spread, so nothing is concluded from them."""


@dataclass(frozen=True)
class Finding:
    """The verdict on one claim under one condition.

    Attributes:
        claim: The claim's key.
        statement: The claim's statement.
        statistic: The claim's statistic.
        condition: The condition, empty if there was nothing to judge.
        outcome: The verdict.
        role: The claim's role.
        counts: Whether the verdict counts towards the outcome of the whole.
        value: The median over seeds; nan if there is none.
        low: The smallest value over seeds.
        high: The largest value over seeds.
        seeds: How many seeds gave a value.
        threshold: The threshold, as a condition.
        reason: Why, in words.
    """

    claim: str
    statement: str
    statistic: str
    condition: str
    outcome: Outcome
    role: Role
    counts: bool
    value: float
    low: float
    high: float
    seeds: int
    threshold: str
    reason: str


def judge(law: Law, table: RunTable) -> tuple[Finding, ...]:
    """Judge every claim of a law from a table of runs.

    Definition:
        Per claim and condition: HOLDS if every seed's statistic lies within the threshold, FAILS if any lies outside (a
        theorem is refuted by one counterexample), INCONCLUSIVE if fewer than three seeds give a value or the table has
        nothing to say. A condition under which the claim applies to no run does not count.

    Args:
        law: The law.
        table: The runs; may be none.

    Returns:
        The findings, in the order of the claims and their conditions.
    """
    return tuple(finding for claim in law.claims for finding in judge_claim(claim, table))


def judge_claim(claim: Claim, table: RunTable) -> tuple[Finding, ...]:
    """Judge one claim (see `judge`): one finding per condition, or a single one if the table has nothing to say."""
    conditions: dict[str, list[Sample]] = {}
    for sample in claim.samples(table):
        conditions.setdefault(sample.condition, []).append(sample)
    return tuple(_finding(claim, condition, samples) for condition, samples in (conditions or {"": []}).items())


def controls(law: Law) -> tuple[Finding, ...]:
    """Judge the law's planted tables: truth must come out HOLDS, falsehood FAILS, an empty table INCONCLUSIVE.

    Args:
        law: The law.

    Returns:
        Three findings, one per planted table, whose value is the number of claims judged as planted.
    """
    truth = law.planted(True)
    plants: dict[str, tuple[RunTable, Outcome]] = {
        "planted truth": (RunTable(truth), "HOLDS"),
        "planted falsehood": (RunTable(law.planted(False)), "FAILS"),
        "empty table": (RunTable(truth.slice(0, 0)), "INCONCLUSIVE"),
    }
    return tuple(
        _control(condition, wanted, [_worst(judge_claim(claim, table)) for claim in law.claims])
        for condition, (table, wanted) in plants.items()
    )


def overall(findings: Sequence[Finding]) -> Outcome:
    """Return the outcome of the whole: FAILS if any counting finding fails, HOLDS if all hold, else INCONCLUSIVE."""
    return _worst([finding for finding in findings if finding.counts])


def _finding(claim: Claim, condition: str, samples: Sequence[Sample]) -> Finding:
    values = [sample.value for sample in samples if not math.isnan(sample.value)]
    applies = not samples or any(sample.applies for sample in samples)
    outside = [value for value in values if value not in claim.threshold]
    told = "; ".join(sorted({sample.reason for sample in samples if sample.reason}))
    missing = f"; {len(samples) - len(values)} gave no value: {told}" if len(values) < len(samples) else ""
    outcome: Outcome
    if outside:
        outcome, reason = "FAILS", f"{len(outside)} of {len(values)} seeds outside{missing}"
    elif len(values) < MINIMUM_SEEDS:
        outcome, reason = "INCONCLUSIVE", told or f"seeds with a value: {len(values)}; wanted: {MINIMUM_SEEDS}"
    else:
        outcome, reason = "HOLDS", f"all {len(values)} seeds within{missing}"
    return Finding(
        claim=claim.key,
        statement=claim.statement,
        statistic=claim.statistic,
        condition=condition,
        outcome=outcome,
        role=claim.role,
        counts=claim.role == "claim" and applies,
        value=median(values) if values else math.nan,
        low=min(values, default=math.nan),
        high=max(values, default=math.nan),
        seeds=len(values),
        threshold=str(claim.threshold),
        reason=reason,
    )


def _worst(findings: Sequence[Finding]) -> Outcome:
    """Return FAILS if any finding fails, HOLDS if all hold, else INCONCLUSIVE, whatever counts."""
    outcomes = {finding.outcome for finding in findings}
    if "FAILS" in outcomes:
        return "FAILS"
    return "HOLDS" if outcomes == {"HOLDS"} else "INCONCLUSIVE"


def _control(condition: str, wanted: Outcome, outcomes: Sequence[Outcome]) -> Finding:
    right = sum(outcome == wanted for outcome in outcomes)
    return Finding(
        claim="control",
        statement="The judging itself: a planted truth HOLDS, a planted falsehood FAILS, nothing is INCONCLUSIVE.",
        statistic="number of claims judged as planted",
        condition=condition,
        outcome="HOLDS" if right == len(outcomes) else "FAILS",
        role="control",
        counts=False,
        value=float(right),
        low=float(right),
        high=float(right),
        seeds=1,
        threshold=str(Threshold(low=len(outcomes))),
        reason=f"{right} of {len(outcomes)} claims came out {wanted}",
    )
