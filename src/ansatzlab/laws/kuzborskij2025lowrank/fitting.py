"""Fitting a network of the user's to two classes, with decay: slow, obvious, by autograd."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ansatzlab.laws.kuzborskij2025lowrank.descent import Descent
from ansatzlab.laws.kuzborskij2025lowrank.network import evaluate, read_network
from ansatzlab.laws.kuzborskij2025lowrank.tasks import Task
from ansatzlab.training.loop import diverged


@dataclass(frozen=True)
class Fit:
    """A fitted network.

    Attributes:
        model: The network, a copy of the one that was given.
        steps: How many steps were taken.
        flow_time: Steps times learning rate.
        gradients: The gradients of the data loss by name, averaged over the last steps; None if none were.
    """

    model: nn.Module
    steps: int
    flow_time: float
    gradients: Mapping[str, Tensor] | None


def fit(model: nn.Module, task: Task, descent: Descent, *, tolerance: float = 0.0) -> Fit:
    """Fit a network to a task by gradient descent on logistic loss with decay, on all examples.

    Definition:
        ``θ ← (1 − 2ηλ) θ − η ∂L/∂θ`` with ``L = (1/n) Σ log(1 + e^{−y f(x)})``: torch's SGD with ``weight_decay`` 2λ.

    Args:
        model: A network without biases, homogeneous in every trained matrix, with one output; it is not changed.
        task: The examples.
        descent: How; where the tolerance ends it early, the gradients are averaged over at least ``average`` of the
            last steps that were taken, and less than twice as many.
        tolerance: Where to stop before all steps are taken: once ``‖∂L/∂θ + 2λθ‖ ≤ tolerance · ‖2λθ‖``. With 0 all
            steps are taken. A ReLU network stays at kinks and need not reach any.

    Returns:
        A fitted copy.

    Raises:
        ModelError: If the network is another.
        DivergedError: If the loss stops being finite.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 1, bias=False)).double()
        >>> task = Task("two points", torch.eye(2).double(), torch.tensor([1.0, -1.0]))
        >>> fitted = fit(model, task, Descent(decay=0.01, learning_rate=0.5, steps=5000), tolerance=1e-6)
        >>> fitted.steps < 5000, bool((task.labels * fitted.model(task.inputs)[:, 0] > 0).all())
        (True, True)
    """
    trained = read_network(model, task.inputs).trained
    fitted = deepcopy(model)
    named = dict(fitted.named_parameters())
    parameters = [named[name] for name in trained]
    sums = _BlockSums(descent)
    steps = 0
    for step in range(descent.steps):
        loss = softplus(-task.labels * evaluate(fitted, task.inputs)).mean()
        if not bool(loss.isfinite()):
            raise diverged("step", step, step)
        slopes = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            pulls = [2 * descent.decay * parameter for parameter in parameters]
            if tolerance and _norm([g + pull for g, pull in zip(slopes, pulls, strict=True)]) <= tolerance * _norm(
                pulls
            ):
                break
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.mul_(descent.kept).sub_(slope, alpha=descent.learning_rate)
        sums.add(step, slopes)
        steps += 1
    means = sums.means()
    gradients = None if means is None else dict(zip(trained, means, strict=True))
    return Fit(fitted, steps, steps * descent.learning_rate, gradients)


class _BlockSums:
    """Sums of gradients over blocks of steps, of which the last ends with the descent; two blocks are kept."""

    def __init__(self, descent: Descent) -> None:
        self._descent = descent
        self._blocks: list[tuple[int, list[Tensor]]] = []

    def add(self, step: int, slopes: Sequence[Tensor]) -> None:
        """Add the gradients of a step."""
        if not self._descent.average:
            return
        if not self._blocks or (self._descent.steps - step) % self._descent.average == 0:
            self._blocks = [*self._blocks[-1:], (0, [torch.zeros_like(slope) for slope in slopes])]
        count, sums = self._blocks[-1]
        for total, slope in zip(sums, slopes, strict=True):
            total += slope
        self._blocks[-1] = (count + 1, sums)

    def means(self) -> list[Tensor] | None:
        """Return the averages: over the last block, or the last two where the last one is not full."""
        if not self._blocks:
            return None
        blocks = self._blocks[-1:] if self._blocks[-1][0] >= self._descent.average else self._blocks
        count = sum(each for each, _ in blocks)
        return [torch.stack(totals).sum(0) / count for totals in zip(*(sums for _, sums in blocks), strict=True)]


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.cat([tensor.reshape(-1) for tensor in tensors]).norm())
