import json
import math
from html.parser import HTMLParser

import pytest

from ansatzlab.errors import InputError
from ansatzlab.laws.figure import Curve, Figure
from ansatzlab.laws.judge import Finding
from ansatzlab.laws.law import Law
from ansatzlab.report.figures.exhibits import Shown
from ansatzlab.report.page import render_page

HOSTILE = "<script>alert(1)</script>"
BREAKOUT = "</script><script>alert(2)</script>"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a browser would see: elements with attributes, the text outside of scripts and styles, the scripts."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.scripts, self.words, self.open = [], [], [], []
        self.feed(html)
        self.close()
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in {"td", "th"}:  # a space between cells
            self.words.append(" ")

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1] += data
        elif "style" not in self.open:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def law(**changes):
    fields = {
        "key": "someone2025thing",
        "title": "On the <Thing>",
        "authors": "A. Someone & B. Else",
        "source": "Journal of Things 1 (2025)",
        "url": "https://example.org/paper",
        "summary": "Things are equal.",
        "chapters": (),
    }
    return Law(**(fields | changes))


def finding(**changes):
    fields = {
        "claim": "A.error",
        "statement": "The error is small.",
        "statistic": "‖a − b‖ < c",
        "condition": "L = 2",
        "outcome": "HOLDS",
        "role": "claim",
        "counts": True,
        "value": 2.5e-9,
        "low": 1e-9,
        "high": 4e-9,
        "seeds": 5,
        "threshold": "≤ 1e-06",
        "reason": "all 5 seeds within",
    }
    return Finding(**(fields | changes))


def figure(label="L = 2", **changes):
    fields = {
        "key": "error",
        "title": "Error over time",
        "caption": "The law predicts a flat line.",
        "x_label": "step",
        "y_label": "error",
        "curves": (Curve(label, (1.0, 2.0), (0.1, 0.2), (0.05, 0.1), (0.2, 0.3)),),
    }
    return Figure(**(fields | changes))


FINDINGS = (
    finding(),
    finding(condition="L = 3", outcome="FAILS", reason="2 of 5 seeds outside"),
    finding(claim="B.rate", statement="The rate is two.", statistic="slope", role="control", counts=False),
    finding(claim="C.rest", statement="The rest.", outcome="INCONCLUSIVE", counts=False, reason="not identifiable: 1"),
)
FACTS = {"Command": "ansatz verify someone2025thing --quick", "Torch": "2.13.0"}


def page(findings=FINDINGS, figures=(), facts=FACTS, **changes):
    return Page(render_page(law(**changes), findings, [Shown(each) for each in figures], facts))


@pytest.fixture(scope="module")
def full():
    return Page(
        render_page(law(), FINDINGS, [Shown(figure()), Shown(figure(title="Another"), "ansatz verify x")], FACTS)
    )


def test_the_page_is_well_formed_and_has_its_landmarks(full):
    assert full.open == []
    assert full.all("html") == [{"lang": "en"}]
    assert len(full.all("h1")) == len(full.all("main")) == len(full.all("caption")) == len(full.all("title")) == 1
    assert len(full.all("figure")) == len(full.all("figcaption")) == 2
    assert all("scope" in attributes for attributes in full.all("th"))
    assert any(meta.get("name") == "viewport" for meta in full.all("meta"))


def test_ids_are_unique_and_every_reference_has_its_target(full):
    ids = [attributes["id"] for _, attributes in full.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in full.elements:
        for name in ("aria-labelledby", "aria-describedby", "data-source"):
            assert attributes.get(name, ids[0]) in ids
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_the_paper_and_the_outcome_come_first(full):
    assert "On the <Thing>" in full.text
    assert "A. Someone & B. Else. Journal of Things 1 (2025)." in full.text
    outcome = "✗ FAILS — 1 of 2 counted verdicts hold, 1 fails; 2 further rows do not count"
    assert outcome in full.text
    order = ["On the <Thing>", outcome, "Verdicts", "Figure 1. Error over time", "Figure 2. Another", "Provenance"]
    places = [full.text.index(part, full.text.index("Skip to the verdicts") + 20) for part in order]
    assert places == sorted(places)


def test_every_finding_is_shown_in_full(full):
    row = "✓ HOLDS L = 2 2.50e-09 [1.00e-09, 4.00e-09] 5 ≤ 1e-06 counts all 5 seeds within"
    assert row in full.text
    assert "✗ FAILS L = 3" in full.text
    assert "? INCONCLUSIVE" in full.text
    for each in FINDINGS:
        for part in (each.claim, each.statement, each.statistic, each.condition, each.threshold, each.reason):
            assert part in full.text


def test_statement_and_statistic_appear_once_a_claim(full):
    assert len(full.all("tbody")) == 3
    assert full.text.count("The error is small.") == full.text.count("The rate is two.") == 1


def test_what_does_not_count_is_said_in_words(full):
    assert "≤ 1e-06 control all 5 seeds within" in full.text
    assert "≤ 1e-06 not counted not identifiable: 1" in full.text
    assert [row for row in full.all("tr") if row.get("class") == "aside"] == [{"class": "aside"}] * 2


def test_each_claim_has_a_chip(full):
    chips = full.text[: full.text.index("Value Spread")]
    assert "A.error: FAILS, 1 of 2" in chips
    assert "B.rate: control" in chips
    assert "C.rest: not counted" in chips


def test_provenance_is_shown_in_its_order(full):
    assert full.text.endswith("Command ansatz verify someone2025thing --quick Torch 2.13.0")


def test_nothing_is_loaded_from_anywhere(full):
    loading = {"script", "img", "iframe", "object", "embed", "source", "video", "audio", "link", "form", "base"}
    for tag, attributes in full.elements:
        assert not any(name in attributes for name in ("src", "srcset", "action", "style"))
        if tag in loading:
            assert attributes.get("href", "data:").startswith("data:")
    assert [link["href"] for link in full.all("a") if not link["href"].startswith("#")] == ["https://example.org/paper"]
    (policy,) = [meta["content"] for meta in full.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert not any("@import" in script or "url(" in script for script in full.scripts[-1:])
    assert "showSendToCloud: false" in full.scripts[-1]


def test_plotly_is_inlined_once_and_only_for_figures(full):
    assert sum(len(script) > 1_000_000 for script in full.scripts) == 1
    assert page().scripts == []
    assert page().all("figure") == []


def test_the_figures_data_are_in_the_page(full):
    data = json.loads(full.scripts[0])["data"]
    assert [trace.get("name") for trace in data] == [None, "L = 2"]
    assert data[1]["y"] == [0.1, 0.2]


def test_points_that_are_not_shown_are_counted_in_the_caption(full):
    zeros = Curve("L", (1.0, 2.0, 3.0), (0.0, 0.0, 1.0))
    assert "Not shown in full" not in full.text
    assert "Not shown in full: 2 points with values" in page(figures=[figure(curves=(zeros,))]).text
    one = Curve("L", (1.0, 2.0), (0.0, 1.0))
    assert "Not shown in full: 1 point with values" in page(figures=[figure(curves=(one,))]).text


@pytest.mark.parametrize("hostile", [HOSTILE, BREAKOUT, "\"'><img src=x onerror=alert(3)>", "{{ 7 * 7 }}{% raw %}"])
def test_hostile_text_is_shown_and_never_run(hostile):
    texts = dict.fromkeys(("claim", "statement", "statistic", "condition", "threshold", "reason"), hostile)
    papers = dict.fromkeys(("title", "authors", "source", "summary", "url"), hostile)
    drawn = figure(hostile, title=hostile, caption=hostile, x_label=hostile, y_label=hostile)
    seen = page([finding(**texts)], [drawn], {hostile: hostile}, **papers)
    plain = page([finding()], [figure()], {"Torch": "2.13.0"})
    assert [tag for tag, _ in seen.elements if tag != "a"] == [tag for tag, _ in plain.elements if tag != "a"]
    assert seen.text.count(hostile) >= 15
    assert "<" not in seen.scripts[0]
    trace = json.loads(seen.scripts[0])["data"][1]
    assert "<script" not in trace["name"]
    assert "<img" not in trace["name"]


def test_only_a_web_address_becomes_a_link():
    addresses = [link["href"] for link in page(url="javascript:alert(1)").all("a")]
    assert all(address.startswith("#") for address in addresses)
    assert "javascript:alert(1)" in page(url="javascript:alert(1)").text


def test_missing_values_are_dashes():
    empty = finding(condition="", value=math.nan, low=math.nan, high=math.nan, seeds=0, outcome="INCONCLUSIVE")
    assert "? INCONCLUSIVE – – – 0 ≤ 1e-06" in page([empty]).text


def test_infinite_values_are_shown_and_curves_with_nan_are_drawn():
    curve = Curve("L", (1.0, math.nan), (math.nan, math.inf))
    seen = page([finding(value=math.inf, high=math.inf)], [figure(curves=(curve,))])
    assert "∞ [1.00e-09, ∞]" in seen.text
    assert json.loads(seen.scripts[0])["data"][0]["y"] == [None, None]


def test_a_page_without_findings_figures_and_facts_says_so():
    seen = page([], [], {})
    assert "INCONCLUSIVE — nothing was judged." in seen.text
    assert seen.all("table") == []


def test_an_uneven_curve_is_refused():
    with pytest.raises(InputError, match="curve 'L'"):
        page(figures=[figure(curves=(Curve("L", (1.0,), ()),))])


def test_both_colour_schemes_are_styled_and_followed():
    html = render_page(law(), FINDINGS, [Shown(figure())], FACTS)
    assert "@media (prefers-color-scheme: dark)" in html
    assert 'const dark = matchMedia("(prefers-color-scheme: dark)");' in html
    assert 'dark.addEventListener("change"' in html


def test_the_same_records_make_the_same_page():
    assert render_page(law(), FINDINGS, [], FACTS) == render_page(law(), FINDINGS, [], FACTS)
