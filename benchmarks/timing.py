"""Two ways of doing one thing, timed in turn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter

REPEATS = 5

Row = dict[str, object]
"""A benchmark's figures, as they are written to the results."""


@dataclass(frozen=True)
class Case:
    """One thing to do and two ways of doing it, the model and the data built beforehand."""

    benchmark: str
    case: str
    slow: Callable[[], object]
    ours: Callable[[], object]


def seconds(way: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    start = perf_counter()
    way()
    return perf_counter() - start


def median_seconds(way: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median of some calls after one to warm up."""
    way()
    return median(seconds(way) for _ in range(repeats))


def compare(case: Case, *, repeats: int = REPEATS, notes: Mapping[str, object] | None = None) -> Row:
    """Return the medians of alternating runs after one of each to warm up, and their ratio."""
    slow, ours = [], []
    for _ in range(repeats + 1):
        slow.append(seconds(case.slow))
        ours.append(seconds(case.ours))
    slowest, fastest = median(slow[1:]), median(ours[1:])
    return {
        "benchmark": case.benchmark,
        "case": case.case,
        "slow_seconds": slowest,
        "our_seconds": fastest,
        "ratio": slowest / fastest,
        "notes": dict(notes or {}),
    }
