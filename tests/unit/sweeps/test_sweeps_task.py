"""Runs that are functions by name: recorded, resumed and refused like trainings."""

import numpy as np
import pytest

from ansatzlab.errors import InputError
from ansatzlab.store.parquet import Store
from ansatzlab.sweeps.batch import plan_batches
from ansatzlab.sweeps.processes import Processes
from ansatzlab.sweeps.run import run
from ansatzlab.sweeps.spec import DataSpec
from ansatzlab.sweeps.sweep import sweep
from ansatzlab.sweeps.task import TaskSpec, data_options

CALLED = "ansatzlab.testing.compare:count"


def count(*, seed, to=3, **_):
    """A task: its rows count up; it fails beyond ten."""
    for index in range(to):
        if index == 10:
            raise ValueError("too far")
        yield {"snapshot": index, "layer": "all", "layer_index": 1, "number": float(seed + index)}


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Test modules cannot be imported by name; the function is shown to the importer in one that can."""
    from ansatzlab.testing import compare

    monkeypatch.setattr(compare, "count", count, raising=False)


def spec(seed=0, **options):
    return TaskSpec(experiment="counting", task=CALLED, options=options, seed=seed)


def test_rows_say_what_the_run_was():
    rows = run(spec(2, data="digits", depth=3, weight_decay=0.5, learning_rate=0.1, optimizer="adam"))
    assert [row["number"] for row in rows] == [2.0, 3.0, 4.0]
    told = {name: rows[0][name] for name in ("data", "dynamics", "depth", "weight_decay", "learning_rate", "seed")}
    assert told == {
        "data": "digits",
        "dynamics": "adam",
        "depth": 3,
        "weight_decay": 0.5,
        "learning_rate": 0.1,
        "seed": 2,
    }
    assert rows[0]["status"] == "finished"


def test_what_it_raises_is_recorded_with_the_rows_up_to_there():
    rows = run(spec(to=12))
    assert len(rows) == 10
    assert {(row["status"], row["error"]) for row in rows} == {("failed", "ValueError: too far")}


def test_a_function_that_does_not_exist_is_said_so_in_the_record():
    (row,) = run(TaskSpec(experiment="e", task="ansatzlab.nowhere:nothing"))
    assert row["status"] == "failed"
    assert "task ansatzlab.nowhere:nothing: cannot be imported" in row["error"]


def test_options_tell_runs_apart_and_a_batch_has_one():
    assert spec(to=1).run_id != spec(to=2).run_id != spec(1, to=2).run_id
    assert [len(batch.specs) for batch in plan_batches([spec(seed) for seed in range(3)], 64)] == [1, 1, 1]


def test_a_changed_file_is_another_run_and_named_data_keep_their_name(tmp_path):
    path = tmp_path / "mine.npz"
    ids = []
    for scale in (1.0, 2.0, 1.0):
        np.savez(path, inputs=scale * np.eye(3), targets=np.eye(3))
        ids.append(spec(**data_options(DataSpec.of(str(path)))).run_id)
    assert ids[0] == ids[2] != ids[1]
    assert data_options(DataSpec.of("digits")) == {"data": "digits"}


def test_a_finished_task_is_not_run_again(tmp_path, monkeypatch):
    store = Store.open(tmp_path / "store")
    first = sweep([spec(0), spec(1)], store=store)
    monkeypatch.setattr("ansatzlab.testing.compare.count", None)
    assert sweep([spec(0), spec(1)], store=store).equals(first)


def test_other_processes_import_it_themselves(tmp_path):
    name = "ansatzlab.data.synthetic:low_rank_linear"  # it gives no rows, which is recorded by the worker
    table = sweep([TaskSpec(experiment="e", task=name)], store=Store.open(tmp_path / "s"), executor=Processes(1))
    (row,) = table.to_pylist()
    assert row["status"] == "failed"
    assert "not iterable" in row["error"]


@pytest.mark.parametrize("task", ["nothing", "a.b", "a:b.c", "os;x:y"])
def test_a_name_that_is_not_one_is_refused(task):
    with pytest.raises(InputError, match="task"):
        TaskSpec.parse({"experiment": "e", "task": task}, where="spec")
