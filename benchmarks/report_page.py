"""How soon a page of two thousand runs opens in a browser, and how soon it follows its slider."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import torch

from ansatzlab.linalg.spectrum import ansatz_spectrum
from ansatzlab.report.sweep import Heading, render_runs
from ansatzlab.store.schema import BASE_SCHEMA, to_table
from benchmarks.timing import Row, seconds

DEPTHS, WIDTHS = (2, 3, 4), (64, 16, 10)
OPTIMIZERS, DECAYS, SEEDS, SNAPSHOTS = (
    ("gd", "sgd", "heavy_ball", "adam", "adamw", "rmsprop"),
    (0.0, 1e-3, 1e-2, 0.1),
    28,
    8,
)
TICKS, REPEATS = 40, 5
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

READY = """() => new Promise(done => {
  const look = () => {
    const busy = document.getElementById("live")?.getAttribute("aria-busy") !== "false";
    const undrawn = [...document.querySelectorAll(".live-plot")].some(plot => {
      const box = plot.getBoundingClientRect();
      return box.top < innerHeight && box.bottom > 0 && !plot.querySelector(".main-svg");
    });
    if (busy || undrawn) setTimeout(look, 5); else done(performance.now());
  };
  look();
})"""
"""Until the numbers are there and every figure in sight is drawn; in milliseconds since the page was asked for."""

FOLLOW = """async ticks => {
  const slider = document.getElementById("live-slider"), found = [];
  for (let k = 0; k < ticks; k++) {
    slider.value = 150 + 17 * k;
    const start = performance.now();
    slider.dispatchEvent(new Event("input", {bubbles: true}));
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));  // after the frame's own work
    found.push(performance.now() - start);
  }
  return found;
}"""
"""From an input of the slider to the end of the frame that shows it; in milliseconds."""


@cache
def table() -> pa.Table:
    """Return the store's table of the runs: spectra of random layers, drawn anew for every run and snapshot."""
    generator = torch.Generator().manual_seed(0)
    rows: list[dict[str, object]] = []
    for depth in DEPTHS:
        for optimizer in OPTIMIZERS:
            for decay in DECAYS:
                for seed in range(SEEDS):
                    for snapshot in range(SNAPSHOTS):
                        rows += layers(depth, optimizer, decay, seed, snapshot, generator)
    return to_table(rows)


def layers(
    depth: int, optimizer: str, decay: float, seed: int, snapshot: int, generator: torch.Generator
) -> Iterator[dict[str, object]]:
    """Yield a row for every layer of one run at one snapshot."""
    inputs, width, outputs = WIDTHS
    sizes = [inputs, *[width] * (depth - 1), outputs]
    for index in range(depth):
        weight = torch.randn(sizes[index + 1], sizes[index], generator=generator, dtype=torch.float64)
        factor = torch.randn(outputs, sizes[index + 1], generator=generator, dtype=torch.float64)
        yield {
            **dict.fromkeys(BASE_SCHEMA.names),
            "run_id": f"{optimizer}-{depth}-{decay}-{seed}",
            "experiment": "made",
            "spec": "{}",
            "status": "finished",
            "data": "made",
            "dynamics": optimizer,
            "depth": depth,
            "seed": seed,
            "weight_decay": decay,
            "snapshot": snapshot,
            "step": 2**snapshot - 1,
            "loss": float(np.exp(-snapshot)),
            "layer": f"layers.{index}",
            "layer_index": index + 1,
            "tautological": float(index == depth - 1),
            **ansatz_spectrum(weight, factor=factor).columns(),
        }


def run() -> Iterator[Row]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit(
            "report_page: there is no chromium; wanted one on the path; install Debian's package chromium."
        )
    made = table()
    pages: list[str] = []
    heading = Heading("Made", "Random layers.", "Asked for", {})
    rendering = seconds(lambda: pages.append(render_runs(made, heading, {})))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "report.html"
        file.write_text(pages[0], encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        opened, followed = [], []
        for _ in range(REPEATS):
            page = browser.new_page(viewport={"width": 1280, "height": 1400})
            page.goto(f"{file.as_uri()}#live-layers", wait_until="commit")
            opened.append(float(page.evaluate(READY)))
            page.wait_for_timeout(500)
            followed += page.evaluate(FOLLOW, TICKS)
            page.close()
        browser.close()
        size = file.stat().st_size
    yield {
        "benchmark": "a page of many runs in Chromium",
        "case": f"{len(set(made['run_id'].to_pylist())):,} runs, {made.num_rows:,} rows",
        "our_seconds": median(opened) / 1000,
        "notes": {
            "slowest_opening_seconds": max(opened) / 1000,
            "slider_seconds": median(followed) / 1000,
            "slider_slowest_tenth_seconds": float(np.quantile(followed, 0.9)) / 1000,
            "megabytes": size / 1e6,
            "rendering_in_python_seconds": rendering,
            "load_average": os.getloadavg()[0],
        },
    }
