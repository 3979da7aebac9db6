"""What the chapters share: reading one statistic a run, and planting rows."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import pyarrow as pa

from ansatzlab.laws.law import Sample
from ansatzlab.laws.runs import Row, Run, runs_of
from ansatzlab.sweeps.run import Rows, with_outcome
from ansatzlab.sweeps.task import TaskSpec

Statistic = Callable[[Run], float]
Reader = Callable[[pa.Table], list[Sample]]


def decay_of(run: Run) -> float:
    """Return λ of the penalty λ‖θ‖², half of what torch calls weight decay."""
    return run.weight_decay / 2


def option(run: Run, name: str) -> object:
    """Return an option of the run's task."""
    return run.spec["options"][name]


def runs_in_order(table: pa.Table, experiments: Iterable[str]) -> list[Run]:
    """Return the runs of some experiments, one experiment after the other, each sorted by what was varied."""

    def varied(run: Run) -> tuple[list[float], str]:
        options = run.spec["options"]
        numbers = [float(str(options.get(name, 0))) for name in ("depth", "width", "scale", "mixing")]
        return numbers, str(options.get("classes", ""))

    return [run for name in experiments for run in sorted(runs_of(table, name), key=varied)]


def read(
    experiments: Sequence[str],
    statistic: Statistic,
    condition: Callable[[Run], str],
    keep: Callable[[Run], bool] = lambda _: True,
) -> Reader:
    """Return what reads one statistic from every run of some experiments.

    Args:
        experiments: Their names.
        statistic: From a finished run to a number.
        condition: What the runs that are judged together have in common, in words.
        keep: Which runs are looked at.

    Returns:
        The reader; a run that did not finish, or has no number, gives nan and the reason.
    """

    def samples(table: pa.Table) -> list[Sample]:
        found = []
        for run in runs_in_order(table, experiments):
            if keep(run):
                value = math.nan if run.failure else statistic(run)
                found.append(Sample(condition(run), run.seed, value, _reason(value, run)))
        return found

    return samples


def compare(
    experiments: tuple[str, str],
    statistic: Callable[[Run, Run], float],
    condition: Callable[[Run], str],
    alike: Callable[[Run], object],
) -> Reader:
    """Return what reads one statistic from pairs of runs of two experiments with one seed.

    Args:
        experiments: The one and the other.
        statistic: From two finished runs to a number.
        condition: Of the first of them.
        alike: What the two have to have in common beside the seed.

    Returns:
        The reader; a first run gives one sample for each partner, and none without a partner.
    """

    def samples(table: pa.Table) -> list[Sample]:
        ones, others = (runs_in_order(table, [name]) for name in experiments)
        found = []
        for one in ones:
            for other in others:
                if (one.seed, alike(one)) == (other.seed, alike(other)):
                    value = math.nan if one.failure or other.failure else statistic(one, other)
                    found.append(Sample(condition(one), one.seed, value, _reason(value, one, other)))
        return found

    return samples


def _reason(value: float, *runs: Run) -> str:
    """Say why a statistic has no value; empty if it has one."""
    if not math.isnan(value):
        return ""
    failure = next((run.failure for run in runs if run.failure), "")
    gone = any(last(run, "collapsed") == 1 for run in runs if not run.failure)
    return failure or ("collapsed: decay drove all weights to zero" if gone else "the statistic has no value")


def last(run: Run, name: str, layer: int = 1) -> float:
    """Return a column of one layer at the last snapshot."""
    return float(run.column(name, layer)[-1])


def largest(values: Iterable[float]) -> float:
    """Return the largest number; nan if there is none or one is nan."""
    found = list(values)
    return math.nan if not found or any(math.isnan(value) for value in found) else max(found)


def groups_of(table: pa.Table, experiments: Sequence[str], condition: Callable[[Run], str]) -> dict[str, list[Run]]:
    """Return the finished runs of some experiments by what they have in common, in words."""
    found: dict[str, list[Run]] = {}
    for run in runs_in_order(table, experiments):
        if not run.failure:
            found.setdefault(condition(run), []).append(run)
    return found


def planted_rows(spec: TaskSpec, rows: Iterable[Mapping[str, object]]) -> Rows:
    """Return rows as the store has them, of a finished run of a task that observed them."""
    depth = int(json.loads(spec.canonical())["options"].get("depth", 1))
    filled: list[Row] = [{"depth": depth, "layer": f"layers.{row['layer_index']}", "loss": 0.1, **row} for row in rows]
    return with_outcome(spec, filled, "finished", None, 0.0)
