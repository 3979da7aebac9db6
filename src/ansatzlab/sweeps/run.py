"""Runs: specs in, their rows out; one by one, or several as one stacked network."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import DivergedError
from ansatzlab.sweeps.observe import OBSERVERS, Stack
from ansatzlab.sweeps.spec import RunSpec, Spec
from ansatzlab.sweeps.task import TaskSpec
from ansatzlab.training.dynamics import GradientFlow, Optimizer
from ansatzlab.training.loop import train
from ansatzlab.training.objective import objective_for, stacked_objective_for
from ansatzlab.training.rates import with_rate
from ansatzlab.training.stack import StackedSnapshot, train_stack

Status = Literal["finished", "diverged", "failed"]

Rows = list[dict[str, object]]
"""The rows of one run or of several."""

MEASURED = ("snapshot", "step", "flow_time", "loss", "layer", "layer_index", "eigenvalues", "energies", "sums")
"""The columns of the store that a run without measurements leaves empty."""


def run(spec: Spec) -> Rows:
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
        for row in _rows_of(spec):
            rows.append(dict(row))
    except DivergedError as error:
        status, message = "diverged", str(error)
    except Exception as error:  # a sweep records what a run raises, whatever it is, and goes on
        status, message = "failed", f"{type(error).__name__}: {error}"
    return with_outcome(spec, rows, status, message, time.perf_counter() - start)


def run_stack(specs: Sequence[RunSpec]) -> Rows:
    """Execute specs that can be trained as one stacked network (see `ansatzlab.sweeps.batch.stack_key`).

    Args:
        specs: The runs, at least one.

    Returns:
        The rows that `run` gives for each; a run that diverged has those up to there. The wall time of the stack is
        shared out evenly.

    Raises:
        Exception: Whatever is wrong with any of them but divergence; nothing is recorded then.
    """
    start = time.perf_counter()
    datasets: dict[str, Dataset] = {}
    ready = [_Ready.of(spec, datasets) for spec in specs]
    named = [dict(each.model.named_parameters()) for each in ready]
    stack = _stack(ready, {name: torch.stack([each[name].detach() for each in named]) for name in named[0]})
    data = list(datasets.values()) if len(datasets) == 1 else [each.data for each in ready]
    snapshots = train_stack(
        list(stack.parameters.values()),
        stacked_objective_for(stack.model, data, specs[0].loss),
        [each.optimizer for each in ready],
        seeds=[spec.seed for spec in specs],
        snapshots=specs[0].snapshots,
    )
    rows: list[Rows] = [[] for _ in specs]
    lost: dict[int, DivergedError] = {}
    for lost_by_now, found in _observed(stack, snapshots):
        lost |= lost_by_now
        for place, part in found.items():
            rows[place] += part
    wall_seconds = (time.perf_counter() - start) / len(specs)
    return [
        row
        for place, spec in enumerate(specs)
        for row in with_outcome(
            spec,
            rows[place],
            "diverged" if place in lost else "finished",
            str(lost[place]) if place in lost else None,
            wall_seconds,
        )
    ]


def with_outcome(spec: Spec, rows: Rows, status: Status, message: str | None, wall_seconds: float) -> Rows:
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
    identity = {
        **dict.fromkeys(MEASURED),
        "run_id": spec.run_id,
        "experiment": spec.experiment,
        "spec": spec.canonical(),
        "seed": spec.seed,
        **spec.identity(),
    }
    outcome = {"status": status, "error": message, "wall_seconds": wall_seconds}
    return [{**identity, **row, **outcome} for row in rows or [{}]]


def _rows_of(spec: Spec) -> Iterator[Mapping[str, object]]:
    """Execute a spec by itself and yield its rows as they come."""
    if isinstance(spec, TaskSpec):
        yield from spec.rows()
        return
    assert isinstance(spec, RunSpec), "there are two kinds of runs"
    ready = _Ready.of(spec, {})
    stack = _stack([ready], {name: p.detach()[None] for name, p in ready.model.named_parameters()})
    for _, found in _observed(stack, _single_snapshots(ready)):
        yield from found[0]


@dataclass(frozen=True)
class _Ready:
    """A run that can start: its network has its initial weights, its learning rate is a number."""

    spec: RunSpec
    data: Dataset
    model: nn.Module
    dynamics: GradientFlow | Optimizer

    @classmethod
    def of(cls, spec: RunSpec, loaded: dict[str, Dataset]) -> "_Ready":
        """Prepare a run; data sets that were loaded before are taken from there."""
        key = spec.data.model_dump_json()
        if key not in loaded:
            loaded[key] = spec.data.load()
        data = loaded[key]
        model, dynamics = spec.start(data), spec.dynamics
        if isinstance(dynamics, Optimizer):
            dynamics = with_rate(dynamics, model, data, spec.loss)
        return cls(spec, data, model, dynamics)

    @property
    def optimizer(self) -> Optimizer:
        assert isinstance(self.dynamics, Optimizer), "a flow is not planned into a stack"
        return self.dynamics


def _stack(ready: Sequence[_Ready], parameters: dict[str, torch.Tensor]) -> Stack:
    shared = all(each.data is ready[0].data for each in ready)
    return Stack(
        specs=tuple(each.spec for each in ready),
        dynamics=tuple(each.dynamics for each in ready),
        model=ready[0].model,
        parameters=parameters,
        inputs=ready[0].data.inputs if shared else torch.stack([each.data.inputs for each in ready]),
    )


def _single_snapshots(ready: _Ready) -> Iterator[StackedSnapshot]:
    """Train one run by itself and show its snapshots as those of a stack of one."""
    spec, model = ready.spec, ready.model
    objective = objective_for(model, ready.data, spec.loss)
    for snapshot in train(model, objective, ready.dynamics, snapshots=spec.snapshots, seed=spec.seed):
        yield StackedSnapshot(
            index=snapshot.index,
            step=snapshot.step,
            flow_times=torch.tensor([snapshot.flow_time], dtype=torch.float64),
            losses=torch.tensor([snapshot.loss], dtype=torch.float64),
            gradients=tuple(gradient[None] for gradient in snapshot.gradients),
            lost={},
        )


def _observed(
    stack: Stack, snapshots: Iterator[StackedSnapshot]
) -> Iterator[tuple[dict[int, DivergedError], dict[int, Rows]]]:
    """Yield at every snapshot which runs are lost, and the rows of the others by their place in the stack."""
    observers = [OBSERVERS[name](stack) for name in stack.specs[0].observe]
    for snapshot in snapshots:
        left = [place for place in range(len(stack.specs)) if place not in snapshot.lost]
        parts = [observer(snapshot) for observer in observers] if left else []
        yield dict(snapshot.lost), {place: _rows(stack, snapshot, place, [p[place] for p in parts]) for place in left}


def _rows(stack: Stack, snapshot: StackedSnapshot, place: int, parts: Sequence[Rows]) -> Rows:
    dynamics = stack.dynamics[place]
    return [
        {
            "snapshot": snapshot.index,
            "step": snapshot.step,
            "flow_time": float(snapshot.flow_times[place]),
            "loss": float(snapshot.losses[place]),
            "learning_rate": dynamics.rate if isinstance(dynamics, Optimizer) else None,
            "stacked": float(len(stack.specs) > 1),
            "layer": f"layers.{index}",
            "layer_index": index + 1,
            **{name: value for part in columns for name, value in part.items()},
        }
        for index, columns in enumerate(zip(*parts, strict=True))
    ]
