"""Heat maps and tables of words on the page and on paper."""

import json
import math
import re
from dataclasses import replace

import plotly.graph_objects
import pytest

from ansatzlab.errors import InputError
from ansatzlab.laws.figure import HeatMap, Panel, TextTable
from ansatzlab.laws.law import Law
from ansatzlab.report.figures.exhibits import Shown, save_exhibit
from ansatzlab.report.figures.heatmap import ACROSS, count_empty, draw_heatmap, plotly_heatmap
from ansatzlab.report.page import render_page

VALUES = ((1.0, 1e-3), (math.nan, 0.0))
MARKS = (("✗", "✓"), ("", "<b>"))


def panel(title="start", values=VALUES, marks=MARKS):
    return Panel(title, ("adam", "sgd"), ("0", "0.01"), values, marks)


def heat_map(*panels, log=True):
    return HeatMap("grid", "The grid", "How to read it.", "optimiser", "λ", "residual", panels or (panel(),), log)


def test_a_cell_is_where_its_names_say_and_an_empty_one_is_empty():
    plot = plotly_heatmap(heat_map())
    (trace,) = plot["data"]
    assert (trace["y"], trace["x"]) == (["adam", "sgd"], ["0", "0.01"])
    assert trace["z"] == [[0.0, -3.0], [None, None]]
    assert trace["text"] == [["✗", "✓"], ["", "<b>"]]
    assert plot["layout"]["yaxis"]["autorange"] == "reversed"  # the first row is the top one
    json.dumps(plot, allow_nan=False)


def test_plotly_takes_what_is_drawn_and_panels_share_one_scale():
    plot = plotly_heatmap(heat_map(panel(), panel("other", values=((1e2, 1e-5), (1.0, 1.0))), panel("third")))
    plotly.graph_objects.Figure(plot)  # refuses unknown properties and values
    assert {trace["coloraxis"] for trace in plot["data"]} == {"coloraxis"}
    assert (plot["layout"]["coloraxis"]["cmin"], plot["layout"]["coloraxis"]["cmax"]) == (-5.0, 2.0)
    assert plot["layout"]["grid"]["columns"] == ACROSS
    assert plot["layout"]["grid"]["rows"] == 2


@pytest.mark.parametrize("log", [True, False])
def test_paper_and_page_show_the_same_panels(log):
    drawn = draw_heatmap(heat_map(panel(), panel("other"), log=log))
    titles = [axes.get_title(loc="left") for axes in drawn.axes[:2]]
    assert titles == ["start", "other"]
    assert [text.get_text() for text in drawn.axes[0].texts] == ["✗", "✓", "", "<b>"]


def test_values_that_the_scale_cannot_show_are_counted_and_missing_ones_are_not():
    assert count_empty(heat_map()) == 1  # the zero on a logarithmic scale
    assert count_empty(heat_map(log=False)) == 0


@pytest.mark.parametrize("what", ["values", "marks"])
def test_cells_that_do_not_fit_are_refused(what):
    with pytest.raises(InputError, match=rf"panel 'start': its {what} have 1 rows of \[1\]; wanted 2 of 2"):
        plotly_heatmap(heat_map(panel(**{what: ((1.0,),) if what == "values" else (("",),)})))


def test_a_table_is_html_and_needs_no_script(tmp_path):
    table = TextTable("t", "Words", "A caption.", ("layer", "verdict"), (("fc1", "<holds>"),))
    law = Law("someone2025thing", "Title", "Authors", "Source", "https://example.org", "Summary.", ())
    page = render_page(law, (), [Shown(table, "ansatz verify x --only y")], {})
    assert "<td>&lt;holds&gt;</td>" in page
    assert "Table 1. Words" in page
    assert "Redo it: <code>ansatz verify x --only y</code>" in page
    assert "<script>" not in page
    save_exhibit(table, tmp_path)
    save_exhibit(heat_map(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]


def test_any_key_gives_a_file_of_its_own(tmp_path):
    keys = ("grid-sub/mine.npz", "grid-sub-mine.npz", "grid-/µ mine.npz", f"grid-{'/deep' * 60}/a.npz")
    keys += (keys[-1].replace("a.npz", "b.npz"),)
    for key in keys:
        save_exhibit(replace(heat_map(), key=key), tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == len(keys)
    assert "grid-sub-mine.npz.png" in names
    assert all(re.fullmatch(r"grid-[A-Za-z0-9._-]+\.png", name) for name in names)
