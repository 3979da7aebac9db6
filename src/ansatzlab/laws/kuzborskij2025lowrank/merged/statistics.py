"""What each claim reads out of a run, or of the runs of one seed; one statistic each."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ansatzlab.laws.kuzborskij2025lowrank.merged.design import MIXED, ORTHOGONAL
from ansatzlab.laws.kuzborskij2025lowrank.reading import decay_of, last, option
from ansatzlab.laws.law import Sample
from ansatzlab.laws.runs import Run, runs_of


def told(run: Run) -> str:
    """Say how two networks with one hidden layer were trained."""
    decay = f"λ = {decay_of(run):g}" if run.weight_decay else "no decay"
    scale = f", initial weights × {option(run, 'scale'):g}" if option(run, "scale") != 1 else ""
    return f"{decay}{scale}"


def linear_told(run: Run) -> str:
    """Say how deep and wide the linear networks were."""
    return f"linear, K = {run.depth}, width {option(run, 'width')}"


def described(run: Run) -> str:
    """Say how they were trained, and how their tasks stand to one another."""
    return f"{told(run)}, ε = {mixing_of(run):g}"


def mixing_of(run: Run) -> float:
    """Return ε."""
    return float(str(run.spec["options"].get("mixing", 0.0)))


def deviations(run: Run) -> np.ndarray:
    """Return by how much merging moves an output, at most, over both tasks, at every snapshot."""
    found: np.ndarray = np.maximum(run.column("deviation_a"), run.column("deviation_b"))
    return found


def deviation(run: Run) -> float:
    """Return it at the end."""
    return float(deviations(run)[-1])


def slope(run: Run) -> float:
    """Return the slope of the logarithm of the deviation in steps, over ``log(1 − 2ηλ)``."""
    fitted = np.polyfit(run.column("step"), np.log(deviations(run)), 1)[0]
    return float(fitted / math.log(1 - 2 * run.learning_rate * decay_of(run)))


def deviation_ratio(one: Run, other: Run) -> float:
    """Return how many times as much the second pair's outputs are moved as the first's."""
    return deviation(other) / deviation(one)


def relative_ratio(one: Run, other: Run) -> float:
    """Return the same of the deviations relative to the outputs."""
    return last(other, "relative_deviation") / last(one, "relative_deviation")


def bound_share(run: Run) -> float:
    """Return the largest deviation over its bound, over examples, tasks and snapshots, whichever bound is nearer."""
    return float(np.nanmax([run.column("bound_share"), run.column("foretold_share")]))


def foretold_error(run: Run) -> float:
    """Return how far the relative deviation is from what the leading singular vectors foretell."""
    return last(run, "foretold_error")


def overlap_error(run: Run) -> float:
    """Return how far the relative deviation is from the overlap of the hidden directions alone."""
    overlap = last(run, "overlap")
    return max(abs(last(run, f"relative_deviation_{letter}") - overlap) for letter in "ab")


def span_error(run: Run) -> float:
    """Return how far the weights off the inputs are from ``(1 − 2ηλ)^t`` of their start, over all snapshots."""
    return float(np.nanmax(run.column("span_error")))


def by_mixing(table: pa.Table) -> dict[int, list[Run] | Sample]:
    """Return for every seed the runs by ascending ε, from orthogonal tasks on; of a failed run what failed."""
    found: dict[int, list[Run] | Sample] = {}
    mixed = runs_of(table, MIXED)
    scales = {option(run, "scale") for run in mixed}
    orthogonal = [run for run in runs_of(table, ORTHOGONAL) if option(run, "scale") in scales]
    for seed in sorted({run.seed for run in mixed}):
        runs = sorted((run for run in (*orthogonal, *mixed) if run.seed == seed), key=mixing_of)
        failure = next((run.failure for run in runs if run.failure), "")
        found[seed] = Sample(told(mixed[0]), seed, math.nan, failure) if failure else runs
    return found


def linearity(table: pa.Table) -> list[Sample]:
    """Read how the deviation grows between the two smallest ε, over how ε does."""

    def statistic(runs: list[Run]) -> float:
        one, other = [run for run in runs if mixing_of(run)][:2]
        return deviation(other) / deviation(one) / (mixing_of(other) / mixing_of(one))

    return _over_mixings(table, statistic)


def growth(table: pa.Table) -> list[Sample]:
    """Read the smallest ratio of the deviations of successive ε, from 0 on."""

    def statistic(runs: list[Run]) -> float:
        return min(deviation(other) / deviation(one) for one, other in pairwise(runs))

    return _over_mixings(table, statistic)


def _over_mixings(table: pa.Table, statistic: Callable[[list[Run]], float]) -> list[Sample]:
    return [
        runs if isinstance(runs, Sample) else Sample(told(runs[0]), seed, statistic(runs))
        for seed, runs in by_mixing(table).items()
    ]
