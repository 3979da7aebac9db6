from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from ansatzlab.laws import judge as judging
from ansatzlab.laws.registry import get_law
from ansatzlab.laws.runs import RunTable, spectrum_of
from ansatzlab.laws.tansley2025nfa.linear.design import BALANCED_FLOW, NO_DECAY
from ansatzlab.linalg.null import haar_null
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.verdict import judge
from ansatzlab.report.live.runs import live_runs
from ansatzlab.report.page import render_page
from ansatzlab.store.parquet import Store
from ansatzlab.sweeps.sweep import sweep

CLOSE = 1e-6
SCORES = ("cosine", "pearson", "traceless", "residual")


def number(cell):
    return float(cell[0])


def sd(cell):
    return float(cell[1].removeprefix("± "))


def ends(rows):
    """Return the last rows of each run by run and layer."""
    return {(row["run_id"], row["layer_index"]): row for row in rows if row["status"] == "finished"}


def value_of(spectrum, exponent, score):
    return spectrum.residual(exponent) if score == "residual" else spectrum.alignment(exponent, score)


# --- a measurement -----------------------------------------------------------------------------------------------


def test_at_the_exponent_asked_for_the_page_shows_the_verdicts_numbers(again, measured, kit):
    page = again(measured.path)
    page.click("text=1/L = 1/3")
    kit.settle(page)
    shown = kit.numbers(page)
    assert [row["layer"] for row in shown] == [["a"], ["b"], ["c"]]
    for row, verdict in zip(shown, measured.rows, strict=True):
        assert row["α"] == ["0.3333333 (1/3)"]
        assert number(row["score"]) == pytest.approx(verdict.value, abs=CLOSE)
        assert number(row["before training"]) == pytest.approx(verdict.start, abs=CLOSE)
    for row, verdict in zip(shown[:2], measured.rows[:2], strict=True):
        assert number(row["null"]) == pytest.approx(verdict.null_mean, abs=CLOSE)
        assert sd(row["null"]) == pytest.approx(verdict.null_sd, abs=CLOSE)
    assert shown[2]["null"] == ["–"]
    assert shown[2]["note"] == ["tautology, no evidence"]


def test_every_score_and_its_null_follow_to_any_exponent(again, measured, kit):
    page = again(measured.path)
    for score in SCORES:
        page.select_option("#live-score", score)
        for exponent in (0.0625, 3.5):
            kit.ask(page, str(exponent))
            for row, layer in zip(kit.numbers(page), measured.measurement.values(), strict=True):
                assert number(row["score"]) == pytest.approx(value_of(layer.spectrum(), exponent, score), abs=CLOSE)
                comparator = "cosine" if score == "residual" else score
                null = judge(layer, Convention(exponent, comparator)).null
                if null is not None:
                    mean, spread = (
                        (null.mean, null.sd) if score != "residual" else (null.residual_mean, null.residual_sd)
                    )
                    assert number(row["null"]) == pytest.approx(mean, abs=CLOSE)
                    assert sd(row["null"]) == pytest.approx(spread, abs=CLOSE)


def test_a_planted_fault_in_the_pages_arithmetic_is_seen(look, measured, kit, tmp_path):
    html = measured.path.read_text(encoding="utf-8")
    right = "Math.exp(exponent * logs[from + j])"
    assert html.count(right) == 1
    wrong = tmp_path / "wrong.html"
    wrong.write_text(html.replace(right, "Math.exp(1.001 * exponent * logs[from + j])"), encoding="utf-8")
    page = look(wrong)
    errors = [
        abs(number(row["score"]) - verdict.value) for row, verdict in zip(kit.numbers(page), measured.rows, strict=True)
    ]
    assert min(errors) > 10 * CLOSE


def test_the_figures_show_what_the_table_says(again, measured, kit):
    page = again(measured.path)
    for exponent in ("0.25", "2"):
        kit.ask(page, exponent)
        shown = [number(row["score"]) for row in kit.numbers(page)]
        null, start, runs = page.evaluate("document.getElementById('live-layers').data.map(trace => trace.y)")
        assert runs == pytest.approx(shown, abs=CLOSE)
        assert null == pytest.approx([number(row["null"]) for row in kit.numbers(page)[:2]], abs=CLOSE)
        assert start == pytest.approx([number(row["before training"]) for row in kit.numbers(page)], abs=CLOSE)
        assert page.evaluate("document.getElementById('live-curves').layout.shapes.map(shape => shape.x0)") == [
            float(exponent)
        ]


def test_a_curve_passes_through_the_tables_numbers(again, measured):
    page = again(measured.path)
    curve = page.evaluate(
        "document.getElementById('live-curves').data.find(trace => !trace.line.dash.startsWith('dot'))"
    )
    place = min(range(len(curve["x"])), key=lambda k: abs(curve["x"][k] - 1 / 3))
    assert curve["x"][place] == 1 / 3
    assert curve["y"][place] == pytest.approx(measured.rows[0].value, abs=CLOSE)


# --- runs --------------------------------------------------------------------------------------------------------


def test_medians_ranges_and_rotation_nulls_of_runs_are_those_of_their_spectra(again, made, kit):
    page = again(made.path)
    page.select_option("#live-group", "depth")
    last = ends(made.rows)
    for score, exponent in (("cosine", 0.5), ("residual", 1.7), ("traceless", 0.3)):
        page.select_option("#live-score", score)
        kit.ask(page, str(exponent))
        for row in kit.numbers(page):
            layer, depth = int(row["layer"][0][0]), int(row["group"][0].removeprefix("depth L "))
            mine = [spectrum_of(each) for (_, index), each in last.items() if index == layer and each["depth"] == depth]
            assert len(mine) == 6
            values = sorted(value_of(spectrum, exponent, score) for spectrum in mine)
            assert number(row["median, range"]) == pytest.approx((values[2] + values[3]) / 2, abs=CLOSE)
            low, high = map(float, row["median, range"][1].split(" to "))
            assert (low, high) == pytest.approx((values[0], values[5]), abs=1e-4)
            if score == "cosine":
                nulls = [haar_null(spectrum, exponent) for spectrum in mine]
                means, spreads = sorted(null.mean for null in nulls), sorted(null.sd for null in nulls)
                assert number(row["null"]) == pytest.approx((means[2] + means[3]) / 2, abs=CLOSE)
                assert sd(row["null"]) == pytest.approx((spreads[2] + spreads[3]) / 2, abs=CLOSE)
            if score == "traceless":
                assert number(row["null"]) == 0


def test_filters_reduce_what_is_shown(again, made, kit):
    page = again(made.path)
    assert "5 runs" not in page.inner_text("#live-summary")
    assert "of 12 runs" in page.inner_text("#live-summary")
    rows = len(kit.numbers(page))
    page.locator("fieldset", has_text="depth L").get_by_label("2", exact=True).uncheck()
    kit.settle(page)
    kit.until(page, "document.getElementById('live-summary').textContent.includes('of 6 runs')")
    assert {row["note"][0][:6] for row in kit.numbers(page)} == {"3 runs"}
    page.locator("fieldset", has_text="layer").first.get_by_role("button", name="Tick none").click()
    kit.settle(page)
    assert kit.numbers(page) == []
    kit.until(page, "document.getElementById('live-summary').textContent.startsWith('Nothing is chosen')")
    page.locator("fieldset", has_text="layer").first.get_by_label("1 · layers.0").check()
    kit.settle(page)
    assert 0 < len(kit.numbers(page)) < rows
    assert page.evaluate("document.getElementById('live-layers').data[2].x.length") == len(kit.numbers(page))


def test_a_filtered_single_run_shows_its_own_numbers_over_training(again, made, kit):
    page = again(made.path)
    page.select_option("#live-group", "optimizer")
    for name, value in (("optimiser", "gd"), ("depth L", "2"), ("seed", "1"), ("seed", "2")):
        page.locator("fieldset", has_text=name).get_by_label(value, exact=True).uncheck()
    kit.ask(page, "0.7")
    (row,) = [
        row for row in made.rows if row["run_id"] == "4-3-0-0.0" and row["snapshot"] == 2 and row["layer_index"] == 1
    ]
    first = kit.numbers(page)[0]
    assert number(first["median, range"]) == pytest.approx(spectrum_of(row).alignment(0.7), abs=CLOSE)
    along = [row for row in made.rows if row["run_id"] == "4-3-0-0.0" and row["layer_index"] == 1]
    drawn = page.evaluate("document.getElementById('live-training').data.at(-1)")
    assert drawn["y"] == pytest.approx([spectrum_of(row).alignment(0.7) for row in along], abs=CLOSE)
    assert drawn["x"] == pytest.approx([10 / 3, 10, 20])  # the start, step 0, stands at the left end
    assert "1 run of those chosen" in page.inner_text("#live-training-caption")


def test_tautologies_are_never_counted_with_others(again, made, kit):
    page = again(made.path)
    page.select_option("#live-group", "optimizer")
    kit.settle(page)
    notes = {row["layer"][0][0]: row["note"][0] for row in kit.numbers(page)}
    assert notes == {
        "1": "6 runs",
        "2": "3 runs; 3 tautologies left out",
        "3": "3 runs; tautology, no evidence",
    }


def test_what_is_not_drawn_and_what_failed_is_told(again, made):
    page = again(made.path)
    assert "Not drawn, of 13 runs: 1 that failed." in page.inner_text("main")
    assert "it broke" in page.inner_text("main")


# --- a verification ----------------------------------------------------------------------------------------------

SETTINGS = {"seeds": [0, 1], "depths": 3, "unbalanced_depths": 3, "width": 4, "snapshots": 20, "flow_time": 3}


@dataclass(frozen=True)
class Verified:
    """The page of a verification of two experiments only, with its verdicts and the runs they were read from."""

    page: Path
    findings: tuple
    table: pa.Table


@pytest.fixture(scope="module")
def verified(tmp_path_factory):
    law, folder = get_law("tansley2025nfa").within("quick", ["linear"]), tmp_path_factory.mktemp("verified")
    specs = [spec for spec in law.plan("quick", "linnerud", SETTINGS) if spec.experiment in (BALANCED_FLOW, NO_DECAY)]
    table = sweep(specs, store=Store.open(folder / "store"))
    findings, page = tuple(judging.judge(law, RunTable(table))), folder / "report.html"
    live = live_runs(table, planned=[spec.run_id for spec in specs], score="residual")
    page.write_text(render_page(law, findings, [], {}, live), encoding="utf-8")
    return Verified(page, findings, table)


def test_a_verifications_page_shows_the_numbers_of_its_verdicts(again, verified, kit):
    page = again(verified.page)
    boxes = page.locator("fieldset", has_text="experiment")
    assert boxes.get_by_label(BALANCED_FLOW).is_checked()
    assert not boxes.get_by_label(NO_DECAY).is_checked()
    seeds = page.locator("fieldset", has_text="seed")
    seeds.get_by_label("1", exact=True).uncheck()
    kit.ask(page, "1/3")
    (run,) = [run for run in RunTable(verified.table).runs(BALANCED_FLOW) if run.seed == 0]
    shown = kit.numbers(page)
    assert len(shown) == 3
    for layer, row in enumerate(shown, start=1):
        assert number(row["score"] if "score" in row else row["median, range"]) == pytest.approx(
            run.spectra(layer)[-1].residual(1 / 3), abs=CLOSE
        )
    seeds.get_by_label("1", exact=True).check()
    boxes.get_by_label(BALANCED_FLOW).uncheck()
    boxes.get_by_label(NO_DECAY).check()
    kit.settle(page)
    (finding,) = [finding for finding in verified.findings if finding.claim == "B′.violated"]
    assert number(kit.numbers(page)[0]["median, range"]) == pytest.approx(finding.value, abs=CLOSE)


def test_each_layers_own_exponent_is_the_laws(again, verified, kit):
    page = again(verified.page)
    assert [row["α"] for row in kit.numbers(page)] == [["0.3333333 (1/3)"], ["0.5 (1/2)"], ["1"]]
    lines = page.evaluate("document.getElementById('live-curves').layout.shapes.map(shape => shape.x0)")
    assert lines == [pytest.approx(1 / 3)]
    assert all(number(row["median, range"]) < 1e-9 for row in kit.numbers(page))
    page.click(".live-preset >> text=1/2")
    kit.settle(page)
    assert [row["α"] for row in kit.numbers(page)] == [["0.5 (1/2)"]] * 3
    assert number(kit.numbers(page)[0]["median, range"]) > 1e-3
    page.click(".live-preset >> text=own")
    kit.settle(page)
    assert number(kit.numbers(page)[0]["median, range"]) < 1e-9
