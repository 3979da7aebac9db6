"""One run: a spec in, its rows out."""

import time
from typing import Literal

from ansatzlab.errors import DivergedError
from ansatzlab.models.init import initialize
from ansatzlab.sweeps.observe import OBSERVERS
from ansatzlab.sweeps.spec import RunSpec
from ansatzlab.training.loop import train
from ansatzlab.training.objective import objective_for

Status = Literal["finished", "diverged", "failed"]

Rows = list[dict[str, object]]
"""The rows of one run or of several."""


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
    return with_outcome(spec, rows, status, message, time.perf_counter() - start)


def with_outcome(spec: RunSpec, rows: Rows, status: Status, message: str | None, wall_seconds: float) -> Rows:
    """Complete a run's rows with what it was and how it ended; of a run without rows, a single one says so.

    Args:
        spec: The run.
        rows: What was observed, one per snapshot and layer; may be none.
        status: How it ended.
        message: Why, if it did not finish.
        wall_seconds: What it took.

    Returns:
        Rows that the store takes.
    """
    outcome = {"status": status, "error": message, "wall_seconds": wall_seconds}
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
