import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from ansatzlab.errors import InputError, UnknownNameError, WorkerLostError
from ansatzlab.sweeps.batch import Batch
from ansatzlab.sweeps.executors import Executor, Results, retried, serial, usable_cores
from ansatzlab.sweeps.processes import Processes
from ansatzlab.sweeps.ray import Ray
from ansatzlab.sweeps.run import Rows
from ansatzlab.sweeps.spec import DataSpec, ModelSpec, RunSpec
from ansatzlab.training.dynamics import GradientFlow

BATCHES = [
    Batch(
        (
            RunSpec(
                experiment="try",
                data=DataSpec(name="digits"),
                model=ModelSpec(hidden=(2,)),
                dynamics=GradientFlow(flow_time=1.0),
                seed=seed,
            ),
        )
    )
    for seed in range(3)
]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_serial_runs_on_one_thread_and_restores_the_count() -> None:
    during: list[int] = []

    def run(batch: Batch) -> Rows:
        during.append(torch.get_num_threads())
        return [{"seed": batch.specs[0].seed}]

    for batch, rows in serial(run, BATCHES):
        assert torch.get_num_threads() == 2, "between the runs too"
        assert rows == [{"seed": batch.specs[0].seed}]
    assert during == [1, 1, 1]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_serial_restores_the_count_when_a_run_is_interrupted() -> None:
    def run(_: Batch) -> Rows:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(serial(run, BATCHES))
    assert torch.get_num_threads() == 2


def test_serial_keeps_the_order_and_hands_each_run_back_at_once() -> None:
    done: list[int] = []

    def run(batch: Batch) -> Rows:
        done.append(batch.specs[0].seed)
        return []

    assert isinstance(serial, Executor)
    executed = serial(run, BATCHES)
    assert next(executed)[0] == BATCHES[0]
    assert done == [0], "the second run has not begun"
    assert [batch.specs[0].seed for batch, _ in executed] == [1, 2]


# --- what the work raises ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "name", "message"),
    [
        (ZeroDivisionError("no"), "ZeroDivisionError", "no"),
        (InputError("no"), "InputError", "no"),
        (UnknownNameError("law", "x", "y"), "RuntimeError", "UnknownNameError: unknown law 'x'. Known: y."),
    ],
)
def test_what_the_work_raises_comes_back_as_another_process_would_give_it(raised, name, message) -> None:
    def run(batch: Batch) -> Rows:
        if batch is BATCHES[1]:
            raise raised
        return []

    executed = [result for _, result in serial(run, BATCHES)]
    assert executed[::2] == [[], []]
    assert (type(executed[1]).__name__, str(executed[1])) == (name, message)


# --- once more ---------------------------------------------------------------------------------------------------


def test_what_lost_its_worker_is_executed_once_more_after_the_others() -> None:
    asked: list[list[int]] = []

    def execute(batches) -> Results:
        asked.append([batch.specs[0].seed for batch in batches])
        for batch in batches:
            seed = batch.specs[0].seed
            lost = seed == 0 or (seed == 1 and len(asked) == 1)
            yield batch, WorkerLostError(f"{len(asked)}") if lost else [{"seed": seed}]

    handed = [(batch.specs[0].seed, str(result)) for batch, result in retried(execute, BATCHES)]
    assert asked == [[0, 1, 2], [0, 1]]
    assert handed == [(2, "[{'seed': 2}]"), (0, "2"), (1, "[{'seed': 1}]")]


# --- processes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", [Processes, Ray])
@pytest.mark.parametrize("workers", [0, -1])
def test_a_count_of_workers_that_is_not_positive_is_refused(executor, workers) -> None:
    name = executor.__name__
    with pytest.raises(InputError, match=rf"^{name}: got workers = {workers}; wanted 1 or more, or None for all cores"):
        executor(workers=workers)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_only_the_cores_that_this_process_may_use_are_counted() -> None:
    before = os.sched_getaffinity(0)
    assert 1 <= usable_cores() <= len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


LOOKING = """
import os, signal, time
from pathlib import Path
import torch
from threadpoolctl import threadpool_info

def look(batch):
    match batch.specs[0].seed:
        case 0:
            while not Path("others are done").exists():
                time.sleep(0.01)
        case 1:
            return [{"unsendable": lambda: None}]
    return [{
        "pid": os.getpid(),
        "threads": [torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info())],
        "environment": os.environ["OMP_NUM_THREADS"] + os.environ["MKL_NUM_THREADS"],
        "hears Ctrl-C": signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, []),
    }]
"""


def test_workers_have_one_thread_each_and_hand_back_as_they_are_done(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    (tmp_path / "looking.py").write_text(LOOKING)
    monkeypatch.syspath_prepend(tmp_path)
    executed = Processes(2)(importlib.import_module("looking").look, BATCHES)
    unsendable, looked = sorted((next(executed), next(executed)), key=lambda handed: handed[0].specs[0].seed)
    (tmp_path / "others are done").touch()
    ((slow, rows),) = executed
    assert [batch.specs[0].seed for batch in (slow, unsendable[0], looked[0])] == [0, 1, 2]
    assert isinstance(unsendable[1], Exception)
    assert "pickle" in str(unsendable[1])
    pids = set()
    for (row,) in (rows, looked[1]):
        pids.add(row["pid"])
        assert set(row["threads"]) == {1}
        assert (row["environment"], row["hears Ctrl-C"]) == ("11", False)
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in os.environ
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


UNGUARDED = """
from ansatzlab.errors import WorkerLostError
from ansatzlab.sweeps.batch import Batch, run_batch
from ansatzlab.sweeps.processes import Processes
from ansatzlab.sweeps.spec import DataSpec, ModelSpec, RunSpec
from ansatzlab.training.dynamics import GradientFlow

model, dynamics = ModelSpec(hidden=(2,)), GradientFlow(flow_time=1.0)
spec = RunSpec(experiment="e", data=DataSpec(name="digits"), model=model, dynamics=dynamics)
try:
    list(Processes(1)(run_batch, [Batch((spec,))]))
except WorkerLostError as error:
    print(error)
"""


def test_a_script_that_every_worker_would_start_again_is_refused(tmp_path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.startswith("Processes: no worker process could be started; see what it printed.")
    assert 'calls under `if __name__ == "__main__":`' in done.stdout
    assert "bootstrapping phase" in done.stderr
