"""A dot plot: named rows, and in each of them some values with their spread."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.lines import Line2D

from ansatzlab.errors import InputError
from ansatzlab.report.figures.curves import POINTS, add_legend_below, refuse_width
from ansatzlab.report.figures.lettering import broken, widest
from ansatzlab.report.figures.styles import GREY, MARKERS, PAGE, PALETTE, Typography, gapped
from ansatzlab.report.figures.ticks import set_ticks

_NAMES = 0.38  # the widest names of rows, as a part of the drawing
_SPREAD_OUT = 0.6  # of a row's height, over which the series of one row are spread


@dataclass(frozen=True)
class Dots:
    """The dots of one kind.

    Attributes:
        label: Their name in the legend.
        rows: For each dot its row, counted from 0 at the top; a row may have several or none.
        values: For each dot its value; nan for one that is missing.
        low: The lower ends of the spread; empty where there is none.
        high: The upper ends.
        reference: Whether they are what others are held against, and are drawn in grey.
    """

    label: str
    rows: tuple[int, ...]
    values: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    reference: bool = False


@dataclass(frozen=True)
class DotPlot:
    """A dot plot, independent of what draws it.

    Attributes:
        key: Its name in file names.
        title: What it shows.
        caption: How to read it.
        value_label: Label and unit of the values.
        rows: The rows' names, from the top.
        series: The dots.
        line: Where a vertical line stands; nan for none.
        log: Whether the axis of values is logarithmic.
    """

    key: str
    title: str
    caption: str
    value_label: str
    rows: tuple[str, ...]
    series: tuple[Dots, ...]
    line: float = math.nan
    log: bool = False


def draw_dots(plot: DotPlot, *, width_inches: float = 5.5, typography: Typography = PAGE) -> MatplotlibFigure:
    """Draw a dot plot; several series stand in each row one below the other.

    Conventions:
        A value that is not finite, or not positive on a logarithmic axis, is not drawn.

    Args:
        plot: What to draw.
        width_inches: The width on paper; the height follows from the rows.
        typography: Sizes of letters, and whether there is a title.

    Returns:
        A matplotlib figure that belongs to nobody else; text is shown literally.

    Raises:
        InputError: If the width is not a positive number, or the columns of a series do not fit together.

    Example:
        >>> plot = DotPlot("layers", "Layers", "", "alignment", ("fc1", "fc2"), (Dots("run", (0, 1), (0.9, 0.8)),))
        >>> [tick.get_text() for tick in draw_dots(plot).axes[0].get_yticklabels()]
        ['fc1', 'fc2']
    """
    refuse_width(width_inches)
    for dots in plot.series:
        _refuse_uneven(plot, dots)
    width = width_inches * POINTS
    names = [broken(name, _NAMES * width, typography.tick) for name in plot.rows]
    lines = max([1, *(name.count("\n") + 1 for name in names)])
    row = max(1.25 * lines * typography.tick + 3, 5.0 * len(plot.series))
    beside = max((widest(name, typography.tick) for name in names), default=0.0)
    label = broken(plot.value_label, width - beside - 40, typography.label)
    title = broken(plot.title, 0.9 * width, typography.title) if typography.titled else ""
    further = 1.25 * (label.count("\n") * typography.label + (title.count("\n") + 1) * typography.title * bool(title))
    height = (len(names) * row + 5 * typography.label + further + 4) / POINTS
    drawn = MatplotlibFigure(figsize=(width_inches, height), layout="constrained")
    axes = drawn.add_subplot()
    axes.set_xscale("log" if plot.log else "linear")
    handles = [_draw(axes, plot, place) for place in range(len(plot.series))]
    if not math.isnan(plot.line):
        axes.axvline(plot.line, color=GREY, linestyle="--", linewidth=1.0, zorder=1)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(label, fontsize=typography.label, parse_math=False)
    drawn.suptitle(title, x=0.01, ha="left", fontsize=typography.title, parse_math=False)
    set_ticks(axes, width_inches * (1 - _NAMES), typography)
    axes.set_yticks(range(len(names)), names)
    for tick in axes.get_yticklabels():
        tick.set_parse_math(False)
    axes.grid(visible=True, color=GREY, alpha=0.2, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    legend = [broken(dots.label, 0.86 * width, typography.tick) for dots in plot.series]
    if len(legend) > 1 or legend[:1] != [""]:
        add_legend_below(drawn, handles, legend, typography)
    return drawn


def _draw(axes: Axes, plot: DotPlot, place: int) -> Line2D:
    dots = plot.series[place]
    rank = sum(other.reference == dots.reference for other in plot.series[:place])
    colour = GREY if dots.reference else PALETTE[rank % len(PALETTE)]
    offset = ((place + 0.5) / len(plot.series) - 0.5) * _SPREAD_OUT
    heights = [row + offset for row in dots.rows]
    if dots.low:
        ends = zip(heights, gapped(dots.low, plot.log), gapped(dots.high, plot.log), strict=True)
        for height, low, high in ends:
            axes.plot((low, high), (height, height), color=colour, linewidth=1.2, solid_capstyle="butt")
    (handle,) = axes.plot(
        gapped(dots.values, plot.log),
        heights,
        color=colour,
        linestyle="none",
        marker=MARKERS[rank % len(MARKERS)][1],
        markersize=4,
        markerfacecolor="white" if dots.reference else colour,
    )
    return handle


def _refuse_uneven(plot: DotPlot, dots: Dots) -> None:
    columns: list[Sequence[float]] = [dots.rows, dots.values]
    if dots.low or dots.high:
        columns += [dots.low, dots.high]
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1 or any(not 0 <= row < len(plot.rows) for row in dots.rows):
        raise InputError(
            f"figure {plot.key!r}, series {dots.label!r}: columns of {lengths} values in rows {sorted(set(dots.rows))} "
            f"of {len(plot.rows)}; wanted a row that is there and one value for each dot, and both ends of a spread."
        )
