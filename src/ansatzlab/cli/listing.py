"""What a run was and what came of it, as one line of a listing: read from the rows of a store."""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from json import loads

import pyarrow as pa
from rich.table import Table
from rich.text import Text

from ansatzlab.cli.console import Output
from ansatzlab.laws.runs import Row, spectrum_of
from ansatzlab.training.dynamics import GRADIENT_FLOW

SETTINGS = (
    "experiment",
    "data",
    "data.size",
    "data.seed",
    "model",
    "depth",
    "width",
    "activation",
    "bias",
    "init",
    "init.scale",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "decay",
    "batch_size",
    "schedule",
    "steps",
    "flow_time",
    "loss_function",
    "seed",
)
"""What a run was, as a grid names it; but ``loss`` is the number that came of it, and its name ``loss_function``."""

COLUMNS = ("run_id", *SETTINGS, "loss", "alignment", "step", "wall_seconds", "status", "error")
"""The columns of a listing; loss, alignment and step are those of the last snapshot."""

TOLD = ("experiment", "data", "model", "depth", "width", "init", "optimizer", "learning_rate", "weight_decay", "seed")
"""The settings that a listing shows unless it is told which."""

RESULTS = ("loss", "alignment", "status", "error")

ALWAYS = ("run_id", "loss", "alignment", "status")
"""The columns that are shown even where all runs have the same."""

SPECTRUM = ("eigenvalues", "energies", "sums", "off_energy", "trace", "total", "dimension", "cut")

_OPTIONS = {"data.size": "size", "init": "scheme", "init.scale": "scale", "loss_function": "loss"}
"""What a task's options call a setting, where that is not its name."""

_LONGEST = 60
_WIDE = 1000


def settings_of(spec: Mapping[str, object]) -> Row:
    """Return what a run was, by `SETTINGS`, from its spec as JSON has it; None where a setting does not apply.

    Of a `TaskSpec` it is what its options say.
    """
    if "task" in spec:
        return _settings_of_task(spec)
    data, model, init, dynamics = (_section(spec, name) for name in ("data", "model", "init", "dynamics"))
    widths = _widths(model)
    flow = dynamics.get("kind") == "flow"
    found: Row = {
        **{name: dynamics.get(name) for name in SETTINGS if name in dynamics},
        "experiment": spec.get("experiment"),
        "data": data.get("name"),
        "data.size": data.get("size"),
        "data.seed": data.get("seed"),
        "model": model.get("kind"),
        "depth": len(widths) + 1,
        "width": _width(widths),
        "activation": model.get("activation") if model.get("kind") == "mlp" else None,
        "bias": model.get("bias"),
        "init": init.get("scheme"),
        "init.scale": init.get("scale"),
        "optimizer": GRADIENT_FLOW if flow else _optimizer(dynamics),
        "loss_function": spec.get("loss"),
        "seed": spec.get("seed"),
    }
    rule = found.get("learning_rate")
    if isinstance(rule, Mapping):
        found["learning_rate"] = f"{rule.get('fraction')} of {rule.get('kind')}"
    return {name: found.get(name) for name in SETTINGS}


def _settings_of_task(spec: Mapping[str, object]) -> Row:
    options = _section(spec, "options")
    widths = _widths(options)
    found: Row = {name: options.get(_OPTIONS.get(name, name)) for name in SETTINGS}
    if widths:
        found |= {"depth": len(widths) + 1, "width": _width(widths)}
    return found | {"experiment": spec.get("experiment"), "seed": spec.get("seed")}


def _widths(section: Mapping[str, object]) -> list[str]:
    hidden = section.get("hidden")
    return list(map(str, hidden)) if isinstance(hidden, list) else []


def _width(widths: Sequence[str]) -> int | str | None:
    """Return the hidden layers' width if they have the same, else all widths in one text."""
    return int(widths[0]) if len(set(widths)) == 1 else "-".join(widths) or None


def _section(spec: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = spec.get(name)
    return section if isinstance(section, Mapping) else {}


def _optimizer(dynamics: Mapping[str, object]) -> str:
    """Return the field's name of an optimiser of torch with its options."""
    options = _section(dynamics, "options")
    if dynamics.get("name") != "SGD":
        return str(dynamics.get("name")).lower()
    if options.get("momentum"):
        return "nesterov" if options.get("nesterov") else "heavy_ball"
    return "gd" if dynamics.get("batch_size") is None else "sgd"


def list_runs(table: pa.Table) -> list[Row]:
    """Return one row for each run of a store's table, with the columns `COLUMNS`.

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
    settings = settings_of(loads(str(row["spec"])))
    if row["learning_rate"] is not None:
        settings["learning_rate"] = row["learning_rate"]
    found = {**row, **settings, "alignment": alignment_of(row, exponent_of(row))}
    return {name: _number(found[name]) for name in COLUMNS}


def exponent_of(row: Row) -> float:
    """Return the exponent that a balanced deep linear network's layer l of L has, 1/(L − l + 1).

    It is nan where l is not from 1 to L: the layers of other networks need not form a chain of L.
    """
    depth, layer = row["depth"], row["layer_index"]
    if not (isinstance(depth, int) and isinstance(layer, int) and 1 <= layer <= depth):
        return math.nan
    return 1 / (depth - layer + 1)


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
