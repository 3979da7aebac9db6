"""What each claim reads out of a run, or of the runs of one seed; one statistic each."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ansatzlab.laws.kuzborskij2025lowrank.merged.design import MIXED, ORTHOGONAL
from ansatzlab.laws.kuzborskij2025lowrank.reading import decay_of, largest, ratio
from ansatzlab.laws.law import Sample
from ansatzlab.laws.reading import Absent, Value, each_family
from ansatzlab.laws.runs import Run, RunTable

ROUNDING, FITTED = 1e-13, 3
"""Outputs that move by a smaller share of their size may be rounded only; a slope is fitted to no fewer moments."""


def told(run: Run) -> str:
    """Say how two networks with one hidden layer were trained."""
    decay = f"λ = {decay_of(run):g}" if run.weight_decay else "no decay"
    scale = f", initial weights × {run.options['scale']:g}" if run.options["scale"] != 1 else ""
    return f"{decay}{scale}"


def linear_told(run: Run) -> str:
    """Say how deep and wide the linear networks were."""
    return f"linear, K = {run.depth}, width {run.options['width']}"


def described(run: Run) -> str:
    """Say how they were trained, and how their tasks stand to one another."""
    return f"{told(run)}, ε = {mixing_of(run):g}"


def mixing_of(run: Run) -> float:
    """Return ε."""
    return float(str(run.options.get("mixing", 0.0)))


def deviations(run: Run) -> np.ndarray:
    """Return by how much merging moves an output, at most, over both tasks, at every snapshot."""
    found: np.ndarray = np.maximum(run.column("deviation_a"), run.column("deviation_b"))
    return found


def deviation(run: Run) -> float:
    """Return it at the end."""
    return float(deviations(run)[-1])


def lost(run: Run) -> float:
    """Return the largest share of a task's examples whose right answer merging made wrong."""
    return max(run.last("lost_a"), run.last("lost_b"))


def slope(run: Run) -> Value:
    """Return the slope of the logarithm of the deviation in steps, over ``log(1 − 2ηλ)``, where it is no rounding."""
    seen = run.column("relative_deviation") > ROUNDING
    if seen.sum() < FITTED:
        return Absent(
            f"only {seen.sum()} of {len(seen)} moments at which outputs move by more than {ROUNDING:g} of their size, "
            f"wanted {FITTED}: merge more often or train for a shorter time"
        )
    fitted = np.polyfit(run.column("step")[seen], np.log(deviations(run)[seen]), 1)[0]
    return float(fitted / math.log(1 - 2 * run.learning_rate * decay_of(run)))


def deviation_ratio(one: Run, other: Run) -> Value:
    """Return how many times as much the second pair's outputs are moved as the first's."""
    return ratio(deviation(other), deviation(one))


def relative_ratio(one: Run, other: Run) -> Value:
    """Return the same of the deviations relative to the outputs."""
    return ratio(other.last("relative_deviation"), one.last("relative_deviation"))


def bound_share(run: Run) -> float:
    """Return the largest deviation over its bound, over examples, tasks and snapshots, whichever bound is nearer."""
    return float(np.nanmax([run.column("bound_share"), run.column("foretold_share")]))


def foretold_error(run: Run) -> float:
    """Return how far the relative deviation is from what the leading singular vectors foretell."""
    return run.last("foretold_error")


def overlap_error(run: Run) -> float:
    """Return how far the relative deviation is from the overlap of the hidden directions alone."""
    overlap = run.last("overlap")
    return max(abs(run.last(f"relative_deviation_{letter}") - overlap) for letter in "ab")


def overlap_size(run: Run) -> float:
    """Return the largest overlap of the directions that a hidden layer writes in both networks, times √width."""
    overlaps = [run.last("overlap", layer) for layer in range(1, len(run.layers) + 1)]
    return largest(overlaps) * math.sqrt(int(run.options["width"]))


def span_error(run: Run) -> float:
    """Return how far the weights off the inputs are from ``(1 − 2ηλ)^t`` of their start, over all snapshots."""
    return float(np.nanmax(run.column("span_error")))


def linearity(mixed: Sequence[Run]) -> Value:
    """Return how the deviation grows between the two smallest ε > 0, over how ε does."""
    if len(mixed) < 2:
        return Absent("fewer than two ε > 0")
    one, other = sorted(mixed, key=mixing_of)[:2]
    return ratio(deviation(other) * mixing_of(one), deviation(one) * mixing_of(other))


def growth(table: RunTable) -> Sequence[Sample]:
    """Read the smallest ratio of the deviations of successive ε, from orthogonal inputs on."""

    def statistic(runs: Sequence[Run]) -> Value:
        moved = [deviation(run) for run in sorted(runs, key=mixing_of)]
        if len(moved) < 2 or not any(moved):
            return Absent("nothing moved" if len(moved) > 1 else "fewer than two ε")
        return float(np.min([other / one if one else math.inf for one, other in pairwise(moved)]))

    scales = {run.options["scale"] for run in table.runs(MIXED)}
    return each_family((ORTHOGONAL, MIXED), statistic, told, lambda run: run.options["scale"] in scales)(table)
