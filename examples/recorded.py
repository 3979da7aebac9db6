"""The table that the examples of a watched training print: the first layers at the first and the last moments."""

from rich.console import Console
from rich.table import Table

from ansatzlab.training.recording import Recording, Row

SHOWN = ("recorded_alignment", "recorded_alignment_init_removed", "best_exponent")


def print_recording(title: str, recording: Recording, layers: int = 4) -> None:
    """Print what was recorded of some layers, and what it cost.

    Args:
        title: What stands above the table.
        recording: The recording.
        layers: Of how many layers, from the first one on.
    """
    table = Table(title=title)
    for column in ("layer", "step", "loss", "alignment at ½", "of W − W₀", "best exponent"):
        table.add_column(column, justify="left" if column == "layer" else "right", overflow="fold")
    measured = [row for row in recording.rows if row["status"] == "finished"]
    steps = list(dict.fromkeys(row["step"] for row in measured))
    for name in list(dict.fromkeys(row["layer"] for row in measured))[:layers]:
        rows = [row for row in measured if row["layer"] == name and row["step"] in (*steps[:2], *steps[-2:])]
        for place, row in enumerate(rows):
            numbers = [_number(row, column) for column in ("loss", *SHOWN)]
            table.add_row("" if place else str(name), str(row["step"]), *numbers)
        table.add_section()
    console = Console()
    console.print(table)
    console.print(str(recording.overhead), highlight=False)
    for failure in recording.failures:
        console.print(f"step {failure.step}: {failure.message}", style="red", markup=False)


def _number(row: Row, column: str) -> str:
    value = row.get(column)
    return f"{value:.3f}" if isinstance(value, float) else "–"
