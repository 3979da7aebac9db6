"""Training deep linear networks by stochastic descent until their imbalance stands at its noise floor."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ansatzlab.data.dataset import Dataset
from ansatzlab.data.registry import load
from ansatzlab.laws.tansley2025nfa.noise.theory import balanced_minimum, predicted_brackets
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.training.balance import imbalance
from ansatzlab.training.loop import diverged
from ansatzlab.training.objective import StackedLinearSquareLoss

Row = dict[str, object]

CHECKED = 1000
"""A training is looked at for divergence every so many steps."""


def train_to_floor(
    *,
    seed: int,
    depth: int,
    width: int,
    points: Sequence[Sequence[float]],
    noise: float,
    size: int,
    input_dim: int,
    spectrum: Sequence[float],
    batch_size: int,
    replicas: int,
    burn_in: float,
    average: float,
    data: str = "low_rank_linear",
) -> Iterator[Row]:
    """Train at several rates and decays at once and report the mean imbalance of each pair of layers.

    Conventions:
        All points start from the same Gaussian weights and see the same batches, drawn with replacement; replicas of a
        point differ in their batches. Times are in units of ``1/(2ηλ)`` of the slowest point, so that all points take
        the same number of steps.

    Args:
        seed: Of the teacher, the weights and the batches.
        depth: L.
        width: Of the hidden layers.
        points: Pairs of a learning rate η and a decay λ.
        noise: Standard deviation of the label noise.
        size: Number of examples.
        input_dim: Number of inputs.
        spectrum: Singular values of the teacher, as many as there are outputs.
        batch_size: Examples a step.
        replicas: Trainings of every point.
        burn_in: How long it trains before it averages.
        average: How long it averages.
        data: The teacher's name.

    Yields:
        For every point (as the snapshot) and pair of layers (as the layer below): its rate and decay, the measured
        floor ‖E[D]‖, the predicted one ``η/(2λ − ηλ²) ‖E[S]‖`` with the S that was met, the relative difference of the
        two matrices, the floor foretold from the full-batch minimum, and ``‖E[W_l W_lᵀ]‖``.

    Raises:
        DivergedError: If a loss stops being finite.
    """
    dataset = load(
        data, seed=seed, size=size, input_dim=input_dim, output_dim=len(spectrum), spectrum=spectrum, noise=noise
    )
    slowest = min(2 * rate * decay for rate, decay in points)
    steps = _Steps(math.ceil(burn_in / slowest), math.ceil(average / slowest), batch_size, seed)
    weights = _start(dataset, depth, width, seed, len(points) * replicas)
    means, loss = _averages(weights, StackedLinearSquareLoss([dataset]), points, steps)
    for place, (rate, decay) in enumerate(points):
        part = slice(place * replicas, (place + 1) * replicas)
        factor = rate / (2 * decay - rate * decay**2)
        expected = predicted_brackets(balanced_minimum(dataset, depth, decay), dataset, batch_size)
        for layer, (D, S, gram) in enumerate(means):
            yield {
                "snapshot": place,
                "step": steps.burn_in + steps.average,
                "loss": float(loss[part].mean()),
                "layer": f"layers.{layer}",
                "layer_index": layer + 1,
                "step_size": rate,
                "decay": decay,
                **_floor(D[part].mean(0), factor * S[part].mean(0)),
                "floor_foretold": factor * float(expected[layer].norm()),
                "weight_scale": float(gram[part].mean(0).norm()),
            }


@dataclass(frozen=True)
class _Steps:
    """How long is trained, and on what batches."""

    burn_in: int
    average: int
    batch_size: int
    seed: int


def _start(data: Dataset, depth: int, width: int, seed: int, count: int) -> list[Tensor]:
    model = DeepLinear([data.inputs.shape[1], *[width] * (depth - 1), data.targets.shape[1]])
    initialize(model, "gaussian", seed=seed)
    return [parameter.detach().expand(count, -1, -1).clone() for parameter in model.parameters()]


def _averages(
    weights: list[Tensor], objective: StackedLinearSquareLoss, points: Sequence[Sequence[float]], steps: _Steps
) -> tuple[list[tuple[Tensor, Tensor, Tensor]], Tensor]:
    """Train in place; return for each pair the means of D, of its bracket and of W_l W_lᵀ, and the last losses."""
    replicas = len(weights[0]) // len(points)
    rates, decays = (
        torch.tensor([point[index] for point in points], dtype=torch.float64).repeat_interleave(replicas)[:, None, None]
        for index in (0, 1)
    )
    kept = 1 - rates * decays
    generator = torch.Generator().manual_seed(steps.seed)
    sums: list[list[Tensor]] = [[torch.zeros(()) for _ in range(3)] for _ in weights[1:]]
    for step in range(steps.burn_in + steps.average):
        rows = torch.randint(objective.examples, (replicas, steps.batch_size), generator=generator)
        losses, gradients = objective(weights, rows.repeat(len(points), 1))
        if step % CHECKED == 0 and not bool(losses.isfinite().all()):
            raise diverged("step", step, step)
        if step >= steps.burn_in:
            for total, *terms in zip(sums, imbalance(weights), imbalance(gradients), weights, strict=False):
                total[:] = [old + new for old, new in zip(total, (*terms[:2], terms[2] @ terms[2].mT), strict=True)]
        weights[:] = [kept * weight - rates * gradient for weight, gradient in zip(weights, gradients, strict=True)]
    losses, _ = objective(weights)
    if not bool(losses.isfinite().all()):
        raise diverged("step", step, step)
    return [tuple(each / steps.average for each in total) for total in sums], losses  # type: ignore[misc]


def _floor(measured: Tensor, predicted: Tensor) -> Row:
    return {
        "floor": float(measured.norm()),
        "floor_predicted": float(predicted.norm()),
        "floor_error": float((measured - predicted).norm() / measured.norm()),
    }
