"""The runs that test the law."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from ansatzlab.errors import InputError
from ansatzlab.laws.comparison import TASK
from ansatzlab.laws.law import Budget
from ansatzlab.sweeps.spec import ONE_OR_MORE, DataSpec, Frozen, Seed
from ansatzlab.sweeps.task import TaskSpec, data_options

DESCENT = "alignment-descent"


class Design(Frozen):
    """The settings of the experiments.

    Attributes:
        seeds: Of initial weights and subsamples.
        size: How many examples of the data; None for all.
        hidden: The hidden widths.
        scales: Factors on He's initial weights, from the smallest to the largest.
        learning_rate: η of gradient descent on all examples, without decay.
        steps: Steps.
        snapshots: How often a training is looked at, from the first step on.
        draws: Rotations of a null.
    """

    seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    size: PositiveInt | None = 200
    hidden: Annotated[tuple[PositiveInt, ...], *ONE_OR_MORE] = (48, 48)
    scales: Annotated[tuple[PositiveFloat, ...], *ONE_OR_MORE] = (0.2, 1.0)
    learning_rate: PositiveFloat = 0.1
    steps: Annotated[int, Field(ge=100)] = 800
    snapshots: Annotated[int, Field(ge=3)] = 6
    draws: Annotated[int, Field(ge=2)] = 6


DESIGNS: dict[Budget, Design] = {
    "quick": Design(),
    "full": Design(size=600, hidden=(48, 48, 48), scales=(0.3, 0.5, 1.0), steps=3000, snapshots=10, draws=10),
}


def plan(design: Design, data: str) -> tuple[TaskSpec, ...]:
    """Return every run that the claims need.

    Args:
        design: The settings.
        data: The data set.

    Returns:
        The specs.

    Raises:
        InputError: If the scales are not ascending, or only one, or the data are not usable.
    """
    if len(design.scales) < 2 or sorted(set(design.scales)) != list(design.scales):
        raise InputError(
            f"beaglehole2024alignment: got scales {design.scales}; wanted at least two, from the smallest to the "
            "largest."
        )
    source = DataSpec.of(data)
    source.load()  # refuses what cannot be used before anything is trained
    shared = data_options(source) | design.model_dump(mode="json", exclude={"seeds", "scales"})
    return tuple(
        TaskSpec(
            experiment=DESCENT,
            task=TASK,
            options={"activation": "relu", "optimizer": "gd", "scale": scale, **shared},
            seed=seed,
        )
        for seed in design.seeds
        for scale in design.scales
    )
