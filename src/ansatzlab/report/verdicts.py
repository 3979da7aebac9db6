"""The verdicts in words and numbers, as the page and the terminal share them, and the terminal's table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from ansatzlab.laws.judge import Finding, Outcome, overall

MARKS: dict[Outcome, str] = {"HOLDS": "✓", "FAILS": "✗", "INCONCLUSIVE": "?"}
"""One mark a verdict; it always stands beside the word, so that nothing hangs on colour or on the mark alone."""

MISSING = "–"
"""What is shown where there is no value."""

Counting = Literal["counts", "control", "tautology", "not counted"]

_STYLES: dict[Outcome, str] = {"HOLDS": "green", "FAILS": "bold red", "INCONCLUSIVE": "yellow"}
_FIXED_EXPONENTS = range(-3, 4)  # 0.00123 to 9990 are read faster without an exponent


@dataclass(frozen=True)
class ClaimGroup:
    """The findings of one claim under all its conditions.

    Attributes:
        key: The claim's key.
        statement: The claim's statement.
        statistic: The claim's statistic.
        findings: Its findings, in their order; at least one.
    """

    key: str
    statement: str
    statistic: str
    findings: tuple[Finding, ...]

    @property
    def counted(self) -> int:
        """How many of the findings count."""
        return sum(finding.counts for finding in self.findings)

    @property
    def holding(self) -> int:
        """How many of the counting findings hold."""
        return sum(finding.counts and finding.outcome == "HOLDS" for finding in self.findings)

    @property
    def outcome(self) -> Outcome:
        """The outcome of the findings that count."""
        return overall(self.findings)


def group_by_claim(findings: Sequence[Finding]) -> tuple[ClaimGroup, ...]:
    """Put the findings of one claim together, in the order in which the claims first appear.

    Args:
        findings: All findings of a law.

    Returns:
        One group for each claim; claims that share a key but not statement and statistic stay apart.
    """
    members: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        members.setdefault((finding.claim, finding.statement, finding.statistic), []).append(finding)
    return tuple(ClaimGroup(*claim, findings=tuple(group)) for claim, group in members.items())


def format_value(value: float) -> str:
    """Write a number: five significant digits where they can be read, three where there is an exponent.

    Args:
        value: Any number.

    Returns:
        The digits, with an exponent below 0.001 and from 10000 on; a dash for nan, ``∞`` for infinity.

    Example:
        >>> [format_value(value) for value in (0.98765, 3.42e-11, 12.0, 0.0, -0.5, float("nan"))]
        ['0.98765', '3.42e-11', '12.000', '0', '-0.50000', '–']
    """
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    exponent = int(f"{value:.4e}".partition("e")[2])
    return f"{value:.{4 - exponent}f}" if exponent in _FIXED_EXPONENTS else f"{value:.2e}"


def format_spread(low: float, high: float) -> str:
    """Write the spread over seeds as an interval.

    Args:
        low: The smallest value.
        high: The largest value.

    Returns:
        ``[low, high]`` as `format_value` writes them, or a dash if either is nan.

    Example:
        >>> format_spread(1e-12, 0.25)
        '[1.00e-12, 0.25000]'
    """
    if math.isnan(low) or math.isnan(high):
        return MISSING
    return f"[{format_value(low)}, {format_value(high)}]"


def counting(finding: Finding) -> Counting:
    """Return whether a finding counts towards the outcome of the whole or, if not, what it is instead."""
    if finding.role != "claim":
        return finding.role
    return "counts" if finding.counts else "not counted"


def tally(findings: Sequence[Finding]) -> str:
    """Count the verdicts in words, to stand behind the outcome of the whole.

    Args:
        findings: All findings of a law.

    Returns:
        A phrase without the outcome and without a full stop.

    Example:
        >>> tally([])
        'nothing was judged'
    """
    if not findings:
        return "nothing was judged"
    counted = [finding.outcome for finding in findings if finding.counts]
    holding, failing, open_ = (counted.count(outcome) for outcome in MARKS)
    noun, verb = ("verdict", "holds") if len(counted) == 1 else ("verdicts", "hold")
    words = f"{holding} of {len(counted)} counted {noun} {verb}" if counted else "no verdict counts"
    if failing:
        words += f", {failing} fail{'s' if failing == 1 else ''}"
    if open_:
        words += f", {open_} {'is' if open_ == 1 else 'are'} inconclusive"
    further = len(findings) - len(counted)
    if further:
        rows = "1 further row does" if further == 1 else f"{further} further rows do"
        words += f"; {rows} not count (controls, tautologies, claims that do not apply)"
    return words


def verdict_table(findings: Sequence[Finding]) -> Table:
    """Lay the findings out for the terminal: a heading for each claim, then one row for each of its conditions.

    Conventions: what the records hold is shown literally: rich markup is not read, control characters (a terminal's
    escape sequences) become ``�``. A claim that does not count says so in its heading; rows that do not are dim.

    Args:
        findings: All findings of a law.

    Returns:
        A rich table that fits 80 columns; long conditions wrap.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("claim, verdict", overflow="fold", min_width=14)
    table.add_column("threshold, condition", overflow="fold")
    for name in ("value", "spread", "seeds"):
        table.add_column(name, no_wrap=True, justify="right")
    for group in group_by_claim(findings):
        first = group.findings[0]
        status = "" if first.role == "claim" else f" ({first.role})"
        table.add_row(_literal(group.key), _literal(first.threshold + status), style="bold")
        for finding in group.findings:
            table.add_row(*_cells(finding), style="" if finding.counts else "dim")
    return table


def verdict_notes(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Say why findings do not hold: one line for each claim and reason, with the conditions it was given under.

    Args:
        findings: All findings of a law.

    Returns:
        The lines; none if everything holds.
    """
    conditions: dict[tuple[str, str, str], list[str]] = {}
    for finding in findings:
        if finding.outcome != "HOLDS":
            reason = finding.reason + ("" if finding.counts else f" ({counting(finding)})")
            key = (MARKS[finding.outcome], finding.claim, reason)
            conditions.setdefault(key, []).append(finding.condition or "no condition")
    return tuple(f"{mark} {claim}: {reason}: {'; '.join(told)}" for (mark, claim, reason), told in conditions.items())


def _cells(finding: Finding) -> tuple[Text, ...]:
    return (
        Text(f"{MARKS[finding.outcome]} {finding.outcome}", _STYLES[finding.outcome]),
        _literal(finding.condition or MISSING),
        Text(format_value(finding.value)),
        Text(format_spread(finding.low, finding.high)),
        Text(str(finding.seeds)),
    )


def _literal(text: str) -> Text:
    return Text("".join(letter if letter.isprintable() else "�" for letter in text))
