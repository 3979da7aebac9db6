"""Train a nonlinear network and measure its layers, as training goes on, beside their nulls."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ansatzlab.data.dataset import subsample
from ansatzlab.errors import InputError
from ansatzlab.laws.tansley2025nfa.nonlinear.objective import SampleLoss, share_right
from ansatzlab.laws.tansley2025nfa.nonlinear.reading import Row, best_exponent, judged, score
from ansatzlab.laws.tansley2025nfa.nonlinear.recipe import (
    ConvolutionRecipe,
    PerceptronRecipe,
    Recipe,
    TransformerRecipe,
)
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Exact, Seeds, Signs
from ansatzlab.models.conv import small_cnn
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.models.transformer import CharTransformer
from ansatzlab.sweeps.spec import DataSpec
from ansatzlab.training.dynamics import Optimizer, named_dynamics
from ansatzlab.training.loop import train
from ansatzlab.training.objective import square_loss

SCHEMES = {"tanh": "xavier"}
"""The initialisation of an activation, where that is not ``he``."""

HALF, LAW = "half", "law"
"""What the columns of the exponents ½ and 1/(L − l + 1) start with."""


@dataclass(frozen=True)
class Subject:
    """A network with its data.

    Attributes:
        model: The network, with its initial weights.
        inputs: The inputs.
        classes: The right classes.
        objective: The loss on them.
        chained: Whether its layers form a chain, so that layer l of L has the exponent 1/(L − l + 1).
        seeds: Which combinations of its outputs are differentiated.
    """

    model: nn.Module
    inputs: Tensor
    classes: Tensor
    objective: SampleLoss
    chained: bool = True
    seeds: Seeds = Exact()  # noqa: RUF009 - frozen and empty


def train_measured(*, seed: int, **options: object) -> Iterator[Row]:
    """Train a multilayer perceptron without biases on half the squared error, in single precision.

    Args:
        seed: Of the initial weights and of the batches.
        options: The fields of `PerceptronRecipe`.

    Yields:
        The rows of `measured_along`.

    Raises:
        InputError: If an option is not valid.
        DivergedError: If the training stops being finite.
    """
    recipe = PerceptronRecipe.parse(options, "train_measured")
    inputs, targets = examples(recipe.data, recipe.size, recipe.digest)
    widths = [inputs.shape[1], *[recipe.width] * (recipe.depth - 1), targets.shape[1]]
    model = MLP(widths, activation=recipe.activation, bias=False, dtype=torch.float32)
    initialize(model, SCHEMES.get(recipe.activation, "he"), seed=seed)
    objective = SampleLoss(model, inputs, targets, square_loss)
    yield from measured_along(Subject(model, inputs, targets.argmax(1), objective), recipe, seed)


def train_convolutions(*, seed: int, **options: object) -> Iterator[Row]:
    """Train two convolutions and a linear classifier on half the squared error, in single precision.

    Args:
        seed: Of the initial weights and of the batches.
        options: The fields of `ConvolutionRecipe`.

    Yields:
        The rows of `measured_along`.

    Raises:
        InputError: If an option is not valid or the data are not images of 28 × 28.
        DivergedError: If the training stops being finite.
    """
    recipe = ConvolutionRecipe.parse(options, "train_convolutions")
    inputs, targets = examples(recipe.data, recipe.size, recipe.digest)
    if inputs.shape[1] != 28 * 28:
        raise InputError(
            f"train_convolutions: got {inputs.shape[1]} inputs in {recipe.data!r}; wanted images of 28 × 28 pixels; "
            "use mnist or fashion_mnist."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = small_cnn(classes=targets.shape[1], width=recipe.width, dtype=torch.float32)
    images = inputs.view(-1, 1, 28, 28)
    objective = SampleLoss(model, images, targets, square_loss)
    yield from measured_along(Subject(model, images, targets.argmax(1), objective), recipe, seed)


def train_transformer(*, seed: int, **options: object) -> Iterator[Row]:
    """Train a causal character transformer on cross-entropy, in single precision.

    Conventions:
        Four random signs on all outputs of all positions stand for the outputs. Its layers do not form a chain, so that
        the exponent 1/(L − l + 1) is not defined and not read.

    Args:
        seed: Of the initial weights and of the batches.
        options: The fields of `TransformerRecipe`.

    Yields:
        The rows of `measured_along`.

    Raises:
        InputError: If an option is not valid.
        DivergedError: If the training stops being finite.
    """
    recipe = TransformerRecipe.parse(options, "train_transformer")
    tokens, vocabulary = windows(recipe.context + 1, recipe.size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CharTransformer(
            vocabulary, recipe.context, recipe.width, recipe.heads, recipe.depth, dtype=torch.float32
        )
    inputs, classes = tokens[:, :-1], tokens[:, 1:]

    def loss(outputs: Tensor, wanted: Tensor) -> Tensor:
        return cross_entropy(outputs.flatten(0, 1), wanted.flatten())

    objective = SampleLoss(model, inputs, classes, loss)
    yield from measured_along(Subject(model, inputs, classes, objective, chained=False, seeds=Signs(4)), recipe, seed)


def measured_along(subject: Subject, recipe: Recipe, seed: int) -> Iterator[Row]:
    """Train and measure at evenly spaced moments of a logarithmic clock.

    Args:
        subject: The network with its data; trained in place.
        recipe: How.
        seed: Of the batches.

    Yields:
        A row for each snapshot and linear map: ``accuracy`` on the probe, ``weight_norm``, the columns of
        `ansatzlab.laws.tansley2025nfa.nonlinear.reading.score` at ½ and, in a chain, at 1/(L − l + 1); at every other
        snapshot and the last those of `judged` at ½; at the last those of `judged` at 1/(L − l + 1) and of
        `best_exponent`.

    Raises:
        InputError: If the optimiser or a number is not valid.
        DivergedError: If the training stops being finite.
    """
    batch = min(recipe.batch_size, len(subject.inputs))
    steps = recipe.epochs * (len(subject.inputs) // batch)
    optimizer = named_dynamics(
        recipe.optimizer,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        batch_size=batch,
        schedule="cosine",
        steps=steps,
    )
    assert isinstance(optimizer, Optimizer), "a recipe has no gradient flow"
    probe = subject.inputs[: recipe.probe]
    for snapshot in train(subject.model, subject.objective, optimizer, snapshots=recipe.snapshots, seed=seed):
        first, last = snapshot.index == 0, snapshot.step == steps
        measured = measure(
            subject.model,
            [probe],
            layers=lambda _, module: isinstance(module, nn.Linear | nn.Conv2d),
            seeds=subject.seeds,
            check="first" if first else "never",
        )
        shared: Row = {
            "snapshot": snapshot.index,
            "step": snapshot.step,
            "flow_time": snapshot.flow_time,
            "loss": snapshot.loss,
            "accuracy": share_right(subject.model, probe, subject.classes[: recipe.probe]),
        }
        for index, (name, layer) in enumerate(measured.items(), start=1):
            law = 1 / (len(measured) - index + 1) if subject.chained else None
            yield {
                **shared,
                "layer": name,
                "layer_index": index,
                "weight_norm": float(layer.blocks.norm()),
                **_read(layer, law, recipe.draws, nulls=last or snapshot.index % 2 == 0, last=last),
            }


def _read(layer: LayerMeasurement, law: float | None, draws: int, *, nulls: bool, last: bool) -> Row:
    found = score(layer, HALF, 0.5)
    if nulls:
        found |= judged(layer, HALF, 0.5, draws)
    if law is not None:
        found |= score(layer, LAW, law)
    if last:
        found |= best_exponent(layer)
    if last and law is not None:
        same = {name.replace(HALF, LAW, 1): value for name, value in found.items() if name.startswith(HALF)}
        found |= same if law == 0.5 else judged(layer, LAW, law, draws)
    return found


@cache
def examples(data: str, size: int, digest: str = "") -> tuple[Tensor, Tensor]:
    """Return inputs and targets of a data set in single precision, drawn once for all runs of a process.

    Args:
        data: Its name.
        size: How many; all of them if there are fewer.
        digest: Of a file, its content's hash.

    Returns:
        Inputs (n, i) and targets (n, c), in a random order that is always the same.

    Raises:
        InputError: If the data cannot be read, or their file changed.
    """
    dataset = DataSpec(name=data, digest=digest).load()
    drawn = subsample(dataset, seed=0, size=min(size, len(dataset.inputs)))
    return drawn.inputs.float(), drawn.targets.float()


@cache
def windows(length: int, size: int) -> tuple[Tensor, int]:
    """Return windows of Python's documentation as numbers of characters, and how many characters there are.

    Args:
        length: Characters of a window.
        size: How many windows, spread evenly; as many as do not overlap if those are fewer.

    Returns:
        The windows (n, length) in a random order that is always the same, and the size of the alphabet.
    """
    text = "\n".join(topics[name] for name in sorted(topics))
    places = {character: place for place, character in enumerate(sorted(set(text)))}
    tokens = torch.tensor([places[character] for character in text])
    whole = tokens[: len(tokens) // length * length].view(-1, length)
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
    return whole[order[:size]], len(places)
