"""Gradient descent, heavy ball and Nesterov's descent on a linear network, and their linearised twin."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import DivergedError, InputError
from ansatzlab.laws.liu2022nesterov.network import LinearNetwork, Matrix
from ansatzlab.laws.liu2022nesterov.presets import Rule, Tuning

Weights: TypeAlias = list[Matrix]
Slopes: TypeAlias = list[tuple[Matrix, Matrix]]
"""The loss gradient of every layer, in two factors."""

WINDOW = (1e-9, 1e-4)
"""Where the contraction is fitted: relative residuals between these."""

FEWEST = 4
"""A fit needs so many steps."""

LOST = 1e6
"""A residual that grew by this factor has diverged."""


@dataclass(frozen=True, eq=False)
class Moment:
    """A moment of a descent.

    Attributes:
        step: The number of steps taken.
        residual: ``U − Y`` (r, c) at the weights W_t, not at the point ahead where Nesterov's gradient is taken.
        weights: W_t. They are overwritten as the descent goes on.
    """

    step: int
    residual: Matrix
    weights: Sequence[Matrix]


def descend(network: LinearNetwork, tuning: Tuning, *, steps: int, until: float = 1e-11) -> Iterator[Moment]:
    """Train a linear network on all its data and yield at every step, the start among them.

    Definition:
        ``W_{t+1} = V_t − η ∇loss(V_t)``, ``V_{t+1} = W_{t+1} + β (W_{t+1} − W_t)``, ``V_0 = W_0`` (Nesterov);
        ``W_{t+1} = W_t − η ∇loss(W_t) + β (W_t − W_{t−1})`` (heavy ball); β = 0 (gradient descent).

    Conventions:
        ``torch.optim.SGD(nesterov=True)`` with the same η and β visits the same V and stores that in place of W.

    Args:
        network: The network; it is left as it is.
        tuning: The recursion and its numbers.
        steps: The most steps.
        until: Stop once the residual is this share of the first one.

    Yields:
        The moments.

    Raises:
        DivergedError: If the residual stops being finite, or grows a millionfold.
    """
    current, other = ([W.clone() for W in network.weights] for _ in range(2))
    step_on = STEPS[tuning.rule]
    first = math.nan
    for step in range(steps + 1):
        if tuning.rule == "nesterov":
            residual, slopes = network.residual(current), None
        else:
            residual, slopes = network.gradients(current)
        size = float(residual.norm())
        first = size if step == 0 else first
        if not size <= LOST * first:
            raise DivergedError(
                f"descent: the residual went from {first:.1e} to {size:.1e} by step {step}; wanted one that falls; "
                "lower the learning rate.",
                step,
            )
        yield Moment(step, residual, current)
        if size <= until * first or step == steps:
            return
        current, other = step_on(tuning, slopes or network.gradients(other)[1], current, other)


def _gradient_step(tuning: Tuning, slopes: Slopes, current: Weights, other: Weights) -> tuple[Weights, Weights]:
    for W, (slope, entering) in zip(current, slopes, strict=True):
        W.addmm_(slope.mT, entering, alpha=-tuning.learning_rate)
    return current, other


def _heavy_ball_step(tuning: Tuning, slopes: Slopes, current: Weights, before: Weights) -> tuple[Weights, Weights]:
    """Write the next weights over those before the current ones."""
    for W, old, (slope, entering) in zip(current, before, slopes, strict=True):
        old.mul_(-tuning.momentum).add_(W, alpha=1 + tuning.momentum)
        old.addmm_(slope.mT, entering, alpha=-tuning.learning_rate)
    return before, current


def _nesterov_step(tuning: Tuning, slopes: Slopes, current: Weights, ahead: Weights) -> tuple[Weights, Weights]:
    """Step from the point ahead, which becomes the next weights; write the next point ahead over the current ones."""
    for W, V, (slope, entering) in zip(current, ahead, slopes, strict=True):
        V.addmm_(slope.mT, entering, alpha=-tuning.learning_rate)
        W.mul_(-tuning.momentum).add_(V, alpha=1 + tuning.momentum)
    return ahead, current


STEPS: dict[Rule, Callable[[Tuning, Slopes, Weights, Weights], tuple[Weights, Weights]]] = {
    "gd": _gradient_step,
    "heavy_ball": _heavy_ball_step,
    "nesterov": _nesterov_step,
}


def linearised(
    eigenvalues: Float[Tensor, " p"], start: Float[Tensor, " p"], tuning: Tuning
) -> Iterator[Float[Tensor, " p"]]:
    """Yield the residual of the linearised twin at every step, endlessly.

    Definition:
        The same recursion on the network's linearisation at its start, whose residual ξ obeys, along an eigenvector of
        H_0 with eigenvalue λ, ``ξ_{t+1} = (1 − ηλ)((1 + β) ξ_t − β ξ_{t−1})`` (Nesterov) or
        ``ξ_{t+1} = (1 + β − ηλ) ξ_t − β ξ_{t−1}`` (heavy ball).

    Args:
        eigenvalues: Of H_0.
        start: The first residual in the eigenvectors' basis.
        tuning: The recursion and its numbers.

    Yields:
        The residual in the same basis.
    """
    beta = tuning.momentum
    kept = 1 - tuning.learning_rate * eigenvalues
    p, q = ((1 + beta) * kept, beta * kept) if tuning.rule == "nesterov" else (kept + beta, beta)
    now = start
    yield now
    # the first step has no momentum: V_0 = W_0, and W_{−1} = W_0
    before, now = now, kept * now
    while True:
        yield now
        before, now = now, p * now - q * before


def contraction(sizes: Sequence[float] | np.ndarray) -> float:
    """Fit by what a residual shrinks in a step.

    Definition:
        ``exp`` of the least-squares slope of ``log ‖ξ_t‖`` against t, from the first step at which the residual is
        below the upper end of `WINDOW`, relative to the start, to the last at which it is above the lower end.

    Conventions:
        Along a double root the residual falls as ``(1 + t) ρ^t``, slower than ρ over any such window.

    Args:
        sizes: The residual's norm at every step from the start on.

    Returns:
        The contraction; nan if the window holds fewer than four steps.

    Raises:
        InputError: If there are no sizes, or the first one is zero.

    Example:
        >>> round(contraction([0.9**t for t in range(250)]), 12)
        0.9
    """
    values = np.asarray(sizes, dtype=float)
    if not len(values) or not values[0] > 0:
        raise InputError("contraction: got no residual to begin with; wanted a positive first size.")
    relative = values / values[0]
    below, above = np.flatnonzero(relative <= WINDOW[1]), np.flatnonzero(relative >= WINDOW[0])
    if not len(below) or above[-1] - below[0] + 1 < FEWEST:
        return math.nan
    steps = np.arange(below[0], above[-1] + 1)
    return float(np.exp(np.polyfit(steps, np.log(relative[steps]), 1)[0]))


def steps_to(sizes: Sequence[float] | np.ndarray, share: float) -> int | None:
    """Return the first step at which a residual is at most a share of the first one; None if there is none.

    Example:
        >>> steps_to([8.0, 4.0, 2.0, 1.0], 0.25)
        2
    """
    values = np.asarray(sizes, dtype=float)
    reached = np.flatnonzero(values <= share * values[0])
    return int(reached[0]) if len(reached) else None
