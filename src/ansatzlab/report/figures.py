"""Draw a `Figure`: as Plotly's JSON for the page, as matplotlib's object for a paper, as a PNG file.

Both share palette, markers, dashes and the treatment of what an axis cannot show: a value that is not finite, or not
positive on a logarithmic axis, is a gap in its line and its band, and `count_undrawn` says how many there are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from io import BytesIO
from itertools import groupby
from pathlib import Path
from textwrap import fill, wrap
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.lines import Line2D

from ansatzlab.atomic import write_atomically
from ansatzlab.errors import InputError
from ansatzlab.laws.figure import Curve, Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours for colour-blind readers, less yellow (lost on white) and black (lost on a dark page)."""

GREY = "#808080"
"""The colour of references and, until a page sets its own, of text: readable on white and on a dark page."""

CURVES_INSIDE = 6
"""With more curves than this matplotlib's legend goes below the axes."""

_LINESTYLES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3))}
_MEASURED_DASHES = ("solid", "dashdot", "longdash")
_REFERENCE_DASHES = ("dash", "dot", "dashdot")
_MARKERS = (("circle", "o"), ("square", "s"), ("diamond", "D"), ("triangle-up", "^"), ("x", "X"), ("star", "*"))
_MARKED_POINTS = 24  # with more points than this the markers hide the line
_BAND_OPACITY = 0.18
_NOTHING = "no value can be drawn on these axes"


@dataclass(frozen=True)
class _Style:
    """How one curve looks, in Plotly's and matplotlib's words.

    Attributes:
        colour: Hexadecimal.
        dash: Plotly's name of the dash; `_LINESTYLES` has matplotlib's.
        symbol: Plotly's marker.
        marker: Matplotlib's marker.
        marked: Whether the points are few or isolated, so that they need markers.
    """

    colour: str
    dash: str
    symbol: str
    marker: str
    marked: bool


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
    curves = [_drawable(curve, figure) for curve in figure.curves]
    data: list[dict[str, object]] = []
    for number, (curve, style) in enumerate(zip(curves, _styles(curves), strict=True)):
        group = {"legendgroup": str(number)}  # the legend switches a line and its band together
        if curve.low:
            data.append(_plotly_band(curve, style) | group)
        data.append(_plotly_line(curve, style) | group)
    return {"data": data, "layout": _plotly_layout(figure, empty=not any(map(_has_points, curves)))}


def to_matplotlib(figure: Figure, *, width_inches: float = 5.5) -> MatplotlibFigure:
    """Draw a figure for a paper, without pyplot and its global state.

    Args:
        figure: What to draw.
        width_inches: The width on paper; the height follows from it and from the legend's length.

    Returns:
        A matplotlib figure that belongs to nobody else; text is shown literally, not read as mathematics.

    Raises:
        InputError: If the width is not a positive number, a curve's columns differ in length, or only one of low and
            high is given.

    Example:
        >>> curve = Curve("error", x=(1.0, 2.0, 4.0), y=(0.1, 0.2, 0.4))
        >>> drawn = to_matplotlib(Figure("e", "Error", "", "step", "error", (curve,)))
        >>> drawn.axes[0].get_xscale()
        'log'
    """
    if not 0 < width_inches < math.inf:
        raise InputError(f"width_inches: got {width_inches!r}, wanted a positive number, for example 5.5.")
    curves = [_drawable(curve, figure) for curve in figure.curves]
    letters = max(1, int(width_inches * 11))  # that many of the title's letters fit on a line
    columns = 2 if max((len(curve.label) for curve in curves), default=0) <= letters // 2 else 1
    outside = len(curves) > CURVES_INSIDE
    height = 0.62 * width_inches + (0.17 * math.ceil(len(curves) / columns) if outside else 0)
    drawn = MatplotlibFigure(figsize=(width_inches, height), layout="constrained")
    axes = drawn.add_subplot()
    axes.set_xscale("log" if figure.x_log else "linear")
    axes.set_yscale("log" if figure.y_log else "linear")
    handles = [_draw_curve(axes, curve, style) for curve, style in zip(curves, _styles(curves), strict=True)]
    axes.set_title(fill(figure.title, letters), loc="left", fontsize=9.5, parse_math=False)
    axes.set_xlabel(fill(figure.x_label, letters), fontsize=9, parse_math=False)
    axes.set_ylabel(fill(figure.y_label, max(1, letters // 2)), fontsize=9, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color=GREY, alpha=0.2, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if not any(map(_has_points, curves)):
        axes.text(0.5, 0.5, _NOTHING, transform=axes.transAxes, ha="center", color=GREY, fontsize=9)
    _add_legend(drawn if outside else axes, handles, [_name(curve) for curve in curves], columns if outside else 1)
    return drawn


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
    curves = [_drawable(curve, figure) for curve in figure.curves]
    return sum(any(map(math.isnan, point)) for curve in curves for point in zip(*_columns(curve), strict=True))


def _columns(curve: Curve) -> tuple[tuple[float, ...], ...]:
    return (curve.x, curve.y, curve.low, curve.high) if curve.low or curve.high else (curve.x, curve.y)


def _drawable(curve: Curve, figure: Figure) -> Curve:
    lengths = [len(column) for column in _columns(curve)]
    if len(set(lengths)) > 1:
        raise InputError(
            f"figure {figure.key!r}, curve {curve.label!r}: columns of {lengths} values; x, y and, where there is a "
            "spread, both low and high need one value a point."
        )
    return replace(
        curve,
        x=_gapped(curve.x, figure.x_log),
        y=_gapped(curve.y, figure.y_log),
        low=_gapped(curve.low, figure.y_log),
        high=_gapped(curve.high, figure.y_log),
    )


def _gapped(values: Sequence[float], log: bool) -> tuple[float, ...]:
    return tuple(value if math.isfinite(value) and (value > 0 or not log) else math.nan for value in values)


def _runs(*columns: Sequence[float]) -> Iterator[slice]:
    """Yield the stretches of consecutive points at which no column has a gap."""
    whole = [not any(map(math.isnan, point)) for point in zip(*columns, strict=True)]
    for drawn, group in groupby(range(len(whole)), key=whole.__getitem__):
        members = list(group)
        if drawn:
            yield slice(members[0], members[-1] + 1)


def _has_points(curve: Curve) -> bool:
    return any(True for _ in _runs(curve.x, curve.y))


def _name(curve: Curve) -> str:
    return curve.label if _has_points(curve) else f"{curve.label} ({_NOTHING})"


def _styles(curves: Sequence[Curve]) -> Iterator[_Style]:
    """Yield the styles; measured curves and references are counted apart, so that a reference shifts no colour."""
    seen = {True: 0, False: 0}
    for curve in curves:
        rank = seen[curve.dashed]
        seen[curve.dashed] += 1
        symbol, marker = _MARKERS[rank % len(_MARKERS)]
        lengths = [run.stop - run.start for run in _runs(curve.x, curve.y)]
        few = 1 in lengths or 0 < sum(lengths) <= _MARKED_POINTS
        if curve.dashed:
            yield _Style(GREY, _REFERENCE_DASHES[rank % len(_REFERENCE_DASHES)], symbol, marker, 1 in lengths)
        else:
            cycle = rank // len(PALETTE) % len(_MEASURED_DASHES)
            yield _Style(PALETTE[rank % len(PALETTE)], _MEASURED_DASHES[cycle], symbol, marker, few)


def _plotly_line(curve: Curve, style: _Style) -> dict[str, object]:
    points = [(None, None) if math.isnan(x) or math.isnan(y) else (x, y) for x, y in zip(curve.x, curve.y, strict=True)]
    return {
        "type": "scatter",
        "mode": "lines+markers" if style.marked else "lines",
        "name": _plotly_text(_name(curve), 36),
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "line": {"color": style.colour, "width": 2, "dash": style.dash},
        "marker": {"color": style.colour, "size": 7, "symbol": style.symbol},
        "connectgaps": False,
        "hovertemplate": "%{x:.4~g}, %{y:.3~g}",
    }


def _plotly_band(curve: Curve, style: _Style) -> dict[str, object]:
    """Describe the band as one closed polygon a run: Plotly's fill between two lines does not respect gaps."""
    x: list[float | None] = []
    y: list[float | None] = []
    for run in _runs(curve.x, curve.low, curve.high):
        x += [*curve.x[run], *reversed(curve.x[run]), None]
        y += [*curve.high[run], *reversed(curve.low[run]), None]
    red, green, blue = bytes.fromhex(style.colour[1:])
    colour = f"rgba({red},{green},{blue},{_BAND_OPACITY})"
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
        layout["annotations"] = [{"text": _NOTHING, **place}]
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


def _draw_curve(axes: Axes, curve: Curve, style: _Style) -> Line2D:
    if curve.low:
        axes.fill_between(
            curve.x, curve.low, curve.high, color=style.colour, alpha=_BAND_OPACITY, linewidth=0.8, zorder=1
        )
    (line,) = axes.plot(
        curve.x,
        curve.y,
        color=style.colour,
        linestyle=_LINESTYLES[style.dash],
        linewidth=1.4,
        marker=style.marker if style.marked else "",
        markersize=4,
    )
    return line


def _add_legend(parent: Axes | MatplotlibFigure, handles: list[Line2D], names: list[str], columns: int) -> None:
    if not handles:
        return
    place: Literal["best", "outside lower center"] = "best" if isinstance(parent, Axes) else "outside lower center"
    legend = parent.legend(handles, names, loc=place, ncols=columns, fontsize=8, framealpha=0.8, edgecolor="none")
    for text in legend.get_texts():
        text.set_parse_math(False)
