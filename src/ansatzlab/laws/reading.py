"""What a claim reads: one statistic of every run, of every pair of runs, of every family of runs."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ansatzlab.laws.law import Reader, Sample
from ansatzlab.laws.runs import Run, RunTable


@dataclass(frozen=True)
class Absent:
    """What a statistic returns where it has no value.

    Attributes:
        reason: Why, in words: ``collapsed: …``, ``fewer than 3 condition numbers``.
        applies: Whether the claim speaks of such a run; False where its assumption is not met, or nothing could be
            told from any value. A condition to which a claim applies nowhere does not count.
    """

    reason: str
    applies: bool = True


Value: TypeAlias = float | Absent
Statistic: TypeAlias = Callable[[Run], Value]
Condition: TypeAlias = Callable[[Run], str]
Choice: TypeAlias = Callable[[Run], bool]

NO_VALUE = "the statistic has no value"


def by_setting(run: Run) -> str:
    """Return the depth and, where there is one, the decay: the condition of a run where a law names no other."""
    return run.condition


def by_depth(run: Run) -> str:
    """Return the depth alone as a condition."""
    return f"L = {run.depth}"


def every(_: Run) -> bool:
    """Choose every run."""
    return True


def at_end(name: str, layer: int = 1) -> Callable[[Run], float]:
    """Return the statistic that is a column of one layer (counted from 1) at the last snapshot."""
    return lambda run: run.last(name, layer)


def at_start(name: str, layer: int = 1) -> Callable[[Run], float]:
    """Return the statistic that is a column of one layer (counted from 1) at the first snapshot."""
    return lambda run: float(run.column(name, layer)[0])


def each_run(
    experiments: str | Sequence[str], statistic: Statistic, condition: Condition = by_setting, keep: Choice = every
) -> Reader:
    """Return what reads one statistic from every run of some experiments.

    Args:
        experiments: Their names, or the one.
        statistic: From a finished run to a number, or why there is none.
        condition: What the runs that are judged together have in common, in words.
        keep: Which runs are looked at; it is asked of runs that did not finish, too.

    Returns:
        The reader: of a run that did not finish, or has no number, a sample of nan that says why.
    """
    return each_family(experiments, lambda family: statistic(family[0]), condition, keep, alike=id)


def each_pair(
    experiments: tuple[str, str],
    statistic: Callable[[Run, Run], Value],
    condition: Condition = by_setting,
    alike: Callable[[Run], object] = lambda _: None,
) -> Reader:
    """Return what reads one statistic from pairs of runs of two experiments with one seed.

    Args:
        experiments: The one and the other.
        statistic: From two finished runs to a number, or why there is none.
        condition: Of the first of the two.
        alike: What the two have to have in common beside the seed.

    Returns:
        The reader: a first run gives one sample for each partner, and none without a partner.
    """

    def samples(table: RunTable) -> list[Sample]:
        ones, others = (table.runs(name) for name in experiments)
        return [
            _sample(condition(one), (one, other), lambda pair: statistic(*pair))
            for one in ones
            for other in others
            if (one.seed, alike(one)) == (other.seed, alike(other))
        ]

    return samples


def each_family(
    experiments: str | Sequence[str],
    statistic: Callable[[Sequence[Run]], Value],
    condition: Condition = by_setting,
    keep: Choice = every,
    alike: Callable[[Run], object] = lambda run: run.seed,
) -> Reader:
    """Return what reads one statistic from every family: the runs of some experiments with one condition and seed.

    Args:
        experiments: Their names, or the one.
        statistic: From the finished runs of a family, in the order of `RunTable.runs`, to a number, or why there is
            none.
        condition: What a family, and the families that are judged together, have in common, in words.
        keep: Which runs are looked at; it is asked of runs that did not finish, too.
        alike: What the runs of a family have in common beside the condition.

    Returns:
        The reader: of a family with a run that did not finish, or without a number, a sample of nan that says why.
    """
    names = (experiments,) if isinstance(experiments, str) else tuple(experiments)

    def samples(table: RunTable) -> list[Sample]:
        found = families(filter(keep, table.runs(*names)), condition, alike)
        return [_sample(told, family, statistic) for (told, _), family in found.items()]

    return samples


def families(
    runs: Iterable[Run], condition: Condition, alike: Callable[[Run], object] = lambda run: run.seed
) -> Mapping[tuple[str, object], tuple[Run, ...]]:
    """Return runs by their condition and, unless told otherwise, their seed, in the order in which they first come."""
    found: dict[tuple[str, object], list[Run]] = {}
    for run in runs:
        found.setdefault((condition(run), alike(run)), []).append(run)
    return {key: tuple(family) for key, family in found.items()}


def finished(table: RunTable, experiments: Sequence[str], condition: Condition) -> dict[str, list[Run]]:
    """Return the finished runs of some experiments by their condition, for a figure."""
    found: dict[str, list[Run]] = {}
    for run in table.runs(*experiments):
        if not run.failure:
            found.setdefault(condition(run), []).append(run)
    return found


def _sample(condition: str, runs: Sequence[Run], statistic: Callable[[Sequence[Run]], Value]) -> Sample:
    failure = next((run.failure for run in runs if run.failure), "")
    value = Absent(failure) if failure else statistic(runs)
    if isinstance(value, Absent):
        return Sample(condition, runs[0].seed, math.nan, value.reason, value.applies)
    return Sample(condition, runs[0].seed, float(value), NO_VALUE if math.isnan(value) else "")
