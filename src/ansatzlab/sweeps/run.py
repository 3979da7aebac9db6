"""`sweep`: execute specs, keep what they give, and never repeat a finished run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from ansatzlab.errors import DivergedError
from ansatzlab.models.init import initialize
from ansatzlab.store.parquet import Store
from ansatzlab.sweeps.executors import Executor, Rows, serial
from ansatzlab.sweeps.observe import OBSERVERS
from ansatzlab.sweeps.spec import RunSpec
from ansatzlab.training.loop import train
from ansatzlab.training.objective import objective_for

Status = Literal["finished", "diverged", "failed"]


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes:
        done: Runs that need not be run any more, those of earlier calls included.
        total: All runs.
        resumed: Runs that an earlier call had finished.
        failed: Runs of this call that failed.
        diverged: Runs of this call that diverged.
    """

    done: int
    total: int
    resumed: int
    failed: int = 0
    diverged: int = 0


def sweep(
    specs: Sequence[RunSpec],
    *,
    store: Store,
    executor: Executor = serial,
    progress: Callable[[Progress], None] = lambda _: None,
) -> pa.Table:
    """Run every spec that the store does not hold yet and return the table of all of them.

    A run that diverges or raises is recorded as such, with its message, and the sweep goes on. Runs that *failed* in an
    earlier call are tried again; finished and diverged ones are not.

    Args:
        specs: The runs; repeated ones count once.
        store: Where finished runs are kept.
        executor: How they are executed.
        progress: Told after every run, and once before the first.

    Returns:
        One row per run, snapshot and layer, sorted; the same whatever was resumed.

    Raises:
        StoreError: If a run cannot be written.
    """
    wanted = {spec.run_id: spec for spec in specs}
    kept = store.table(wanted.keys())
    finished = set(kept.filter(pc.not_equal(kept["status"], "failed"))["run_id"].to_pylist())
    pending = [spec for run_id, spec in wanted.items() if run_id not in finished]
    state = Progress(done=len(finished), total=len(wanted), resumed=len(finished))
    progress(state)
    for spec, rows in executor(run, pending):
        store.write([spec.run_id], rows)
        status = rows[0]["status"]
        state = Progress(
            done=state.done + 1,
            total=state.total,
            resumed=state.resumed,
            failed=state.failed + (status == "failed"),
            diverged=state.diverged + (status == "diverged"),
        )
        progress(state)
    return store.table(wanted.keys())


def run(spec: RunSpec) -> Rows:
    """Execute one spec.

    Args:
        spec: The run.

    Returns:
        Its rows: one per snapshot and layer; of a run that stopped, those up to there, or a single one without
        measurements, with its status and the error's message.
    """
    start = time.perf_counter()
    rows: Rows = []
    status: Status = "finished"
    message: str | None = None
    try:
        _fill(rows, spec)
    except DivergedError as error:
        status, message = "diverged", str(error)
    except Exception as error:  # a sweep records what a run raises, whatever it is, and goes on
        status, message = "failed", f"{type(error).__name__}: {error}"
    outcome = {"status": status, "error": message, "wall_seconds": time.perf_counter() - start}
    return [{**_identity(spec), **row, **outcome} for row in rows or [{}]]


def _fill(rows: Rows, spec: RunSpec) -> None:
    data = spec.data.load()
    model = spec.model.build(data.inputs.shape[1], data.targets.shape[1])
    init = spec.init
    initialize(model, init.scheme, seed=spec.seed, scale=init.scale, singular_values=init.singular_values)
    observers = [OBSERVERS[name](spec, model, data) for name in spec.observe]
    objective = objective_for(model, data, spec.loss)
    for snapshot in train(model, objective, spec.dynamics, snapshots=spec.snapshots, seed=spec.seed):
        when = {
            "snapshot": snapshot.index,
            "step": snapshot.step,
            "flow_time": snapshot.flow_time,
            "loss": snapshot.loss,
        }
        layers = zip(*(observer(snapshot) for observer in observers), strict=True)
        for index, columns in enumerate(layers, start=1):
            row: dict[str, object] = {**when, "layer": f"layers.{index - 1}", "layer_index": index}
            for part in columns:
                row.update(part)
            rows.append(row)


def _identity(spec: RunSpec) -> dict[str, object]:
    dynamics = spec.dynamics
    return {
        **dict.fromkeys(
            ("snapshot", "step", "flow_time", "loss", "layer", "layer_index", "eigenvalues", "energies", "sums")
        ),
        "run_id": spec.run_id,
        "experiment": spec.experiment,
        "spec": spec.canonical(),
        "data": spec.data.name,
        "dynamics": dynamics.kind if dynamics.kind == "flow" else dynamics.name,
        "depth": spec.model.depth,
        "seed": spec.seed,
        "weight_decay": dynamics.weight_decay,
        "learning_rate": dynamics.learning_rate,
    }
