"""Train a chain of matrices with decay and report at every snapshot how stationary it is."""

import math
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ansatzlab.laws.kuzborskij2025lowrank.descent import Descent, Moment, descend, gaussian_chain
from ansatzlab.laws.kuzborskij2025lowrank.network import chain_module
from ansatzlab.laws.kuzborskij2025lowrank.stationarity import StationarityReport, stationarity_report
from ansatzlab.laws.kuzborskij2025lowrank.structure import Structure, structure_of
from ansatzlab.laws.kuzborskij2025lowrank.tasks import Task, class_task, sign_task
from ansatzlab.laws.runs import Row
from ansatzlab.sweeps.spec import DataSpec, Frozen
from ansatzlab.training.schedule import log_spaced_steps

SIGNS = "signs"
"""The synthetic data: Gaussian inputs, labels from a linear teacher."""


class Recipe(Frozen):
    """What is trained, and how.

    Attributes:
        data: ``signs``, or a data set with one-hot classes.
        digest: Of a file, its content's hash.
        classes: Of a data set, the two classes.
        examples: Number of examples.
        inputs: Number of inputs of the synthetic data.
        radius: The norm of every input of a data set.
        activation: A name of `ansatzlab.laws.kuzborskij2025lowrank.descent.ACTIVATIONS`.
        depth: K.
        width: Of the hidden layers.
        scales: Factors on the initial matrices, N(0, 1/inputs); empty for none.
        weight_decay: 2λ, as torch has it.
        learning_rate: η.
        steps: Steps, each on all examples.
        average: Over how many of the last steps the gradient is averaged.
        snapshots: How many moments are looked at.
        evenly: Whether they are evenly spaced in time, or in its logarithm.
    """

    data: str = SIGNS
    digest: str = ""
    classes: tuple[int, int] | None = None
    examples: PositiveInt
    inputs: PositiveInt = 1
    radius: PositiveFloat = 1.0
    activation: str
    depth: Annotated[int, Field(ge=2)]
    width: PositiveInt
    scales: tuple[PositiveFloat, ...] = ()
    weight_decay: NonNegativeFloat
    learning_rate: PositiveFloat
    steps: PositiveInt
    average: NonNegativeInt = 0
    snapshots: Annotated[int, Field(ge=2)] = 10
    evenly: bool = False

    def task(self, seed: int) -> Task:
        """Return the examples."""
        if self.classes is None:
            return sign_task(seed, self.examples, self.inputs)
        dataset = DataSpec(name=self.data, digest=self.digest).load()
        return class_task(dataset, self.classes, examples=self.examples, radius=self.radius, seed=seed)

    def moments(self) -> list[int]:
        """Return the steps at which the network is looked at."""
        if not self.evenly:
            return log_spaced_steps(self.steps, self.snapshots)
        return sorted({round(self.steps * place / (self.snapshots - 1)) for place in range(self.snapshots)})


def train_to_stationarity(*, seed: int, **options: object) -> Iterator[Row]:
    """Train a chain of matrices by gradient descent with decay.

    Args:
        seed: Of the data and of the initial weights.
        options: The fields of `Recipe`.

    Yields:
        For every snapshot and layer ``squared_norm``, ``stable_rank``, ``degree`` and, with decay, ``euler``; for all
        layers alike ``spread``, ``neuron_imbalance``, ``rank_product``, ``rank_bound``, and with decay ``cosine``,
        ``residual``, ``pull``, ``collapsed``, ``not_balanced_yet``, ``least_margin``, ``accuracy``; at the end of a
        training that averages ``averaged_cosine``.

    Raises:
        InputError: If an option is not valid.
        DivergedError: If the training stops being finite.
    """
    recipe = Recipe.parse(options, "train_to_stationarity")
    task = recipe.task(seed)
    widths = [task.inputs.shape[1], *[recipe.width] * (recipe.depth - 1), 1]
    weights = gaussian_chain(widths, seed=1000 + seed, scales=recipe.scales)
    descent = Descent(recipe.weight_decay / 2, recipe.learning_rate, recipe.steps, min(recipe.average, recipe.steps))
    moments = descend(weights, (task.inputs, task.labels), recipe.activation, descent, recipe.moments())
    for index, moment in enumerate(moments):
        yield from _rows(index, moment, recipe, task)


def _rows(index: int, moment: Moment, recipe: Recipe, task: Task) -> Iterator[Row]:
    model = chain_module(moment.weights, recipe.activation)
    names = [name for name, _ in model.named_parameters()]
    found: Row = {}
    eulers: tuple[float, ...] = (math.nan,) * recipe.depth
    if recipe.weight_decay:
        decay, flow_time = recipe.weight_decay / 2, moment.step * recipe.learning_rate
        report = stationarity_report(model, task.inputs, task.labels, decay, flow_time=flow_time)
        structure, eulers, found = report.structure, report.euler_residuals, _columns(report)
        if moment.averaged is not None:
            means = dict(zip(names, moment.averaged, strict=True))
            found["averaged_cosine"] = stationarity_report(
                model, task.inputs, task.labels, decay, gradients=means
            ).cosine
    else:
        structure = structure_of(model, task.inputs)
    for place, (layer, euler) in enumerate(zip(structure.layers, eulers, strict=True)):
        yield {
            "snapshot": index,
            "step": moment.step,
            "flow_time": moment.step * recipe.learning_rate,
            "layer": f"layers.{place}",
            "layer_index": place + 1,
            "squared_norm": layer.squared_norm,
            "stable_rank": layer.stable_rank,
            "degree": float(layer.degree),
            "euler": euler,
            **_shared(structure),
            **found,
        }


def _columns(report: StationarityReport) -> Row:
    return {
        "loss": report.loss,
        "cosine": report.cosine,
        "residual": report.residual,
        "pull": report.pull,
        "collapsed": float(report.collapsed),
        "not_balanced_yet": float(bool(report.not_balanced_yet)),
        "least_margin": report.least_margin,
        "accuracy": report.accuracy,
    }


def _shared(structure: Structure) -> Row:
    return {name: getattr(structure, name) for name in ("spread", "neuron_imbalance", "rank_product", "rank_bound")}
