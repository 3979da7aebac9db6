"""Run benchmarks, print a table, write the figures to ``benchmarks/results/``: ``python -m benchmarks [NAME …]``.

Without a name all of them run. Figures of a run by name are merged into what the others left.
"""

import json
import platform
import sys
from importlib import import_module
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ansatzlab.store.provenance import provenance
from benchmarks.timing import Row

RESULTS = Path(__file__).parent / "results"
NAMES = (
    "floor",
    "measure_mlp",
    "measure_vgg",
    "measure_transformer",
    "measure_signs",
    "measure_scaling",
    "train_linear",
    "train_stacked",
    "sweep_executors",
    "record_training",
    "report_page",
)


def as_text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def cells(row: Row) -> list[str]:
    """Return a row's cells; a figure that a benchmark does not have is left empty."""
    numbers = [as_text(row[key]) if key in row else "" for key in ("slow_seconds", "our_seconds", "ratio")]
    notes = "\n".join(f"{key} {as_text(value)}" for key, value in row.get("notes", {}).items())
    return [row["benchmark"], row["case"], *numbers, notes]


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        sys.exit(f"unknown benchmarks {', '.join(unknown)}; there are {', '.join(NAMES)}")
    torch.set_num_threads(1)
    path = RESULTS / f"{platform.machine()}-cpu.json"
    benchmarks = json.loads(path.read_text()).get("benchmarks", {}) if names and path.exists() else {}
    table = Table("benchmark", "case", "slow way, s", "ours, s", "ratio", "notes", show_lines=True)
    for name in names or NAMES:
        rows = list(import_module(f"benchmarks.{name}").run())
        benchmarks[name] = {"provenance": provenance(), "threads": 1, "rows": rows}
        for row in rows:
            table.add_row(*cells(row))
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps({"benchmarks": benchmarks}, indent=2) + "\n")
    Console().print(f"written to {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
