"""Two ways of doing one thing, timed in turn."""

from collections.abc import Callable
from statistics import median
from time import perf_counter

REPEATS = 5


def compare(benchmark: str, case: str, *, slow: Callable[[], object], ours: Callable[[], object]) -> dict[str, object]:
    """Return the medians of five alternating runs after one to warm up, and their ratio."""
    seconds: dict[str, list[float]] = {"slow": [], "ours": []}
    for repeat in range(REPEATS + 1):
        for name, way in (("slow", slow), ("ours", ours)):
            start = perf_counter()
            way()
            if repeat:
                seconds[name].append(perf_counter() - start)
    slowest, fastest = median(seconds["slow"]), median(seconds["ours"])
    return {
        "benchmark": benchmark,
        "case": case,
        "slow_seconds": slowest,
        "our_seconds": fastest,
        "ratio": slowest / fastest,
    }
