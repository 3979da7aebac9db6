"""Run every benchmark, print a table and write the figures to ``benchmarks/results/``: ``python -m benchmarks``."""

import json
import platform
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from ansatzlab.store.provenance import provenance
from benchmarks import measure_layers, train_linear

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    torch.set_num_threads(1)
    rows = [row for benchmark in (measure_layers, train_linear) for row in benchmark.run()]
    table = Table("benchmark", "case", "slow way, s", "ours, s", "ratio")
    for row in rows:
        numbers = (f"{row['slow_seconds']:.4f}", f"{row['our_seconds']:.4f}", f"{row['ratio']:.1f}×")
        table.add_row(row["benchmark"], row["case"], *numbers)
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{platform.machine()}-cpu.json"
    path.write_text(json.dumps({"provenance": provenance(), "threads": 1, "rows": rows}, indent=2) + "\n")
    Console().print(f"written to {path}")


if __name__ == "__main__":
    main()
