"""A sweep in processes of its own, which tests/truth/test_sweep_survives.py kills.

``sweep FOLDER EXECUTOR PAUSE COUNT`` sweeps once; ``killed FOLDER`` is killed ten times and finishes; ``full FOLDER``
fills a small disk. Runs are written to FOLDER/out, every execution of a batch to FOLDER/log before it starts.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ansatzlab.errors import StoreError
from ansatzlab.store.parquet import Store
from ansatzlab.sweeps.executors import serial
from ansatzlab.sweeps.processes import Processes
from ansatzlab.sweeps.spec import DataSpec, ModelSpec, RunSpec
from ansatzlab.sweeps.sweep import sweep
from ansatzlab.training.dynamics import GradientFlow, Optimizer

COUNT = 60
KILLS = 10
PAUSE = 0.02
"""Seconds before each batch, so that there is something to kill; the runs themselves are faster."""

EXECUTORS = {"serial": serial, "processes": Processes(2)}
DISK, SPARE = 2**21, 150_000
"""The size of the small disk, and how much of it is free at first: enough for some runs and not for all."""

DYNAMICS = (
    GradientFlow(flow_time=0.5, tolerance=1e-6),
    Optimizer(name="SGD", learning_rate=0.05, steps=5, batch_size=4),
    Optimizer(name="Adam", learning_rate=0.05, steps=5),
    Optimizer(name="SGD", learning_rate=1e6, steps=50),
)


def specs(count=COUNT):
    """Return specs of all kinds: that finish, that diverge, and one that fails."""
    return [
        RunSpec(
            experiment="survive",
            data=DataSpec(name="low_rank_linear", size=20, options={"input_dim": 4, "output_dim": 3}),
            model=ModelSpec(hidden=(5,)),
            dynamics=DYNAMICS[index % 4],
            loss="no such loss" if index == 5 else "square",
            seed=index,
            snapshots=3,
            probe_examples=4,
        )
        for index in range(count)
    ]


@dataclass(frozen=True)
class Logged:
    """An executor that does as another, and has every execution written down."""

    executor: object
    log: Path
    pause: float

    def __call__(self, work, batches):
        return self.executor(partial(write_down, work, self.log, self.pause), batches)


def write_down(work, log, pause, batch):
    with log.open("a") as file:
        file.write(f"{os.getpid()} {' '.join(batch.run_ids)}\n")  # one write, so lines of several processes do not mix
    time.sleep(pause)
    return work(batch)


def swept(folder, executor="serial", pause=PAUSE, count=COUNT):
    chosen = Logged(EXECUTORS[executor], folder / "log", pause)
    return sweep(specs(count), store=Store.open(folder / "out"), executor=chosen, batch_size=1)


def written(folder):
    return sorted(path.name for path in (folder / "out" / "runs").glob("*.parquet"))


def logged(folder):
    log = folder / "log"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def killed(folder):
    """Sweep in forks that are killed at random moments, which saves ten times the seconds of an import."""
    draw = random.Random(0)
    told = []
    for _ in range(KILLS):
        before, known = written(folder), len(logged(folder))
        more, late = draw.randrange(3), draw.uniform(0, 0.06)
        pid = os.fork()
        if not pid:
            swept(folder)
            os._exit(0)
        while len(written(folder)) < len(before) + more:
            time.sleep(0.001)
        time.sleep(late)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        told.append(
            {
                "signal": os.waitstatus_to_exitcode(status),
                "before": before,
                "after": written(folder),
                "started": [run for _, *runs in logged(folder)[known:] for run in runs],
            }
        )
    swept(folder)
    sys.stdout.write(json.dumps(told))


def full(folder):
    """Sweep on a small disk until it is full, make room, sweep again; what is on it goes away with this process."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)], check=True)
    (disk / "ballast").write_bytes(bytes(DISK - SPARE))
    try:
        swept(disk, pause=0.0)
        message = ""
    except StoreError as error:
        message = str(error)
    left = sorted(path.name for path in (disk / "out").rglob("*") if path.is_file())
    (disk / "ballast").unlink()
    known = len(logged(disk))
    swept(disk, pause=0.0)
    shutil.copytree(disk / "out", folder / "out")
    again = [run for _, *runs in logged(disk)[known:] for run in runs]
    sys.stdout.write(json.dumps({"message": message, "left": left, "again": again}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["sweep", folder, executor, pause, count]:
            swept(Path(folder), executor, float(pause), int(count))
        case ["killed", folder]:
            killed(Path(folder))
        case ["full", folder]:
            full(Path(folder))
