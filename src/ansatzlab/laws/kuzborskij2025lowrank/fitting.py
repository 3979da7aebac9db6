"""Fitting a network of the user's to two classes, with decay: slow, obvious, by autograd."""

from collections.abc import Mapping
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
        descent: How; its ``average`` is over the last steps that were taken.
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
    recent: list[tuple[Tensor, ...]] = []
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
        recent = [*recent, slopes][-descent.average :] if descent.average else []
        steps += 1
    means = {name: torch.stack(each).mean(0) for name, each in zip(trained, zip(*recent, strict=True), strict=False)}
    return Fit(fitted, steps, steps * descent.learning_rate, means or None)


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.cat([tensor.reshape(-1) for tensor in tensors]).norm())
