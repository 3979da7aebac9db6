import json
from html.parser import HTMLParser

import pytest

from ansatzlab.errors import StoreError
from ansatzlab.report import sweep as module
from ansatzlab.report import templates
from ansatzlab.report.store_page import write_store_page
from ansatzlab.report.sweep import Ended, Heading, ends, render_runs, summarise, tally_runs, troubles
from ansatzlab.store.parquet import Store
from ansatzlab.store.schema import BASE_SCHEMA, to_table

HEADING = Heading(
    "Sweep of a.yaml", "A grid.", "The grid", {"depth": [2, 3]}, ("a", "b", "gone"), "ansatz sweep a.yaml"
)
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{ 7 * 7 }}'
SPECTRUM = {
    **{"eigenvalues": [4.0, 1.0], "energies": [2.0, 1.0], "sums": [0.5, 0.1], "off_energy": 0.1, "trace": 3.1},
    **{"total": 0.6, "dimension": 5.0, "cut": 1e-15},
}


@pytest.fixture(autouse=True)
def without_plotly(monkeypatch):
    """Leave five megabytes out of every page: what is in them is not what is tested here."""
    monkeypatch.setattr(templates, "get_plotlyjs", lambda: "plotly")


class Page(HTMLParser):
    """Tags, and the text outside of scripts and styles."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.words, self.ids, self.hidden = [], [], [], 0
        self.feed(html)
        self.close()
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("script", "style")
        if tag in ("td", "th", "dt", "dd"):
            self.words.append(" ")

    def handle_data(self, data):
        if not self.hidden:
            self.words.append(data)


def row(run_id, **changes):
    return {
        **dict.fromkeys(BASE_SCHEMA.names),
        "run_id": run_id,
        "experiment": "e",
        "spec": "{}",
        "status": "finished",
        "data": "d",
        "dynamics": "adam",
        "depth": 2,
        "seed": 0,
        "weight_decay": 0.0,
        "snapshot": 0,
        "step": 0,
        "loss": 1.0,
        "layer": "layers.0",
        "layer_index": 1,
        **SPECTRUM,
        **changes,
    }


def ended(run_id="a", status="finished", error="", loss=1.0, **labels):
    return Ended(run_id, labels, status, error, loss)


def page(*rows, heading=HEADING, facts=None):
    return Page(render_runs(to_table(rows), heading, facts or {"folder": "f"}))


# --- how runs ended ----------------------------------------------------------------------------------------------


def test_the_last_row_of_a_run_says_how_it_ended():
    rows = [row("a"), row("a", snapshot=1, loss=0.5), row("b", status="failed", error="it broke", loss=None)]
    first, second = ends(to_table(rows))
    assert (first.run_id, first.status, first.loss) == ("a", "finished", 0.5)
    assert (second.run_id, second.error, second.loss) == ("b", "it broke", None)
    assert first.labels["optimizer"] == "adam"
    assert ends(to_table([])) == ()


def test_runs_are_tallied_in_words():
    runs = [ended(str(k), "finished") for k in range(1500)] + [ended("d", "diverged")]
    assert tally_runs(runs) == "1,501 runs: 1,500 finished, 1 diverged"
    assert tally_runs(runs[:1]) == "1 run: 1 finished"


def test_groups_are_told_apart_by_what_varies_and_hold_every_run():
    runs = [
        ended(
            f"{optimizer}{depth}{seed}", loss=depth + seed / 10, optimizer=optimizer, depth=depth, seed=seed, data="d"
        )
        for optimizer in ("gd", "adam")
        for depth in (3, 2)
        for seed in range(3)
    ]
    found = summarise(runs)
    assert found.title == "Runs by depth L, optimiser"
    assert found.note == "Together in a row: runs that differ in seed only."
    assert [each[:2] for each in found.rows] == [("2", "adam"), ("2", "gd"), ("3", "adam"), ("3", "gd")]
    assert found.rows[0] == ("2", "adam", "3", "3", "0", "0", "2.1000", "[2.0000, 2.2000]")
    assert len(found.header) == len(found.rows[0])
    assert found.settings == 2


def test_a_setting_that_follows_from_others_is_no_column_and_diverged_losses_do_not_count():
    runs = [
        ended("a", optimizer="gd", learning_rate=0.1),
        ended("b", optimizer="adam", learning_rate=0.01),
        ended("c", "diverged", loss=1e30, optimizer="adam", learning_rate=0.01),
    ]
    found = summarise(runs)
    assert found.header[0] == "optimiser"
    assert found.header[1] == "runs"
    assert found.rows[0] == ("adam", "2", "1", "1", "0", "1.0000", "[1.0000, 1.0000]")


def test_thousands_of_runs_are_a_few_rows():
    runs = [
        ended(f"{a}-{b}-{c}", optimizer=f"o{a}", depth=b, weight_decay=c / 10)
        for a in range(10)
        for b in range(5)
        for c in range(40)
    ]
    found = summarise(runs)
    assert len(found.rows) == 50 <= module.GROUPS
    assert found.note == "Together in a row: runs that differ in decay λ only."
    assert sum(int(each[2]) for each in found.rows) == 2000


def test_reasons_are_counted_the_most_frequent_first():
    runs = [ended(str(k), "failed", "MemoryError: much") for k in range(5)]
    runs += [ended("d", "diverged", "at step 3"), ended("f")]
    first, second = troubles(runs)
    assert (first.status, first.message, first.runs, first.examples) == (
        "failed",
        "MemoryError: much",
        5,
        ("0", "1", "2"),
    )
    assert (second.status, second.runs) == ("diverged", 1)


def recording(*failed, moments=50, run_id="a", layers=("0", "2"), **columns):
    """Rows of a recording of which some moments failed."""
    spec = json.dumps({"task": "recording", "options": {}, "seed": 0})
    rows = []
    for step in range(moments):
        told = {"spec": spec, "snapshot": step, "step": 10 * step, **columns}
        if step in failed:
            nothing = {**dict.fromkeys(SPECTRUM), "layer": None, "layer_index": None}
            rows.append(row(run_id, **told, **nothing, status="failed", error="CUDA out of memory"))
        else:
            rows += [row(run_id, **told, layer=name, layer_index=place) for place, name in enumerate(layers, start=1)]
    return rows


@pytest.mark.parametrize(
    ("failed", "told"),
    [
        ((), "1 run: 1 finished; 50 of 50 moments measured"),
        ((49,), "1 run: 1 finished; 49 of 50 moments measured, 1 failed"),
        (range(1, 49), "1 run: 1 finished; 2 of 50 moments measured, 48 failed"),
        (range(50), "1 run: 1 failed; 0 of 50 moments measured, 50 failed"),
    ],
)
def test_of_a_recording_the_moments_are_counted_wherever_they_failed(failed, told):
    found = ends(to_table(recording(*failed)))
    assert tally_runs(found) == told
    reasons = troubles(found)
    assert [(each.message, each.runs) for each in reasons] == [("CUDA out of memory", len(failed))] * bool(failed)
    assert not failed or reasons[0].examples[0] == f"a, step {10 * failed[0]}"


def test_what_failed_in_a_recording_is_on_its_page_and_a_layer_is_named():
    rows = recording(2, moments=3)
    coarse = next(each for each in rows if each["step"] == 10 and each["layer"] == "2")
    coarse |= {**dict.fromkeys(SPECTRUM), "status": "failed", "error": "too coarse"}
    seen = page(*rows, heading=Heading("t", "s", "q", {}))
    assert "1 run: 1 finished; 2 of 3 moments measured, 1 failed." in seen.text
    assert "✗" not in seen.text[: seen.text.index("What was not measured")]
    for words in ("Moments", "CUDA out of memory", "a, step 20", "layer 2: too coarse", "a, step 10"):
        assert words in seen.text


# --- the page ----------------------------------------------------------------------------------------------------


def test_the_page_says_what_was_asked_what_came_of_it_and_what_is_missing():
    seen = page(row("a"), row("b", status="failed", error="it broke", seed=1))
    order = [
        *("Sweep of a.yaml", "2 runs: 1 finished, 1 failed", "1 planned run is missing", "The grid", "depth [2, 3]"),
        *("Live exponent", "Redo it: ansatz sweep a.yaml", "What did not finish", "it broke", "Provenance", "folder f"),
    ]
    start = seen.text.index("Skip to the outcome")
    places = [seen.text.index(part, start) for part in order]
    assert places == sorted(places)
    assert len(seen.ids) == len(set(seen.ids))


def test_without_spectra_the_page_has_no_live_section_and_no_script():
    seen = page(row("a", eigenvalues=None), heading=Heading("t", "s", "q", {}))
    assert "live" not in seen.ids
    assert "script" not in seen.tags
    assert "nothing to follow the exponent" in seen.text
    assert "The grid" not in seen.text


def test_more_reasons_than_fit_are_counted(monkeypatch):
    monkeypatch.setattr(module, "MESSAGES", 2)
    seen = page(*(row(f"r{k}", status="failed", error=f"error {k}", seed=k) for k in range(5)))
    assert "The 2 most frequent reasons; 3 more are not shown." in seen.text


def test_hostile_text_is_shown_and_never_run():
    def made(text):
        rows = [row("a", dynamics=text, layer=text, data=text), row("b", status="failed", error=text, dynamics="gd")]
        return page(*rows, heading=Heading(text, text, text, {text: text}, (), text), facts={text: text})

    seen = made(HOSTILE)
    assert seen.tags == made("plain").tags
    assert seen.text.count(HOSTILE) >= 10


# --- stores ------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    made = Store.open(tmp_path / "out")
    made.write(["a"], [row("a")])
    made.write(["b"], [row("b", seed=1)])
    return made


def test_of_a_sweep_the_runs_that_were_asked_for_last_are_shown(store):
    store.write_json(
        "sweep", {"file": "grids/a.yaml", "grid": {"seed": [1]}, "runs": ["b"], "command": "ansatz sweep x"}
    )
    path = write_store_page(store)
    assert path == store.folder / "report.html"
    seen = Page(path.read_text(encoding="utf-8"))
    assert "Sweep of a.yaml" in seen.text
    assert "1 run: 1 finished" in seen.text
    assert "seed [1]" in seen.text
    assert "Redo it: ansatz sweep x" in seen.text


def test_the_command_of_an_older_sweep_is_made_up_from_its_file(store):
    store.write_json("sweep", {"file": "a b.yaml", "grid": {}, "runs": ["a", "b"]})
    seen = Page(write_store_page(store).read_text(encoding="utf-8"))
    assert f"ansatz sweep 'a b.yaml' --out {store.folder}" in seen.text


@pytest.mark.parametrize(
    ("kept", "wanted"),
    [
        ({"schedule": "log", "layers": ["0"]}, ("schedule log", 'layers ["0"]')),
        ({"recordings": [{"schedule": "log"}]}, ("schedule log",)),
        ({"recordings": [{"name": "out of the lab"}]}, ("Recording out of the lab",)),
        ({"recordings": [{"name": "x"}, {"name": "y"}]}, ('recording 1 {"name": "x"}', 'recording 2 {"name": "y"}')),
        (["a", 1], ('recording ["a", 1]',)),
    ],
)
def test_of_a_recording_its_facts_are_told_as_they_are(store, kept, wanted):
    store.write_json("recording", kept)
    html = write_store_page(store).read_text(encoding="utf-8")
    seen = Page(html)
    assert "Recording out" in seen.text
    for words in wanted:
        assert words in seen.text
    data = html[html.index('id="live-data">') + len('id="live-data">') :]
    assert json.loads(data[: data.index("</script>")])["exponent"] == 0.5


@pytest.mark.parametrize(("exponents", "wanted"), [((1.0, 1.0), 1.0), ((1.0, 0.25), 0.5), ((None, 0.25), 0.25)])
def test_the_page_of_recordings_opens_at_the_exponent_that_they_were_read_at(tmp_path, exponents, wanted):
    store = Store.open(tmp_path / "out")
    for place, exponent in enumerate(exponents):
        store.write([f"r{place}"], recording(moments=2, run_id=f"r{place}", recorded_exponent=exponent))
    store.write_json("recording", {"recordings": []})
    html = write_store_page(store).read_text(encoding="utf-8")
    data = html[html.index('id="live-data">') + len('id="live-data">') :]
    assert json.loads(data[: data.index("</script>")])["exponent"] == wanted


def test_a_store_without_side_files_has_a_page(store):
    seen = Page(write_store_page(store, store.table()).read_text(encoding="utf-8"))
    assert "Runs in out" in seen.text
    assert "2 runs: 2 finished" in seen.text


def test_a_damaged_side_file_is_refused_by_name(store):
    (store.folder / "sweep.json").write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match=r"sweep\.json: cannot be read"):
        write_store_page(store)
