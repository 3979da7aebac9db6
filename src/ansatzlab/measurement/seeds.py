"""Which combinations of the outputs are differentiated: one backward pass for each direction in output space."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import InputError


@dataclass(frozen=True)
class Exact:
    """Every output once: one backward pass per output, no sampling error.

    Definition:
        Summing ``(∂f_c/∂z)ᵀ(∂f_c/∂z)`` over all c gives the AGOP's factor exactly. Differentiating the *sum* of the
        outputs once would give the outer product of the sum instead, which is another matrix.
    """


@dataclass(frozen=True)
class Signs:
    """Random signs on the outputs: ``count`` backward passes however many outputs there are.

    Definition:
        ``K ≈ (1/k) Σ_t (Jᵀv_t)(Jᵀv_t)ᵀ``, unbiased because E[v vᵀ] = I. The v_t of one example are k different rows of
        a Hadamard matrix with its columns' signs drawn at random: orthogonal where the order of the matrix is the
        number of outputs. From k = number of outputs (of the first batch) on, `Exact` is cheaper and is used instead.

    Attributes:
        count: k, the number of directions.
        seed: Of the generator; give each process of a distributed measurement its own.
        shared: Whether every example and batch sees the same signs. Only then can a mean gradient be taken out
            (``centered=True``); the signs' errors then do not average out over examples, and there are no standard
            errors.
    """

    count: int
    seed: int = 0
    shared: bool = False

    def __post_init__(self) -> None:
        """Refuse a count below 1."""
        if self.count < 1:
            raise InputError(f"Signs(count={self.count}): wanted at least one direction.")


@dataclass(frozen=True)
class Output:
    """One output alone.

    Attributes:
        index: Which, counted over the flattened outputs of an example.
    """

    index: int


@dataclass(frozen=True)
class LossGradient:
    """The gradient of a loss instead of the outputs', as eNFA and FACT take it.

    Attributes:
        loss: From the picked output tensor and the batch to one loss per example, shape (n,).
    """

    loss: Callable[[Tensor, Any], Tensor]


Seeds = Exact | Signs | Output | LossGradient


def for_outputs(seeds: Seeds, outputs: int) -> Seeds:
    """Return the seeds that serve a network of so many outputs: `Exact` for at least as many signs as outputs.

    Raises:
        InputError: If an output is asked for that is not there.
    """
    if isinstance(seeds, Output) and not 0 <= seeds.index < outputs:
        raise InputError(f"measure(seeds=): got Output({seeds.index}) of {outputs} outputs; wanted 0 to {outputs - 1}.")
    return Exact() if isinstance(seeds, Signs) and seeds.count >= outputs else seeds


def count_directions(seeds: Seeds, outputs: int) -> int:
    """Return the number of backward passes per batch."""
    if isinstance(seeds, Exact):
        return outputs
    return seeds.count if isinstance(seeds, Signs) else 1


def can_be_centered(seeds: Seeds) -> bool:
    """Whether a direction means the same for every example, so that its mean gradient exists."""
    return not isinstance(seeds, Signs) or seeds.shared


def is_sampled_by_example(seeds: Seeds) -> bool:
    """Whether all that is random was drawn for each example anew, so that examples tell how much it matters."""
    return not isinstance(seeds, Signs) or not seeds.shared


def cotangents(
    seeds: Seeds, outputs: Float[Tensor, "n c"], picked: Tensor, batch: object, index: int
) -> Iterator[Float[Tensor, "n c"]]:
    """Yield the directions, one a backward pass; their outer products add up to the identity on average.

    Args:
        seeds: Which directions.
        outputs: The outputs, for their shape and values.
        picked: The output tensor before it was flattened, for a loss.
        batch: The batch, for a loss.
        index: The batch's place, which with the seed fixes the signs.

    Yields:
        For every example a direction in output space.

    Raises:
        InputError: If a loss is not one finite number per example.
    """
    if isinstance(seeds, Exact | Output):
        chosen = range(outputs.shape[1]) if isinstance(seeds, Exact) else [seeds.index]
        for column in chosen:
            direction = torch.zeros_like(outputs)
            direction[:, column] = 1
            yield direction
    elif isinstance(seeds, Signs):
        yield from _signs(seeds, outputs, index)
    else:
        yield _loss_gradient(seeds, outputs, picked, batch)


def _signs(seeds: Signs, outputs: Float[Tensor, "n c"], index: int) -> Iterator[Float[Tensor, "n c"]]:
    examples, count = outputs.shape
    generator = torch.Generator().manual_seed(seeds.seed * 1_000_003 + (0 if seeds.shared else index + 1))
    order = 1 << (max(count, seeds.count) - 1).bit_length()
    rows = torch.randperm(order, generator=generator)[: seeds.count]
    flips = torch.randint(2, (1 if seeds.shared else examples, count), generator=generator)
    for row in rows:
        parity = _parity(row & torch.arange(count))
        signs = (1 - 2 * (parity ^ flips)).to(outputs)
        yield signs.expand(examples, count) / seeds.count**0.5


def _parity(numbers: Tensor) -> Tensor:
    """Return whether each number has an odd count of set bits: the entries of Sylvester's Hadamard matrix."""
    for shift in (16, 8, 4, 2, 1):
        numbers = numbers ^ (numbers >> shift)
    return numbers & 1


def _loss_gradient(
    seeds: LossGradient, outputs: Float[Tensor, "n c"], picked: Tensor, batch: object
) -> Float[Tensor, "n c"]:
    leaf = outputs.detach().requires_grad_()
    losses = seeds.loss(leaf.reshape(picked.shape), batch)
    if losses.shape != (len(outputs),) or not bool(torch.isfinite(losses).all()):
        raise InputError(
            f"measure(seeds=LossGradient): the loss returns shape {tuple(losses.shape)} for {len(outputs)} examples or "
            "is not finite; wanted one finite number per example; use reduction='none' and mean over what is left."
        )
    (gradient,) = torch.autograd.grad(losses.sum(), leaf, allow_unused=True) if losses.requires_grad else (None,)
    if gradient is None:
        raise InputError(
            "measure(seeds=LossGradient): the loss does not depend on the outputs that it is given; wanted it computed "
            "from its first argument, and not from detached numbers."
        )
    return gradient
