"""What the paper says of neural networks that grok, and how it is read out of the table."""

import math
from collections.abc import Callable

import numpy as np

from ansatzlab.laws.law import Claim, Reader, Threshold
from ansatzlab.laws.mallinar2024grokking.design import GROKKING, PUBLISHED, PUBLISHED_PRIME
from ansatzlab.laws.reading import Absent, Value, at_end, at_start, each_run
from ansatzlab.laws.runs import Run

MEMORISED = 0.99
"""The share of right answers on the training pairs from which on they count as learnt by heart."""

TOLERANCE = 0.05
"""How far from a published correlation ours may lie."""

HIGH, HALF = 0.9, 0.5
"""The share of right answers on the other pairs that is grokking, and the one at which it is half done."""

Statistic = Callable[[Run], float]


def operation_of(run: Run) -> str:
    """Return the operation that a run learnt."""
    return str(run.options["operation"])


def prime_of(run: Run) -> int:
    """Return the modulus."""
    return int(run.options["prime"])


def condition(run: Run) -> str:
    """Return the operation and the modulus."""
    return f"{operation_of(run)}, p = {prime_of(run)}"


def difference(one: Statistic, other: Statistic) -> Statistic:
    """Return the statistic that is one less another."""
    return lambda run: one(run) - other(run)


def _above_null(moment: Callable[[str], Statistic]) -> Statistic:
    """Return by how much the off-diagonal correlation lies above its null, at the start or the end."""
    return difference(moment("off_value"), moment("off_null"))


def published(run: Run) -> float:
    """Return the published correlation; nan for another modulus."""
    return PUBLISHED[operation_of(run)] if prime_of(run) == PUBLISHED_PRIME else math.nan


def delay(run: Run) -> float | Absent:
    """Return when half of the other pairs are answered right, over when the training pairs are known.

    There is none if either never happens, or the training pairs are known from the start.
    """
    epochs = run.column("epoch")
    known = when(epochs, run.column("accuracy"), MEMORISED)
    found = when(epochs, run.column("test_accuracy"), HALF) / known if known else math.nan
    return Absent("not reached within the training") if math.isnan(found) else found


def when(epochs: np.ndarray, shares: np.ndarray, level: float) -> float:
    """Return the epoch at which a share first reaches a level.

    Definition:
        Between two moments the share is taken to be a straight line in the logarithm of the epoch.

    Args:
        epochs: The moments, ascending.
        shares: The share at each.
        level: The level.

    Returns:
        The epoch; nan if it is never reached.
    """
    reached = np.flatnonzero(shares >= level)
    if not len(reached):
        return math.nan
    after = int(reached[0])
    before = after - 1
    if after == 0 or epochs[before] == 0:
        return float(epochs[after])
    part = (level - shares[before]) / (shares[after] - shares[before])
    return float(epochs[before] * (epochs[after] / epochs[before]) ** part)


def read(statistic: Callable[[Run], Value]) -> Reader:
    """Return the reader of a statistic of every run."""
    return each_run(GROKKING, statistic, condition)


def read_published(statistic: Statistic) -> Reader:
    """Return the reader of a statistic less the published correlation, of the runs with the published modulus."""
    return each_run(
        GROKKING, difference(statistic, published), condition, keep=lambda run: prime_of(run) == PUBLISHED_PRIME
    )


CLAIMS = (
    Claim(
        key="K.groks",
        statement="The network comes to answer right on pairs that it never saw.",
        statistic="share of right answers on the other pairs, at the end",
        threshold=Threshold(low=HIGH),
        samples=read(at_end("test_accuracy")),
    ),
    Claim(
        key="K.late",
        statement="It does so only after it knows the training pairs by heart.",
        statistic=f"epoch at which half of the other pairs are right, over that at which {MEMORISED:.0%} of the known "
        "ones are",
        threshold=Threshold(low=1.0),
        samples=read(delay),
    ),
    Claim(
        key="K.published",
        statement="WᵀW and AGOP^½ of the first layer correlate as much as published, modulo 61.",
        statistic="Pearson's correlation at the end, less the published one",
        threshold=Threshold(-TOLERANCE, TOLERANCE),
        samples=read_published(at_end("pearson_value")),
    ),
    Claim(
        key="K.start",
        statement="The untrained network already correlates as much as published.",
        statistic="Pearson's correlation at the start, less the published one",
        threshold=Threshold(low=0.0),
        samples=read_published(at_start("pearson_value")),
        role="control",
    ),
    Claim(
        key="K.null",
        statement="The trained weights with output gradients turned at random correlate as much as published.",
        statistic="mean of the structural null at the end, less the published correlation",
        threshold=Threshold(low=0.0),
        samples=read_published(at_end("pearson_null")),
        role="control",
    ),
    Claim(
        key="K.gain",
        statement="Training raises the correlation.",
        statistic="Pearson's correlation, end less start",
        threshold=Threshold(low=0.0),
        samples=read(difference(at_end("pearson_value"), at_start("pearson_value"))),
        role="control",
    ),
    Claim(
        key="K.beyond",
        statement="The trained network fits better than with output gradients turned at random.",
        statistic="distance of the residual from the structural null, in its sd, at the end",
        threshold=Threshold(low=3.0),
        samples=read(at_end("pearson_z")),
        role="control",
    ),
    Claim(
        key="K.off-diagonal",
        statement="Beside the diagonals, which any network shares, the trained network is further above its null than "
        "the untrained one is above its own.",
        statistic="off-diagonal correlation less its structural null, end less start",
        threshold=Threshold(low=0.0),
        samples=read(difference(_above_null(at_end), _above_null(at_start))),
        role="control",
    ),
)
