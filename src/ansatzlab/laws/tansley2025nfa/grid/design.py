"""The grid of trainings."""

from collections.abc import Iterator
from typing import Annotated, TypeVar

from pydantic import Field, PositiveInt

from ansatzlab.errors import UnknownNameError
from ansatzlab.laws.law import Budget
from ansatzlab.sweeps.spec import ONE_OR_MORE, DataSpec, Frozen, InitSpec, ModelSpec, RunSpec, Seed
from ansatzlab.training.dynamics import Optimizer, Rate, named_dynamics

GRID = "grid"

OPTIMIZERS: dict[str, dict[str, object]] = {
    "gd": {"learning_rate": {"fraction": 0.9}},
    "sgd": {"learning_rate": {"fraction": 0.25}, "batch_size": 64},
    "heavy_ball": {"learning_rate": {"fraction": 0.1}},
    "adam": {"learning_rate": 0.003},
    "rmsprop": {"learning_rate": 0.001},
    "adamw": {"learning_rate": 0.003},
}
"""The optimisers by the field's names, each with its rate. Without adaptive steps it is a fraction of the largest with
which gradient descent is stable."""

ADAPTIVE = frozenset({"adam", "rmsprop", "adamw"})

STARTS = {
    "balanced": InitSpec(),
    "orthogonal": InitSpec(scheme="orthogonal"),
    "xavier": InitSpec(scheme="xavier"),
    "gaussian-half": InitSpec(scheme="gaussian", scale=0.5),
    "gaussian": InitSpec(scheme="gaussian"),
}
"""The initial weights by name."""

SYNTHETIC = DataSpec(
    name="low_rank_linear", options={"output_dim": 8, "spectrum": (1.0, 0.85, 0.7, 0.55, 0.4, 0.3), "noise": 0.1}
)
"""The second data set: a linear teacher of rank six with noise. With rank three no score is 3 sd beyond the null."""

T = TypeVar("T")
Names = Annotated[tuple[str, ...], *ONE_OR_MORE]


class Design(Frozen):
    """The settings of the grid.

    Attributes:
        seeds: Seeds of the initial weights and of the batches.
        grid_depths: Depths L.
        grid_decays: Decays λ; of adamw decoupled, of all others coupled.
        grid_optimizers: Which optimisers.
        grid_starts: Which initial weights.
        grid_width: Width of every hidden layer.
        grid_steps: Steps of every training; the learning rate falls to zero along a cosine.
        grid_synthetic: Whether the grid is also run on data of a linear teacher.
    """

    seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    grid_depths: Annotated[tuple[Annotated[int, Field(ge=2)], ...], *ONE_OR_MORE] = (2, 3, 4, 5)
    grid_decays: Annotated[tuple[Rate, ...], *ONE_OR_MORE] = (0.0, 0.001, 0.003, 0.01)
    grid_optimizers: Names = tuple(OPTIMIZERS)
    grid_starts: Names = tuple(STARTS)
    grid_width: PositiveInt = 16
    grid_steps: PositiveInt = 6000
    grid_synthetic: bool = True


DESIGNS: dict[Budget, Design] = {
    "quick": Design(
        grid_depths=(3,),
        grid_decays=(0.0, 0.01),
        grid_starts=("balanced", "gaussian"),
        grid_steps=3000,
        grid_synthetic=False,
    ),
    "full": Design(),
}


def plan(design: Design, data: str) -> tuple[RunSpec, ...]:
    """Return the grid's runs.

    Raises:
        UnknownNameError: If an optimiser or a start is unknown.
        InputError: If the data cannot be read.
    """
    sources = [DataSpec.of(data), *([SYNTHETIC] if design.grid_synthetic else [])]
    return tuple(
        RunSpec(
            experiment=GRID,
            data=source,
            model=ModelSpec(hidden=(design.grid_width,) * (depth - 1)),
            init=_named(STARTS, "start", start),
            dynamics=dynamics,
            seed=seed,
            snapshots=2,
            observe=("ansatz", "balance", "stationarity", "null"),
        )
        for source in sources
        for depth in design.grid_depths
        for dynamics in _dynamics(design)
        for start in design.grid_starts
        for seed in design.seeds
    )


def _named(table: dict[str, T], what: str, name: str) -> T:
    """Return what a table has by a name.

    Raises:
        UnknownNameError: If it has nothing.
    """
    if name not in table:
        raise UnknownNameError(what, name, table)
    return table[name]


def _dynamics(design: Design) -> Iterator[Optimizer]:
    for name in design.grid_optimizers:
        settings = _named(OPTIMIZERS, "optimiser of the grid", name)
        for decay in design.grid_decays:
            if name == "adamw" and not decay:
                continue  # it is adam
            found = named_dynamics(name, steps=design.grid_steps, schedule="cosine", weight_decay=decay, **settings)
            assert isinstance(found, Optimizer), "a grid has no gradient flow"
            yield found
