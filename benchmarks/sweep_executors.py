"""What an executor adds to a batch: work that takes no time, by one worker, from the first result to the last."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from statistics import median
from time import perf_counter

from ansatzlab.sweeps.batch import Batch
from ansatzlab.sweeps.executors import Executor, serial
from ansatzlab.sweeps.processes import Processes
from ansatzlab.sweeps.ray import Ray
from ansatzlab.sweeps.run import Rows
from ansatzlab.sweeps.run import run as execute
from ansatzlab.sweeps.spec import DataSpec, ModelSpec, RunSpec
from ansatzlab.training.dynamics import Optimizer
from benchmarks.timing import Row

BATCHES = 60
REPEATS = 3


def specs(count: int) -> list[RunSpec]:
    return [
        RunSpec(
            experiment="overhead",
            data=DataSpec(name="low_rank_linear", size=20, options={"input_dim": 10, "output_dim": 10}),
            model=ModelSpec(hidden=(10, 10, 10)),
            dynamics=Optimizer(learning_rate=0.01, steps=100),
            seed=seed,
        )
        for seed in range(count)
    ]


@cache
def rows_of(runs: int) -> Rows:
    """Return rows of so many runs of common size: 40 snapshots of 4 layers of width 10."""
    one = execute(specs(1)[0])
    return [deepcopy(row) for _ in range(runs) for row in one]


def give(batch: Batch) -> Rows:
    """Return as many rows as the batch would give; only the first call of a worker takes time."""
    return rows_of(len(batch.specs))


def timed(executor: Executor, batches: list[Batch]) -> tuple[float, float]:
    """Return the seconds until the first result and those of each later batch."""
    start = perf_counter()
    results = executor(give, batches)
    next(results)
    first = perf_counter()
    for _ in results:
        last = perf_counter()
    return first - start, (last - first) / (len(batches) - 1)


def executors() -> Iterator[tuple[str, Executor]]:
    yield "serial", serial
    yield "Processes(1)", Processes(1)
    if find_spec("ray"):
        yield "Ray(workers=1), started here", Ray(workers=1)


def run() -> Iterator[Row]:
    for runs in (1, 64):
        made = specs(runs * BATCHES)
        batches = [Batch(tuple(made[place : place + runs])) for place in range(0, len(made), runs)]
        for name, executor in executors():
            starts, each = zip(*(timed(executor, batches) for _ in range(REPEATS)), strict=True)
            yield {
                "benchmark": "an executor's overhead per batch",
                "case": f"{name}; batches of {runs} runs, {len(rows_of(1))} rows each",
                "our_seconds": median(each),
                "notes": {"seconds_to_the_first_result": median(starts)},
            }
