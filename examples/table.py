"""The table that every example prints: one line for each layer of its network."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from torch import nn

import ansatzlab
from ansatzlab.measurement.outputs import Batch

EXPONENT = 0.5


def print_table(title: str, model: nn.Module, batches: Iterable[Batch], signs: int = 4) -> None:
    """Measure a network and print how its layers' weights stand to their AGOP.

    Args:
        title: What stands above the table.
        model: The network.
        batches: Its data.
        signs: How many random combinations of the outputs are differentiated.
    """
    measured = ansatzlab.measure(model, batches, seeds=ansatzlab.Signs(signs))
    table = Table(title=title)
    for column in ("layer", "shape", f"alignment at {EXPONENT}", "best exponent", "verdict"):
        table.add_column(column, justify="left" if column in ("layer", "verdict") else "right", overflow="fold")
    for name, layer in measured.items():
        alignment, fit = layer.alignment(EXPONENT), layer.fit_exponent()
        table.add_row(
            name,
            f"{layer.height} × {layer.blocks.shape[-1]}",
            f"{alignment.value:.3f} ± {alignment.error:.4f}",
            f"{fit.value:.2f}" if fit.identifiable else "–",
            layer.verdict(EXPONENT).word,
        )
    console = Console()
    console.print(table)
    for name, reason in measured.skipped.items():
        console.print(f"not measured: {name}: {reason}", style="dim", highlight=False, markup=False)
