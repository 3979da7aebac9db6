"""What a law is: claims with statistics and thresholds, judged from a table of runs by pure functions.

A law never runs by itself. It *plans* specs, the sweep runs them, the store keeps them, and `judge` reads the table, so
that judging can be tested with planted tables.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import pyarrow as pa

from ansatzlab.sweeps.spec import RunSpec

Budget = Literal["quick", "full"]
Outcome = Literal["HOLDS", "FAILS", "INCONCLUSIVE"]
Role = Literal["claim", "control", "tautology"]

MINIMUM_SEEDS = 3
"""Fewer seeds than this show no spread, so nothing is concluded from them."""


@dataclass(frozen=True)
class Threshold:
    """The interval in which a claim's statistic must lie; both ends belong to it.

    Attributes:
        low: Its lower end.
        high: Its upper end.
    """

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        """Whether a value lies in the interval; nan never does."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        """Write the interval as a condition: ``≤ 1e-09``, ``≥ 0.1`` or ``in [0.9, 1.1]``."""
        if self.low == -math.inf:
            return f"≤ {self.high:g}"
        return f"≥ {self.low:g}" if self.high == math.inf else f"in [{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class Sample:
    """A claim's statistic in one run (or one seed's family of runs).

    Attributes:
        condition: What distinguishes the runs that are judged together, for example ``L = 3``.
        seed: The seed.
        value: The statistic; nan where it has none.
        reason: Why it has none, or what is special about it, in words: ``not identifiable: …``, ``collapsed: …``.
    """

    condition: str
    seed: int
    value: float
    reason: str = ""


@dataclass(frozen=True)
class Claim:
    """One checkable statement of a law.

    Attributes:
        key: Its short name, for example ``A.error``.
        statement: What the paper (or our reading of it) says.
        statistic: What is computed, as a formula.
        threshold: Where the statistic must lie.
        samples: Reads the statistic of every run out of the table; a pure function.
        role: A ``claim`` counts towards the outcome; a ``control`` and a ``tautology`` are shown and do not.
    """

    key: str
    statement: str
    statistic: str
    threshold: Threshold
    samples: Callable[[pa.Table], Sequence[Sample]]
    role: Role = "claim"


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


@dataclass(frozen=True)
class Curve:
    """A line of a figure, with its spread over seeds.

    Attributes:
        label: Its name in the legend.
        x: The abscissae.
        y: The medians over seeds.
        low: The smallest values over seeds; empty for a line without spread.
        high: The largest values over seeds; empty likewise.
        dashed: Whether it is a reference (a theory line, a threshold) and not a measurement.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure, independent of what draws it.

    Attributes:
        key: Its name in file names.
        title: What it shows.
        caption: How to read it, and what the law predicts.
        x_label: Label and unit of the abscissa.
        y_label: Label and unit of the ordinate.
        curves: Its lines.
        x_log: Whether the abscissa is logarithmic.
        y_log: Whether the ordinate is logarithmic.
    """

    key: str
    title: str
    caption: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    x_log: bool = True
    y_log: bool = True


@dataclass(frozen=True)
class Law:
    """A published law.

    Attributes:
        key: ``authorYEARword``: folder, id, BibTeX key and test name.
        title: The paper's title.
        authors: Its authors.
        source: Where it appeared.
        url: Where it can be read.
        summary: The law in one sentence.
        claims: What is judged.
        settings: What a user may change about its experiments, with the values of the quick budget.
        plan: The runs that test it: ``(budget, data, changed settings)`` to specs.
        figures: What the report draws, from the table of runs.
        planted: A table in which every claim is true (True) or false (False), to test the judging.
    """

    key: str
    title: str
    authors: str
    source: str
    url: str
    summary: str
    claims: tuple[Claim, ...]
    settings: Mapping[str, object]
    plan: Callable[[Budget, str, Mapping[str, object]], tuple[RunSpec, ...]]
    figures: Callable[[pa.Table], tuple[Figure, ...]]
    planted: Callable[[bool], pa.Table]


def judge(law: Law, table: pa.Table) -> tuple[Finding, ...]:
    """Judge every claim of a law from a table of runs.

    Definition:
        Per claim and condition: HOLDS if every seed's statistic lies within the threshold, FAILS if any lies outside (a
        theorem is refuted by one counterexample), INCONCLUSIVE if fewer than three seeds give a value or the table has
        nothing to say.

    Args:
        law: The law.
        table: The runs, as the store returns them; may be empty.

    Returns:
        The findings, in the order of the claims and their conditions.
    """
    return tuple(finding for claim in law.claims for finding in judge_claim(claim, table))


def judge_claim(claim: Claim, table: pa.Table) -> tuple[Finding, ...]:
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
    plants: dict[str, tuple[pa.Table, Outcome]] = {
        "planted truth": (truth, "HOLDS"),
        "planted falsehood": (law.planted(False), "FAILS"),
        "empty table": (truth.slice(0, 0), "INCONCLUSIVE"),
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
    unidentifiable = bool(samples) and all(sample.reason.startswith("not identifiable") for sample in samples)
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
        counts=claim.role == "claim" and not unidentifiable,
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
