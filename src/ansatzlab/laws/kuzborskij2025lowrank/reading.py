"""What the chapters share when they read runs."""

import math
from collections.abc import Callable, Iterable

from ansatzlab.laws.kuzborskij2025lowrank.stationarity import BALANCING_TIMES
from ansatzlab.laws.reading import Absent, Value
from ansatzlab.laws.runs import Run

LARGE_START = 100.0
"""How many times as large as the stationary ones the squared initial weights are taken to be at most."""


def decay_of(run: Run) -> float:
    """Return λ of the penalty λ‖θ‖², half of what torch calls weight decay."""
    return run.weight_decay / 2


def at_stationary_point(statistic: Callable[..., Value], tolerance: float | None = None) -> Callable[..., Value]:
    """Return a statistic of which nothing is said where a run is at no stationary point, or at zero.

    Where decay drove all weights to zero there is nothing to see. A training forgets its start as ``e^(−4λt)``: what is
    left of a start would be taken for a refutation until ``t ≥ 5/(4λ)``, and longer where the claim's tolerance is
    small: until `LARGE_START` times ``e^(−4λt)`` is below it.

    Args:
        statistic: Of one run, or of several, of which the first is looked at.
        tolerance: The claim's tolerance; None where ``5/(4λ)`` is enough.

    Returns:
        The statistic.
    """
    times = BALANCING_TIMES if tolerance is None else max(BALANCING_TIMES, math.log(LARGE_START / tolerance))

    def read(run: Run, *others: Run) -> Value:
        if run.last("collapsed") == 1:
            return Absent("collapsed: decay drove all weights to zero")
        wanted = times / (4 * decay_of(run))
        trained = run.last("flow_time")
        if run.last("not_balanced_yet") == 1 or trained < wanted:
            return Absent(f"too short to be balanced: steps times η are {trained:g}, wanted {wanted:.4g} or more")
        return statistic(run, *others)

    return read


def ratio(over: float, under: float) -> Value:
    """Return a ratio of two changes; none where the lower one is exactly zero."""
    return over / under if under else Absent("the smaller change is exactly zero")


def largest(values: Iterable[float]) -> float:
    """Return the largest number; nan if there is none or one is nan."""
    found = list(values)
    return math.nan if not found or any(math.isnan(value) for value in found) else max(found)
