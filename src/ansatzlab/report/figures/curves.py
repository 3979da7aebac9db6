"""Draw a `Figure`: as Plotly's JSON for the page, as matplotlib's object for a paper, as a PNG file.

Both share palette, markers, dashes and the treatment of what an axis cannot show: a value that is not finite, or not
positive on a logarithmic axis, is a gap in its line and its band, and `count_undrawn` says how many there are.
"""

import math
from html import escape
from io import BytesIO
from pathlib import Path
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from ansatzlab.atomic import write_atomically
from ansatzlab.errors import InputError
from ansatzlab.laws.figure import Curve, Figure
from ansatzlab.report.figures.lettering import broken
from ansatzlab.report.figures.styles import (
    BAND_OPACITY,
    GREY,
    LINESTYLES,
    NOTHING,
    PAGE,
    Style,
    Typography,
    columns_of,
    drawable,
    has_points,
    legend_columns,
    legend_height,
    legend_name,
    styles_of,
    whole_runs,
)
from ansatzlab.report.figures.ticks import set_ticks

CURVES_INSIDE = 6
"""With more curves than this matplotlib's legend goes below the axes."""

POINTS = 72.0
"""Points an inch."""

_ASPECT = 0.62
_LINE = 1.25  # from line to line, in sizes of the letters
_NUMBERS = 40.0  # points that the numbers beside an axis take, at most


def to_plotly(figure: Figure) -> dict[str, object]:
    """Describe a figure as Plotly's JSON.

    Conventions: the title is left out, since a page shows it as a heading that wraps and can be selected. Backgrounds
    are transparent and text is a grey that both light and dark pages can show; a page may set its own colours. Labels
    are shown literally, not read as Plotly's markup.

    Args:
        figure: What to draw.

    Returns:
        ``{"data": […], "layout": {…}}`` of lists, dicts, strings, finite numbers and None.

    Raises:
        InputError: If a curve's columns differ in length or only one of low and high is given.

    Example:
        >>> curve = Curve("error", x=(1.0, 2.0, 4.0), y=(0.1, 0.0, 0.4))
        >>> plot = to_plotly(Figure("e", "Error", "", "step", "error", (curve,)))
        >>> plot["data"][0]["y"]
        [0.1, None, 0.4]
    """
    curves = [drawable(curve, figure) for curve in figure.curves]
    data: list[dict[str, object]] = []
    for number, (curve, style) in enumerate(zip(curves, styles_of(curves), strict=True)):
        group = {"legendgroup": str(number)}  # the legend switches a line and its band together
        if curve.low:
            data.append(_plotly_band(curve, style) | group)
        data.append(_plotly_line(curve, style) | group)
    return {"data": data, "layout": _plotly_layout(figure, empty=not any(map(has_points, curves)))}


def to_matplotlib(figure: Figure, *, width_inches: float = 5.5, typography: Typography = PAGE) -> MatplotlibFigure:
    """Draw a figure for a paper, without pyplot and its global state.

    Args:
        figure: What to draw.
        width_inches: The width on paper; the height follows from it and from the legend's length.
        typography: Sizes of letters, and whether there is a title.

    Returns:
        A matplotlib figure that belongs to nobody else; text is shown literally, not read as mathematics, and a letter
        that the font does not have as ``�``.

    Raises:
        InputError: If the width is not a positive number, a curve's columns differ in length, or only one of low and
            high is given.

    Example:
        >>> curve = Curve("error", x=(1.0, 2.0, 4.0), y=(0.1, 0.2, 0.4))
        >>> drawn = to_matplotlib(Figure("e", "Error", "", "step", "error", (curve,)))
        >>> drawn.axes[0].get_xscale()
        'log'
    """
    refuse_width(width_inches)
    curves = [drawable(curve, figure) for curve in figure.curves]
    width = width_inches * POINTS
    names = [broken(legend_name(curve), 0.86 * width, typography.tick) for curve in curves]
    height = min(_ASPECT * width_inches, typography.tallest)
    y_label = broken(figure.y_label, 0.75 * height * POINTS, typography.label)
    beside = _LINE * typography.label * (y_label.count("\n") + 1) + _NUMBERS
    x_label = broken(figure.x_label, width - beside, typography.label)  # centred below axes that begin there
    title = broken(figure.title, width - beside, typography.title) if typography.titled else ""
    further = title.count("\n") * typography.title + x_label.count("\n") * typography.label
    drawn = MatplotlibFigure(figsize=(width_inches, height + _LINE * further / POINTS), layout="constrained")
    axes = drawn.add_subplot()
    axes.set_xscale("log" if figure.x_log else "linear")
    axes.set_yscale("log" if figure.y_log else "linear")
    handles = [_draw_curve(axes, curve, style) for curve, style in zip(curves, styles_of(curves), strict=True)]
    axes.set_title(title, loc="left", fontsize=typography.title, parse_math=False)
    axes.set_xlabel(x_label, fontsize=typography.label, parse_math=False)
    axes.set_ylabel(y_label, fontsize=typography.label, parse_math=False)
    set_ticks(axes, width_inches, typography)
    axes.grid(visible=True, color=GREY, alpha=0.2, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if not any(map(has_points, curves)):
        axes.text(0.5, 0.5, NOTHING, transform=axes.transAxes, ha="center", color=GREY, fontsize=typography.label)
    if typography.legend_below or len(curves) > CURVES_INSIDE:
        add_legend_below(drawn, handles, names, typography)
    elif handles:
        _literal(axes.legend(handles, names, loc="best", fontsize=typography.tick, framealpha=0.8, edgecolor="none"))
    return drawn


def refuse_width(width_inches: float) -> None:
    """Refuse a width that nothing can be drawn in.

    Raises:
        InputError: If it is not a positive number.
    """
    if not 0 < width_inches < math.inf:
        raise InputError(f"width_inches: got {width_inches!r}, wanted a positive number, for example 5.5.")


def add_legend_below(drawn: MatplotlibFigure, handles: list[Line2D], names: list[str], typography: Typography) -> None:
    """Put a legend below everything, in as many columns as fit, and make the drawing higher by what it takes.

    Args:
        drawn: The drawing, whose layout is constrained.
        handles: One for each entry; may be none.
        names: The entries, in lines that fit into the width.
        typography: The size of its letters.
    """
    if not handles:
        return
    columns = legend_columns(names, 0.97 * drawn.get_figwidth() * POINTS, typography.tick)
    drawn.set_figheight(drawn.get_figheight() + legend_height(names, columns, typography.tick) / POINTS)
    size = {"fontsize": typography.tick, "borderpad": 0.2, "borderaxespad": 0.2, "frameon": False}
    _literal(drawn.legend(handles, names, loc="outside lower center", ncols=columns, **size))


def save_png(figure: Figure, path: Path, dpi: int = 160) -> None:
    """Write a figure as a PNG file, whole or not at all.

    Args:
        figure: What to draw.
        path: The file; its folder has to exist.
        dpi: Pixels an inch.

    Raises:
        InputError: If ``dpi`` is not positive, a curve's columns differ in length, or only one of low and high is
            given.
        StoreError: If the file cannot be written.
    """
    if dpi <= 0:
        raise InputError(f"dpi: got {dpi}, wanted a positive number of pixels an inch, for example 160.")
    save_drawn(to_matplotlib(figure), path, dpi)


def save_drawn(drawn: MatplotlibFigure, path: Path, dpi: int = 160) -> None:
    """Write what matplotlib drew as a PNG file, whole or not at all.

    Raises:
        StoreError: If the file cannot be written.
    """
    buffer = BytesIO()
    drawn.savefig(buffer, format="png", dpi=dpi)
    write_atomically(path, buffer.getvalue())


def count_undrawn(figure: Figure) -> int:
    """Count the points that the axes cannot show in full.

    Args:
        figure: What to draw.

    Returns:
        How many points have an abscissa, ordinate or end of the spread that is not finite, or not positive on a
        logarithmic axis.

    Raises:
        InputError: If a curve's columns differ in length or only one of low and high is given.

    Example:
        >>> count_undrawn(Figure("e", "Error", "", "step", "error", (Curve("error", (0.0, 1.0), (1.0, 1.0)),)))
        1
    """
    curves = [drawable(curve, figure) for curve in figure.curves]
    return sum(any(map(math.isnan, point)) for curve in curves for point in zip(*columns_of(curve), strict=True))


def _plotly_line(curve: Curve, style: Style) -> dict[str, object]:
    points = [(None, None) if math.isnan(x) or math.isnan(y) else (x, y) for x, y in zip(curve.x, curve.y, strict=True)]
    return {
        "type": "scatter",
        "mode": "lines+markers" if style.marked else "lines",
        "name": _plotly_text(legend_name(curve), 36),
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "line": {"color": style.colour, "width": 2, "dash": style.dash},
        "marker": {"color": style.colour, "size": 7, "symbol": style.symbol},
        "connectgaps": False,
        "hovertemplate": "%{x:.4~g}, %{y:.3~g}",
    }


def _plotly_band(curve: Curve, style: Style) -> dict[str, object]:
    """Describe the band as one closed polygon a run: Plotly's fill between two lines does not respect gaps."""
    x: list[float | None] = []
    y: list[float | None] = []
    for run in whole_runs(curve.x, curve.low, curve.high):
        x += [*curve.x[run], *reversed(curve.x[run]), None]
        y += [*curve.high[run], *reversed(curve.low[run]), None]
    red, green, blue = bytes.fromhex(style.colour[1:])
    colour = f"rgba({red},{green},{blue},{BAND_OPACITY})"
    return {
        "type": "scatter",
        "mode": "lines",
        "showlegend": False,
        "x": x,
        "y": y,
        "fill": "toself",
        "fillcolor": colour,
        "line": {"color": colour, "width": 1},  # so that the spread of a lone point is a line and not nothing
        "hoverinfo": "skip",
    }


def _plotly_text(text: str, width: int) -> str:
    return "<br>".join(escape(line, quote=False) for line in wrap(text, width))


def _plotly_layout(figure: Figure, *, empty: bool) -> dict[str, object]:
    layout: dict[str, object] = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": GREY},
        "margin": {"l": 48, "r": 32, "t": 16, "b": 48},
        "modebar": {
            "orientation": "v",
            "bgcolor": "rgba(0,0,0,0)",
            "color": GREY,
        },  # beside the lines, not on the legend
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        "hovermode": "closest",
        "hoverlabel": {"namelength": -1},
        "xaxis": _plotly_axis(figure.x_label, figure.x_log),
        "yaxis": _plotly_axis(figure.y_label, figure.y_log),
    }
    if empty:
        place = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False}
        layout["annotations"] = [{"text": NOTHING, **place}]
    return layout


def _plotly_axis(label: str, log: bool) -> dict[str, object]:
    return {
        "type": "log" if log else "linear",
        "title": {"text": _plotly_text(label, 44), "standoff": 12},
        "automargin": True,
        "exponentformat": "power",
        "gridcolor": "rgba(128,128,128,0.25)",
        "linecolor": GREY,
        "showline": True,
        "zeroline": False,
        "ticks": "outside",
    }


def _draw_curve(axes: Axes, curve: Curve, style: Style) -> Line2D:
    if curve.low:
        axes.fill_between(
            curve.x, curve.low, curve.high, color=style.colour, alpha=BAND_OPACITY, linewidth=0.8, zorder=1
        )
    (line,) = axes.plot(
        curve.x,
        curve.y,
        color=style.colour,
        linestyle=LINESTYLES[style.dash],
        linewidth=1.4,
        marker=style.marker if style.marked else "",
        markersize=4,
    )
    return line


def _literal(legend: Legend) -> None:
    for text in legend.get_texts():
        text.set_parse_math(False)
