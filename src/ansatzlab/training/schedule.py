"""When a training is looked at."""

import math
from typing import Literal

import numpy as np

EARLIEST = 1e-3
"""The first flow-time snapshot after the start, as a fraction of the whole."""


def log_spaced_times(end: float, count: int) -> list[float]:
    """Return 0 and ``count − 1`` times, evenly spaced on a logarithmic axis, up to and including ``end``.

    Args:
        end: The last time, positive.
        count: How many, at least 2.

    Returns:
        The times, ascending.

    Example:
        >>> log_spaced_times(1.0, 4)
        [0.0, 0.001, 0.03162277660168379, 1.0]
    """
    times = np.geomspace(EARLIEST * end, end, count - 1) if count > 2 else np.array([end])
    return [0.0, *(float(t) for t in times)]


def log_spaced_steps(last: int, count: int) -> list[int]:
    """Return 0, ``last`` and steps between them, evenly spaced on a logarithmic axis, without repeats.

    Args:
        last: The last step, at least 1.
        count: How many at most, at least 2; ``last + 1`` or more gives every step.

    Returns:
        The steps, ascending.

    Example:
        >>> log_spaced_steps(100, 4)
        [0, 1, 10, 100]
    """
    if count > last:
        return list(range(last + 1))
    if count == 2:
        return [0, last]
    return sorted({0, *(round(float(s)) for s in np.geomspace(1, last, count - 1))})


Schedule = Literal["constant", "cosine"]
"""How a learning rate changes."""


def rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """Return the learning rate of a step (from 0) relative to the first one: 1, or ``(1 + cos(π t/T))/2``."""
    return 1.0 if schedule == "constant" else (1 + math.cos(math.pi * step / steps)) / 2


def elapsed(schedule: Schedule, step: int, steps: int) -> float:
    """Return the sum of the factors of the steps before one: what a step's flow time is in units of the rate.

    Example:
        >>> elapsed("constant", 10, 10), round(elapsed("cosine", 10, 10), 12)
        (10.0, 5.5)
    """
    if schedule == "constant":
        return float(step)
    return math.fsum(rate_factor(schedule, before, steps) for before in range(step))
