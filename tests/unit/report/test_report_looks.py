import base64
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import pytest
import torch
from PIL import Image

from ansatzlab.measurement.result import Measurement
from ansatzlab.report.folder import write_folder
from ansatzlab.report.looks.pictures import picture_png
from ansatzlab.report.looks.records import Bar, Look, Picture, TokenRow
from ansatzlab.report.measurement import render_measurement

VOID = {"meta", "link", "br", "img", "rect"}

PICTURES = Look(
    "Pictures of",
    "first",
    "Red is positive.",
    pictures=tuple(
        Picture(key, f"label {key}", f"what {key} shows", picture_png(torch.eye(2)[None]))
        for key in ("diagonal", "one")
    ),
)
TOKENS = Look("Tokens of", "words", "As they stand.", tokens=(TokenRow("1", "50 %", (("the", "0.5"),), ()),))
BARS = Look("Bars of", "last", "As long as they are.", bars=(Bar("up", "2", 1.0), Bar("down", "−1", -0.5)))


class Page(HTMLParser):
    def __init__(self, looks):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, words = [], [], []
        self.handle_data = lambda data: words.append(data) if self.open[-1:] not in (["style"], ["script"]) else None
        self.feed(render_measurement(Measurement({}, {}), [], [], looks, {}, title="t"))
        assert self.open == []
        self.text = " ".join("".join(words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_every_look_has_its_heading_what_is_shown_and_how_to_read_it():
    page = Page([PICTURES, TOKENS, BARS])
    places = [
        page.text.index(part)
        for part in ("What the layers look at", "Pictures of first", "label one", "Red is", "Tokens of words")
    ]
    assert places == sorted(places)
    assert "150 % the 0.5 – As they stand." in page.text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(attributes["aria-labelledby"] in ids for attributes in page.all("figure"))
    assert all("scope" in attributes for attributes in page.all("th"))
    assert not any("style" in attributes for _, attributes in page.elements)  # the page's policy would not apply it


def test_pictures_are_whole_in_the_page_and_say_what_they_show():
    images = Page([PICTURES]).all("img")
    assert [image["alt"] for image in images] == ["what diagonal shows", "what one shows"]
    for image in images:
        start, _, data = image["src"].partition(",")
        assert start == "data:image/png;base64"
        Image.open(BytesIO(base64.b64decode(data))).verify()


def test_bars_reach_from_zero_to_their_numbers():
    page = Page([BARS])
    assert {svg["viewbox"] for svg in page.all("svg")} == {"-1 0 2 1"}
    assert [(bar["class"], float(bar["x"]), float(bar["width"])) for bar in page.all("rect")] == [
        ("adds", 0.0, 1.0),
        ("takes", -0.5, 0.5),
    ]
    upwards = Page([replace(BARS, bars=BARS.bars[:1])])
    assert {svg["viewbox"] for svg in upwards.all("svg")} == {"0 0 1 1"}


def test_without_looks_there_is_no_heading():
    assert "look at" not in Page([]).text


@pytest.mark.parametrize(
    "hostile",
    ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(3)>", "{{ 7 * 7 }}{% raw %}", "</td></table>"],
)
def test_hostile_names_are_shown_and_never_run(hostile):
    looks = [
        Look(hostile, hostile, hostile, pictures=(Picture("a", hostile, hostile, PICTURES.pictures[0].png),)),
        Look(hostile, hostile, hostile, tokens=(TokenRow(hostile, hostile, ((hostile, hostile),)),)),
        Look(hostile, hostile, hostile, bars=(Bar(hostile, hostile, 1.0),)),
    ]
    page = Page(looks)
    plain = Page(
        [
            Look("a", "a", "a", pictures=PICTURES.pictures[:1]),
            Look("a", "a", "a", tokens=(TokenRow("a", "a", (("a", "a"),)),)),
            Look("a", "a", "a", bars=(Bar("a", "a", 1.0),)),
        ]
    )
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert page.text.count(hostile) == 16
    assert page.all("img")[0]["alt"] == hostile


def test_the_folder_has_every_picture_as_a_file(tmp_path):
    write_folder(tmp_path, Measurement({}, {}), [], [TOKENS, PICTURES], record={}, facts={}, title="t")
    for picture in PICTURES.pictures:
        assert (tmp_path / "figures" / f"look-2-{picture.key}.png").read_bytes() == picture.png
