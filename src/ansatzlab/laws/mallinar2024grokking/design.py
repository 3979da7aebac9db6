"""The trainings on modular arithmetic."""

from typing import Annotated

from pydantic import Field, PositiveInt

from ansatzlab.data.modular import OPERATIONS, modular
from ansatzlab.laws.law import Budget
from ansatzlab.sweeps.spec import ONE_OR_MORE, Frozen, Seed
from ansatzlab.sweeps.task import TaskSpec

GROKKING = "grokking"

PUBLISHED = {"add": 0.955, "sub": 0.942, "mul": 0.924, "div": 0.929}
"""Pearson's correlation of WᵀW and AGOP^½ in the first layer, modulo 61, as the paper reports it."""

PUBLISHED_PRIME = 61


class Design(Frozen):
    """The settings of the trainings.

    Attributes:
        seeds: Seeds of the training pairs, the initial weights and the batches.
        operations: Which operations.
        prime: The modulus p.
        fraction: The share of all pairs that is trained on.
        hidden_width: Hidden units.
        epochs: Passes over the training pairs.
        moments: How many moments the accuracies are looked at.
    """

    seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    operations: Annotated[tuple[str, ...], *ONE_OR_MORE] = tuple(OPERATIONS)
    prime: PositiveInt = PUBLISHED_PRIME
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    hidden_width: PositiveInt = 256
    epochs: PositiveInt = 100
    moments: Annotated[int, Field(ge=2)] = 25


DESIGNS: dict[Budget, Design] = {
    "quick": Design(operations=("add",), epochs=40, moments=13),
    "full": Design(),
}


def plan(design: Design, data: str) -> tuple[TaskSpec, ...]:  # noqa: ARG001 - the data are the operation's table
    """Return the trainings.

    Raises:
        UnknownNameError: If an operation is unknown.
        InputError: If the modulus is not a prime.
    """
    for operation in design.operations:
        modular(prime=design.prime, operation=operation, size=1)  # refuses what has no table
    return tuple(
        TaskSpec(
            experiment=GROKKING,
            task="ansatzlab.laws.mallinar2024grokking.training:train_modular",
            options={
                "data": "modular",
                "operation": operation,
                "prime": design.prime,
                "fraction": design.fraction,
                "width": design.hidden_width,
                "epochs": design.epochs,
                "snapshots": design.moments,
                "depth": 2,
                "learning_rate": 0.001,
                "weight_decay": 1.0,
            },
            seed=seed,
        )
        for operation in design.operations
        for seed in design.seeds
    )
