"""The figure of a verification's claims beside their thresholds."""

import math
import re
from collections.abc import Mapping

import pyarrow as pa

from ansatzlab.report.figures.dots import DotPlot, Dots
from ansatzlab.report.figures.kinds.grouping import sentences
from ansatzlab.report.figures.kinds.options import DEFAULTS, Options
from ansatzlab.report.figures.kinds.tracks import lacking, refuse_lacking

COLUMNS = ("claim", "outcome", "counts", "value", "low", "high", "threshold")
"""The columns of a table of findings that are looked at."""

SMALLEST, LARGEST = 1e-6, 1e4
"""Values further from their threshold than these factors are drawn there."""

_OUTCOMES = {"HOLDS": "holds", "FAILS": "fails", "INCONCLUSIVE": "inconclusive"}
_IGNORED = "does not count"


def verdicts(table: pa.Table, *, options: Options = DEFAULTS) -> DotPlot:
    """Draw the findings of a verification as their values relative to the thresholds.

    Definition:
        A claim that its statistic is at most t is drawn at value/t, at least t at t/value, in an interval at the
        distance from its middle over half its length: at most 1 is within the threshold.

    Args:
        table: One row a finding, with the attributes of `ansatzlab.laws.judge.Finding` as columns.
        options: No choice counts.

    Returns:
        The dot plot: a row a claim, a dot a condition.

    Raises:
        InputError: If the table has no findings.
    """
    del options
    refuse_lacking("verdicts", lacking(table, COLUMNS))
    findings = [row for row in table.to_pylist() if row["claim"] != "control"]
    names = list(dict.fromkeys(row["claim"] for row in findings))
    found: dict[str, list[tuple[int, float, float, float]]] = {word: [] for word in (*_OUTCOMES.values(), _IGNORED)}
    drawn = set()
    for row in findings:
        ends = _ends(row)
        if ends is not None:
            word = _OUTCOMES[row["outcome"]] if row["counts"] else _IGNORED
            found[word].append((names.index(row["claim"]), *ends))
            drawn.add(row["claim"])
    series = []
    for word, dots in found.items():
        if dots:
            rows, values, low, high = zip(*dots, strict=True)
            series.append(Dots(word, rows, values, low, high, reference=word == _IGNORED))
    missing = [name for name in names if name not in drawn]
    return DotPlot(
        key="verdicts",
        title="Claims beside their thresholds",
        caption=sentences(
            "The statistic of every claim relative to its threshold, one dot a condition: the median over seeds, and "
            "from the least to the largest. Left of the line it is within the threshold.",
            f"Beyond {SMALLEST:g} and {LARGEST:g} dots stand at these.",
            f"Without a value: {', '.join(missing)}." * bool(missing),
        ),
        value_label="value relative to the threshold",
        rows=tuple(names),
        series=tuple(series),
        line=1.0,
        log=True,
    )


def _ends(row: Mapping[str, object]) -> tuple[float, float, float] | None:
    """Return a finding's value, and the least and the largest over seeds, relative to its threshold; None without."""
    numbers = [float(each) for each in re.findall(r"-?\d[\d.]*(?:e[+-]?\d+)?", str(row["threshold"]))]
    values = [row["value"], row["low"], row["high"]]
    if not numbers or not all(isinstance(value, float) and math.isfinite(value) for value in values):
        return None
    value, low, high = (_relative(float(str(each)), str(row["threshold"])[:1], numbers) for each in values)
    if any(map(math.isnan, (value, low, high))):
        return None
    inside = len(numbers) > 1 and float(str(row["low"])) <= sum(numbers) / 2 <= float(str(row["high"]))
    return value, SMALLEST if inside else min(low, high), max(low, high)


def _relative(value: float, sign: str, numbers: list[float]) -> float:
    """Return how far a value is towards its threshold, within the range that is drawn; nan if nothing can be said."""
    if len(numbers) > 1:
        half = abs(numbers[1] - numbers[0]) / 2
        share = abs(value - sum(numbers) / 2) / half if half else math.nan
    elif numbers[0] <= 0:
        share = math.nan
    elif sign == "≤":
        share = value / numbers[0]
    else:
        share = numbers[0] / value if value > 0 else math.inf
    return share if math.isnan(share) else min(max(share, SMALLEST), LARGEST)
