"""Figures as a paper includes them: nothing clipped, nothing too small, text as text, the same bytes every time."""

import itertools
import math
import re
import subprocess
import sys
import warnings
import zlib
from dataclasses import replace
from io import BytesIO

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from ansatzlab.errors import InputError, StoreError
from ansatzlab.laws.figure import Curve, Figure, HeatMap, Panel, TextTable
from ansatzlab.report.figures.dots import DotPlot, Dots
from ansatzlab.report.figures.lettering import UNKNOWN, broken, printed, width_of
from ansatzlab.report.figures.paper import FORMATS, NARROWEST, WIDTHS, draw_paper, render_paper, save_paper
from ansatzlab.report.figures.styles import PAPER, legend_columns

LONG = "transformer.encoder.layers.11.self_attention.output_projection"
HOSTILE = "$\\frac{x$ \x1b[31m<b>\n_α ‖WᵀW‖ 漢"
X = tuple(np.geomspace(1e-3, 1e3, 40).tolist())


def curve(label, scale=1.0, **other):
    y = tuple(scale * x**0.5 for x in X)
    return Curve(label, X, y, tuple(0.5 * value for value in y), tuple(2 * value for value in y), **other)


def figure(*curves, **other):
    return Figure(
        "f", "A title of some length", "How to read it.", "exponent α", "scale-free residual", curves, **other
    )


def heat_map(rows, columns, mark="1.2e-05", panels=3, label="residual at α = 1/(L−l+1)"):
    values = tuple(tuple(10.0 ** (-i - j) for j in range(len(columns))) for i in range(len(rows)))
    marks = tuple((mark,) * len(columns) for _ in rows)
    return HeatMap(
        "h", "A title", "", "optimiser", "weight decay λ", label,
        tuple(Panel(f"start: {number}", tuple(rows), tuple(columns), values, marks) for number in range(panels)),
    )  # fmt: skip


def dot_plot(rows, *labels, log=False, line=math.nan):
    places = tuple(range(len(rows)))
    values = tuple(0.1 + 0.8 * place / len(rows) for place in places)
    series = tuple(
        Dots(
            label, places, values, tuple(0.9 * v for v in values), tuple(1.1 * v for v in values), reference=not number
        )
        for number, label in enumerate(labels)
    )
    return DotPlot("d", "A title", "", "alignment at α = 1/(L−l+1)", tuple(rows), series, line, log)


def at(*numbers):
    return tuple(f"layers.{number}" for number in numbers)


CASES = {
    "one curve": figure(curve("layers.0")),
    "twelve curves": figure(*(curve(f"gradient_flow, L = {n}, layers.{n}", n + 1) for n in range(12))),
    "long labels": replace(
        figure(*(curve(f"{LONG}.{n}, adamw, λ = 0.001", n + 1) for n in range(6))),
        x_label=f"{LONG} " * 3,
        y_label=f"{LONG} " * 3,
        title=f"{LONG} " * 3,
    ),
    "hostile labels": replace(figure(curve(HOSTILE), curve("W" * 90)), x_label=HOSTILE, y_label=HOSTILE, title=HOSTILE),
    "no curve": figure(),
    "nothing to draw": figure(Curve("zero", (1.0, 2.0), (0.0, 0.0))),
    "less than a decade": figure(Curve("near", (0.12, 0.31), (0.45, 0.61))),
    "next to nothing": figure(Curve("near", (0.4211, 0.4213), (1e-9, 1.0001e-9))),
    "three hundred decades": figure(Curve("far", (1e-200, 1e100), (1e-300, 1e5))),
    "linear axes": figure(Curve("steps", (0.0, 1.0, 2.0, 3.0), (-5.0, 4e6, 1e7, 3.0)), x_log=False, y_log=False),
    "whole numbers": figure(Curve("layers", (1.0, 2.0, 3.0), (0.1, 0.2, 0.3)), x_log=False, y_log=False),
    "heat map": heat_map(("adam", "gd"), ("0", "0.001", "0.01")),
    "wide heat map": heat_map(("adam", "gradient_flow"), tuple(f"{n / 1000:g}" for n in range(14)), panels=1),
    "heat map with long names": heat_map(
        (LONG, HOSTILE), (LONG, f"{LONG}.2", HOSTILE), mark="✓✗ 0.0012", label=LONG * 3
    ),
    "heat map of nothing": heat_map((), (), panels=1),
    "dots": dot_plot(at(0, 1, 2), "alignment", "structural null, ± 2 sd"),
    "one row of dots": dot_plot(at(0), ""),
    "many dots": dot_plot(at(*range(40)), *(f"gradient_flow, L = {n}" for n in range(6)), log=True, line=1.0),
    "dots with long names": dot_plot((LONG, f"{LONG}.1", HOSTILE), LONG * 2, HOSTILE, log=True, line=1.0),
}


def drawn_texts(drawn, monkeypatch):
    """Draw a figure and return the texts that were really drawn, with their extents in pixels."""
    seen = []
    original = Text.draw

    def draw(self, renderer):
        if self.get_visible() and self.get_text():
            seen.append(self)
        return original(self, renderer)

    with monkeypatch.context() as patched:
        patched.setattr(Text, "draw", draw)
        drawn.canvas.draw()
    return [(text, text.get_window_extent()) for text in dict.fromkeys(seen)]


@pytest.mark.parametrize(("columns", "titled"), [(1, False), (1, True), (2, False)], ids=["one", "titled", "two"])
@pytest.mark.parametrize("case", CASES)
def test_no_text_is_clipped_or_too_small_and_none_lies_on_another(case, columns, titled, monkeypatch):
    drawn = draw_paper(CASES[case], width_inches=WIDTHS[columns], titled=titled)
    FigureCanvasAgg(drawn)
    texts = drawn_texts(drawn, monkeypatch)
    edge = drawn.bbox
    clipped = [
        (text.get_text(), box.extents)
        for text, box in texts
        if box.x0 < -0.5 or box.y0 < -0.5 or box.x1 > edge.x1 + 0.5 or box.y1 > edge.y1 + 0.5
    ]
    assert clipped == []
    assert min((text.get_fontsize() for text, _ in texts), default=7) >= 7
    shrunk = [(text.get_text(), box.padded(-1.0)) for text, box in texts]  # extents hold some empty pixels
    overlapping = [
        (one[0], other[0])
        for one, other in itertools.combinations(shrunk, 2)
        if one[1].overlaps(other[1]) and one[1].width > 0 and other[1].width > 0
    ]
    assert overlapping == []


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("case", ["twelve curves", "long labels", "many dots"])
def test_the_legend_lies_on_nothing(case, columns):
    drawn = draw_paper(CASES[case], width_inches=WIDTHS[columns])
    drawn.draw_without_rendering()
    (legend,) = drawn.legends
    assert all(axes.get_legend() is None for axes in drawn.axes)
    assert not any(legend.get_window_extent().overlaps(axes.get_tightbbox()) for axes in drawn.axes)


@pytest.mark.parametrize("case", CASES)
def test_axes_keep_room_for_what_they_show(case):
    drawn = draw_paper(CASES[case], width_inches=WIDTHS[1])
    drawn.draw_without_rendering()
    for axes in drawn.axes[:-1] or drawn.axes:  # the last one of a heat map is its scale
        box = axes.get_window_extent()
        assert box.width > 0.25 * drawn.bbox.width, "the labels leave too little"
        assert box.height > 10


def test_titles_are_drawn_only_where_they_are_asked_for(monkeypatch):
    for case, titled in itertools.product(("one curve", "heat map", "dots"), (False, True)):
        drawn = draw_paper(CASES[case], titled=titled)
        FigureCanvasAgg(drawn)
        told = [text.get_text() for text, _ in drawn_texts(drawn, monkeypatch)]
        assert any("A title" in text for text in told) == titled


def test_marks_of_a_narrow_cell_stand_in_two_lines_or_are_left_out():
    def marks(columns, mark, width):
        drawn = draw_paper(heat_map(("a",), tuple(map(str, range(columns))), mark=mark, panels=1), width_inches=width)
        return {text.get_text() for text in drawn.axes[0].texts}

    assert marks(3, "✓ 0.0012", 3.25) == {"✓ 0.0012"}
    assert marks(6, "✓ 0.0012", 3.25) == {"✓\n0.0012"}
    assert marks(16, "✓ 0.0012", 3.25) == set()
    assert marks(12, "✓ 0.0012", 6.75) == {"✓ 0.0012"} or marks(12, "✓ 0.0012", 6.75) == {"✓\n0.0012"}


# --- files -------------------------------------------------------------------------------------------------------

KINDS = ("long labels", "heat map", "dots")


@pytest.mark.parametrize("case", KINDS)
@pytest.mark.parametrize("file_format", FORMATS)
def test_the_same_exhibit_gives_the_same_bytes_whatever_the_settings_of_matplotlib(case, file_format):
    first = render_paper(CASES[case], file_format)
    before = dict(matplotlib.rcParams)
    mine = {"font.family": "serif", "axes.linewidth": 3, "pdf.fonttype": 3, "savefig.facecolor": "red"}
    with matplotlib.rc_context(mine):
        second = render_paper(CASES[case], file_format)
        assert matplotlib.rcParams["pdf.fonttype"] == 3
    assert first == second
    assert dict(matplotlib.rcParams) == before


def test_another_process_gives_the_same_bytes():
    code = (
        "import sys, zlib; from ansatzlab.laws.figure import Curve, Figure; "
        "from ansatzlab.report.figures.paper import render_paper; "
        "f = Figure('e', '', '', 'x', 'y', (Curve('a', (1.0, 2.0), (1.0, 2.0), (0.5, 1.5), (2.0, 3.0)),)); "
        "sys.stdout.write(str([zlib.crc32(render_paper(f, each)) for each in ('pdf', 'svg')])); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exhibit = Figure("e", "", "", "x", "y", (Curve("a", (1.0, 2.0), (1.0, 2.0), (0.5, 1.5), (2.0, 3.0)),))
    assert done.stdout == str([zlib.crc32(render_paper(exhibit, each)) for each in ("pdf", "svg")])


@pytest.mark.parametrize("case", KINDS)
def test_text_in_a_pdf_is_text_in_whole_outlines(case):
    content = render_paper(CASES[case], "pdf")
    assert b"/Type3" not in content
    assert b"/CIDFontType2" in content
    assert b"DejaVuSans" in content
    assert b"CreationDate" not in content
    assert b"/MediaBox [ 0 0 234 " in content  # 3.25 inches of 72 points


def test_text_in_an_svg_is_text():
    content = render_paper(figure(curve("‖WᵀW‖ of adam")), "svg").decode()
    assert "‖WᵀW‖ of adam</text>" in content
    assert "scale-free residual</text>" in content
    assert "<dc:date>" not in content
    assert 'width="234pt"' in content


def test_a_png_has_three_hundred_pixels_an_inch():
    with Image.open(BytesIO(render_paper(CASES["dots"], "png", width_inches=WIDTHS[2]))) as image:
        assert image.width == 2025


def test_hostile_text_is_shown_literally_and_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = render_paper(figure(curve(HOSTILE)), "svg").decode()
    told = " ".join(re.findall(r">([^<>]*)</text>", content)).replace("&lt;", "<").replace("&gt;", ">")
    assert "$\\frac{x$" in told
    assert f"{UNKNOWN}[31m<b> _α ‖WᵀW‖ {UNKNOWN}" in told
    assert "\x1b" not in content


def test_files_are_written_by_their_endings_whole_or_not_at_all(tmp_path):
    for ending in FORMATS:
        save_paper(CASES["dots"], tmp_path / f"a.{ending}", width_inches=3.5, titled=True)
        assert (tmp_path / f"a.{ending}").read_bytes() == render_paper(
            CASES["dots"], ending, width_inches=3.5, titled=True
        )
    with pytest.raises(InputError, match=r"a\.eps: wanted a file that ends with \.pdf, \.svg, \.png"):
        save_paper(CASES["dots"], tmp_path / "a.eps")
    with pytest.raises(StoreError, match="cannot be written"):
        save_paper(CASES["dots"], tmp_path / "missing" / "a.pdf")
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".pdf", ".png", ".svg"]


def test_what_cannot_be_drawn_is_refused():
    table = TextTable("words", "Words", "", ("a",), (("b",),))
    with pytest.raises(InputError, match="words: is a table of words"):
        draw_paper(table)
    for width in (0.0, NARROWEST / 2, 100.0, math.nan):
        with pytest.raises(InputError, match="inches; wanted 2 to 20"):
            draw_paper(CASES["dots"], width_inches=width)


# --- lettering ---------------------------------------------------------------------------------------------------


def test_lines_are_broken_where_they_are_full():
    for width in (20.0, 60.0, 200.0):
        for text in (LONG, "a b " * 30, HOSTILE, "W" * 80, "", "i" * 5):
            lines = broken(text, width, 8.0).split("\n")
            assert all(width_of(line, 8.0) <= width for line in lines)
            assert "".join(lines).replace(" ", "") == printed(text).replace(" ", "")


def test_a_legend_takes_as_few_lines_as_fit():
    names = ["adam", "gd", "gradient_flow", "rmsprop", "lbfgs"]
    widths = [legend_columns(names, width, PAPER.tick) for width in (30.0, 130.0, 200.0, 1000.0)]
    assert widths[0] == 1
    assert widths == sorted(widths)
    assert widths[-1] == len(names)
    assert legend_columns([], 100.0, 7.0) == 1
