"""Whatever is killed, cut or full: nothing finished is lost or run twice, and the table ends as the undisturbed one."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansatzlab.errors import DamagedFileWarning, InputError, StoreError, WorkerLostError
from ansatzlab.store.parquet import Store
from ansatzlab.sweeps.executors import serial
from ansatzlab.sweeps.spec import RunSpec
from ansatzlab.sweeps.sweep import sweep

SCRIPT = Path(__file__).with_name("sweep_driver.py")
PATIENCE = 120
"""Seconds until something counts as hanging."""

FEW = 8
"""Runs where each start of a worker counts more than the runs."""


def load_driver():
    spec = importlib.util.spec_from_file_location("sweep_driver", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


driver = load_driver()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The store of an undisturbed sweep of all specs."""
    store = Store.open(tmp_path_factory.mktemp("undisturbed"))
    sweep(driver.specs(), store=store, batch_size=1)
    return store


def table(folder, count):
    return Store.open(folder).table({spec.run_id for spec in driver.specs(count)}).drop_columns(["wall_seconds"])


def assert_undisturbed(folder, undisturbed, count=driver.COUNT):
    assert table(folder / "out", count).equals(table(undisturbed.folder, count))
    assert not [path for path in (folder / "out").rglob("*") if path.suffix == ".tmp"]


def finished(folder):
    """The runs that need not be run again, by their status as it is stored."""
    rows = Store.open(folder / "out").table().select(["run_id", "status"]).to_pylist()
    return {row["run_id"] for row in rows if row["status"] != "failed"}


def started(folder, since=0):
    return [run for _, *runs in driver.logged(folder)[since:] for run in runs]


def until(what):
    """Return the first truth."""
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


FAILING = driver.specs()[5].run_id


def test_the_specs_are_of_all_kinds(undisturbed):
    kinds = undisturbed.table().select(["run_id", "status"]).to_pylist()
    assert {row["status"] for row in kinds} == {"finished", "diverged", "failed"}
    assert {row["run_id"] for row in kinds if row["status"] == "failed"} == {FAILING}


# --- the driver is killed ----------------------------------------------------------------------------------------


def test_the_driver_killed_at_ten_moments(tmp_path, undisturbed):
    done = subprocess.run(
        [sys.executable, SCRIPT, "killed", tmp_path], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    assert [kill["signal"] for kill in kills] == [-signal.SIGKILL] * driver.KILLS
    for kill in kills:
        before = {name.removesuffix(".parquet") for name in kill["before"]}
        assert set(kill["after"]) >= set(kill["before"]), "nothing finished is lost"
        assert before.isdisjoint(set(kill["started"]) - {FAILING}), "nothing finished is run twice"
        assert len(kill["started"]) == len(set(kill["started"]))
    assert len({len(kill["after"]) for kill in kills}) > driver.KILLS // 2, "at different moments"
    assert len(kills[-1]["after"]) < len(driver.specs()), "the last one too was killed before its end"
    assert_undisturbed(tmp_path, undisturbed)


@contextmanager
def swept_by_workers(folder, pause):
    """A sweep by two worker processes, in a process group of its own; all of it is killed at the end."""
    command = [sys.executable, SCRIPT, "sweep", folder, "processes", str(pause), str(FEW)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        if alive_in_group(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def alive_in_group(group):
    """Return the processes of a group that have not ended."""
    alive = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != "Z":
            alive.append(int(path.parent.name))
    return alive


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("how", ["kill", "interrupt"])
def test_a_driver_with_workers_leaves_none_of_them_and_keeps_what_is_finished(tmp_path, undisturbed, how):
    with swept_by_workers(tmp_path, 0.3) as process:
        until(lambda: driver.written(tmp_path))
        assert len(alive_in_group(process.pid)) >= 3
        if how == "kill":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the driver and to the workers
        _, errors = process.communicate(timeout=PATIENCE)
        until(lambda: not alive_in_group(process.pid))
    if how == "kill":
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == -signal.SIGINT
        assert errors.count("Traceback") == 1
        assert errors.endswith("KeyboardInterrupt\n")
        assert "SpawnProcess" not in errors
    before, known = finished(tmp_path), len(driver.logged(tmp_path))
    assert 0 < len(before) < FEW
    driver.swept(tmp_path, pause=0, count=FEW)
    assert before.isdisjoint(started(tmp_path, known)), "nothing finished is run twice"
    assert_undisturbed(tmp_path, undisturbed, FEW)


# --- a worker is killed ------------------------------------------------------------------------------------------


def test_a_killed_worker_costs_one_more_execution_of_its_batch(tmp_path, undisturbed):
    with swept_by_workers(tmp_path, 0.5) as process:
        until(lambda: len(driver.logged(tmp_path)) >= 4)
        pid, victim = driver.logged(tmp_path)[-1]
        os.kill(int(pid), signal.SIGKILL)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
    counts = dict.fromkeys((spec.run_id for spec in driver.specs(FEW)), 1) | {victim: 2}
    assert {run: started(tmp_path).count(run) for run in counts} == counts
    assert_undisturbed(tmp_path, undisturbed, FEW)


def test_what_loses_its_worker_twice_is_recorded_with_the_reason_and_run_again_next_time(tmp_path, undisturbed):
    def losing(work, batches):
        yield batches[0], WorkerLostError("gone")
        yield from serial(work, batches[1:])

    specs = driver.specs(3)
    store = Store.open(tmp_path / "out")
    rows = sweep(specs, store=store, executor=losing, batch_size=1).to_pylist()
    assert [row["error"] for row in rows if row["run_id"] == specs[0].run_id] == ["WorkerLostError: gone"]
    assert {row["status"] for row in rows if row["run_id"] != specs[0].run_id} == {"finished"}
    driver.swept(tmp_path, pause=0, count=3)
    assert started(tmp_path) == [specs[0].run_id]
    assert_undisturbed(tmp_path, undisturbed, 3)


# --- the disk ----------------------------------------------------------------------------------------------------


def test_a_full_disk_keeps_what_is_finished_and_the_sweep_goes_on_when_there_is_room(tmp_path, undisturbed):
    own = ["unshare", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a small disk needs a mount namespace, which is not permitted here")
    done = subprocess.run(
        [*own, sys.executable, SCRIPT, "full", tmp_path], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (
        "parquet: cannot be written (No space left on device); free space and start again: finished" in told["message"]
    )
    kept = {name.removesuffix(".parquet") for name in told["left"]} - {"store.json"}
    all_runs = {spec.run_id for spec in driver.specs()}
    assert 5 < len(kept) < len(all_runs)
    assert kept < all_runs, "whole files of runs and no temporary"
    assert set(told["again"]) == all_runs - kept | {FAILING}
    assert_undisturbed(tmp_path, undisturbed)


def test_a_store_that_cannot_be_written_stops_the_sweep_and_closes_its_executor(tmp_path, monkeypatch):
    events = []

    def watched(work, batches):
        try:
            for batch in batches:
                events.append(batch.run_ids[0])
                yield from serial(work, [batch])
        finally:
            events.append("closed")

    def broken(_):
        raise OSError(5, "Input/output error")

    specs = driver.specs(3)
    store = Store.open(tmp_path / "out")

    def fail_from_now_on(progress):
        if progress.done == 1:
            monkeypatch.setattr(os, "fsync", broken)

    with pytest.raises(StoreError, match=r"cannot be written \(Input/output error\)") as caught:
        sweep(specs, store=store, executor=watched, batch_size=1, progress=fail_from_now_on)
    assert caught.traceback, "held, and with it the frames that hold the executor"
    assert events == [specs[0].run_id, specs[1].run_id, "closed"]
    assert finished(tmp_path) == {specs[0].run_id}


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_reported_and_its_runs_run_again(tmp_path, undisturbed, part):
    driver.swept(tmp_path, pause=0, count=FEW)
    name = driver.written(tmp_path)[-1]
    path = tmp_path / "out" / "runs" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    known = len(driver.logged(tmp_path))
    with pytest.warns(DamagedFileWarning, match=f"{name}: damaged, skipped as if its runs had not finished"):
        driver.swept(tmp_path, pause=0, count=FEW)
    assert set(started(tmp_path, known)) == {name.removesuffix(".parquet"), FAILING}
    assert_undisturbed(tmp_path, undisturbed, FEW)


# --- refused before anything runs --------------------------------------------------------------------------------


def refuse(*_):
    raise AssertionError("nothing may run")


def test_no_specs_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"^sweep: got no specs; wanted at least one; check the conditions of the grid.$"
    ):
        sweep([], store=Store.open(tmp_path), executor=refuse)


def test_two_different_specs_with_one_id_are_refused(tmp_path):
    class Planted(RunSpec):
        @property
        def run_id(self):
            return "same"

    one, two = (Planted(**spec.model_dump()) for spec in driver.specs(2))
    with pytest.raises(
        InputError, match=r'two different specs have the id same: .*"seed":0.* and .*"seed":1.*; wanted an'
    ):
        sweep([one, two], store=Store.open(tmp_path), executor=refuse)


def test_a_copy_of_a_spec_has_an_id_of_its_own():
    one = driver.specs(1)[0]
    assert one.run_id
    assert one.model_copy(update={"seed": 1}).run_id not in ("", one.run_id)


def test_a_spec_given_twice_counts_once(tmp_path):
    specs = driver.specs(1) + driver.specs(1)
    told = []
    sweep(specs, store=Store.open(tmp_path), progress=told.append)
    assert [progress.total for progress in told] == [1, 1]
