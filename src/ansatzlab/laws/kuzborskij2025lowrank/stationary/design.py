"""The trainings that end at stationary points."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from ansatzlab.laws.kuzborskij2025lowrank.stationary.training import SIGNS
from ansatzlab.laws.law import Budget
from ansatzlab.sweeps.spec import ONE_OR_MORE, Frozen, Seed
from ansatzlab.sweeps.task import TaskSpec

LINEAR = "lowrank-linear"
RELU = "lowrank-relu"
UNDECAYED = "lowrank-undecayed"
RATE = "lowrank-rate"
RATE_UNDECAYED = "lowrank-rate-undecayed"
SQUARES = "lowrank-squares"
COLLAPSE = "lowrank-collapse"
TASK = "ansatzlab.laws.kuzborskij2025lowrank.stationary.training:train_to_stationarity"

Depths = Annotated[tuple[Annotated[int, Field(ge=2)], ...], *ONE_OR_MORE]
Positives = Annotated[tuple[PositiveFloat, ...], *ONE_OR_MORE]
Points = Annotated[tuple[tuple[PositiveFloat, PositiveFloat], ...], Field(min_length=1)]

FALL = 2.4
"""Imbalance is followed until it should have fallen by e to this."""


class Design(Frozen):
    """The settings of the chapter's experiments.

    Attributes:
        seeds: Of the data and the initial weights.
        examples: Gaussian examples.
        inputs: Their inputs.
        width: Of the hidden layers.
        linear_depths: K of the linear networks.
        linear_decays: λ of the linear networks.
        linear_rate: η of the linear networks.
        linear_steps: Their steps.
        relu_depths: K of the ReLU networks.
        relu_decay: λ of the ReLU networks and of the one with squared ReLU.
        relu_rates: η of the ReLU networks; those without decay have the largest.
        relu_time: For how long they are trained, steps times η.
        average: Over how many of the last steps the gradient of a ReLU network is averaged.
        rate_depths: K of the networks whose imbalance is followed.
        rate_points: Pairs of λ and η for these.
        squares_rate: η with squared ReLU.
        squares_steps: Steps with squared ReLU.
        collapse_decay: A λ that is too large.
    """

    seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    examples: PositiveInt = 40
    inputs: PositiveInt = 20
    width: PositiveInt = 50
    linear_depths: Depths = (3,)
    linear_decays: Positives = (3e-3,)
    linear_rate: PositiveFloat = 0.5
    linear_steps: PositiveInt = 5000
    relu_depths: Depths = (3,)
    relu_decay: PositiveFloat = 3e-3
    relu_rates: Positives = (0.5, 0.1)
    relu_time: PositiveFloat = 2000.0
    average: NonNegativeInt = 4000
    rate_depths: Depths = (3,)
    rate_points: Points = ((0.01, 0.1), (0.03, 0.1))
    squares_rate: PositiveFloat = 0.2
    squares_steps: PositiveInt = 6000
    collapse_decay: PositiveFloat = 0.3


DESIGNS: Mapping[Budget, Design] = {
    "quick": Design(),
    "full": Design(
        linear_depths=(2, 3, 4),
        linear_decays=(1e-3, 3e-3),
        linear_steps=20000,
        relu_depths=(2, 3, 4),
        relu_time=4000.0,
        rate_depths=(2, 3),
        rate_points=((0.01, 0.02), (0.01, 0.1), (0.03, 0.1)),
        squares_rate=0.1,
        squares_steps=20000,
    ),
}


def plan(design: Design, _: str) -> tuple[TaskSpec, ...]:
    """Return every run that the chapter's claims need.

    Args:
        design: The settings.
        _: The data set that the user asked for; this chapter brings its own.

    Returns:
        The specs.
    """
    runs = [*_linear(design), *_relu(design), *_rates(design), *_others(design)]
    shared: dict[str, Any] = {
        "data": SIGNS,
        "examples": design.examples,
        "inputs": design.inputs,
        "width": design.width,
    }
    return tuple(
        TaskSpec(experiment=experiment, task=TASK, seed=seed, options={**shared, **own})
        for seed in design.seeds
        for experiment, own in runs
    )


Planned = list[tuple[str, dict[str, Any]]]


def _options(activation: str, depth: int, decay: float, rate: float, steps: int) -> dict[str, Any]:
    return {
        "activation": activation,
        "depth": depth,
        "weight_decay": 2 * decay,
        "learning_rate": rate,
        "steps": steps,
    }


def _linear(design: Design) -> Planned:
    return [
        (LINEAR, _options("identity", depth, decay, design.linear_rate, design.linear_steps))
        for depth in design.linear_depths
        for decay in design.linear_decays
    ]


def _relu(design: Design) -> Planned:
    trained: Planned = [
        (
            RELU,
            {
                **_options("relu", depth, design.relu_decay, rate, round(design.relu_time / rate)),
                "average": design.average,
            },
        )
        for depth in design.relu_depths
        for rate in design.relu_rates
    ]
    rate = max(design.relu_rates)
    return trained + [
        (UNDECAYED, _options("relu", depth, 0.0, rate, round(design.relu_time / rate))) for depth in design.relu_depths
    ]


def _rates(design: Design) -> Planned:
    """Follow the imbalance of unlike layers, evenly in time, until it should have fallen by `FALL`."""
    planned: Planned = []
    for depth in design.rate_depths:
        watched: dict[str, Any] = {"scales": [1.5, *[1.0] * (depth - 1)], "snapshots": 41, "evenly": True}
        for decay, rate in design.rate_points:
            steps = max(round(FALL / (4 * decay * rate)), 40)
            planned.append((RATE, {**_options("relu", depth, decay, rate, steps), **watched}))
        decay, rate = design.rate_points[0]
        steps = max(round(FALL / (4 * decay * rate)), 40)
        planned.append((RATE_UNDECAYED, {**_options("relu", depth, 0.0, rate, steps), **watched}))
    return planned


def _others(design: Design) -> Planned:
    collapsing = _options("relu", 3, design.collapse_decay, 0.1, 1000)
    squares = _options("relu_squared", 2, design.relu_decay, design.squares_rate, design.squares_steps)
    return [(SQUARES, {**squares, "scales": [0.5, 0.5]}), (COLLAPSE, collapsing)]
