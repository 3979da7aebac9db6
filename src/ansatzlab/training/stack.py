"""`train_stack`: train many networks of one architecture as one."""

from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ansatzlab.errors import DivergedError, InputError
from ansatzlab.training.dynamics import Optimizer
from ansatzlab.training.loop import diverged, draw_batches, torch_optimizer
from ansatzlab.training.objective import StackedObjective
from ansatzlab.training.schedule import elapsed, log_spaced_steps, rate_factor

STACKABLE = frozenset({"SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam"})
"""Optimisers whose step is the learning rate times something that is computed entry by entry, from gradients alone."""


@dataclass(frozen=True)
class StackedSnapshot:
    """A moment of a stacked training; while it is in hand, the parameters hold their values.

    Attributes:
        index: The snapshot's number, from 0, the start.
        step: The number of steps taken; None for a flow that is looked at as a stack of one.
        flow_times: For each network the sum of the learning rates of the steps taken, shape (r,).
        losses: The data losses over all examples, without the penalty, shape (r,).
        gradients: Their gradients on the batches of the next step, one tensor (r, …) per parameter.
        lost: The networks that diverged so far, by their place in the stack; their numbers mean nothing.
    """

    index: int
    step: int | None
    flow_times: Float[Tensor, " r"]
    losses: Float[Tensor, " r"]
    gradients: tuple[Tensor, ...]
    lost: Mapping[int, DivergedError]


def train_stack(
    parameters: Sequence[Tensor],
    objective: StackedObjective,
    dynamics: Sequence[Optimizer],
    *,
    seeds: Sequence[int],
    snapshots: int = 40,
) -> Iterator[StackedSnapshot]:
    """Train a stack of networks in place and yield at every snapshot: the runs that `train` does one by one.

    Definition:
        The optimiser takes a step of rate 1 from zero on the stacked gradients, which gives each network's direction;
        then ``θ_r ← (1 − η_r λ_r) θ_r + η_r · direction_r`` (decoupled), or λ_r θ_r is part of the gradient (coupled).
        So rates and decays differ from network to network although torch allows one a group.

    Conventions:
        A network whose loss stops being finite keeps its place: nothing of it reaches its neighbours, whose numbers are
        to the last bit those that they would have been.

    Args:
        parameters: The parameters, each stacked, shape (r, …); views of one another are not allowed.
        objective: The losses, from `ansatzlab.training.objective.stacked_objective_for`.
        dynamics: One optimiser per network; they may differ in learning rate, weight decay and its coupling.
        seeds: The seed of each network's batches.
        snapshots: How many snapshots, at least 2 (see `ansatzlab.training.loop.train`).

    Yields:
        The snapshots, in order. When the last network diverges, one more that says so, and then none.

    Raises:
        InputError: If the optimisers cannot be stacked, or the numbers of networks do not match.

    Precision:
        Entry by entry the sums of the single training in another order: 1e-10 after hundreds of steps, unless the
        training itself is chaotic.

    Cost:
        One evaluation of the objective a step, O(P) per network for the optimiser.
    """
    first = _shared(dynamics, len(parameters[0]), seeds)
    schedule = log_spaced_steps(first.steps, snapshots)
    draws = [draw_batches(objective.examples, first.batch_size, seed) for seed in seeds]
    advance = _Advance(parameters, dynamics)
    rates = torch.tensor([each.rate for each in dynamics], dtype=torch.float64)
    lost: dict[int, DivergedError] = {}
    for step in range(first.steps + 1):
        rows = _next_rows(draws)
        losses, gradients = objective(parameters, rows)
        _note_divergence(lost, losses, step)
        if step in schedule or len(lost) == len(seeds):
            if rows is not None:
                losses, _ = objective(parameters)
                _note_divergence(lost, losses, step)
            times = rates * elapsed(first.schedule, step, first.steps)
            yield StackedSnapshot(bisect(schedule, step) - 1, step, times, losses, tuple(gradients), dict(lost))
        if len(lost) == len(seeds):
            break
        if step < first.steps:
            advance(gradients, step)


class _Advance:
    """One step of the optimiser on all networks."""

    def __init__(self, parameters: Sequence[Tensor], dynamics: Sequence[Optimizer]) -> None:
        first = dynamics[0]
        self._parameters = parameters
        self._directions = [torch.zeros_like(parameter) for parameter in parameters]
        fused = {"fused": True} if "fused" in signature(getattr(torch.optim, first.name)).parameters else {}
        self._optimizer = torch_optimizer(self._directions, first.name, 1.0, {**fused, **first.options})
        self._schedule, self._steps = first.schedule, first.steps
        self._rates = [_column([each.rate for each in dynamics], p) for p in parameters]
        self._coupled = self._decays(dynamics, "coupled")
        self._decoupled = self._decays(dynamics, "decoupled")

    def _decays(self, dynamics: Sequence[Optimizer], kind: str) -> list[Tensor] | None:
        decays = [each.weight_decay if each.decay == kind else 0.0 for each in dynamics]
        return [_column(decays, p) for p in self._parameters] if any(decays) else None

    def __call__(self, gradients: Sequence[Tensor], step: int) -> None:
        factor = rate_factor(self._schedule, step, self._steps)
        for index, (direction, gradient) in enumerate(zip(self._directions, gradients, strict=True)):
            direction.zero_()
            direction.grad = gradient
            if self._coupled is not None:
                direction.grad = torch.addcmul(gradient, self._coupled[index], self._parameters[index])
        self._optimizer.step()
        for index, (parameter, direction) in enumerate(zip(self._parameters, self._directions, strict=True)):
            rate = self._rates[index] * factor
            if self._decoupled is not None:
                parameter.mul_(1 - rate * self._decoupled[index])
            parameter.addcmul_(rate, direction)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    """Return one number per network, shaped to multiply a stacked parameter."""
    return torch.tensor(values, dtype=like.dtype).view(-1, *[1] * (like.ndim - 1))


def _next_rows(draws: Sequence[Iterator[Tensor | None]]) -> Int[Tensor, "r m"] | None:
    rows = [next(draw) for draw in draws]
    found = [each for each in rows if each is not None]
    return torch.stack(found) if found else None


def _note_divergence(lost: dict[int, DivergedError], losses: Float[Tensor, " r"], step: int) -> None:
    finite = torch.isfinite(losses)
    if not bool(finite.all()):
        for place in (~finite).nonzero()[:, 0].tolist():
            lost.setdefault(place, diverged("step", step, step))


def _shared(dynamics: Sequence[Optimizer], count: int, seeds: Sequence[int]) -> Optimizer:
    """Return the first optimiser after checking that the others differ only in what a stack may differ in."""
    if not len(dynamics) == len(seeds) == count:
        raise InputError(
            f"train_stack: got {count} networks, {len(dynamics)} optimisers and {len(seeds)} seeds; wanted one of each "
            "per network."
        )
    names = sorted({each.name for each in dynamics})
    if not STACKABLE.issuperset(names):
        raise InputError(
            f"train_stack: got {', '.join(names)}; wanted one of {', '.join(sorted(STACKABLE))}, whose steps are "
            "computed entry by entry; train the others one by one."
        )
    settings = {each.model_copy(update=FREE).model_dump_json() for each in dynamics}
    if len(settings) > 1:
        raise InputError(
            f"train_stack: got {len(settings)} different optimisers ({', '.join(sorted(settings))}); wanted the same "
            "but for rate and decay; train each kind by itself."
        )
    return dynamics[0]


FREE: Mapping[str, object] = {"learning_rate": 1.0, "weight_decay": 0.0, "decay": "coupled"}
"""The settings in which the optimisers of a stack may differ, set to one value to compare the others."""
