"""The command ``ansatz runs``."""

import csv
import json
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import typer

from ansatzlab.cli.console import Output, exit_codes, finish, messages
from ansatzlab.cli.listing import (
    COLUMNS,
    alignment_of,
    exponent_of,
    list_runs,
    show_listing,
    telling_columns,
)
from ansatzlab.errors import DamagedFileWarning, InputError, StoreError, UnknownNameError
from ansatzlab.laws.runs import Row
from ansatzlab.report.settings import SETTINGS
from ansatzlab.store.parquet import MARKER, Store
from ansatzlab.store.schema import STATUSES

REQUESTS = ("sweep", "verification")
"""The side files that say which runs were to be made."""

LISTS = ("eigenvalues", "energies", "sums")
ROWS_AT_ONCE = 4096


def runs_command(
    folder: Annotated[Path, typer.Argument(help="An output folder of `ansatz sweep` or `ansatz verify`.")],
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only runs with NAME=VALUE, or one of VALUE,VALUE; may be repeated: all have to hold."),
    ] = None,
    status: Annotated[
        list[str] | None, typer.Option(help="Only runs that finished, diverged or failed; may be repeated.")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="The columns, comma-separated; all: every one.")] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write one row for each run, snapshot and layer to this file.")
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="With --csv: the last snapshot of each run only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the runs as JSON, nothing else.")] = False,
) -> None:
    """List the runs that a folder holds, one line each: what they were, final loss and alignment, how they ended.

    The alignment is that of the first layer with its AGOP to the power 1/L. Columns in which all runs agree are told
    once, above. Exit codes: 0 done, also if files are damaged, which is told; 3 error.
    """
    with exit_codes("stopped."):
        wanted = _columns(columns)
        for text in where or []:
            _split(text)
        for name in status or []:
            if name not in STATUSES:
                raise UnknownNameError("status", name, STATUSES)
        if last and csv_file is None:
            raise InputError("--last: is for --csv, the listing shows the last snapshot anyway; add --csv FILE.")
        store = _store(folder)
        table = read_table(store)
        every = list_runs(table)
        rows = [row for row in choose_rows(every, where or []) if not status or row["status"] in status]
        if csv_file is not None:
            _write_csv(csv_file, table, rows, last=last)
        told = _counts(rows, every) + _missing(store, every)
    finish(partial(_show, rows, wanted, told, csv_file, as_json), 0)


def _columns(text: str | None) -> tuple[str, ...] | None:
    """Return the columns that are asked for; None if that is left to the listing."""
    if text is None or text == "all":
        return None if text is None else COLUMNS
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in COLUMNS:
            raise UnknownNameError("column", name, (*COLUMNS, "all"))
    if not names:
        raise InputError(f"--columns: got {text!r}; wanted names such as optimizer,depth,loss; add some.")
    return names


def choose_rows(rows: Sequence[Row], where: Sequence[str]) -> list[Row]:
    """Return the rows of a listing that are as every ``NAME=VALUE,VALUE`` says.

    Raises:
        InputError: If one does not say that of a column, or of a setting that a run has.
    """
    known = dict.fromkeys((*COLUMNS, *(name for row in rows for name in row)))
    found = list(rows)
    for text in where:
        name, wanted = _split(text)
        if name not in known:
            raise UnknownNameError("column of --where", name, known)
        found = [row for row in found if any(_is(row.get(name), value) for value in wanted)]
    return found


def _split(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    if not equals or not name:
        raise InputError(f"--where {text}: wanted NAME=VALUE, for example --where optimizer=adam.")
    return name, [value.strip() for value in values.split(",")]


def _is(value: object, text: str) -> bool:
    """Return whether a text means a value: a number however it is written, none or nothing for a missing one."""
    if value is None:
        return text.lower() in ("", "none", "null")
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    if isinstance(value, int | float):
        with suppress(ValueError):
            return float(text) == value
    return text == str(value)


def _store(folder: Path) -> Store:
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder; wanted one that `ansatz sweep` wrote; check the path.")
    if not (folder / MARKER).is_file():
        raise StoreError(
            f"{folder}: is not an output folder (no {MARKER}); wanted one of `ansatz sweep` or `ansatz verify`; check "
            "the path."
        )
    return Store.open(folder)


def read_table(store: Store) -> pa.Table:
    """Return the store's rows, and tell of each damaged file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DamagedFileWarning)
        table = store.table()
    for told in dict.fromkeys(str(warning.message) for warning in caught):
        messages.print(f"damaged: {told}", style="yellow", markup=False, soft_wrap=True)
    return table


def _counts(rows: Sequence[Row], every: Sequence[Row]) -> str:
    """Say how many of the runs are listed and how they ended."""
    counts = Counter(row["status"] for row in rows)
    told = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
    return f"{len(rows)}{'' if len(rows) == len(every) else f' of {len(every)}'} runs: {told}"


def _missing(store: Store, every: Sequence[Row]) -> str:
    """Say how many of the planned runs are not there, if any."""
    planned: set[str] = set()
    for name in REQUESTS:
        if (store.folder / f"{name}.json").is_file():
            request = store.read_json(name)
            runs = request.get("runs") if isinstance(request, dict) else None
            planned |= set(map(str, runs if isinstance(runs, list) else []))
    missing = len(planned - {str(row["run_id"]) for row in every})
    return f"; {missing} planned runs are missing" if missing else ""


def _write_csv(path: Path, table: pa.Table, rows: Sequence[Row], *, last: bool) -> None:
    """Write the table's rows of the listed runs, with their settings beside them and without lists of numbers."""
    listed = {str(row["run_id"]): row for row in rows}
    chosen = table.filter(pc.is_in(table["run_id"], pa.array(list(listed), pa.string())))
    if last:
        ends = chosen.group_by("run_id").aggregate([("snapshot", "max")])
        last_of = dict(zip(ends["run_id"].to_pylist(), ends["snapshot_max"].to_pylist(), strict=True))
    measured = [
        name
        for name in table.column_names
        if name not in (*COLUMNS, *LISTS, "spec", "dynamics") or name in ("step", "loss")
    ]
    head = ["run_id", "status", "error", *SETTINGS, "wall_seconds", *measured, "exponent", "alignment"]
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, head, extrasaction="ignore")
            writer.writeheader()
            for batch in chosen.to_batches(max_chunksize=ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    if last and row["snapshot"] != last_of[row["run_id"]]:
                        continue
                    exponent = exponent_of(row)
                    aligned = alignment_of(row, exponent)
                    read = {"exponent": None if aligned is None else exponent, "alignment": aligned}
                    writer.writerow({**listed[row["run_id"]], **{name: row[name] for name in measured}, **read})
    except OSError as error:
        raise StoreError(f"--csv {path}: cannot be written ({error.strerror}); choose another file.") from error


def _show(rows: Sequence[Row], wanted: Sequence[str] | None, told: str, csv_file: Path | None, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False))
        return
    console = Output(highlight=False)
    if rows:
        show_listing(rows, wanted or telling_columns(rows), short=wanted is None)
    console.print(told, markup=False, soft_wrap=True)
    if csv_file is not None:
        console.print(f"written: {csv_file}", markup=False, soft_wrap=True)
