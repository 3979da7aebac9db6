"""What a run was and what came of it, as one line of a listing: read from the rows of a store."""

import math
import sys
from collections.abc import Iterable, Sequence
from json import loads

import pyarrow as pa
from rich.table import Table
from rich.text import Text

from ansatzlab.cli.console import Output
from ansatzlab.laws.runs import Row, spectrum_of
from ansatzlab.report.settings import SETTINGS, settings_of

COLUMNS = ("run_id", *SETTINGS, "loss", "alignment", "step", "wall_seconds", "status", "error")
"""The columns of a listing; loss, alignment and step are those of the last snapshot."""

TOLD = ("experiment", "data", "model", "depth", "width", "init", "optimizer", "learning_rate", "weight_decay", "seed")
"""The settings that a listing shows unless it is told which."""

RESULTS = ("loss", "alignment", "status", "error")

ALWAYS = ("run_id", "loss", "alignment", "status")
"""The columns that are shown even where all runs have the same."""

SPECTRUM = ("eigenvalues", "energies", "sums", "off_energy", "trace", "total", "dimension", "cut")

_LONGEST = 60
_WIDE = 1000


def list_runs(table: pa.Table) -> list[Row]:
    """Return one row for each run of a store's table, with the columns `COLUMNS` and what other settings a task has.

    Conventions:
        ``alignment`` is the cosine of the first layer's ``WᵀW`` with its AGOP to the power 1/L, at the last snapshot;
        None where that was not measured or does not exist. ``learning_rate`` is the number that a rule came to.

    Args:
        table: Rows as the store returns them, sorted.

    Returns:
        The rows, sorted by `SETTINGS`.
    """
    last: dict[str, int] = {}
    places = (table[name].to_pylist() for name in ("run_id", "layer_index"))
    for index, (run_id, layer) in enumerate(zip(*places, strict=True)):
        if layer == 1 or run_id not in last:
            last[run_id] = index
    ends = table.take(pa.array(last.values(), pa.int64())).to_pylist()
    return sorted((_listed(row) for row in ends), key=_order)


def _order(row: Row) -> list[tuple[bool, float, str]]:
    """Return a key that sorts rows by their settings: missing values first, then numbers, then texts."""
    return [
        (value is not None, float(value) if isinstance(value, int | float) else math.inf, str(value))
        for value in (row[name] for name in (*SETTINGS, "run_id"))
    ]


def _listed(row: Row) -> Row:
    told = settings_of(loads(str(row["spec"])))
    settings = {name: told[name] for name in SETTINGS}
    if row["learning_rate"] is not None:
        settings["learning_rate"] = row["learning_rate"]
    found = {**row, **settings, "alignment": alignment_of(row, exponent_of(row))}
    others = {name: value for name, value in told.items() if name not in COLUMNS}
    return {name: _number(found[name]) for name in COLUMNS} | others


def exponent_of(row: Row) -> float:
    """Return the exponent that a balanced deep linear network's layer l of L has, 1/(L − l + 1).

    Where l is not from 1 to L, since the layers of other networks need not form a chain of L, it is the exponent that a
    recorder was asked for; nan where there is none.
    """
    depth, layer = row["depth"], row["layer_index"]
    if isinstance(depth, int) and isinstance(layer, int) and 1 <= layer <= depth:
        return 1 / (depth - layer + 1)
    recorded = row.get("recorded_exponent")
    return recorded if isinstance(recorded, float) else math.nan


def alignment_of(row: Row, exponent: float) -> float | None:
    """Return the cosine of a layer's ``WᵀW`` with its AGOP to a power; None where there is none."""
    if any(row.get(name) is None for name in SPECTRUM) or not math.isfinite(exponent):
        return None
    value = spectrum_of(row).alignment(exponent)
    return value if math.isfinite(value) else None


def _number(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_listing(rows: Sequence[Row], columns: Sequence[str], *, short: bool = True) -> None:
    """Print a listing; where nobody looks at a terminal, its lines are as long as they need to be.

    Args:
        rows: The rows, at least one.
        columns: Which columns.
        short: Whether columns in which all runs agree are told once, above.
    """
    console = Output(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    varying, common = _split_columns(rows, columns) if short else (list(columns), [])
    if common:
        same = ", ".join(f"{name} {_shown(rows[0][name])}" for name in common if rows[0][name] is not None)
        console.print(f"all: {same}", markup=False, soft_wrap=True)
    console.print(_table(rows, varying))


def _table(rows: Sequence[Row], columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        numeric = all(isinstance(row[name], int | float | None) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*(Text(_shown(row[name])) for name in columns))
    return table


def telling_columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns of a listing: `TOLD`, and further settings where different runs would look the same."""
    told = list(TOLD)
    for name in SETTINGS:
        alike: dict[tuple[str, ...], set[str]] = {}
        for row in rows:
            alike.setdefault(tuple(_shown(row[other]) for other in told), set()).add(_shown(row[name]))
        if any(len(values) > 1 for values in alike.values()):
            told.append(name)
    return ["run_id", *sorted(told, key=SETTINGS.index), *RESULTS]


def _split_columns(rows: Sequence[Row], columns: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the columns that are worth a column, and those in which all of several runs agree."""
    varying: list[str] = []
    common: list[str] = []
    for name in columns:
        same = len(rows) > 1 and name not in ALWAYS and len({_shown(row[name]) for row in rows}) == 1
        (common if same else varying).append(name)
    return varying, common


def _shown(value: object) -> str:
    """Return a value as a table shows it, in one short line."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
