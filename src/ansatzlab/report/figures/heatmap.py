"""Draw a `HeatMap`: as Plotly's JSON for the page and as matplotlib's object for a paper."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from html import escape

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure as MatplotlibFigure

from ansatzlab.errors import InputError
from ansatzlab.laws.figure import HeatMap, Panel
from ansatzlab.report.figures.curves import POINTS, refuse_width
from ansatzlab.report.figures.lettering import broken, printed, widest, width_of
from ansatzlab.report.figures.styles import GREY, PAGE, Typography
from ansatzlab.report.figures.ticks import set_log_ticks

COLOURS = "cividis"
"""A scale that colour-blind readers and grey printers read alike."""

ACROSS = 2
"""How many panels stand side by side."""

NARROW = 5.0
"""In a drawing of fewer inches they stand one below the other."""

_ROW, _MARGIN = 30, 120  # pixels of a row of cells, and of what stands around a panel
_NAMES, _UPRIGHT = 0.35, 1.0  # the widest names of rows, as a part of a panel; the longest upright names, in inches


def plotly_heatmap(figure: HeatMap) -> dict[str, object]:
    """Describe a heat map as Plotly's JSON.

    Conventions:
        Values that are not finite, or not positive on a logarithmic scale, are empty cells. The height that the panels
        need is ``layout.meta.height``.

    Args:
        figure: What to draw.

    Returns:
        ``{"data": […], "layout": {…}}`` of lists, dicts, strings, finite numbers and None.

    Raises:
        InputError: If a panel's values or marks do not have its shape.

    Example:
        >>> panel = Panel("start", ("adam",), ("0", "0.01"), ((1.0, 0.001),), (("✗", "✓"),))
        >>> plot = plotly_heatmap(HeatMap("h", "Grid", "", "optimiser", "λ", "residual", (panel,)))
        >>> plot["data"][0]["z"]
        [[0.0, -3.0]]
    """
    places = [_checked(figure, panel) for panel in figure.panels]
    lowest, highest = _range(figure)
    layout: dict[str, object] = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": GREY},
        "margin": {"l": 48, "r": 32, "t": 32, "b": 48},
        "grid": {"rows": _down(figure), "columns": _columns(figure), "pattern": "independent", "ygap": 0.35},
        "coloraxis": {
            "colorscale": COLOURS.capitalize(),
            "cmin": lowest,
            "cmax": highest,
            "colorbar": {"title": {"text": escape(figure.value_label), "side": "right"}, **_ticks(figure)},
        },
        "meta": {
            "height": sum(max((len(panel.rows) for panel in row), default=1) * _ROW + _MARGIN for row in _lines(figure))
        },
    }
    titles, data = [], []
    for number, panel in enumerate(places, start=1):
        suffix = "" if number == 1 else str(number)
        axis = {"type": "category", "automargin": True, "ticks": "", "showgrid": False, "zeroline": False}
        layout[f"xaxis{suffix}"] = axis | {"title": {"text": escape(figure.column_label), "standoff": 8}}
        layout[f"yaxis{suffix}"] = axis | {
            "title": {"text": escape(figure.row_label), "standoff": 8},
            "autorange": "reversed",
        }
        place = {"xref": f"x{suffix} domain", "yref": f"y{suffix} domain", "x": 0, "y": 1, "yanchor": "bottom"}
        titles.append({"text": escape(panel.title), "showarrow": False, "xanchor": "left", **place})
        data.append(_trace(figure, panel, suffix))
    layout["annotations"] = titles
    return {"data": data, "layout": layout}


def draw_heatmap(figure: HeatMap, *, width_inches: float = 7.0, typography: Typography = PAGE) -> MatplotlibFigure:
    """Draw a heat map for a paper.

    Conventions:
        A mark that does not fit into its cell in one line stands in two, broken at its space. If it does not fit then
        either, no cell has a mark: the colours say what they can. Below `NARROW` panels stand one below the other.

    Args:
        figure: What to draw.
        width_inches: The width on paper; the height follows from the rows.
        typography: Sizes of letters, and whether there is a title.

    Returns:
        A matplotlib figure that belongs to nobody else; text is shown literally.

    Raises:
        InputError: If the width is not a positive number, or a panel's values or marks do not have its shape.
    """
    refuse_width(width_inches)
    panels = [_checked(figure, panel) for panel in figure.panels]
    across = 1 if width_inches < NARROW else _columns(figure)
    layout = _Layout.of(figure, width_inches / across, typography)
    lines = [panels[start : start + across] for start in range(0, len(panels), across)]
    heights = [layout.around + layout.row * max(max(len(panel.rows) for panel in line), 1) for line in lines] or [1.0]
    title = broken(figure.title, 0.95 * width_inches * POINTS, typography.title) if typography.titled else ""
    label = broken(figure.value_label, 0.9 * (width_inches * POINTS - layout.beside), typography.label)
    scale = 1.25 * (typography.title * (title.count("\n") + 1) + typography.label * (label.count("\n") + 1)) / POINTS
    drawn = MatplotlibFigure(figsize=(width_inches, sum(heights) + scale + 0.5), layout="constrained")
    ratios = {"height_ratios": heights}
    axes = np.ravel(drawn.subplots(max(1, len(lines)), across, squeeze=False, gridspec_kw=ratios))
    lowest, highest = _range(figure)
    norm = LogNorm(10**lowest, 10**highest) if figure.log else Normalize(lowest, highest)
    for place, panel in zip(axes, panels, strict=False):
        _draw_panel(place, panel, figure, norm, layout)
    for place in axes[len(panels) :]:
        place.set_axis_off()
    drawn.suptitle(title, x=0.01, ha="left", fontsize=typography.title, parse_math=False)
    bar = drawn.colorbar(ScalarMappable(norm, COLOURS), ax=axes.tolist(), location="bottom", aspect=40, shrink=0.8)
    bar.set_label(label, fontsize=typography.label, parse_math=False)
    bar.ax.tick_params(labelsize=typography.tick)
    if figure.log:
        set_log_ticks(bar.ax.xaxis, max(3, int(1.7 * width_inches)))
    return drawn


def count_empty(figure: HeatMap) -> int:
    """Return how many cells have a value that the scale of colours cannot show."""
    return sum(
        not math.isnan(value) and math.isnan(_shade(value, figure))
        for panel in figure.panels
        for row in panel.values
        for value in row
    )


@dataclass(frozen=True)
class _Layout:
    """What the panels of one drawing share, in inches where nothing else is said.

    Attributes:
        rows: The names of rows, in lines.
        columns: The names of columns, in lines.
        upright: Whether these are turned by 90 degrees.
        lines: In how many lines the marks stand; 0 if they fit in none.
        row: The height of a row of cells.
        around: The height of what stands above and below the cells.
        typography: The sizes of letters.
        beside: The width of what stands left of a panel's cells, in points.
        room: The width of the cells, in points.
    """

    rows: Mapping[str, str]
    columns: Mapping[str, str]
    upright: bool
    lines: int
    row: float
    around: float
    typography: Typography
    beside: float
    room: float

    @classmethod
    def of(cls, figure: HeatMap, panel_inches: float, typography: Typography) -> "_Layout":
        """Fit names and marks into panels of a width."""
        size, width = typography.tick, panel_inches * POINTS
        rows = {name: broken(name, _NAMES * width, size) for panel in figure.panels for name in panel.rows}
        beside = max(map(partial(widest, size=size), rows.values()), default=0.0) + 4.5 * typography.label
        room = width - beside
        cell = room / max([1, *(len(panel.columns) for panel in figure.panels)])
        names = [name for panel in figure.panels for name in panel.columns]
        upright = any(width_of(printed(name), size) > 0.9 * cell for name in names)
        columns = {name: broken(name, _UPRIGHT * POINTS if upright else width, size) for name in names}
        marks = [printed(mark) for panel in figure.panels for row in panel.marks for mark in row]
        lines = next((k for k in (1, 2) if all(widest(_in_lines(m, k), size) <= 0.94 * cell for m in marks)), 0)
        tallest = max((name.count("\n") + 1 for name in rows.values()), default=1)
        below = max(map(partial(widest, size=size), columns.values()), default=0.0) if upright else size
        return cls(
            rows=rows,
            columns=columns,
            upright=upright,
            lines=lines,
            row=size * (1.25 * max(tallest, lines, 1) + 1.0) / POINTS,
            around=(below + 4.5 * typography.label) / POINTS,
            typography=typography,
            beside=beside,
            room=room,
        )


def _draw_panel(axes: Axes, panel: Panel, figure: HeatMap, norm: Normalize, layout: _Layout) -> None:
    values = np.array([[10 ** _shade(v, figure) if figure.log else v for v in row] for row in panel.values])
    size, label = layout.typography.tick, layout.typography.label
    if not values.size:
        axes.set_axis_off()
        return
    axes.imshow(np.ma.masked_invalid(values), norm=norm, cmap=COLOURS, aspect="auto")
    turned = 90 if layout.upright else 0
    axes.set_xticks(range(len(panel.columns)), [layout.columns[name] for name in panel.columns], rotation=turned)
    axes.set_yticks(range(len(panel.rows)), [layout.rows[name] for name in panel.rows])
    for tick in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        tick.set_parse_math(False)
    axes.set_title(broken(panel.title, 0.95 * layout.room, label), fontsize=label, loc="left", parse_math=False)
    axes.set_xlabel(broken(figure.column_label, 0.95 * layout.room, label), fontsize=label, parse_math=False)
    height = layout.row * len(panel.rows) * POINTS + 2 * label  # it may stand out a little
    axes.set_ylabel(broken(figure.row_label, height, label), fontsize=label, parse_math=False)
    axes.tick_params(length=0, labelsize=size)
    for row, marks in enumerate(panel.marks if layout.lines else ()):
        for column, mark in enumerate(marks):
            dark = bool(np.asarray(norm(values[row, column])) < 0.5)  # an empty cell is white, and nan is not dark
            colour = "white" if dark else "black"
            told = _in_lines(printed(mark), layout.lines)
            axes.text(column, row, told, ha="center", va="center", fontsize=size, color=colour, parse_math=False)


def _in_lines(mark: str, lines: int) -> str:
    return mark.replace(" ", "\n", lines - 1) if lines > 1 else mark


def _trace(figure: HeatMap, panel: Panel, suffix: str) -> dict[str, object]:
    shades = [[_shade(value, figure) for value in row] for row in panel.values]
    told = [[f"{value:.3g}" for value in row] for row in panel.values]
    return {
        "type": "heatmap",
        "x": list(panel.columns),
        "y": list(panel.rows),
        "z": [[None if math.isnan(shade) else shade for shade in row] for row in shades],
        "text": [list(marks) for marks in panel.marks],
        "texttemplate": "%{text}",
        "customdata": told,
        "hovertemplate": "%{y}, %{x}: %{customdata} %{text}<extra></extra>",
        "xgap": 2,
        "ygap": 2,
        "coloraxis": "coloraxis",
        "xaxis": f"x{suffix}",
        "yaxis": f"y{suffix}",
    }


def _shade(value: float, figure: HeatMap) -> float:
    """Return where a value lies on the scale of colours, nan if it has no place there."""
    if not math.isfinite(value) or (figure.log and value <= 0):
        return math.nan
    return math.log10(value) if figure.log else value


def _range(figure: HeatMap) -> tuple[float, float]:
    shades = [_shade(value, figure) for panel in figure.panels for row in panel.values for value in row]
    found = [shade for shade in shades if not math.isnan(shade)] or [0.0]
    return min(found), max(max(found), min(found) + 1e-9)


def _ticks(figure: HeatMap) -> dict[str, object]:
    if not figure.log:
        return {}
    lowest, highest = _range(figure)
    decades = range(math.ceil(lowest), math.floor(highest) + 1)
    return {"tickvals": list(decades), "ticktext": [f"10<sup>{decade}</sup>" for decade in decades]}


def _columns(figure: HeatMap) -> int:
    return max(1, min(ACROSS, len(figure.panels)))


def _down(figure: HeatMap) -> int:
    return max(1, math.ceil(len(figure.panels) / ACROSS))


def _lines(figure: HeatMap) -> Iterator[tuple[Panel, ...]]:
    for start in range(0, len(figure.panels), ACROSS):
        yield figure.panels[start : start + ACROSS]


def _checked(figure: HeatMap, panel: Panel) -> Panel:
    wanted = [len(panel.columns)] * len(panel.rows)
    for name, cells in (("values", panel.values), ("marks", panel.marks)):
        got = [len(row) for row in cells]
        if got != wanted:
            raise InputError(
                f"figure {figure.key!r}, panel {panel.title!r}: its {name} have {len(got)} rows of {sorted(set(got))}; "
                f"wanted {len(wanted)} of {len(panel.columns)}, one value for each cell."
            )
    return panel
