"""Draw a `HeatMap`: as Plotly's JSON for the page and as matplotlib's object for a paper."""

import math
from collections.abc import Iterator
from html import escape
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure as MatplotlibFigure

from ansatzlab.errors import InputError
from ansatzlab.laws.figure import HeatMap, Panel
from ansatzlab.report.figures import GREY

COLOURS = "cividis"
"""A scale that colour-blind readers and grey printers read alike."""

ACROSS = 2
"""How many panels stand side by side."""

_ROW, _MARGIN = 30, 120  # pixels of a row of cells, and of what stands around a panel


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


def draw_heatmap(figure: HeatMap, *, width_inches: float = 7.0) -> MatplotlibFigure:
    """Draw a heat map for a paper.

    Args:
        figure: What to draw.
        width_inches: The width on paper; the height follows from the rows.

    Returns:
        A matplotlib figure that belongs to nobody else.

    Raises:
        InputError: If a panel's values or marks do not have its shape.
    """
    panels = [_checked(figure, panel) for panel in figure.panels]
    height = 0.5 + sum(0.28 * max(len(panel.rows) for panel in line) + 0.9 for line in _lines(figure))
    drawn = MatplotlibFigure(figsize=(width_inches, max(height, 1.5)), layout="constrained")
    axes = np.ravel(drawn.subplots(_down(figure), _columns(figure), squeeze=False))
    lowest, highest = _range(figure)
    norm = LogNorm(10**lowest, 10**highest) if figure.log else Normalize(lowest, highest)
    for place, panel in zip(axes, panels, strict=False):
        _draw_panel(place, panel, figure, norm)
    for place in axes[len(panels) :]:
        place.set_axis_off()
    drawn.suptitle(fill(figure.title, int(width_inches * 11)), x=0.01, ha="left", fontsize=9.5)
    bar = drawn.colorbar(ScalarMappable(norm, COLOURS), ax=axes.tolist(), shrink=0.6)
    bar.set_label(figure.value_label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return drawn


def count_empty(figure: HeatMap) -> int:
    """Return how many cells have a value that the scale of colours cannot show."""
    return sum(
        not math.isnan(value) and math.isnan(_shade(value, figure))
        for panel in figure.panels
        for row in panel.values
        for value in row
    )


def _draw_panel(axes: Axes, panel: Panel, figure: HeatMap, norm: Normalize) -> None:
    values = np.array([[10 ** _shade(v, figure) if figure.log else v for v in row] for row in panel.values])
    axes.imshow(values, norm=norm, cmap=COLOURS, aspect="auto")
    axes.set_xticks(range(len(panel.columns)), panel.columns, fontsize=7)
    axes.set_yticks(range(len(panel.rows)), panel.rows, fontsize=7)
    axes.set_title(panel.title, fontsize=8, loc="left", parse_math=False)
    axes.set_xlabel(figure.column_label, fontsize=8, parse_math=False)
    axes.set_ylabel(figure.row_label, fontsize=8, parse_math=False)
    axes.tick_params(length=0)
    for row, marks in enumerate(panel.marks):
        for column, mark in enumerate(marks):
            dark = bool(np.asarray(norm(values[row, column])) < 0.5)  # an empty cell is white, and nan is not dark
            axes.text(column, row, mark, ha="center", va="center", fontsize=7, color="white" if dark else "black")


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
    wanted = (len(panel.rows), {len(panel.columns)})
    for name, cells in (("values", panel.values), ("marks", panel.marks)):
        got = (len(cells), {len(row) for row in cells})
        if got != wanted:
            raise InputError(
                f"figure {figure.key!r}, panel {panel.title!r}: its {name} have {got[0]} rows of {sorted(got[1])}; "
                f"wanted {wanted[0]} of {len(panel.columns)}, one value for each cell."
            )
    return panel
