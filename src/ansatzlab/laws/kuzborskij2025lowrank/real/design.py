"""The trainings on pairs of classes of real data."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from ansatzlab.laws.kuzborskij2025lowrank.merged import design as merged
from ansatzlab.laws.kuzborskij2025lowrank.stationary import design as stationary
from ansatzlab.laws.kuzborskij2025lowrank.tasks import check_classes
from ansatzlab.laws.law import Budget
from ansatzlab.sweeps.spec import ONE_OR_MORE, DataSpec, Frozen, Seed
from ansatzlab.sweeps.task import TaskSpec, data_options

LINEAR = "real-linear"
RELU = "real-relu"
UNDECAYED = "real-undecayed"
AS_THEY_ARE = "real-as-they-are"
DISJOINT = "real-disjoint"

Pair = tuple[NonNegativeInt, NonNegativeInt]
Planned = list[tuple[str, str, dict[str, Any]]]


class Design(Frozen):
    """The settings of the chapter's experiments.

    Attributes:
        seeds: Of the draw of the examples and of the initial weights.
        task_classes: The two classes of either task, by their places among the targets.
        task_examples: Examples of each task.
        radius: The norm that every input is scaled to.
        real_depth: K of the networks that are trained to stationary points.
        real_width: Of their hidden layers.
        real_decay: λ of these.
        real_linear_rate: η of the linear ones.
        real_linear_steps: Steps of the linear ones.
        real_relu_rate: η of the ReLU ones.
        real_relu_steps: Steps of the ReLU ones.
        real_average: Over how many of their last steps the gradient is averaged.
        real_merged_width: Of the hidden layer of the networks that are merged.
        real_merged_decay: λ of these.
        real_merged_rate: η of these.
        real_merged_steps: Their steps.
    """

    seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    task_classes: tuple[Pair, Pair] = ((0, 1), (2, 3))
    task_examples: Annotated[int, Field(ge=4)] = 40
    radius: PositiveFloat = 4.0
    real_depth: Annotated[int, Field(ge=2)] = 3
    real_width: PositiveInt = 30
    real_decay: PositiveFloat = 6e-3
    real_linear_rate: PositiveFloat = 0.5
    real_linear_steps: PositiveInt = 3000
    real_relu_rate: PositiveFloat = 0.1
    real_relu_steps: PositiveInt = 5000
    real_average: NonNegativeInt = 2000
    real_merged_width: PositiveInt = 100
    real_merged_decay: PositiveFloat = 4e-3
    real_merged_rate: PositiveFloat = 1.0
    real_merged_steps: PositiveInt = 1500


DESIGNS: Mapping[Budget, Design] = {
    "quick": Design(),
    "full": Design(
        task_examples=100,
        real_width=50,
        real_decay=3e-3,
        real_linear_steps=10000,
        real_relu_steps=20000,
        real_average=4000,
        real_merged_decay=1e-3,
        real_merged_steps=6000,
    ),
}


def plan(design: Design, data: str) -> tuple[TaskSpec, ...]:
    """Return every run that the chapter's claims need.

    Args:
        design: The settings.
        data: A data set with one-hot classes, by name or as a file.

    Returns:
        The specs.

    Raises:
        InputError: If the data cannot be read, or are not classes that hold those that are asked for.
    """
    source = DataSpec.of(data)
    check_classes(source.load(), design.task_classes)
    shared: dict[str, Any] = {
        **data_options(source),
        "examples": design.task_examples,
        "radius": design.radius,
    }
    return tuple(
        TaskSpec(experiment=experiment, task=task, seed=seed, options={**shared, **own})
        for seed in design.seeds
        for experiment, task, own in (*_stationary(design), *_merged(design))
    )


def _stationary(design: Design) -> Planned:
    kinds = (
        (LINEAR, "identity", design.real_decay, design.real_linear_rate, design.real_linear_steps, 0),
        (RELU, "relu", design.real_decay, design.real_relu_rate, design.real_relu_steps, design.real_average),
        (UNDECAYED, "relu", 0.0, design.real_relu_rate, design.real_relu_steps, 0),
    )
    return [
        (
            experiment,
            stationary.TASK,
            {
                "classes": list(pair),
                "activation": activation,
                "depth": design.real_depth,
                "width": design.real_width,
                "weight_decay": 2 * decay,
                "learning_rate": rate,
                "steps": steps,
                "average": average,
            },
        )
        for pair in design.task_classes
        for experiment, activation, decay, rate, steps, average in kinds
    ]


def _merged(design: Design) -> Planned:
    return [
        (
            experiment,
            merged.TASK,
            {
                "classes": [list(pair) for pair in design.task_classes],
                "kind": "readout_shared",
                "disjoint": experiment == DISJOINT,
                "depth": 2,
                "width": design.real_merged_width,
                "weight_decay": 2 * design.real_merged_decay,
                "learning_rate": design.real_merged_rate,
                "steps": design.real_merged_steps,
            },
        )
        for experiment in (AS_THEY_ARE, DISJOINT)
    ]
