"""Pages in a real browser: Debian's Chromium, headless, which may load nothing but the page itself."""

import shutil
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from ansatzlab.linalg.spectrum import ansatz_spectrum
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.run import measure
from ansatzlab.report.measurement import measurement_figures, render_measurement
from ansatzlab.report.readout import read_layers
from ansatzlab.report.sweep import Heading, render_runs
from ansatzlab.store.schema import BASE_SCHEMA, to_table

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
THIRD = 1 / 3


@pytest.fixture(scope="session")
def browser():
    """Start Chromium once for all tests of a process."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install -e '.[test]'")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt install chromium")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


TALL = 1900  # so that every figure is in sight, and therefore drawn


class Watched:
    """A page with what went wrong in it and what it asked of a network."""

    def __init__(self, browser, path, *, width=1200, height=TALL, **options):
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.wrong, self.asked = [], []
        self.page.on("console", lambda message: self.wrong.append(message.text) if message.type != "log" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("#live[aria-busy=false]")
        self.asked = [url for url in self.asked if url != path.as_uri()]
        settle(self.page)

    def check(self):
        assert self.wrong == []
        assert [url for url in self.asked if not url.startswith(("data:", "blob:"))] == []


@pytest.fixture
def look(browser):
    """Open files; at the end nothing may have gone wrong in them and nothing may have been asked of a network."""
    opened = []

    def open_file(path: Path, **options):
        opened.append(Watched(browser, path, **options))
        return opened[-1].page

    yield open_file
    for watched in opened:
        watched.context.close()
    for watched in opened:
        watched.check()


@pytest.fixture(scope="session")
def kept(browser):
    """Pages that several tests use, opened once."""
    opened = {}
    yield lambda path: opened.setdefault(path, None) or opened.update({path: Watched(browser, path)}) or opened[path]
    for watched in opened.values():
        watched.context.close()


@pytest.fixture
def again(kept):
    """Give a page as it was when it was opened; the checks of `look` apply."""
    used = []

    def reset(path: Path):
        used.append(kept(path))
        page = used[-1].page
        page.evaluate(RESET)
        settle(page)
        return page

    yield reset
    for watched in used:
        watched.check()


RESET = """() => {
  const {exponent} = JSON.parse(document.getElementById("live-data").textContent);
  for (const box of document.querySelectorAll(".live-filter input")) box.checked = box.defaultChecked;
  for (const choice of document.querySelectorAll(".live select")) {
    const first = [...choice.options].find(option => option.defaultSelected);
    if (first) choice.value = first.value;
    choice.dispatchEvent(new Event("change"));
  }
  document.querySelector(".live-filter input").dispatchEvent(new Event("change"));
  const wanted = exponent === null ? undefined : exponent;
  const value = preset => preset.dataset.exponent && Number(preset.dataset.exponent);
  [...document.querySelectorAll(".live-preset")].find(preset => value(preset) === wanted).click();
  document.activeElement?.blur();
}"""


@dataclass(frozen=True)
class Measured:
    """A page of a measurement with what it was made from."""

    path: Path
    measurement: object
    rows: tuple


def network(names=("a", "act1", "b", "act2", "c"), seed=0):
    torch.manual_seed(seed)
    layers = (nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 3))
    return nn.Sequential(OrderedDict(zip(names, layers, strict=True))).double()


def measured_page(path: Path, names, facts, title) -> Measured:
    data = torch.randn(40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    measurement = measure(network(names), [data], initial=network(names, seed=1))
    rows = read_layers(measurement, dict.fromkeys(measurement, (Convention(THIRD),)))
    figures = measurement_figures(measurement, rows)
    path.write_text(render_measurement(measurement, rows, figures, (), facts, title=title), encoding="utf-8")
    return Measured(path, measurement, rows)


@pytest.fixture(scope="session")
def measured(tmp_path_factory):
    path = tmp_path_factory.mktemp("measured") / "report.html"
    return measured_page(path, ("a", "act1", "b", "act2", "c"), {"command": "ansatz measure"}, "nets.py:make")


@dataclass(frozen=True)
class Made:
    """A page of runs with the rows it was made from."""

    path: Path
    rows: list


def run_rows(optimizer, depth, seed, *, data="digits", decay=0.0, status="finished", snapshots=3):
    """Return rows of a run of random layers; equal arguments give equal rows."""
    generator = torch.Generator().manual_seed(1000 * depth + 10 * seed + len(optimizer))
    rows = []
    for snapshot in range(snapshots):
        for index in range(depth):
            weight = torch.randn(6, 8, generator=generator, dtype=torch.float64)
            factor = torch.randn(4, 6, generator=generator, dtype=torch.float64)
            rows.append(
                {
                    **dict.fromkeys(BASE_SCHEMA.names),
                    "run_id": f"{len(optimizer)}-{depth}-{seed}-{decay}",
                    "experiment": "made",
                    "spec": "{}",
                    "status": status,
                    "error": None if status == "finished" else "it broke",
                    "data": data,
                    "dynamics": optimizer,
                    "depth": depth,
                    "seed": seed,
                    "weight_decay": decay,
                    "snapshot": snapshot,
                    "step": 10 * snapshot,
                    "loss": 1.0 / (1 + snapshot),
                    "layer": f"layers.{index}",
                    "layer_index": index + 1,
                    "tautological": float(index == depth - 1),
                    **ansatz_spectrum(weight, factor=factor).columns(),
                }
            )
    return rows


def runs_page(path: Path, rows, title="Made") -> Made:
    heading = Heading(title, "Random layers.", "Asked for", {"depth": [2, 3]}, command="ansatz sweep made.yaml")
    path.write_text(render_runs(to_table(rows), heading, {"folder": "made"}), encoding="utf-8")
    return Made(path, rows)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    rows = [
        row
        for optimizer in ("adam", "gd")
        for depth in (2, 3)
        for seed in (0, 1, 2)
        for row in run_rows(optimizer, depth, seed)
    ]
    rows += run_rows("gd", 3, 9, status="failed", snapshots=1)
    return runs_page(tmp_path_factory.mktemp("made") / "report.html", rows)


def numbers(page):
    """Read the live table: one mapping a row, of a cell's lines by the column's name."""
    heads = [head.casefold() for head in page.locator("#live-table thead th").all_inner_texts()]
    rows = page.evaluate(
        "[...document.querySelectorAll('#live-rows tr')]"
        ".map(row => [...row.cells].map(cell => cell.innerText.split('\\n')))"
    )
    return [dict(zip(heads, row, strict=True)) for row in rows]


def until(page, expression):
    """Wait until an expression is true; the page's policy forbids it to evaluate one by itself."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not true after five seconds: {expression}")


def settle(page):
    """Wait until what was asked for is drawn."""
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 90))))"
    )


def ask(page, text):
    """Type an exponent."""
    page.fill("#live-exact", text)
    settle(page)


class Kit:
    """What the tests of a page share."""

    ask = staticmethod(ask)
    measured_page = staticmethod(measured_page)
    numbers = staticmethod(numbers)
    run_rows = staticmethod(run_rows)
    runs_page = staticmethod(runs_page)
    settle = staticmethod(settle)
    until = staticmethod(until)


@pytest.fixture(scope="session")
def kit():
    return Kit
