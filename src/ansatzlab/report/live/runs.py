"""From the runs of a store to what a page follows live: the end of every run, and how some of them came there."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ansatzlab.laws.runs import Row, spectrum_of
from ansatzlab.report.labels import NAMED_BY, Label, labels_of, name_of
from ansatzlab.report.live.records import Live, Moment, Score, Series
from ansatzlab.report.settings import order_of

NEEDED = ("eigenvalues", "energies", "sums", "off_energy", "trace", "total", "dimension", "cut")
"""The columns of a spectrum."""

ENDS = 480_000
"""So many numbers of the runs' ends a page holds; of more, only some runs are shown."""

CURVES, CURVE_NUMBERS = 100, 90_000
"""Of so many runs, and so many numbers, a page shows the whole training."""

SNAPSHOTS = 40
"""Of a longer training so many snapshots are shown, evenly among all."""

_FIRST = ("experiment", "optimizer", "weight_decay", "depth", "learning_rate", "data")
_COMPARED = ("optimizer", "depth", "weight_decay", "init", "learning_rate", "data", "experiment")
_MOST_PRESETS = 6


@dataclass(frozen=True)
class _Run:
    """The rows of a finished run that hold spectra: for each layer their places in the table, by snapshot."""

    run_id: str
    labels: Mapping[str, Label]
    layers: Mapping[tuple[int | None, str], tuple[int, ...]]

    @property
    def ends(self) -> list[int]:
        """The places of each layer's first and last snapshot."""
        return [place for places in self.layers.values() for place in (places[0], places[-1])]

    @property
    def trainings(self) -> list[int]:
        """The places of each layer's shown snapshots."""
        return [place for places in self.layers.values() for place in _thinned(places)]


def live_runs(
    table: pa.Table,
    *,
    planned: Sequence[str] = (),
    score: Score = "cosine",
    exponent: float | None = None,
    command: str = "",
) -> Live | None:
    """Read what a page follows live out of the runs of a store.

    Conventions:
        The last snapshot of every finished run, the first as its start, and all snapshots of a sample of runs. Runs are
        sampled so that every value of every setting has about its share. Diverged and failed runs are counted
        in a note. At first the page shows the experiment that was planned first, which a law's claims begin with.

    Args:
        table: Rows as the store returns them.
        planned: The runs' ids in the order in which they were planned, as far as that is known.
        score: The score with which the page opens.
        exponent: The exponent at which it opens; None for each layer's own, or ½ where layers have none.
        command: The command that makes these data again.

    Returns:
        The record; None if no finished run holds a spectrum.

    Cost:
        Reads the lists of the rows that are shown only.
    """
    if any(name not in table.column_names for name in NEEDED):
        return None
    runs = _runs(table)
    if not runs:
        return None
    sizes = _sizes(table)
    kept = _within(runs, ENDS, len(runs), lambda run: int(sizes[run.ends].sum()))
    sampled = _within(kept, CURVE_NUMBERS, CURVES, lambda run: int(sizes[run.trainings].sum()))
    curved = {run.run_id for run in sampled if any(len(places) > 1 for places in run.layers.values())}
    wanted = sorted({place for run in kept for place in (run.trainings if run.run_id in curved else run.ends)})
    rows = dict(zip(wanted, table.take(pa.array(wanted, pa.int64())).to_pylist(), strict=True))
    series = [each for run in kept for each in _series(run, rows, curved=run.run_id in curved)]
    series.sort(key=lambda each: order_of(each.labels["layer_index"]))
    depths = sorted({depth for run in kept if (depth := _depth(run))})
    names = _names(kept)
    return Live(
        series=tuple(replace(each, labels={name: each.labels.get(name) for name in names}) for each in series),
        names=names,
        presets=_presets(depths),
        own="each layer’s own 1/(L − l + 1)" if depths else "",
        exponent=exponent if exponent is not None or depths else 0.5,
        score=score,
        compare_by=next((name for name in _COMPARED if name in names and _varied(kept, name)), "layer"),
        chosen=_chosen(kept, planned),
        structural=False,
        start="first snapshot",
        notes=_notes(table, runs, kept, curved),
        command=command,
    )


def balanced_sample(labels: Sequence[Mapping[str, Label]], count: int) -> list[int]:
    """Choose so many of several, so that every value of every label has about its share among the chosen.

    Conventions:
        Greedy and the same every time: the next is the first of those whose values lack most of their share so far.
        Every so-many-th of a sorted grid would not do: it can hit the same value of a label each time.

    Args:
        labels: The labels of each.
        count: How many to choose.

    Returns:
        The places of the chosen, ascending; all of them if there are no more.

    Example:
        >>> balanced_sample([{"a": a, "b": b} for a in (0, 1) for b in (0, 1)], 2)
        [0, 3]
    """
    if count >= len(labels):
        return list(range(len(labels)))
    names = sorted({name for each in labels for name in each})
    codes = np.array([_codes([each.get(name) for each in labels]) for name in names]).reshape(len(names), len(labels))
    weights = [1 / np.bincount(row)[row] for row in codes]
    burden = np.zeros(len(labels))
    chosen: list[int] = []
    for _ in range(count):
        place = int(burden.argmin())
        chosen.append(place)
        for row, weight in zip(codes, weights, strict=True):
            burden += np.where(row == row[place], weight, 0.0)
        burden[place] = math.inf
    return sorted(chosen)


def _codes(values: Sequence[Label]) -> list[int]:
    places: dict[Label, int] = {}
    return [places.setdefault(value, len(places)) for value in values]


def _runs(table: pa.Table) -> list[_Run]:
    """Return the finished runs that hold spectra, by their ids."""
    whole = pc.equal(table["status"], "finished")
    for name in NEEDED:
        whole = pc.and_(whole, pc.is_valid(table[name]))
    places = np.flatnonzero(whole.to_numpy())
    slim = table.select(["run_id", "layer_index", "layer"]).take(pa.array(places)).to_pydict()
    layers: dict[str, dict[tuple[int | None, str], list[int]]] = {}
    for place, run_id, index, name in zip(places.tolist(), *slim.values(), strict=True):
        layers.setdefault(run_id, {}).setdefault((index, name or ""), []).append(place)
    firsts = [next(iter(found.values()))[0] for found in layers.values()]
    heads = table.select(NAMED_BY).take(pa.array(firsts, pa.int64())).to_pylist()
    return [
        _Run(run_id, labels_of(head), {layer: tuple(found) for layer, found in parts.items()})
        for (run_id, parts), head in zip(layers.items(), heads, strict=True)
    ]


def _sizes(table: pa.Table) -> np.ndarray:
    """Return how many numbers the lists of every row hold."""
    lengths = pc.fill_null(pc.list_value_length(table["eigenvalues"]), 0)
    sizes: np.ndarray = 3 * lengths.to_numpy().astype(np.int64)
    return sizes


def _within(runs: Sequence[_Run], numbers: int, most: int, size: Callable[[_Run], int]) -> list[_Run]:
    """Return a balanced sample of runs that is no larger than asked, nor holds more numbers."""
    total = sum(map(size, runs))
    count = min(most, len(runs), max(1, int(numbers * len(runs) / total)) if total > numbers else len(runs))
    return [runs[place] for place in balanced_sample([run.labels for run in runs], count)]


def _thinned(places: Sequence[int]) -> list[int]:
    """Return the first, the last and evenly many between."""
    if len(places) <= SNAPSHOTS:
        return list(places)
    return [places[round(float(at))] for at in np.linspace(0, len(places) - 1, SNAPSHOTS)]


def _series(run: _Run, rows: Mapping[int, Row], *, curved: bool) -> Iterable[Series]:
    for (index, name), places in run.layers.items():
        first, last = rows[places[0]], rows[places[-1]]
        shown = _thinned(places) if curved and len(places) > 1 else []
        depth = _depth(run)
        chained = depth is not None and index is not None and 1 <= index <= depth
        layer = " · ".join([*([] if index is None else [str(index)]), *([name] if name else [])])
        yield Series(
            run=run.run_id,
            labels={**run.labels, "layer": layer, "layer_index": index},
            own=1 / (depth - index + 1) if chained and depth is not None and index is not None else math.nan,
            tautological=bool(last.get("tautological")),
            spectrum=spectrum_of(last),
            start=spectrum_of(first) if len(places) > 1 else None,
            moments=tuple(_moment(rows[place]) for place in shown),
        )


def _moment(row: Row) -> Moment:
    step, flow_time = (math.nan if row[name] is None else float(str(row[name])) for name in ("step", "flow_time"))
    return Moment(step, flow_time, spectrum_of(row))


def _depth(run: _Run) -> int | None:
    depth = run.labels["depth"]
    return depth if isinstance(depth, int) and depth > 0 else None


def _names(runs: Sequence[_Run]) -> dict[str, str]:
    """Return what labels are called, those that are asked for most first."""
    present = dict.fromkeys(name for run in runs for name, value in run.labels.items() if value is not None)
    order = ["layer", *(name for name in _FIRST if name in present)]
    order += [name for name in present if name not in order]
    return {name: name_of(name) for name in order}


def _varied(runs: Sequence[_Run], name: str) -> bool:
    return len({run.labels.get(name) for run in runs}) > 1


def _presets(depths: Sequence[int]) -> tuple[tuple[str, float], ...]:
    """Return ½, 1 and 1/L of every depth, the smallest first."""
    parts = sorted({1, 2, *depths[:_MOST_PRESETS]}, reverse=True)
    return tuple(("1" if part == 1 else f"1/{part}", 1 / part) for part in parts)


def _chosen(runs: Sequence[_Run], planned: Sequence[str]) -> dict[str, tuple[Label, ...]]:
    """Return the experiment of the first planned run, if there are others."""
    by_id = {run.run_id: run for run in runs}
    first = next((by_id[run_id] for run_id in planned if run_id in by_id), runs[0])
    return {"experiment": (first.labels["experiment"],)} if _varied(runs, "experiment") else {}


def _notes(table: pa.Table, runs: Sequence[_Run], kept: Sequence[_Run], curved: Iterable[str]) -> tuple[str, ...]:
    """Say which runs are not shown, and of which the training is."""
    status = dict(zip(table["run_id"].to_pylist(), table["status"].to_pylist(), strict=True))
    drawn = {run.run_id for run in runs}
    lost = Counter(ended for run_id, ended in status.items() if run_id not in drawn)
    words = {"diverged": "that diverged", "failed": "that failed", "finished": "without spectra"}
    told = [f"{lost[ended]} {said}" for ended, said in words.items() if lost[ended]]
    notes = [f"Not drawn, of {len(status)} runs: {', '.join(told)}."] if told else []
    if len(kept) < len(runs):
        notes.append(f"A sample of {len(kept)} of {len(runs)} runs, in which every setting has its share.")
    trained = sum(any(len(places) > 1 for places in run.layers.values()) for run in kept)
    shown = len(list(curved))
    if shown < trained:
        notes.append(f"Over training: a sample of {shown} of {trained} runs, in which every setting has its share.")
    longest = max(len(places) for run in kept for places in run.layers.values())
    if shown and longest > SNAPSHOTS:
        notes.append(f"Over training: {SNAPSHOTS} snapshots of a run, evenly among up to {longest}.")
    return tuple(notes)
