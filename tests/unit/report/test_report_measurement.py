import json
import math
from collections import OrderedDict
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from ansatzlab.errors import InputError
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.verdict import judge
from ansatzlab.report.looks.directions import directions
from ansatzlab.report.measurement import (
    LIVE,
    MARKED_LAYERS,
    MARKS,
    measurement_figures,
    render_measurement,
    tally_verdicts,
)
from ansatzlab.report.readout import (
    VERDICTS,
    conventions_of,
    describe_convention,
    differences,
    format_estimate,
    format_score,
    group_skipped,
    read_layers,
)
from ansatzlab.report.terminal import STYLES, readout_notes, readout_table

VOID = {"meta", "link", "br", "img", "input", "hr"}
HALF = Convention(0.5)


class Page(HTMLParser):
    """What a browser would see: elements with attributes, the text outside of scripts and styles."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.words, self.open = [], [], []
        self.feed(html)
        self.close()
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in {"td", "th"}:
            self.words.append(" ")

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def network(first="0", inputs=64, seed=0):
    torch.manual_seed(seed)
    layers = (nn.Linear(inputs, 12), nn.Tanh(), nn.LayerNorm(12), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))
    names = (first, *(str(k) for k in range(1, len(layers))))
    return nn.Sequential(OrderedDict(zip(names, layers, strict=True))).double()


def data(inputs=64, examples=30):
    return torch.randn(examples, inputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="module")
def measured():
    return measure(network(), [data()], initial=network(seed=1))


@pytest.fixture(scope="module")
def rows(measured):
    return read_layers(measured, dict.fromkeys(measured, (HALF,)))


def page(measurement, rows, pictures=(), facts=None, title="nets.py:make"):
    figures = measurement_figures(measurement, rows)
    facts = {"command": "ansatz measure"} if facts is None else facts
    return Page(render_measurement(measurement, rows, figures, pictures, facts, title=title))


@pytest.fixture(scope="module")
def full(measured, rows):
    return page(measured, rows, directions(measured, {"0": (1, 8, 8)}, count=3))


def curves(figure):
    return {curve.label: curve for curve in figure.curves}


def figures(measurement, rows):
    return {figure.key: figure for figure in measurement_figures(measurement, rows)}


def shown(table, width=80):
    console = Console(width=width, file=None, record=True, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


# rows


def test_a_row_is_what_the_library_gives(measured, rows):
    assert [row.layer for row in rows] == ["0", "3", "5"]
    for row in rows:
        layer = measured[row.layer]
        verdict, fit = judge(layer, HALF), layer.fit_exponent()
        assert (row.outputs, row.inputs) == layer.shape
        assert (row.value, row.error) == (verdict.alignment.value, verdict.alignment.error)
        assert (row.residual, row.rank) == (verdict.alignment.residual, verdict.alignment.rank)
        assert (row.verdict, row.reason) == (verdict.word, verdict.reason)
        assert row.start == verdict.start.value
        assert (row.best_exponent, row.best_low, row.best_high) == (fit.value, fit.low, fit.high)
    assert rows[0].null_mean == judge(measured["0"], HALF).null.mean
    assert rows[0].null_z == judge(measured["0"], HALF).null.z
    assert math.isnan(rows[2].null_mean)  # a last layer is a tautology and gets no null
    assert rows[2].tautological


def test_a_row_as_json_has_its_convention_and_no_nan(rows):
    row = json.loads(json.dumps(rows[2].to_dict(), allow_nan=False))
    assert (row["exponent"], row["comparator"], row["centered"], row["init_removed"]) == (0.5, "cosine", False, False)
    assert row["null_mean"] is None
    assert row["value"] == rows[2].value


def test_gradients_too_coarse_to_be_read_are_unsupported_and_not_an_error():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2000, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    measurement = measure(model, [data(2000, 8)])
    coarse = {name: replace(layer, gradient_dtype=torch.bfloat16) for name, layer in measurement.layers.items()}
    measurement = Measurement(coarse, measurement.skipped, measurement.outputs)
    found = read_layers(measurement, dict.fromkeys(measurement, (HALF,)))
    assert found[0].verdict == "unsupported"
    assert math.isnan(found[0].value)
    assert "0" not in curves(figures(measurement, found)["spectra"])
    assert "unsupported" in page(measurement, found).text


def test_parts_stand_behind_their_layer():
    torch.manual_seed(0)
    model = nn.GRU(5, 4, batch_first=True).double()
    inputs = torch.randn(6, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    measurement = measure(model, [inputs], output=0)
    names = [(name, part) for name, layer in measurement.items() for part in ("", *layer.parts)]
    found = read_layers(measurement, dict.fromkeys(measurement, (HALF,)), parts=True)
    assert [(row.layer, row.part) for row in found] == names
    assert len(names) > len(measurement)
    whole = read_layers(measurement, dict.fromkeys(measurement, (HALF,)))
    assert list(curves(figures(measurement, found)["spectra"])) == [row.layer for row in whole]


def test_a_convention_without_initial_weights_is_refused():
    measurement = measure(network(), [data()])
    with pytest.raises(InputError, match="initial weights"):
        read_layers(measurement, dict.fromkeys(measurement, (Convention(1.0, init_removed=True),)))


def test_what_tells_conventions_apart_is_said_and_nothing_else():
    among = (Convention(0.5), Convention(1.0, "pearson"), Convention(1.0, centered=True))
    assert differences(among[0], among) == "α 0.5, cosine, not centred"
    assert differences(among[1], among) == "α 1, pearson, not centred"
    assert differences(HALF, (HALF,)) == ""
    removed = Convention(1.0, init_removed=True)
    assert differences(removed, (removed, Convention(1.0))) == "W − W₀"
    assert describe_convention(removed) == "exponent 1, cosine, W − W₀ for W"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0.12345, "0.123"), (1.0, "1.000"), (0.0, "0.000"), (2e-5, "2e-05"), (-3e-4, "-3e-04"), (math.nan, "–")],
)
def test_scores_are_written_so_that_small_is_not_zero(value, wanted):
    assert format_score(value) == wanted


def test_an_estimate_without_error_has_none():
    assert format_estimate(0.5, math.nan) == "0.500"
    assert format_estimate(math.nan, 0.1) == "–"


def test_every_verdict_has_a_style():
    assert list(STYLES) == list(VERDICTS)


# terminal


def test_the_table_fits_a_narrow_terminal_and_breaks_no_word(rows):
    text = shown(readout_table(rows, width=80))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    for row in rows:
        for piece in (row.verdict.split()[0], f"{row.outputs}×{row.inputs}", f"{row.value:.3f}", f"{row.start:.3f}"):
            assert piece in text
    assert "rank 12" in text


@pytest.mark.parametrize("word", VERDICTS)
def test_a_long_layer_name_is_folded_and_not_the_verdict(rows, word):
    long = replace(rows[0], layer="encoder.layer.11.attention.self.query", verdict=word)
    words = shown(readout_table([long], width=80)).split()
    assert set(word.split()) <= set(words)


def test_in_a_wide_terminal_a_layer_takes_one_line(rows):
    text = shown(readout_table(rows, width=140), width=140)
    (line,) = [line for line in text.splitlines() if "12×64" in line]
    assert f"± {rows[0].null_sd:.3f}" in line
    assert f"[{rows[0].best_low:.2f}, {rows[0].best_high:.2f}]" in line
    assert "linear" in line


def test_columns_that_nobody_fills_are_left_out(rows):
    bare = [replace(row, start=math.nan, null_mean=math.nan) for row in rows]
    text = shown(readout_table(bare))
    assert "null" not in text.splitlines()[1]
    assert "start" not in text
    assert "null" in shown(readout_table(rows)).splitlines()[1]


def test_no_rows_are_an_empty_table():
    assert "layer" in shown(readout_table([]))


def test_names_are_shown_literally_and_cannot_steer_the_terminal(rows):
    hostile = replace(rows[0], layer="[red]a\x1b[31m", reason="r\x1b", verdict="collapsed")
    text = shown(readout_table([hostile], width=140), width=140)
    assert "[red]a�[31m" in text
    assert "\x1b" not in text
    notes = readout_notes([hostile], Measurement({}, {"n\x1b": "why\n"}, "3 outputs"))
    assert all(note.isprintable() for note in notes)


def test_the_notes_group_what_was_skipped_and_give_the_reasons(measured, rows):
    crowd = Measurement(measured.layers, {"a": "not selected", "b": "LayerNorm", "c": "not selected"}, "3 outputs")
    notes = readout_notes(rows, crowd)
    assert "skipped: a, c: not selected" in notes
    assert "skipped: b: LayerNorm" in notes
    assert "outputs: 3 outputs; 30 examples" in notes
    assert notes[-1] == "convention: exponent 0.5, cosine"
    assert [note.split(":")[0] for note in notes].count("tautological") == 1
    assert group_skipped({"": "x"}) == {"x": [""]}


# figures


def test_the_curves_are_the_spectrum_s(measured, rows):
    drawn = figures(measured, rows)
    spectrum = measured["0"].spectrum()
    alignment = curves(drawn["alignment"])["0"]
    assert alignment.y[alignment.x.index(0.5)] == pytest.approx(rows[0].value, rel=1e-12)
    assert alignment.y == pytest.approx([spectrum.alignment(exponent) for exponent in alignment.x])
    residual = curves(drawn["residual"])["0"]
    assert residual.y[residual.x.index(0.5)] == pytest.approx(rows[0].residual, rel=1e-12)
    values = curves(drawn["spectra"])["0"]
    assert values.y == pytest.approx((spectrum.eigenvalues / spectrum.eigenvalues[0]).tolist())
    assert values.x[0] == values.y[0] == 1.0


def test_the_marks_stand_at_the_exponent_asked_for(measured, rows):
    marks = curves(figures(measured, rows)["alignment"])
    null = marks["0: structural null"]
    assert (null.x, null.y) == ((0.5,), (rows[0].null_mean,))
    assert null.high[0] - null.low[0] == pytest.approx(4 * rows[0].null_sd)
    assert marks["0: before training"].y == (rows[0].start,)
    assert "5: structural null" not in marks


def test_many_layers_have_no_marks_but_the_figure_by_layer_has_all():
    torch.manual_seed(0)
    layers = [module for _ in range(MARKED_LAYERS + 1) for module in (nn.Linear(6, 6), nn.Tanh())]
    measurement = measure(nn.Sequential(*layers).double(), [data(6)])
    found = read_layers(measurement, dict.fromkeys(measurement, (HALF,)))
    drawn = figures(measurement, found)
    assert len(drawn["alignment"].curves) == len(measurement)
    by_layer = curves(drawn["layers"])
    assert by_layer["alignment"].y == tuple(row.value for row in found)
    assert by_layer["structural null"].x == tuple(float(k) for k in range(1, len(measurement) + 1))
    np.testing.assert_equal(by_layer["structural null"].y, tuple(row.null_mean for row in found))


def test_several_conventions_have_a_curve_each_by_layer(measured):
    both = (HALF, Convention(1.0, "pearson"))
    found = read_layers(measured, dict.fromkeys(measured, both))
    by_layer = curves(figures(measured, found)["layers"])
    assert {"alignment (α 0.5, cosine)", "alignment (α 1, pearson)"} <= set(by_layer)
    assert conventions_of(found) == both


def test_exponents_by_layer_are_one_curve(measured):
    plan = {name: (Convention(1 / (3 - place)),) for place, name in enumerate(measured)}
    found = read_layers(measured, plan)
    assert "alignment (each layer's own exponent)" in curves(figures(measured, found)["layers"])


def test_the_curves_against_the_exponent_are_of_the_first_convention(measured):
    plan = dict.fromkeys(measured, (Convention(0.5, init_removed=True), HALF))
    drawn = figures(measured, read_layers(measured, plan))
    spectrum = measured["0"].spectrum(init_removed=True)
    residual = curves(drawn["residual"])["0"]
    assert residual.y == pytest.approx([spectrum.residual(exponent) for exponent in residual.x])


def test_one_layer_needs_no_figure_by_layer(measured, rows):
    alone = Measurement({"0": measured["0"]}, {}, "3 outputs")
    assert set(figures(alone, rows[:1])) == {"alignment", "residual", "spectra"}


def test_a_long_spectrum_is_thinned_and_keeps_its_ends():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 300)).double()
    measurement = measure(model, [data(300, 4)], layers="0")
    found = read_layers(measurement, dict.fromkeys(measurement, (HALF,)))
    curve = curves(figures(measurement, found)["spectra"])["0"]
    values = measurement["0"].spectrum().eigenvalues
    assert len(curve.x) <= 200 < len(values)
    assert (curve.x[0], curve.x[-1]) == (1.0, float(len(values)))
    assert curve.y[-1] == pytest.approx(float(values[-1] / values[0]))


# page


def test_the_page_is_well_formed_and_has_its_landmarks(full):
    assert full.open == []
    assert len(full.all("h1")) == len(full.all("main")) == len(full.all("title")) == 1
    assert len(full.all("caption")) == 2  # the verdicts', the live section's
    assert all("scope" in attributes for attributes in full.all("th"))
    ids = [attributes["id"] for _, attributes in full.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in full.elements:
        for name in ("aria-labelledby", "aria-describedby", "data-source"):
            assert set(attributes.get(name, ids[0]).split()) <= set(ids)
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_the_verdicts_come_first_then_the_figures_the_pictures_and_the_provenance(full, rows):
    start = full.text.index("Skip to the verdicts") + 20
    order = [
        "nets.py:make",
        tally_verdicts(rows),
        "Verdicts",
        "Not measured",
        "Live exponent",
        "Figure 1.",
        "Top eigenvectors",
        "Prov",
    ]
    places = [full.text.index(part, start) for part in order]
    assert places == sorted(places)
    assert "Convention: exponent 0.5, cosine." in full.text
    assert "3 outputs; 30 examples" in full.text


def test_every_row_is_shown_in_full(full, rows):
    for row in rows:
        shown = format_estimate(row.value, row.error)
        layer = f"{row.layer} {row.kind} {row.outputs}×{row.inputs}, rank {row.rank}"
        assert f"{layer} {MARKS[row.verdict]} {row.verdict} {shown}" in full.text
        assert row.reason in full.text
    assert "LayerNorm" in full.text


def test_nothing_is_loaded_from_anywhere(full):
    for tag, attributes in full.elements:
        assert not any(name in attributes for name in ("srcset", "action", "style"))
        assert tag == "img" or "src" not in attributes
        assert attributes.get("href", "#").startswith(("#", "data:"))
    (policy,) = [meta["content"] for meta in full.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")


def test_what_follows_the_exponent_is_shown_live_and_not_twice(full, measured, rows):
    drawn = {figure.key for figure in measurement_figures(measured, rows)}
    assert drawn == LIVE | {"spectra"}
    assert "Figure 1. Spectra of the AGOP" in full.text
    assert "Figure 2." not in full.text
    assert full.text.count("Score against the exponent") == 1


def test_columns_without_a_value_are_left_out_of_the_page(measured, rows):
    heads = len(page(measured, rows).all("th"))
    bare = [replace(row, start=math.nan, null_mean=math.nan) for row in rows]
    assert len(page(measured, bare).all("th")) == heads - 2


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(3)>", "{{ 7 * 7 }}{% raw %}"]
)
def test_hostile_names_are_shown_and_never_run(hostile):
    measurement = measure(network(hostile), [data()])
    measurement = Measurement(measurement.layers, {hostile: hostile}, hostile)
    found = read_layers(measurement, dict.fromkeys(measurement, (HALF,)))
    pictures = directions(measurement, {hostile: (1, 8, 8)}, count=2)
    seen = page(measurement, found, pictures, {hostile: hostile}, title=hostile)
    plain = measure(network(), [data()])
    plain = Measurement(plain.layers, {"a": "b"}, "c")
    ordinary = page(
        plain,
        read_layers(plain, dict.fromkeys(plain, (HALF,))),
        directions(plain, {"0": (1, 8, 8)}, count=2),
        {"d": "e"},
    )
    assert [tag for tag, _ in seen.elements] == [tag for tag, _ in ordinary.elements]
    assert seen.text.count(hostile) >= 8


def test_a_page_without_rows_says_so():
    seen = page(Measurement({}, {}, ""), [])
    assert "Nothing was measured." in seen.text
    assert "nothing was measured" in seen.text
    assert seen.all("table") == []


def test_the_network_itself_as_a_layer_has_a_name():
    torch.manual_seed(0)
    measurement = measure(nn.Linear(5, 3).double(), [data(5)])
    found = read_layers(measurement, dict.fromkeys(measurement, (HALF,)))
    assert "(the network itself)" in page(measurement, found).text
    assert "(the network itself)" in " ".join(shown(readout_table(found, width=140), width=140).split())
