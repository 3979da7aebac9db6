"""A search for networks that fit a user's data and disobey the ansatz in their first layer."""

import math
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.counterexamples.family import linear_layers_of
from ansatzlab.counterexamples.misalignment import best_alignment, exponent_grid
from ansatzlab.counterexamples.reading import Alignments, first_layer, read_alignments
from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import ACTIVATIONS, MLP
from ansatzlab.training.dynamics import Optimizer
from ansatzlab.training.loop import draw_batches, train
from ansatzlab.training.objective import LOSSES, objective_for

HOMOGENEOUS = ("identity", "leaky_relu", "relu")
"""Activations with σ(cz) = cσ(z) for c > 0: a neuron's weights can be moved between its two sides."""

EXPONENTS = exponent_grid(12)
TEMPERATURE = 0.02
CHECKED = 25
"""Every so many steps the fit is looked at on all examples, and the best network so far is kept."""

HARDER, SOFTER = 1.5, 1.3
"""How much more the loss counts when the fit is not as asked, and how much less when it is."""

EXTRA = 0.2
"""The search holds the error this far below what is asked, relative to it: a fit on a batch is not one on all."""


@dataclass(frozen=True)
class Goal:
    """What is looked for, and how long.

    Attributes:
        hidden: The hidden widths, at least one.
        activation: A name in `ansatzlab.models.mlp.ACTIVATIONS`.
        accuracy: The least share of examples whose largest output is that of their class; None for a regression.
        loss: Of a regression the largest square loss; None where an accuracy is asked.
        balanced: Whether every hidden neuron's incoming and outgoing weights are to have the same norm.
        training_steps: Steps of the plain training that comes first.
        steps: Steps of the search.
        batch_size: Examples in a batch (fewer if there are fewer).
        learning_rate: Of the search.
        seed: Of the initial weights and the batches.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    accuracy: float | None = 0.95
    loss: float | None = None
    balanced: bool = True
    training_steps: int = 600
    steps: int = 150
    batch_size: int = 256
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be looked for.

        Raises:
            InputError: If a field has no use, or both or neither of accuracy and loss are given.
            UnknownNameError: If the activation is unknown.
        """
        if (self.accuracy is None) == (self.loss is None):
            raise InputError("search: got both or neither of accuracy and loss; wanted one of them; leave one out.")
        if self.accuracy is not None and not 0 < self.accuracy <= 1:
            raise InputError(f"search: got accuracy {self.accuracy}; wanted a share above 0, at most 1; change it.")
        if self.loss is not None and not 0 < self.loss < math.inf:
            raise InputError(f"search: got loss {self.loss}; wanted a positive number; change it.")
        if self.activation not in ACTIVATIONS:
            raise UnknownNameError("activation", self.activation, ACTIVATIONS)
        if self.balanced and self.activation not in HOMOGENEOUS:
            raise InputError(
                f"search: got balanced=True for {self.activation!r}, whose neurons cannot be rescaled; wanted one of "
                f"{', '.join(HOMOGENEOUS)}; use balanced=False."
            )
        numbers = (*self.hidden, self.steps, self.training_steps, self.batch_size)
        if not self.hidden or min(numbers) < 1 or not 0 < self.learning_rate < math.inf:
            raise InputError(f"search: got {self}; wanted a hidden layer, positive widths, steps, batches and rate.")


@dataclass(frozen=True)
class Fit:
    """How well a network fits.

    Attributes:
        loss: Cross-entropy of a classification, square loss of a regression.
        accuracy: The share of examples classified rightly; nan for a regression.
    """

    loss: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found.

    Attributes:
        plain: The plainly trained network.
        model: The network that was found.
        plain_fit: How well the first fits.
        fit: How well the second fits.
        before: The first layer of the plainly trained network.
        after: The first layer of the other.
    """

    plain: MLP
    model: MLP
    plain_fit: Fit
    fit: Fit
    before: Alignments
    after: Alignments

    @property
    def drop(self) -> float:
        """By how much the best cosine over exponents fell."""
        return self.before.best_cosine - self.after.best_cosine


def search(data: Dataset, goal: Goal) -> Found:
    """Find a network that fits data as asked and whose first layer aligns with no power of its AGOP.

    Definition:
        From a plainly trained network, descend (Adam) on ``max_α cos(M, G^α) + μ · loss``, the maximum a smooth one
        over exponents from 0.05 to 4. μ grows while the fit on all examples is not as asked, and falls while it is. Of
        all networks that are looked at and fit, the one with the smallest best cosine is kept.

    Conventions:
        No biases. A balanced search rescales every neuron after each step, which leaves the function as it is: without
        that, moving the norm of one neuron from the second layer to the first would do. The fit is that on the data
        given; hold some out to see more.

    Args:
        data: The data; for an accuracy, targets are one-hot.
        goal: What is looked for.

    Returns:
        Both networks, with what was measured of them.

    Raises:
        InputError: If the targets are not classes, or the plain training does not fit as asked.
        DivergedError: If the plain training stops being finite.

    Cost:
        Per step of the search a forward pass and c rows of gradients for each example of a batch, twice.

    Source:
        tansley2025nfa, claim (iii); derived in docs/devdocs/counterexamples.md.
    """
    loss = "square" if goal.accuracy is None else "cross_entropy"
    if goal.accuracy is not None:
        _refuse_targets_without_classes(data)
    plain = MLP([data.inputs.shape[1], *goal.hidden, data.targets.shape[1]], activation=goal.activation, bias=False)
    initialize(plain, "he", seed=goal.seed)
    batch_size = min(goal.batch_size, len(data.inputs))
    adam = Optimizer(name="Adam", learning_rate=1e-3, steps=goal.training_steps, batch_size=batch_size)
    for _ in train(plain, objective_for(plain, data, loss), adam, snapshots=2, seed=goal.seed):
        pass
    plain_fit = fit_of(plain, data, loss)
    if _excess(plain_fit, goal) > 0:
        raise InputError(
            f"search: plain training reached {_told(plain_fit, goal)} in {goal.training_steps} steps; wanted "
            f"{goal.accuracy if goal.loss is None else goal.loss}; train longer, widen the network or ask for less."
        )
    model = _descend(plain, data, goal, loss, batch_size)
    return Found(
        plain=plain,
        model=model,
        plain_fit=plain_fit,
        fit=fit_of(model, data, loss),
        before=read_alignments(first_layer(plain, data.inputs), plain),
        after=read_alignments(first_layer(model, data.inputs), model),
    )


def _descend(plain: MLP, data: Dataset, goal: Goal, loss: str, batch_size: int) -> MLP:
    """Return the network with the smallest best cosine that the descent met among those that fit."""
    model = deepcopy(plain)
    if goal.balanced:
        rescale(model, sweeps=50)
    best, lowest, weight = deepcopy(model), _best_cosine(model, data), 1.0
    optimizer = torch.optim.Adam(model.parameters(), lr=goal.learning_rate)
    batches = draw_batches(len(data.inputs), batch_size, goal.seed)
    for step in range(1, goal.steps + 1):
        rows = next(batches)
        outputs, K = outputs_and_gram(model, data.inputs[rows])
        alignment = best_alignment(linear_layers_of(model)[0].weight, K, EXPONENTS, TEMPERATURE)
        optimizer.zero_grad()
        torch.autograd.backward(alignment + weight * LOSSES[loss](outputs, data.targets[rows]))
        optimizer.step()
        if goal.balanced:
            rescale(model, sweeps=1)
        if step % CHECKED and step != goal.steps:
            continue
        excess = _excess(fit_of(model, data, loss), goal)
        weight = weight * HARDER if excess > -EXTRA else weight / SOFTER
        candidate = deepcopy(model)
        if goal.balanced:
            rescale(candidate, sweeps=50)
        if excess <= 0 and (cosine := _best_cosine(candidate, data)) < lowest:
            best, lowest = candidate, cosine
    return best


def outputs_and_gram(model: MLP, inputs: Float[Tensor, "n i"]) -> tuple[Float[Tensor, "n c"], Float[Tensor, "o o"]]:
    """Return the outputs and the second moment of their gradients at the first layer's outputs, differentiable.

    Definition:
        ``K = (1/n) Σ_x Bᵀ B``, ``B = W_L D_{L−1} W_{L−1} … D_1`` with D the activation's slopes.

    Args:
        model: The network.
        inputs: Its inputs.

    Returns:
        The outputs and K.
    """
    *hidden, last = linear_layers_of(model)
    values, slopes = inputs, []
    for layer in hidden:
        before = layer(values)
        values = ACTIVATIONS[model.activation](before)
        slopes.append(torch.autograd.grad(values.sum(), before, create_graph=True)[0])
    B = last.weight * slopes[-1][:, None]
    for layer, slope in zip(reversed(hidden[1:]), reversed(slopes[:-1]), strict=True):
        B = (B @ layer.weight) * slope[:, None]
    flat = B.flatten(0, 1)
    return last(values), flat.mT @ flat / len(inputs)


def rescale(model: MLP, *, sweeps: int) -> None:
    """Move weights between the two sides of every hidden neuron, in place, until their norms are the same.

    Conventions:
        Leaves the function of a network with a homogeneous activation as it is. Neurons without weights on one side
        stay as they are. Layers disturb one another; a sweep goes through them once.

    Args:
        model: A network without biases.
        sweeps: How many times.
    """
    with torch.no_grad():
        for _ in range(sweeps):
            for lower, upper in pairwise(linear_layers_of(model)):
                incoming, outgoing = lower.weight.norm(dim=1), upper.weight.norm(dim=0)
                alive = (incoming > 0) & (outgoing > 0)
                factor = torch.where(alive, outgoing / incoming.where(alive, 1.0), 1.0).sqrt()
                lower.weight.mul_(factor[:, None])
                upper.weight.div_(factor)


def fit_of(model: MLP, data: Dataset, loss: str) -> Fit:
    """Return how well a network fits all examples."""
    with torch.no_grad():
        outputs = model(data.inputs)
        right = (outputs.argmax(1) == data.targets.argmax(1)).double().mean()
        return Fit(float(LOSSES[loss](outputs, data.targets)), float(right) if loss != "square" else float("nan"))


def _excess(fit: Fit, goal: Goal) -> float:
    """Return by how much the error is above what is asked, relative to it."""
    error, asked = (fit.loss, goal.loss) if goal.accuracy is None else (1 - fit.accuracy, 1 - goal.accuracy)
    assert asked is not None, "checked by Goal"
    return error / asked - 1 if asked > 0 else error


def _told(fit: Fit, goal: Goal) -> str:
    return f"loss {fit.loss:.3g}" if goal.accuracy is None else f"accuracy {fit.accuracy:.4f}"


def _best_cosine(model: MLP, data: Dataset) -> float:
    return float((1 - first_layer(model, data.inputs).fit_exponent().residual ** 2) ** 0.5)


def _refuse_targets_without_classes(data: Dataset) -> None:
    rows = data.targets
    if rows.shape[1] < 2 or not bool(((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all()):
        raise InputError(
            f"search: got an accuracy for {data.name!r}, whose targets are not one-hot; wanted classes; ask for a loss "
            "instead."
        )
