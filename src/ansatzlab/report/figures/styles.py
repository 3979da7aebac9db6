"""What every drawing of a figure shares: colours, dashes and markers, sizes of letters, gaps and the legend's place."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from ansatzlab.errors import InputError
from ansatzlab.laws.figure import Curve, Figure
from ansatzlab.report.figures.lettering import widest

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours for colour-blind readers, less yellow (lost on white) and black (lost on a dark page)."""

GREY = "#808080"
"""The colour of references and, until a page sets its own, of text: readable on white and on a dark page."""

LINESTYLES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3))}
"""Matplotlib's dashes by Plotly's names."""

MARKERS = (("circle", "o"), ("square", "s"), ("diamond", "D"), ("triangle-up", "^"), ("x", "X"), ("star", "*"))
"""Plotly's and matplotlib's markers, in the order in which they are used."""

BAND_OPACITY = 0.18

NOTHING = "no value can be drawn on these axes"

MEASURED_DASHES = ("solid", "dashdot", "longdash")

_REFERENCE_DASHES = ("dash", "dot", "dashdot")
_MARKED_POINTS = 24  # with more points than this the markers hide the line
_LEGEND_EXTRAS = 2.8 + 2.0  # widths of a letter: the line and the space behind it, the space between columns


@dataclass(frozen=True)
class Typography:
    """Sizes of letters in points, and what a drawing shows beside its axes.

    Attributes:
        title: Size of the title.
        label: Size of the axes' labels.
        tick: Size of the numbers at the axes, of the legend and of what is written into cells.
        titled: Whether the title is drawn.
        legend_below: Whether the legend is always below the axes; else only if it is long.
        tallest: The largest height of axes with their labels, in inches.
    """

    title: float
    label: float
    tick: float
    titled: bool = True
    legend_below: bool = False
    tallest: float = math.inf


PAGE = Typography(title=9.5, label=9.0, tick=8.0)
"""For a report and its files."""

PAPER = Typography(title=8.5, label=8.0, tick=7.0, titled=False, legend_below=True, tallest=3.2)
"""For a column of a paper, which has its own caption."""


@dataclass(frozen=True)
class Style:
    """How one curve looks, in Plotly's and matplotlib's words.

    Attributes:
        colour: Hexadecimal.
        dash: Plotly's name of the dash; `LINESTYLES` has matplotlib's.
        symbol: Plotly's marker.
        marker: Matplotlib's marker.
        marked: Whether the points are few or isolated, so that they need markers.
    """

    colour: str
    dash: str
    symbol: str
    marker: str
    marked: bool


def styles_of(curves: Sequence[Curve]) -> Iterator[Style]:
    """Yield the styles; measured curves and references are counted apart, so that a reference shifts no colour."""
    seen = {True: 0, False: 0}
    for curve in curves:
        rank = seen[curve.dashed]
        seen[curve.dashed] += 1
        symbol, marker = MARKERS[rank % len(MARKERS)]
        lengths = [run.stop - run.start for run in whole_runs(curve.x, curve.y)]
        few = 1 in lengths or 0 < sum(lengths) <= _MARKED_POINTS
        if curve.dashed:
            yield Style(GREY, _REFERENCE_DASHES[rank % len(_REFERENCE_DASHES)], symbol, marker, 1 in lengths)
        else:
            cycle = rank // len(PALETTE) % len(MEASURED_DASHES)
            yield Style(PALETTE[rank % len(PALETTE)], MEASURED_DASHES[cycle], symbol, marker, few)


def columns_of(curve: Curve) -> tuple[tuple[float, ...], ...]:
    """Return the abscissae, the ordinates and, where there is a spread, its two ends."""
    return (curve.x, curve.y, curve.low, curve.high) if curve.low or curve.high else (curve.x, curve.y)


def drawable(curve: Curve, figure: Figure) -> Curve:
    """Return a curve with a gap (nan) for every number that its figure's axes cannot show.

    Raises:
        InputError: If its columns differ in length or only one of low and high is given.
    """
    lengths = [len(column) for column in columns_of(curve)]
    if len(set(lengths)) > 1:
        raise InputError(
            f"figure {figure.key!r}, curve {curve.label!r}: columns of {lengths} values; x, y and, where there is a "
            "spread, both low and high need one value a point."
        )
    return replace(
        curve,
        x=gapped(curve.x, figure.x_log),
        y=gapped(curve.y, figure.y_log),
        low=gapped(curve.low, figure.y_log),
        high=gapped(curve.high, figure.y_log),
    )


def gapped(values: Sequence[float], log: bool) -> tuple[float, ...]:
    """Return the values with nan for each that is not finite, or not positive on a logarithmic axis."""
    return tuple(value if math.isfinite(value) and (value > 0 or not log) else math.nan for value in values)


def whole_runs(*columns: Sequence[float]) -> Iterator[slice]:
    """Yield the stretches of consecutive points at which no column has a gap."""
    whole = [not any(map(math.isnan, point)) for point in zip(*columns, strict=True)]
    for drawn, group in groupby(range(len(whole)), key=whole.__getitem__):
        members = list(group)
        if drawn:
            yield slice(members[0], members[-1] + 1)


def has_points(curve: Curve) -> bool:
    """Whether anything of a drawable curve is seen."""
    return any(True for _ in whole_runs(curve.x, curve.y))


def legend_name(curve: Curve) -> str:
    """Return a drawable curve's name in the legend, which says so if nothing of it is seen."""
    return curve.label if has_points(curve) else f"{curve.label} ({NOTHING})"


def legend_columns(names: Sequence[str], width: float, size: float) -> int:
    """Return in how many columns a legend fits into a width with as few lines as possible, at least one.

    Args:
        names: Its entries, which may have several lines.
        width: The width in points.
        size: Size of its letters in points.
    """
    widths = [widest(name, size) + _LEGEND_EXTRAS * size for name in names]
    for lines in range(1, len(names)):
        count = math.ceil(len(names) / lines)
        if sum(float(part.max()) for part in np.array_split(widths, count)) <= width:
            return count
    return 1


def legend_height(names: Sequence[str], columns: int, size: float) -> float:
    """Return the height of a legend in points.

    Args:
        names: Its entries, which may have several lines.
        columns: In how many columns they stand, one column after the other.
        size: Size of its letters in points.
    """
    lines = [1.35 * (name.count("\n") + 1) + 0.35 for name in names]
    return size * (1.6 + max((float(part.sum()) for part in np.array_split(lines, columns)), default=0.0))
