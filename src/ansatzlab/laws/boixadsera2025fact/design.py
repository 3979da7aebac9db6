"""The runs that test the law."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from ansatzlab.errors import UnknownNameError
from ansatzlab.laws.comparison import TASK
from ansatzlab.laws.law import Budget
from ansatzlab.models.mlp import ACTIVATIONS
from ansatzlab.sweeps.spec import ONE_OR_MORE, DataSpec, Frozen, Seed
from ansatzlab.sweeps.task import TaskSpec, data_options

COUPLED = "fact-coupled"
DECOUPLED = "fact-decoupled"


class Design(Frozen):
    """The settings of the experiments.

    Attributes:
        seeds: Of initial weights and subsamples.
        size: How many examples of the data; None for all.
        hidden: The hidden widths.
        activations: The activations that are trained with coupled decay; ReLU with decoupled decay beside them.
        weight_decay: λ.
        learning_rate: η of Adam at the start; it falls to zero along a cosine.
        steps: Steps, each on all examples.
        snapshots: How often a training is looked at.
        draws: Rotations of a null.
    """

    seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    size: PositiveInt | None = 200
    hidden: Annotated[tuple[PositiveInt, ...], *ONE_OR_MORE] = (24, 24)
    activations: Annotated[tuple[str, ...], *ONE_OR_MORE] = ("relu", "gelu")
    weight_decay: PositiveFloat = 0.01
    learning_rate: PositiveFloat = 0.03
    steps: PositiveInt = 800
    snapshots: Annotated[int, Field(ge=3)] = 6
    draws: Annotated[int, Field(ge=2)] = 5


DESIGNS: dict[Budget, Design] = {
    "quick": Design(),
    "full": Design(
        size=800, hidden=(32, 32, 32), activations=("relu", "gelu", "identity"), steps=1500, snapshots=12, draws=10
    ),
}


def plan(design: Design, data: str) -> tuple[TaskSpec, ...]:
    """Return every run that the claims need.

    Args:
        design: The settings.
        data: The data set.

    Returns:
        The specs.

    Raises:
        UnknownNameError: If an activation is unknown.
        InputError: If the data are not usable.
    """
    for name in design.activations:
        if name not in ACTIVATIONS:
            raise UnknownNameError("activation", name, ACTIVATIONS)
    source = DataSpec.of(data)
    source.load()  # refuses what cannot be used before anything is trained
    settings = [
        *((COUPLED, {"activation": activation, "optimizer": "adam"}) for activation in design.activations),
        (DECOUPLED, {"activation": "relu", "optimizer": "adamw"}),
    ]
    shared = data_options(source) | design.model_dump(mode="json", exclude={"seeds", "activations"})
    return tuple(
        TaskSpec(experiment=experiment, task=TASK, options={"schedule": "cosine", **shared, **own}, seed=seed)
        for seed in design.seeds
        for experiment, own in settings
    )
