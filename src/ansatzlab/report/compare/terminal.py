"""A comparison for the terminal: what differs in the convention first, then the numbers."""

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from ansatzlab.report.compare.claims import ClaimChange
from ansatzlab.report.compare.differences import Difference, Part
from ansatzlab.report.compare.measurements import Comparison, LayerComparison, Reading
from ansatzlab.report.compare.runs import SCORES, GroupComparison, RunsComparison, Spread
from ansatzlab.report.readout import describe_convention, display_name, format_estimate, format_score
from ansatzlab.report.terminal import printable
from ansatzlab.report.verdicts import MISSING, format_value

MOST = 12
"""Of what only one side has so many are told by name."""

_PARTS: dict[Part, str] = {
    "reading": "convention",
    "gradients": "convention, not to be undone",
    "measuring": "measured",
    "network": "setting",
}
"""What a difference is called."""


def opening(comparison: Comparison | RunsComparison) -> tuple[str, ...]:
    """Say what stands before all numbers: what differs in the convention, and whether the numbers may be compared.

    Returns:
        The lines, in which names are shown literally, without control characters.
    """
    told = _of_measurements(comparison) if isinstance(comparison, Comparison) else _of_runs(comparison)
    return tuple(map(printable, told))


def _of_measurements(comparison: Comparison) -> list[str]:
    readings = dict.fromkeys(describe_convention(layer.convention) for layer in comparison.layers)
    return [*map(_line, comparison.differences), *comparison.verdict, f"Both are read with: {'; '.join(readings)}."]


def _of_runs(comparison: RunsComparison) -> list[str]:
    convention = [each for each in comparison.differences if each.part != "network"]
    lines = list(map(_line, convention))
    lines.append(
        f"The convention {'differs' if convention else 'is the same'}: both are read at {comparison.exponent}."
    )
    if any(each.part == "measuring" for each in convention):
        lines.append("They were not measured alike: a difference may be owed to that.")
    lines += [_line(each) for each in comparison.differences if each.part == "network"]
    if comparison.common:
        lines.append(f"All runs: {', '.join(comparison.common)}.")
    if comparison.same_runs:
        lines.append(f"{comparison.same_runs} run{' is' if comparison.same_runs == 1 else 's are'} in both.")
    return lines


def _line(difference: Difference) -> str:
    first, second = difference.first or "not told", difference.second or "not told"
    return f"{_PARTS[difference.part]}: {difference.what}: {first} in the first, {second} in the second"


def layers_table(comparison: Comparison) -> Table:
    """Lay out two measurements: for each layer the first, the second, and the difference.

    Returns:
        A rich table that fits 80 columns; names wrap and are shown literally.
    """
    table = _table("layer", "", "alignment", "residual", "best α", "verdict")
    many = len({layer.convention for layer in comparison.layers}) > 1
    for layer in comparison.layers:
        sides = [_reading("1", layer.first), _reading("2", layer.second)]
        if layer.convention != layer.other:
            sides.append(_reading("2 as 1", layer.reread) if layer.reread else ["2 as 1", *[MISSING] * 4])
        sides.append(_difference(layer))
        name = Text(printable(display_name(layer.layer)))
        if many:
            name.append(f"\n{describe_convention(layer.convention)}", style="dim")
        for place, cells in enumerate(sides):
            table.add_row(Text() if place else name, *map(Text, cells), end_section=place == len(sides) - 1)
    return table


def _reading(name: str, reading: Reading) -> list[str]:
    return [
        name,
        format_estimate(reading.value, reading.error),
        format_score(reading.residual),
        format_estimate(reading.best_exponent, reading.best_error),
        reading.verdict,
    ]


def _difference(layer: LayerComparison) -> list[str]:
    if layer.reread is None:
        return ["2 − 1", *[MISSING] * 4]
    return [
        "2 − 1",
        _signed(layer.difference, layer.error),
        _signed(layer.reread.residual - layer.first.residual),
        _signed(layer.reread.best_exponent - layer.first.best_exponent),
        "the same" if layer.reread.verdict == layer.first.verdict else "another",
    ]


def _signed(value: float, error: float = math.nan) -> str:
    told = format_estimate(value, error)
    return f"+{told}" if value > 0 else told


def changes_table(comparison: Comparison) -> Table:
    """Lay out how far weights and AGOPs of two measurements are apart.

    Returns:
        A rich table that fits 80 columns.
    """
    table = _table("layer", "weights changed by", "cosine of AGOPs", "overlap of directions")
    for layer in {each.layer: each for each in comparison.layers}.values():
        found = layer.contrast
        overlap = MISSING
        if not math.isnan(found.overlap):
            overlap = f"{found.overlap:.3f} of {found.directions} (chance {found.chance:.3f})"
        change = MISSING if math.isnan(found.weight_change) else format_value(found.weight_change)
        name = Text(printable(display_name(layer.layer)))
        table.add_row(name, Text(change), Text(format_score(found.agop_cosine)), Text(overlap))
    return table


def group_tables(groups: Sequence[GroupComparison]) -> list[tuple[str, Table]]:
    """Lay out groups of runs that two tables have: the median, and in brackets the least and the largest.

    Returns:
        For each group its name, without control characters, and a rich table that fits 80 columns.
    """
    found = []
    for group in groups:
        name = ", ".join(filter(None, (group.settings, display_name(group.layer))))
        sides = {"1": group.first, "2": group.second, "2 − 1": group.differences}
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for title in ("", "alignment", "residual", "best α"):
            table.add_column(title, min_width=21 if title else 7, no_wrap=True)
        for side, spreads in sides.items():
            table.add_row(Text(f"  {side}"), *(Text(_spread(spreads[score])) for score in SCORES))
        found.append((printable(name), table))
    return found


def _spread(spread: Spread) -> str:
    if not spread.runs:
        return MISSING
    middle = format_score(spread.median)
    return middle if spread.runs == 1 else f"{middle} [{format_score(spread.low)}, {format_score(spread.high)}]"


def claims_table(changes: Sequence[ClaimChange]) -> Table:
    """Lay out the claims whose verdicts differ.

    Returns:
        A rich table that fits 80 columns; names wrap and are shown literally.
    """
    table = _table("claim", "condition", "first", "second")
    for change in changes:
        sides = ((change.first, change.first_value), (change.second, change.second_value))
        cells = [f"{verdict} {format_value(value)}" if verdict else "not judged" for verdict, value in sides]
        table.add_row(*(Text(printable(text)) for text in (change.claim, change.condition or MISSING, *cells)))
    return table


def closing(comparison: Comparison | RunsComparison) -> tuple[str, ...]:
    """Say what stands behind the numbers: what only one has, and what was left out."""
    lines = [
        f"only in the {which}: {_listed(list(map(display_name, names)))}"
        for which, names in (("first", comparison.only_first), ("second", comparison.only_second))
        if names
    ]
    if isinstance(comparison, Comparison):
        if any(layer.paired for layer in comparison.layers):
            lines.append("Errors of differences take both to be of the same examples, in the same order.")
    else:
        if comparison.claims or comparison.same_claims:
            lines.append(f"{comparison.same_claims} verdicts are the same, {len(comparison.claims)} are not.")
        lines += comparison.notes
    return tuple(map(printable, lines))


def _listed(names: Sequence[str]) -> str:
    more = f"; and {len(names) - MOST} more" if len(names) > MOST else ""
    return "; ".join(names[:MOST]) + more


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, name in enumerate(names):
        table.add_column(name, overflow="fold", no_wrap=place == 1 and not name)
    return table
