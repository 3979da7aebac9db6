"""What makes readers, on planted runs: samples, their conditions, their reasons."""

import math

import pytest

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.laws.law import Chapter, Law, Sample
from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.reading import Absent, at_end, at_start, each_family, each_pair, each_run, finished
from ansatzlab.laws.runs import RunTable
from ansatzlab.store.schema import BASE_SCHEMA, to_table
from ansatzlab.sweeps.spec import Frozen
from ansatzlab.sweeps.task import TaskSpec

TASK = "examples.nowhere:task"


def specs(experiment="e", seeds=(0, 1), widths=(8, 16)):
    return [
        TaskSpec(experiment=experiment, task=TASK, seed=seed, options={"width": width, "depth": 2})
        for seed in seeds
        for width in widths
    ]


def rows_of(spec):
    """x is the width and a tenth of the seed; ten times as much at the start, and in the experiment *other*."""
    value = spec.options["width"] + spec.seed / 10
    factor = 10 if spec.experiment == "other" else 1
    yield {"snapshot": 0, "layer_index": 1, "x": 10 * value}
    yield {"snapshot": 1, "layer_index": 1, "x": value * factor}


def table(*planned, failed=()):
    """The planted runs; those whose (seed, width) are listed did not finish."""
    rows = planted_table(planned, rows_of).to_pylist()
    lost = {spec.run_id for spec in planned if (spec.seed, spec.options["width"]) in failed}
    return RunTable(
        to_table([row | ({"status": "failed", "error": "x"} if row["run_id"] in lost else {}) for row in rows])
    )


def width_of(run):
    return f"width {run.options['width']}"


def test_each_run_gives_one_sample():
    found = each_run("e", at_end("x"), width_of)(table(*specs()))
    assert found == [
        Sample("width 8", 0, 8.0),
        Sample("width 8", 1, 8.1),
        Sample("width 16", 0, 16.0),
        Sample("width 16", 1, 16.1),
    ]
    assert each_run("e", at_start("x"), width_of)(table(*specs()))[0].value == 80.0
    assert each_run("nothing", at_end("x"))(table(*specs())) == []


def test_a_run_that_did_not_finish_gives_its_failure_and_is_not_asked_for_a_number():
    def statistic(run):
        assert not run.failure
        return 1.0

    found = each_run("e", statistic, width_of)(table(*specs(widths=(8,)), failed=[(1, 8)]))
    assert [(each.seed, each.reason) for each in found] == [(0, ""), (1, "failed: x")]
    assert math.isnan(found[1].value)
    assert found[1].applies


def test_a_statistic_may_have_no_value_or_not_apply():
    reasons = {8: Absent("too narrow"), 16: Absent("not asked", applies=False), 32: math.nan}
    found = each_run("e", lambda run: reasons[run.options["width"]])(table(*specs(seeds=(0,), widths=(8, 16, 32))))
    assert [(each.reason, each.applies) for each in found] == [
        ("too narrow", True),
        ("not asked", False),
        ("the statistic has no value", True),
    ]
    assert all(math.isnan(each.value) for each in found)


def test_runs_are_chosen_before_they_are_read():
    found = each_run(("e", "other"), at_end("x"), width_of, lambda run: run.options["width"] == 16)(
        table(*specs(), *specs("other"))
    )
    assert [each.value for each in found] == [16.0, 16.1, 160.0, pytest.approx(161.0)]


def test_each_pair_joins_runs_of_one_seed_that_are_alike():
    planned = (*specs(), *specs("other", seeds=(1, 2)))
    read = each_pair(("e", "other"), lambda one, other: other.last("x") / one.last("x"), width_of, width_of)
    found = read(table(*planned))
    assert [(each.condition, each.seed) for each in found] == [("width 8", 1), ("width 16", 1)]
    assert [each.value for each in found] == pytest.approx([10, 10])
    (broken, whole) = read(table(*planned, failed=[(1, 8)]))
    assert (broken.reason, whole.reason) == ("failed: x", "")
    assert len(each_pair(("e", "other"), lambda *_: 1.0)(table(*planned))) == 4


def test_each_family_reads_the_runs_of_one_condition_and_seed_together():
    def growth(family):
        first, last = family
        return last.last("x") / first.last("x")

    found = each_family("e", growth, lambda run: f"L = {run.depth}")(table(*specs()))
    assert [(each.condition, each.seed) for each in found] == [("L = 2", 0), ("L = 2", 1)]
    assert [each.value for each in found] == pytest.approx([2.0, 16.1 / 8.1])
    failed = each_family("e", growth, lambda run: f"L = {run.depth}")(table(*specs(), failed=[(0, 16)]))
    assert [each.reason for each in failed] == ["failed: x", ""]


def test_what_a_figure_draws_has_finished():
    found = finished(table(*specs(), failed=[(0, 8)]), ("e",), width_of)
    assert {name: [run.seed for run in runs] for name, runs in found.items()} == {"width 8": [1], "width 16": [0, 1]}


def test_planted_rows_are_those_of_finished_runs_and_name_their_layers():
    (spec,) = specs(seeds=(3,), widths=(8,))
    rows = planted_table([spec], lambda _: [{"snapshot": 0, "layer_index": 2}, {"snapshot": 0, "y": 1.0}]).to_pylist()
    assert {row["run_id"] for row in rows} == {spec.run_id}
    assert {row["status"] for row in rows} == {"finished"}
    assert [(row["layer"], row["layer_index"], row["y"]) for row in rows] == [("layers.1", 2, None), (None, None, 1.0)]


class Narrow(Frozen):
    seeds: tuple[int, ...] = (0,)
    width: int = 8


class Wide(Narrow):
    width: int = 16


def two_chapters():
    def plan(design, _):
        return tuple(specs(seeds=design.seeds, widths=(design.width,)))

    empty = BASE_SCHEMA.empty_table()
    chapters = tuple(
        Chapter(key, "", (), {"quick": design}, plan, lambda _: (), lambda _: empty)
        for key, design in (("narrow", Narrow()), ("wide", Wide()))
    )
    return Law("nobody2026nothing", "", "", "", "", "", chapters)


def widths(**settings):
    planned = two_chapters().plan_chapters("quick", "digits", {k.replace("__", "."): v for k, v in settings.items()})
    return {key: part[0].options["width"] for key, part in planned.items()}


def test_a_setting_is_changed_in_every_chapter_or_in_the_one_that_is_named():
    assert widths() == {"narrow": 8, "wide": 16}
    assert widths(width=4) == {"narrow": 4, "wide": 4}
    assert widths(wide__width=4) == {"narrow": 8, "wide": 4}
    assert widths(width=2, wide__width=4) == {"narrow": 2, "wide": 4}


@pytest.mark.parametrize("name", ["wide__height", "other__width", "height"])
def test_a_setting_of_no_chapter_is_refused_by_name(name):
    with pytest.raises(UnknownNameError, match=name.replace("__", ".")):
        widths(**{name: 4})


def test_a_value_that_a_chapter_cannot_have_is_refused():
    with pytest.raises(InputError, match="width"):
        widths(narrow__width="much")
