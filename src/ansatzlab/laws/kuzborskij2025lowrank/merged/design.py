"""The pairs of trainings whose networks are merged."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt

from ansatzlab.laws.kuzborskij2025lowrank.merged.training import MIXED as DATA
from ansatzlab.laws.law import Budget
from ansatzlab.sweeps.spec import ONE_OR_MORE, Frozen, Seed
from ansatzlab.sweeps.task import TaskSpec

ORTHOGONAL = "merging-orthogonal"
MIXED = "merging-mixed"
UNDECAYED = "merging-undecayed"
ALL_LAYERS = "merging-all-layers"
LINEAR = "merging-linear"
TWINS = "merging-twins"
TASK = "ansatzlab.laws.kuzborskij2025lowrank.merged.training:train_and_merge"

Positives = Annotated[tuple[PositiveFloat, ...], *ONE_OR_MORE]
Mixings = Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=2)]

Planned = list[tuple[str, dict[str, Any]]]


class Design(Frozen):
    """The settings of the chapter's experiments.

    Attributes:
        seeds: Of the data and the initial weights.
        task_size: Examples of each task.
        task_inputs: Half the number of inputs.
        merged_width: Of the hidden layer of the networks with one.
        merged_decay: λ of these.
        merged_rate: η of these.
        merged_steps: Their steps.
        merges: How often they are merged, evenly in time.
        scales: Factors on their initial hidden layer; the tasks that are not orthogonal have the first.
        mixings: ε, how far the inputs of the tasks are from orthogonal.
        linear_merged_depths: K of the linear networks.
        linear_merged_widths: Of their hidden layers.
        linear_merged_decay: λ of these.
        linear_merged_rate: η of these.
        linear_merged_steps: Their steps.
    """

    seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    task_size: PositiveInt = 20
    task_inputs: PositiveInt = 20
    merged_width: PositiveInt = 100
    merged_decay: PositiveFloat = 4e-3
    merged_rate: PositiveFloat = 1.0
    merged_steps: PositiveInt = 2000
    merges: Annotated[int, Field(ge=3)] = 8
    scales: Positives = (1.0,)
    mixings: Mixings = (0.1, 0.3, 1.0)
    linear_merged_depths: Annotated[tuple[Annotated[int, Field(ge=2)], ...], *ONE_OR_MORE] = (2,)
    linear_merged_widths: Annotated[tuple[PositiveInt, ...], *ONE_OR_MORE] = (20, 80)
    linear_merged_decay: PositiveFloat = 3e-3
    linear_merged_rate: PositiveFloat = 0.5
    linear_merged_steps: PositiveInt = 2000


DESIGNS: Mapping[Budget, Design] = {
    "quick": Design(),
    "full": Design(
        merged_decay=1e-3,
        merged_steps=8000,
        scales=(1.0, 8.0),
        linear_merged_depths=(2, 3),
        linear_merged_widths=(20, 80, 320),
        linear_merged_steps=8000,
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
    shared: dict[str, Any] = {"data": DATA, "examples": design.task_size, "inputs": design.task_inputs}
    return tuple(
        TaskSpec(experiment=experiment, task=TASK, seed=seed, options={**shared, **own})
        for seed in design.seeds
        for experiment, own in (*_shallow(design), *_linear(design))
    )


def _shallow(design: Design) -> Planned:
    trained: dict[str, Any] = {
        "kind": "readout_shared",
        "width": design.merged_width,
        "weight_decay": 2 * design.merged_decay,
        "learning_rate": design.merged_rate,
        "steps": design.merged_steps,
        "snapshots": design.merges,
        "depth": 2,
        "scale": design.scales[0],
    }
    orthogonal: Planned = [
        (experiment, {**trained, "scale": scale, "weight_decay": decay})
        for scale in design.scales
        for experiment, decay in ((ORTHOGONAL, 2 * design.merged_decay), (UNDECAYED, 0.0))
    ]
    mixed: Planned = [(MIXED, {**trained, "mixing": mixing}) for mixing in sorted(design.mixings)]
    return [*orthogonal, *mixed, (ALL_LAYERS, {**trained, "kind": "all_layers"})]


def _linear(design: Design) -> Planned:
    return [
        (
            TWINS if twins else LINEAR,
            {
                "kind": "linear",
                "depth": depth,
                "width": width,
                "weight_decay": 2 * design.linear_merged_decay,
                "learning_rate": design.linear_merged_rate,
                "steps": design.linear_merged_steps,
                "snapshots": 2,
                "twins": twins,
            },
        )
        for depth in design.linear_merged_depths
        for width in design.linear_merged_widths
        for twins in (False, True)
    ]
