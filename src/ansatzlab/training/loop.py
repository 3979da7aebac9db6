"""`train`: run a network along its dynamics and stop at every snapshot."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature

import numpy as np
import torch
from scipy.integrate import DOP853
from torch import Tensor, nn

from ansatzlab.errors import DivergedError, InputError, UnknownNameError
from ansatzlab.training.dynamics import GradientFlow, Optimizer
from ansatzlab.training.objective import Objective
from ansatzlab.training.schedule import elapsed, log_spaced_steps, log_spaced_times, rate_factor


@dataclass(frozen=True)
class Snapshot:
    """A moment of a training; while it is in hand, the network holds its weights.

    Attributes:
        index: The snapshot's number, from 0, the start.
        step: The number of optimiser steps taken; None for a flow.
        flow_time: The flow time; for an optimiser the sum of the learning rates of the steps taken.
        loss: The data loss over all examples, without the penalty.
        gradients: The gradient of the data loss on the batch of the *next* step, one tensor per parameter.
    """

    index: int
    step: int | None
    flow_time: float
    loss: float
    gradients: tuple[Tensor, ...]


def train(
    model: nn.Module, objective: Objective, dynamics: GradientFlow | Optimizer, *, snapshots: int = 40, seed: int = 0
) -> Iterator[Snapshot]:
    """Train a network in place and yield at every snapshot.

    Conventions:
        Snapshots are evenly spaced on a logarithmic clock, the start and the end among them. The clock of a flow is
        flow time; that of an optimiser is steps.

    Args:
        model: The network; its parameters are overwritten as training goes on.
        objective: Its loss on the data, from `ansatzlab.training.objective.objective_for`.
        dynamics: How it is trained.
        snapshots: How many snapshots, at least 2.
        seed: Seed of the batches.

    Yields:
        The snapshots, in order.

    Raises:
        DivergedError: If the loss or a weight stops being finite.
        InputError: If the number of snapshots, the optimiser or one of its options is not valid.

    Precision:
        A flow in float64 is solved to its tolerance at every snapshot: the solver stops there and does not interpolate.

    Example:
        >>> from ansatzlab.data.registry import load
        >>> from ansatzlab.models.deep_linear import DeepLinear
        >>> from ansatzlab.training.objective import objective_for
        >>> data, model = load("diabetes"), DeepLinear([10, 4, 1])
        >>> flow = GradientFlow(flow_time=5.0)
        >>> losses = [snapshot.loss for snapshot in train(model, objective_for(model, data), flow, snapshots=5)]
        >>> len(losses), losses[-1] < losses[0]
        (5, True)
    """
    if snapshots < 2:
        raise InputError(f"train: got snapshots={snapshots}; wanted at least 2, the start and the end.")
    if isinstance(dynamics, GradientFlow):
        yield from _flow(model, objective, dynamics, snapshots)
    else:
        yield from _descend(model, objective, dynamics, snapshots, seed)


def _flow(model: nn.Module, objective: Objective, dynamics: GradientFlow, snapshots: int) -> Iterator[Snapshot]:
    parameters = list(model.parameters())
    shapes = [parameter.shape for parameter in parameters]
    ends = np.cumsum([parameter.numel() for parameter in parameters])[:-1]

    def split(state: np.ndarray) -> list[Tensor]:
        chunks = np.split(state, ends)
        return [torch.from_numpy(chunk).view(shape) for chunk, shape in zip(chunks, shapes, strict=True)]

    def velocity(_: float, state: np.ndarray) -> np.ndarray:
        _, gradients = objective(split(state))
        speed: np.ndarray = torch.cat([gradient.reshape(-1) for gradient in gradients]).numpy()
        return -speed - dynamics.weight_decay * state

    state = torch.cat([parameter.detach().double().reshape(-1) for parameter in parameters]).numpy()
    evaluations, first_step = 0, None
    times = log_spaced_times(dynamics.flow_time, snapshots)
    for index, time in enumerate(times):
        if index:
            solver = DOP853(
                velocity,
                times[index - 1],
                state,
                time,
                rtol=dynamics.tolerance,
                atol=dynamics.tolerance / 100,
                first_step=None if first_step is None else min(first_step, time - times[index - 1]),
            )
            while solver.status == "running":
                solver.step()
                first_step = max(solver.h_abs, first_step or 0.0) if solver.status == "finished" else solver.h_abs
            evaluations += solver.nfev
            if solver.status == "failed" or not np.isfinite(solver.y).all():
                raise diverged("flow time", solver.t, evaluations)
            state = solver.y
        loss, gradients = objective(split(state))
        if not math.isfinite(loss) or not all(bool(gradient.isfinite().all()) for gradient in gradients):
            raise diverged("flow time", time, evaluations)
        _load(parameters, split(state))
        yield Snapshot(index, None, time, loss, tuple(gradients))


def _descend(
    model: nn.Module, objective: Objective, dynamics: Optimizer, snapshots: int, seed: int
) -> Iterator[Snapshot]:
    parameters = list(model.parameters())
    optimizer = torch_optimizer(parameters, dynamics.name, dynamics.rate, dynamics.options)
    batches = draw_batches(objective.examples, dynamics.batch_size, seed)
    schedule = log_spaced_steps(dynamics.steps, snapshots)
    for step in range(dynamics.steps + 1):
        rows = next(batches)
        if step in schedule:
            detached = [p.detach() for p in parameters]
            loss, gradients = objective(detached, rows)
            loss = loss if rows is None else objective(detached)[0]
            if not math.isfinite(loss):
                raise diverged("step", step, step)
            flow_time = dynamics.rate * elapsed(dynamics.schedule, step, dynamics.steps)
            yield Snapshot(schedule.index(step), step, flow_time, loss, tuple(gradients))
        if step < dynamics.steps:
            _step(optimizer, parameters, objective, dynamics, rows, step)


def _step(
    optimizer: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    objective: Objective,
    dynamics: Optimizer,
    rows: Tensor | None,
    step: int,
) -> None:
    """Take one step on a batch, with the decay applied here: in the gradient if coupled, on the weights if not."""
    coupled = dynamics.weight_decay if dynamics.decay == "coupled" else 0.0
    rate = dynamics.rate * rate_factor(dynamics.schedule, step, dynamics.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    if dynamics.name == "LBFGS":
        # Its line search must see the loss that the gradient belongs to, penalty included.
        optimizer.step(
            lambda: _fill_gradients(parameters, objective, coupled, rows, step) + _penalty(parameters, coupled)
        )
        return
    _fill_gradients(parameters, objective, coupled, rows, step)
    if dynamics.decay == "decoupled":
        with torch.no_grad():
            for parameter in parameters:
                parameter.mul_(1 - rate * dynamics.weight_decay)
    optimizer.step()


def _fill_gradients(
    parameters: list[nn.Parameter], objective: Objective, decay: float, rows: Tensor | None, step: int
) -> float:
    loss, gradients = objective([p.detach() for p in parameters], rows)
    if not math.isfinite(loss):
        raise diverged("step", step, step)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient + decay * parameter.detach() if decay else gradient
    return loss


def _penalty(parameters: list[nn.Parameter], decay: float) -> float:
    return decay / 2 * sum(float(parameter.detach().square().sum()) for parameter in parameters)


def torch_optimizer(
    parameters: Sequence[Tensor], name: str, rate: float, options: Mapping[str, object]
) -> torch.optim.Optimizer:
    """Build a torch optimiser by name, without any weight decay of its own.

    Raises:
        UnknownNameError: If torch has no optimiser of this name.
        InputError: If it refuses the rate or an option.
    """
    known: dict[str, Callable[..., torch.optim.Optimizer]] = {
        key: value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    if name not in known:
        raise UnknownNameError("optimiser", name, known)
    undecayed = {"weight_decay": 0.0} if "weight_decay" in signature(known[name]).parameters else {}
    try:
        return known[name](parameters, lr=rate, **undecayed, **options)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"train: torch.optim.{name} refuses learning rate {rate} with the options {dict(options)}: {error}."
        ) from error


def draw_batches(examples: int, size: int | None, seed: int) -> Iterator[Tensor | None]:
    """Yield the rows of one batch after another, in shuffled passes over the data; None for all rows."""
    generator = torch.Generator().manual_seed(seed)
    if size is not None and size > examples:
        raise InputError(f"train: got batch_size={size} for {examples} examples; wanted at most that many.")
    while True:
        if size is None:
            yield None
            continue
        order = torch.randperm(examples, generator=generator)
        yield from order[: examples - examples % size].view(-1, size)


def _load(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def diverged(clock: str, when: float, step: int) -> DivergedError:
    """Return the error of a training that stopped being finite."""
    return DivergedError(
        f"train: the loss or a weight stopped being finite at {clock} {when:g}; wanted finite numbers; lower the "
        "learning rate or the scale of the initial weights.",
        step,
    )
