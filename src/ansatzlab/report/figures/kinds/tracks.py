"""From a table of runs to single layers of single runs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.laws.runs import Row
from ansatzlab.report.settings import settings_of

SPECTRAL = ("eigenvalues", "energies", "sums", "off_energy", "trace", "total", "dimension", "cut")
"""The columns that a spectrum is rebuilt from."""

READING = "reading"
"""The column of a measurement's table that says what is not usual about how it was read."""

Moments = Literal["all", "ends", "last"]


@dataclass(frozen=True)
class Track:
    """One layer of one run.

    Attributes:
        run_id: The run.
        settings: What it was.
        layer: The layer's name as it is shown.
        rows: Its rows, in the order of the snapshots; at least one.
    """

    run_id: str
    settings: Row
    layer: str
    rows: tuple[Row, ...]

    @property
    def last(self) -> Row:
        """The row of the last snapshot."""
        return self.rows[-1]

    def column(self, name: str) -> np.ndarray:
        """Return a column over the snapshots, nan where it is null."""
        return np.array([np.nan if row.get(name) is None else row[name] for row in self.rows], dtype=float)


def at_the_end(tracks: Iterable[Track]) -> str:
    """Say at which snapshot the last rows were taken; nothing of a measurement, which has no course."""
    return "" if all(READING in track.last for track in tracks) else ", at the last snapshot"


def lacking(table: pa.Table, columns: Iterable[str]) -> str:
    """Say which columns a table has no values for; empty if it has some for each."""
    missing = [name for name in columns if name not in table.column_names or table[name].null_count == table.num_rows]
    return f"values in {', '.join(missing)}" if missing else ""


def refuse_lacking(kind: str, missing: str) -> None:
    """Refuse to draw a kind that a table cannot feed.

    Raises:
        InputError: If something is missing.
    """
    if missing:
        raise InputError(
            f"figure {kind!r}: needs {missing}; the table has none; choose another kind, or another table."
        )


def tracks_of(
    table: pa.Table, layers: Sequence[str], *, columns: Sequence[str], moments: Moments = "all", layered: bool = True
) -> tuple[list[Track], tuple[str, ...]]:
    """Read the tracks of a table.

    Conventions:
        Runs that did not finish are left out. So are layers where the ansatz is a tautology, unless they are asked for
        by name or there are no others, and rows in which one of the columns is null.

    Args:
        table: Rows as the store returns them.
        layers: The layers by name; empty for all.
        columns: The columns that a row must have.
        moments: Which snapshots of each run.
        layered: Whether layers are told apart; else each run has one track, that of its first layer.

    Returns:
        The tracks, and what was left out, in sentences.

    Raises:
        InputError: If nothing is left.
        UnknownNameError: If a layer is not there.
    """
    finished = table.filter(pc.equal(table["status"], "finished"))
    chosen = _at(finished.filter(pc.and_(pc.is_valid(finished["snapshot"]), pc.is_valid(finished["layer"]))), moments)
    notes = [_unfinished(table)]
    if layered:
        chosen, left_out = _of_layers(chosen, layers)
        notes.append(left_out)
    for name in columns:
        chosen = chosen.filter(pc.is_valid(chosen[name]))
    tracks = _tracks(chosen, layered=layered)
    if not tracks:
        raise InputError(
            f"the table: none of its {table.num_rows} rows is of a finished run with {', '.join(columns)} in the "
            "chosen layers; wanted some; choose other runs or layers."
        )
    notes += [f"Read with {words}." for words in dict.fromkeys(track.last.get(READING) for track in tracks) if words]
    return tracks, tuple(filter(None, notes))


def _unfinished(table: pa.Table) -> str:
    """Say how many runs have no finished row."""
    finished = set(table.filter(pc.equal(table["status"], "finished"))["run_id"].to_pylist())
    count = len(set(table["run_id"].to_pylist()) - finished)
    return f"{count} run{'s' * (count > 1)} that did not finish {'are' if count > 1 else 'is'} left out." * bool(count)


def _at(table: pa.Table, moments: Moments) -> pa.Table:
    """Return the rows of the last snapshot of each run, or of the first and the last."""
    if moments == "all" or not table.num_rows:
        return table
    ends = table.group_by("run_id").aggregate([("snapshot", "min"), ("snapshot", "max")]).to_pylist()
    wanted = {
        row["run_id"]: (row["snapshot_max"], row["snapshot_min" if moments == "ends" else "snapshot_max"])
        for row in ends
    }
    places = zip(table["run_id"].to_pylist(), table["snapshot"].to_pylist(), strict=True)
    return table.filter(pa.array([snapshot in wanted[run_id] for run_id, snapshot in places], pa.bool_()))


def _of_layers(table: pa.Table, layers: Sequence[str]) -> tuple[pa.Table, str]:
    """Return the rows of the layers that were asked for, and what was left out unasked."""
    names = list(dict.fromkeys(table["layer"].to_pylist()))
    for name in layers:
        if name not in names:
            raise UnknownNameError("layer", name, names)
    if layers:
        return table.filter(pc.is_in(table["layer"], pa.array(layers, pa.string()))), ""
    if "tautological" not in table.column_names:
        return table, ""
    says_something = pc.not_equal(pc.fill_null(table["tautological"], 0.0), 1.0)
    kept = table.filter(says_something)
    if kept.num_rows in (0, table.num_rows):
        return table, ""
    return kept, "Layers in which the ansatz is a tautology, as in a last one, are left out."


def _tracks(table: pa.Table, *, layered: bool) -> list[Track]:
    rows: dict[tuple[str, str], list[Row]] = {}
    first: dict[str, str] = {}
    settings: dict[str, Row] = {}
    for row in table.to_pylist():
        run_id = row["run_id"]
        if run_id not in settings:
            settings[run_id] = settings_of(json.loads(row["spec"])) | {
                "dynamics": row.get("dynamics"),
                "run_id": run_id,
            }
        if layered or row["layer"] == first.setdefault(run_id, row["layer"]):
            rows.setdefault((run_id, row["layer"]), []).append(row)
    ordered = {key: sorted(members, key=lambda row: row["snapshot"]) for key, members in rows.items()}  # type: ignore[arg-type, return-value]
    return [Track(run_id, settings[run_id], layer, tuple(members)) for (run_id, layer), members in ordered.items()]
