"""The runs that test the law."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from ansatzlab.laws.comparison import TASK
from ansatzlab.laws.law import Budget
from ansatzlab.sweeps.spec import ONE_OR_MORE, DataSpec, Frozen, Seed
from ansatzlab.sweeps.task import TaskSpec, data_options

TRAINED = "nfa-trained"


class Design(Frozen):
    """The settings of the experiments.

    Attributes:
        seeds: Of initial weights and subsamples.
        size: How many examples of the data; None for all.
        hidden: The hidden widths.
        scales: Factors on He's initial weights.
        descent_rate: η of gradient descent on all examples.
        adam_rate: η of Adam.
        steps: Steps.
        snapshots: How often a training is looked at.
        draws: Rotations of a null.
    """

    seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    size: PositiveInt | None = 200
    hidden: Annotated[tuple[PositiveInt, ...], *ONE_OR_MORE] = (48, 48)
    scales: Annotated[tuple[PositiveFloat, ...], *ONE_OR_MORE] = (0.2, 1.0)
    descent_rate: PositiveFloat = 0.1
    adam_rate: PositiveFloat = 1e-3
    steps: PositiveInt = 600
    snapshots: Annotated[int, Field(ge=3)] = 4
    draws: Annotated[int, Field(ge=2)] = 6


DESIGNS: dict[Budget, Design] = {
    "quick": Design(),
    "full": Design(size=600, hidden=(48, 48, 48), scales=(0.3, 1.0), steps=3000, snapshots=8, draws=10),
}


def plan(design: Design, data: str) -> tuple[TaskSpec, ...]:
    """Return every run that the claims need.

    Args:
        design: The settings.
        data: The data set.

    Returns:
        The specs.

    Raises:
        InputError: If the data are not usable.
    """
    source = DataSpec.of(data)
    source.load()  # refuses what cannot be used before anything is trained
    shared = data_options(source) | design.model_dump(
        mode="json", include={"size", "hidden", "steps", "snapshots", "draws"}
    )
    rates = {"gd": design.descent_rate, "adam": design.adam_rate}
    return tuple(
        TaskSpec(
            experiment=TRAINED,
            task=TASK,
            options={
                "activation": "relu",
                "optimizer": optimizer,
                "learning_rate": rate,
                "scale": scale,
                **shared,
            },
            seed=seed,
        )
        for seed in design.seeds
        for optimizer, rate in rates.items()
        for scale in design.scales
    )
