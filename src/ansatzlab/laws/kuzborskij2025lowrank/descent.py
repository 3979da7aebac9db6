"""Full-batch descent of chains of matrices on logistic loss with decay, by closed-form gradients."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from ansatzlab.errors import InputError
from ansatzlab.training.loop import diverged

Matrix = Float[Tensor, "*_r _o _i"]

CHECKED = 1000
"""A training is looked at for divergence every so many steps."""


@dataclass(frozen=True)
class Activation:
    """A positively homogeneous activation.

    Attributes:
        value: σ.
        pull: The gradient by z from the gradient by h = σ(z), and h; at the kink σ′ is 0, as torch has it.
        degree: k in ``σ(c z) = c^k σ(z)`` for positive c.
    """

    value: Callable[[Tensor], Tensor]
    pull: Callable[[Tensor, Tensor], Tensor]
    degree: int


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(lambda z: z, lambda back, _: back, 1),
    "relu": Activation(lambda z: z.clamp_min(0), lambda back, h: back * (h > 0), 1),
    "relu_squared": Activation(lambda z: z.clamp_min(0).square(), lambda back, h: back * (2 * h.sqrt()), 2),
}
"""Activations by name."""


@dataclass(frozen=True)
class Descent:
    """How a network is trained: gradient descent on ``(1/n) Σ log(1 + e^{−y f(x)}) + λ‖θ‖²``, on all examples.

    Attributes:
        decay: λ, not negative; torch calls 2λ ``weight_decay``.
        learning_rate: η.
        steps: How many steps.
        average: Over how many of the last steps the gradient is averaged.

    Raises:
        InputError: If a number is out of range, or ``2 η λ ≥ 1``: decay alone would then flip or blow up the weights.
    """

    decay: float
    learning_rate: float
    steps: int
    average: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (self.decay >= 0 and self.learning_rate > 0 and self.steps >= 0 and 0 <= self.average <= self.steps):
            raise InputError(
                f"Descent: got {self}; wanted decay ≥ 0, learning_rate > 0, steps ≥ 0 and average from 0 to steps."
            )
        if not 2 * self.decay * self.learning_rate < 1:
            raise InputError(
                f"Descent: got decay {self.decay:g} and learning rate {self.learning_rate:g}, 2ηλ = "
                f"{2 * self.decay * self.learning_rate:g}; wanted less than 1; lower one of them."
            )

    @property
    def kept(self) -> float:
        """What a step leaves of weights that the data do not see, ``1 − 2ηλ``."""
        return 1 - 2 * self.learning_rate * self.decay


@dataclass(frozen=True)
class Moment:
    """A moment of a descent.

    Attributes:
        step: How many steps were taken.
        weights: The matrices; they change as the descent goes on.
        averaged: The data loss's gradients, averaged over the last steps; None but at the end of a descent that
            averages.
    """

    step: int
    weights: tuple[Tensor, ...]
    averaged: tuple[Tensor, ...] | None = None


def gaussian_chain(widths: Sequence[int], seed: int, scales: Sequence[float] = ()) -> list[Tensor]:
    """Return the matrices of a chain with entries N(0, 1/inputs), each times its scale if there are scales."""
    generator = Generator().manual_seed(seed)
    weights = [torch.randn(o, i, generator=generator, dtype=torch.float64) * i**-0.5 for i, o in pairwise(widths)]
    return [scale * weight for scale, weight in zip(scales, weights, strict=True)] if scales else weights


def forward(
    weights: Sequence[Matrix], inputs: Float[Tensor, "*_r _n _d"], activation: str
) -> list[Float[Tensor, "*_r _n _m"]]:
    """Return what enters each layer of ``W_K σ(… σ(W_1 x))``, and last its outputs; stacks of networks likewise."""
    return _forward(weights, inputs, activation)


def _forward(weights: Sequence[Tensor], inputs: Tensor, activation: str) -> list[Tensor]:
    """Do what `forward` does, without its shapes, which tests check at every call: a descent calls this."""
    values = [inputs]
    for place, weight in enumerate(weights):
        z = values[-1] @ weight.mT
        values.append(z if place == len(weights) - 1 else ACTIVATIONS[activation].value(z))
    return values


def gradients(
    weights: Sequence[Matrix], inputs: Float[Tensor, "*_r n d"], labels: Float[Tensor, "*_r n"], activation: str
) -> list[Matrix]:
    """Return the gradients of the data loss ``(1/n) Σ log(1 + e^{−y f(x)})`` by every matrix of a chain.

    Args:
        weights: The matrices, the last one with one row; or stacks of them.
        inputs: The examples (n, d), or stacks.
        labels: −1 or +1 for each.
        activation: A name in `ACTIVATIONS`.

    Returns:
        The gradients, shaped as the weights.

    Cost:
        Three products of each matrix with n columns; two with one column of a linear chain, whose gradients have rank
        one.

    Source:
        ``g_k = (W_K … W_{k+1})ᵀ E (W_{k−1} … W_1)ᵀ`` of a linear chain, E the gradient by the product: derived.

    Example:
        >>> weights, x, y = [torch.ones(1, 2)], torch.eye(2), torch.tensor([1.0, -1.0])
        >>> gradients(weights, x, y, "identity")[0].round(decimals=3)
        tensor([[-0.1340,  0.3660]])
    """
    return _gradients(weights, inputs, labels, activation)


def _gradients(weights: Sequence[Tensor], inputs: Tensor, labels: Tensor, activation: str) -> list[Tensor]:
    if activation == "identity":
        return _linear_gradients(weights, inputs, labels)
    pull = ACTIVATIONS[activation].pull
    values = _forward(weights, inputs, activation)
    back = _pull(values[-1][..., 0], labels)[..., None]
    found = []
    for place in reversed(range(len(weights))):
        found.append(back.mT @ values[place])
        if place:
            back = pull(back @ weights[place], values[place])
    return found[::-1]


def _linear_gradients(weights: Sequence[Tensor], inputs: Tensor, labels: Tensor) -> list[Tensor]:
    lefts = [torch.ones_like(weights[-1][..., :1, :1])]
    for weight in reversed(weights):
        lefts.append(lefts[-1] @ weight)
    outputs = (inputs @ lefts.pop().mT)[..., 0]
    right = _pull(outputs, labels)[..., None, :] @ inputs
    found = []
    for weight, left in zip(weights, reversed(lefts), strict=True):
        found.append(left.mT @ right)
        right = right @ weight.mT
    return found


def _pull(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the gradients of the data loss by the outputs."""
    return -torch.sigmoid(-labels * outputs) * labels / labels.shape[-1]


def descend(
    weights: Sequence[Tensor],
    examples: tuple[Tensor, Tensor],
    activation: str,
    descent: Descent,
    moments: Collection[int] = (),
    *,
    frozen: Collection[int] = (),
) -> Iterator[Moment]:
    """Train a chain, or a stack of chains, in place.

    Args:
        weights: The matrices; they are overwritten.
        examples: Inputs and labels.
        activation: A name in `ACTIVATIONS`.
        descent: How.
        moments: The steps to stop at; the last one is always among them.
        frozen: The places of matrices that are not trained.

    Yields:
        The moments, in order.

    Raises:
        DivergedError: If a weight stops being finite.
    """
    trained = [place for place in range(len(weights)) if place not in frozen]
    sums = [torch.zeros_like(weights[place]) for place in trained]
    wanted = {*moments, descent.steps}
    for step in range(descent.steps + 1):
        last = step == descent.steps
        if step in wanted or step % CHECKED == 0:
            if not all(bool(weight.isfinite().all()) for weight in weights):
                raise diverged("step", step, step)
            if step in wanted:
                averaged = tuple(each / descent.average for each in sums) if last and descent.average else None
                yield Moment(step, tuple(weights), averaged)
        if last:
            return
        slopes = _gradients(weights, *examples, activation)
        for place, total in zip(trained, sums, strict=True):
            weights[place].mul_(descent.kept).sub_(slopes[place], alpha=descent.learning_rate)
            if step >= descent.steps - descent.average:
                total += slopes[place]
