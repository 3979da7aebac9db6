"""The page of a store that is no verification: what was asked for is read from the files beside the runs."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from ansatzlab.atomic import write_atomically
from ansatzlab.report.sweep import Heading, render_runs
from ansatzlab.store.parquet import Store
from ansatzlab.store.provenance import provenance

PAGE = "report.html"

SWEEP, RECORDING = "sweep", "recording"
"""The side files that say what the runs are of."""


def write_store_page(store: Store, table: pa.Table | None = None) -> Path:
    """Write the page of a sweep, of a recorded training or of any other runs.

    Conventions:
        A store with ``recording.json`` is of recorded trainings, one with ``sweep.json`` of a grid; of a grid only the
        runs that were asked for last are shown. The page of recordings opens at the exponent that all were read at.

    Args:
        store: The store.
        table: Its runs, if they were read before.

    Returns:
        The page, ``report.html`` in the store's folder.

    Raises:
        StoreError: If a side file cannot be read or the page cannot be written.
    """
    heading = _heading(store)
    if table is None:
        table = store.table(heading.planned or None)
    if heading.exponent is not None:
        heading = replace(heading, exponent=_recorded_exponent(table) or heading.exponent)
    facts = {
        **({"command": heading.command} if heading.command else {}),
        "folder": str(store.folder),
        **provenance(),
    }
    page = store.folder / PAGE
    write_atomically(page, render_runs(table, heading, facts).encode())
    return page


def _heading(store: Store) -> Heading:
    if (store.folder / f"{RECORDING}.json").is_file():
        told = _side_file(store, RECORDING)
        recordings = told.get("recordings")
        entries = recordings if isinstance(recordings, list) else []
        if len(entries) == 1 and isinstance(entries[0], Mapping):
            told = dict(entries[0])
        elif entries:
            told = {f"recording {place}": entry for place, entry in enumerate(entries, start=1)}
        return Heading(
            title=f"Recording {told.get('name', store.folder.name)}",
            says="A training that was measured as it went.",
            asked_title="How it was recorded",
            asked=told,
            exponent=0.5,
        )
    if (store.folder / f"{SWEEP}.json").is_file():
        told = _side_file(store, SWEEP)
        grid, runs, file = told.get("grid"), told.get("runs"), str(told.get("file", ""))
        command = shlex.join(["ansatz", "sweep", file, "--out", str(store.folder)])
        return Heading(
            title=f"Sweep of {Path(file).name}",
            says="A grid of trainings, each measured as it went.",
            asked_title="The grid",
            asked=dict(grid) if isinstance(grid, Mapping) else {},
            planned=tuple(map(str, runs)) if isinstance(runs, list) else (),
            command=str(told.get("command", command)),
        )
    return Heading(
        title=f"Runs in {store.folder.name}",
        says="Trainings, each measured as it went.",
        asked_title="Asked for",
        asked={},
    )


def _recorded_exponent(table: pa.Table) -> float | None:
    """Return the exponent that all rows were read at when they were recorded; None if there is no such one."""
    found = set(table["recorded_exponent"].drop_null().to_pylist()) if "recorded_exponent" in table.column_names else ()
    return next(iter(found)) if len(found) == 1 else None


def _side_file(store: Store, name: str) -> dict[str, object]:
    found = store.read_json(name)
    return dict(found) if isinstance(found, Mapping) else {name: found}
