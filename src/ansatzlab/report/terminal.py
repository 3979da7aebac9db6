"""The terminal's table of a measurement, and the lines below it."""

import math
from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.verdict import Word
from ansatzlab.report.readout import (
    Readout,
    conventions_of,
    describe_convention,
    differences,
    display_name,
    format_best,
    format_estimate,
    format_score,
    group_skipped,
)

STYLES: Mapping[Word, str] = {
    "holds": "green",
    "aligned": "cyan",
    "no better than null": "yellow",
    "tautological": "dim",
    "not identifiable": "dim",
    "collapsed": "bold red",
    "unsupported": "dim",
}
"""How each verdict looks in the terminal; the word always stands beside the colour."""

WIDE = 124
"""From so many columns on a layer takes one line; in a narrower terminal two."""


def readout_table(rows: Sequence[Readout], *, width: int = 80) -> Table:
    """Lay the rows out for the terminal.

    Conventions: names are shown literally, without rich markup or control characters. The columns of null and start are
    left out if no row has one. What tells several conventions apart stands under the layer's name.

    Args:
        rows: The rows.
        width: The terminal's width; from `WIDE` on a layer takes one line.

    Returns:
        A rich table; long names wrap.
    """
    laid_out = [_cells(row, conventions_of(rows), wide=width >= WIDE) for row in rows]
    absent = {
        *(["null"] if all(math.isnan(row.null_mean) for row in rows) else []),
        *(["start"] if all(math.isnan(row.start) for row in rows) else []),
    }
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1 if width >= WIDE else 0, 0, 0))
    shown = [name for name in (laid_out[0] if laid_out else ("layer", "verdict")) if name not in absent]
    for name in shown:  # a verdict is broken between words only
        words = name in ("layer", "kind", "verdict")
        table.add_column(
            name,
            justify="left" if words else "right",
            overflow="fold",
            no_wrap=not words,
            min_width=12 if name == "verdict" else None,
        )
    for cells in laid_out:
        table.add_row(*(cells[name] for name in shown))
    return table


def _cells(row: Readout, among: Sequence[Convention], *, wide: bool) -> dict[str, Text]:
    """Return a row's cells by the names of their columns, in a narrow terminal on two lines."""
    layer = Text(printable(f"  {row.part}" if row.part else display_name(row.layer)))
    shape, rank, kind = f"{row.outputs}×{row.inputs}", str(row.rank), printable(row.kind)
    told = differences(row.convention, among)
    for line in [told] * bool(told) if wide else [", ".join(filter(None, (kind, told)))]:
        layer.append(f"\n{line}", style="dim")
    apart = {"kind": Text(kind), "shape": Text(shape), "rank": Text(rank)}
    together = {"shape": Text(f"{shape}\nrank {rank}")}

    def number(text: str, before: str) -> Text:
        return Text(text if wide else text.replace(f" {before}", f"\n{before}"))

    return {
        "layer": layer,
        **(apart if wide else together),
        "alignment": number(format_estimate(row.value, row.error), "±"),
        "residual": Text(format_score(row.residual)),
        "null": number(format_estimate(row.null_mean, row.null_sd), "±"),
        "start": Text(format_score(row.start)),
        "best α": number(format_best(row), "["),
        "verdict": Text(row.verdict, STYLES[row.verdict]),
    }


def readout_notes(rows: Sequence[Readout], measurement: Measurement) -> tuple[str, ...]:
    """Say what stands behind the table: reasons without a number in it, what was skipped, the outputs, the conventions.

    Args:
        rows: The rows of the table.
        measurement: What they were read from.

    Returns:
        The lines.
    """
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.verdict not in ("holds", "aligned", "no better than null"):
            reasons.setdefault((row.verdict, row.reason), []).append(f"{display_name(row.layer)} {row.part}".strip())
    lines = [f"{word}: {', '.join(dict.fromkeys(names))}: {reason}" for (word, reason), names in reasons.items()]
    lines += [f"skipped: {', '.join(names)}: {why}" for why, names in group_skipped(measurement.skipped).items()]
    examples = max((row.examples for row in rows), default=0)
    lines.append(f"outputs: {measurement.outputs}; {examples} example{'' if examples == 1 else 's'}")
    lines += [f"convention: {describe_convention(convention)}" for convention in conventions_of(rows)]
    return tuple(map(printable, lines))


def printable(text: str) -> str:
    """Return a text whose control characters, such as a terminal's escape sequences, are replaced by ``�``."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
