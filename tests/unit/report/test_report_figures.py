import json
import math
import subprocess
import sys

import numpy as np
import plotly.graph_objects
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from ansatzlab.errors import InputError, StoreError
from ansatzlab.laws.figure import Curve, Figure
from ansatzlab.report.figures.curves import count_undrawn, save_png, to_matplotlib, to_plotly
from ansatzlab.report.figures.styles import GREY, PALETTE

X = (1.0, 2.0, 4.0, 8.0)


def figure(*curves, x_log=True, y_log=True, title="Error over time", x_label="step", y_label="error"):
    return Figure("error", title, "How to read it.", x_label, y_label, curves, x_log, y_log)


def curve(label="L = 2", x=X, y=(0.1, 0.2, 0.3, 0.4), **other):
    return Curve(label, x, y, **other)


def with_band(label="L = 2", low=(0.05, 0.1, 0.2, 0.3), high=(0.2, 0.3, 0.4, 0.5)):
    return curve(label, low=low, high=high)


def lines(plot):
    return [trace for trace in plot["data"] if trace.get("fill") is None]


def bands(plot):
    return [trace for trace in plot["data"] if trace.get("fill") == "toself"]


AWKWARD = {
    "no curve": figure(),
    "empty curve": figure(curve(x=(), y=())),
    "all zero on a log axis": figure(curve(y=(0.0,) * 4)),
    "all negative on both log axes": figure(curve(x=(-4.0, -3.0, -2.0, -1.0), y=(-1.0,) * 4)),
    "nan and infinity": figure(curve(y=(math.nan, math.inf, -math.inf, 1.0)), x_log=False, y_log=False),
    "one point with a band": figure(Curve("one", (1.0,), (2.0,), (1.0,), (3.0,))),
    "constant": figure(curve(y=(1.0,) * 4)),
    "three hundred decades": figure(curve(y=(1e-300, 1e-100, 1.0, 1e5))),
    "band whose low end is zero": figure(with_band(low=(0.0, 0.0, 0.1, 0.1))),
    "mathematics that does not parse": figure(curve("$\\frac{$ $x$"), title="$\\nope$", x_label="$_$", y_label="$^$"),
    "labels that start with an underscore": figure(curve("_hidden"), curve("_")),
    "empty labels": figure(curve(""), title="", x_label="", y_label=""),
    "many curves": figure(*(with_band(f"L = {depth}") for depth in range(25))),
    "long labels": figure(*(curve("a long label " * 8) for _ in range(8)), title="word " * 60, y_label="word " * 30),
}


@pytest.mark.parametrize("awkward", AWKWARD.values(), ids=AWKWARD.keys())
def test_awkward_figures_are_drawn_and_are_valid(awkward, tmp_path):
    plot = to_plotly(awkward)
    json.dumps(plot, allow_nan=False)
    plotly.graph_objects.Figure(plot)  # refuses unknown properties and values
    save_png(awkward, tmp_path / "awkward.png", dpi=50)
    assert (tmp_path / "awkward.png").stat().st_size > 0


def test_plotly_draws_a_line_and_a_band_that_the_legend_switches_together():
    plot = to_plotly(figure(with_band("L = 2"), with_band("L = 3")))
    assert [line["name"] for line in lines(plot)] == ["L = 2", "L = 3"]
    assert lines(plot)[0]["x"] == list(X)
    assert [band["showlegend"] for band in bands(plot)] == [False, False]
    groups = [band["legendgroup"] for band in bands(plot)]
    assert groups == [line["legendgroup"] for line in lines(plot)]
    assert len(set(groups)) == 2


def test_a_band_is_a_closed_polygon():
    (band,) = bands(to_plotly(figure(with_band())))
    assert band["x"] == [*X, *reversed(X), None]
    assert band["y"] == [0.2, 0.3, 0.4, 0.5, 0.3, 0.2, 0.1, 0.05, None]


def test_a_gap_splits_a_band_into_two_polygons():
    (band,) = bands(to_plotly(figure(with_band(low=(0.05, 0.0, 0.2, 0.3)))))
    assert band["x"] == [1.0, 1.0, None, 4.0, 8.0, 8.0, 4.0, None]
    assert band["y"] == [0.2, 0.05, None, 0.4, 0.5, 0.3, 0.2, None]


def test_a_curve_without_spread_has_no_band():
    assert bands(to_plotly(figure(curve()))) == []
    assert not to_matplotlib(figure(curve())).axes[0].collections


@pytest.mark.parametrize(("y_log", "shown"), [(True, [None, None, 0.3]), (False, [0.0, -1.0, 0.3])])
def test_what_is_not_positive_is_a_gap_on_a_log_axis_only(y_log, shown):
    drawn = figure(curve(x=X[:3], y=(0.0, -1.0, 0.3)), y_log=y_log)
    (line,) = lines(to_plotly(drawn))
    assert line["y"] == shown
    (artist,) = to_matplotlib(drawn).axes[0].get_lines()
    np.testing.assert_array_equal(artist.get_ydata(), [math.nan if y is None else y for y in shown])


def test_a_gap_of_the_abscissa_is_a_gap_of_the_point():
    (line,) = lines(to_plotly(figure(curve(x=(0.0, 1.0, 2.0, 3.0)))))
    assert line["x"] == [None, 1.0, 2.0, 3.0]
    assert line["y"] == [None, 0.2, 0.3, 0.4]


def test_undrawn_points_are_counted_once_each():
    spread = with_band(low=(0.0, math.nan, 0.1, 0.1), high=(0.0, 0.3, 0.4, math.inf))
    assert count_undrawn(figure(spread)) == 3
    assert count_undrawn(figure(spread, y_log=False)) == 2
    assert count_undrawn(figure(curve(), curve(x=(0.0, 1.0, 2.0, 3.0)))) == 1
    assert count_undrawn(figure()) == 0


def test_a_curve_that_vanishes_is_said_so_in_the_legend():
    drawn = figure(curve("exact", y=(0.0,) * 4), curve("other"))
    names = [line["name"].replace("<br>", " ") for line in lines(to_plotly(drawn))]
    assert names == ["exact (no value can be drawn on these axes)", "other"]
    texts = [text.get_text() for text in to_matplotlib(drawn).axes[0].get_legend().get_texts()]
    assert texts == names


def test_an_empty_figure_says_so():
    assert "no value" in to_plotly(figure())["layout"]["annotations"][0]["text"]
    assert "no value" in to_matplotlib(figure()).axes[0].texts[0].get_text()
    assert "annotations" not in to_plotly(figure(curve()))["layout"]


def test_colours_are_the_palette_in_order_and_references_shift_none():
    reference = curve("theory", dashed=True)
    measured = [curve(str(number)) for number in range(8)]
    plain = {line["name"]: line["line"] for line in lines(to_plotly(figure(*measured)))}
    mixed = {line["name"]: line["line"] for line in lines(to_plotly(figure(reference, *measured)))}
    assert [plain[str(number)]["color"] for number in range(8)] == [*PALETTE, *PALETTE[:2]]
    assert plain["0"]["dash"] != plain["6"]["dash"]
    assert mixed.pop("theory") == {"color": GREY, "width": 2, "dash": "dash"}
    assert mixed == plain


def test_both_backends_share_colours_and_dashes():
    drawn = figure(curve("a"), curve("theory", dashed=True), curve("b"))
    artists = to_matplotlib(drawn).axes[0].get_lines()
    assert [to_hex(artist.get_color()).upper() for artist in artists] == [PALETTE[0], GREY, PALETTE[1]]
    assert [artist.get_linestyle() for artist in artists] == ["-", "--", "-"]


def test_few_or_isolated_points_have_markers_and_many_have_none():
    many = tuple(float(step) for step in range(1, 100))
    isolated = tuple(math.nan if step in (2.0, 4.0) else step for step in many)
    modes = [
        line["mode"] for line in lines(to_plotly(figure(curve(), curve(x=many, y=many), curve(x=many, y=isolated))))
    ]
    assert modes == ["lines+markers", "lines", "lines+markers"]


@pytest.mark.parametrize("log", [True, False])
def test_the_axes_are_as_asked(log):
    drawn = figure(curve(), x_log=log, y_log=not log)
    layout = to_plotly(drawn)["layout"]
    assert (layout["xaxis"]["type"] == "log", layout["yaxis"]["type"] == "log") == (log, not log)
    (axes,) = to_matplotlib(drawn).axes
    assert (axes.get_xscale() == "log", axes.get_yscale() == "log") == (log, not log)


def test_the_background_is_transparent():
    layout = to_plotly(figure())["layout"]
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"


def test_plotly_shows_markup_in_labels_literally():
    (line,) = lines(to_plotly(figure(curve("<a href='javascript:x'>&"))))
    assert line["name"] == "&lt;a href='javascript:x'&gt;&amp;"


def test_the_legend_goes_outside_with_more_than_six_curves():
    inside = to_matplotlib(figure(*(curve(str(number)) for number in range(6))))
    outside = to_matplotlib(figure(*(curve(str(number)) for number in range(7))))
    assert inside.axes[0].get_legend() is not None
    assert not inside.legends
    assert outside.axes[0].get_legend() is None
    assert len(outside.legends[0].get_texts()) == 7
    assert outside.get_figheight() > inside.get_figheight()


def test_a_legend_outside_covers_no_axes_and_is_whole():
    drawn = to_matplotlib(figure(*(with_band(f"L = {number}, measured over five seeds") for number in range(12))))
    drawn.draw_without_rendering()
    legend = drawn.legends[0].get_window_extent()
    assert not legend.overlaps(drawn.axes[0].get_tightbbox())
    assert legend.y0 >= 0
    assert legend.x0 >= 0
    assert legend.x1 <= drawn.bbox.x1


def test_matplotlib_labels_are_literal_and_whole():
    drawn = to_matplotlib(figure(curve("_$x$"), title="$t$", y_label="relative error of the Gram matrix " * 3))
    (axes,) = drawn.axes
    assert axes.get_title(loc="left") == "$t$"
    assert axes.get_legend().get_texts()[0].get_text() == "_$x$"
    drawn.draw_without_rendering()
    label = axes.yaxis.label.get_window_extent()
    assert label.y0 >= 0
    assert label.y1 <= drawn.bbox.y1


@pytest.mark.parametrize("width", [0.0, -1.0, math.nan, math.inf])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(InputError, match=r"width_inches: got .*, wanted a positive number"):
        to_matplotlib(figure(curve()), width_inches=width)


def test_the_width_is_as_asked():
    assert to_matplotlib(figure(curve()), width_inches=3.25).get_figwidth() == 3.25


@pytest.mark.parametrize(
    "uneven",
    [curve(y=(1.0,)), curve(low=(1.0,), high=(1.0,)), curve(low=(1.0,) * 4), curve(high=(1.0,) * 4)],
    ids=["y", "band", "only low", "only high"],
)
@pytest.mark.parametrize("draw", [to_plotly, to_matplotlib, count_undrawn])
def test_uneven_columns_are_refused_and_the_curve_is_named(draw, uneven):
    with pytest.raises(InputError, match=r"figure 'error', curve 'L = 2': columns of .* values"):
        draw(figure(uneven))


def test_a_png_has_the_size_that_was_asked_for(tmp_path):
    save_png(figure(with_band()), tmp_path / "error.png", dpi=100)
    with Image.open(tmp_path / "error.png") as image:
        assert image.format == "PNG"
        assert image.width == 550
    assert [file.name for file in tmp_path.iterdir()] == ["error.png"]


def test_a_png_that_cannot_be_written_or_has_no_pixels_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot be written"):
        save_png(figure(curve()), tmp_path / "missing" / "error.png")
    with pytest.raises(InputError, match="dpi: got 0, wanted a positive number"):
        save_png(figure(curve()), tmp_path / "error.png", dpi=0)
    assert list(tmp_path.iterdir()) == []


def test_pyplot_is_not_imported():
    code = "import sys, ansatzlab.report.figures.curves; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
