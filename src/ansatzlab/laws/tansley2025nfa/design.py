"""The runs that test the law."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from ansatzlab.laws.law import Budget
from ansatzlab.sweeps.spec import DataSpec, Frozen, InitSpec, ModelSpec, RunSpec
from ansatzlab.training.dynamics import GradientFlow, Optimizer

BALANCED_FLOW = "balanced-flow"
BALANCED_DESCENT = "balanced-descent"
DECAY = "unbalanced-decay"
NO_DECAY = "unbalanced-no-decay"
COLLAPSE = "collapse"
STOCHASTIC = "stochastic-descent"

Depth = Annotated[int, Field(ge=2)]


class Design(Frozen):
    """The settings of the law's experiments.

    Attributes:
        seeds: Seeds of the initial weights and of the batches.
        depths: Depths L of the balanced flows.
        unbalanced_depths: Depths of all other experiments.
        width: Width of every hidden layer.
        weight_decays: The decays λ of the unbalanced flows.
        collapsing_decay: A decay large enough to send every weight to zero.
        flow_time: How long the flows without decay last; a flow with decay λ lasts 8/λ.
        learning_rates: Step sizes η of the balanced descents, which all cover the flow time ``descent_time``.
        descent_time: Steps times η of those descents.
        batch_size: Examples a step of the stochastic descent (fewer if the data have fewer).
        snapshots: Snapshots of a flow.
    """

    seeds: tuple[NonNegativeInt, ...] = (0, 1, 2)
    depths: tuple[Depth, ...] = (2, 3, 4, 5, 8)
    unbalanced_depths: tuple[Depth, ...] = (2, 3, 4)
    width: PositiveInt = 16
    weight_decays: tuple[PositiveFloat, ...] = (0.005, 0.02)
    collapsing_decay: PositiveFloat = 1.0
    flow_time: PositiveFloat = 50.0
    learning_rates: tuple[PositiveFloat, ...] = (0.2, 0.1, 0.05, 0.025)
    descent_time: PositiveFloat = 20.0
    batch_size: PositiveInt = 16
    snapshots: Annotated[int, Field(ge=20)] = 40


DESIGNS: dict[Budget, Design] = {
    "quick": Design(),
    "full": Design(
        seeds=tuple(range(5)),
        unbalanced_depths=(2, 3, 4, 5),
        width=32,
        weight_decays=(0.003, 0.005, 0.01, 0.02),
        flow_time=200.0,
        learning_rates=(0.2, 0.1, 0.05, 0.025, 0.0125),
        snapshots=80,
    ),
}


def plan(budget: Budget, data: str, settings: Mapping[str, object]) -> tuple[RunSpec, ...]:
    """Return every run that the law's claims need.

    Args:
        budget: Which design to start from.
        data: The data set.
        settings: Fields of `Design` to change.

    Returns:
        The specs.

    Raises:
        InputError: If a setting is unknown or has a value it cannot have.
    """
    design = Design.parse({**DESIGNS[budget].model_dump(), **settings}, where="tansley2025nfa")
    source = DataSpec.of(data)
    batch_size = min(design.batch_size, len(source.load().inputs))
    return tuple(
        spec
        for seed in design.seeds
        for spec in (*_balanced(design, source, seed), *_unbalanced(design, source, seed, batch_size))
    )


def _balanced(design: Design, data: DataSpec, seed: int) -> list[RunSpec]:
    flows = [
        RunSpec(
            experiment=BALANCED_FLOW,
            data=data,
            model=_network(design, depth),
            dynamics=GradientFlow(flow_time=design.flow_time),
            seed=seed,
            snapshots=design.snapshots,
        )
        for depth in design.depths
    ]
    descents = [
        RunSpec(
            experiment=BALANCED_DESCENT,
            data=data,
            model=_network(design, depth),
            dynamics=Optimizer(learning_rate=rate, steps=round(design.descent_time / rate)),
            seed=seed,
            snapshots=20,
            observe=("balance",),
        )
        for depth in design.unbalanced_depths
        for rate in design.learning_rates
    ]
    return [*flows, *descents]


def _unbalanced(design: Design, data: DataSpec, seed: int, batch_size: int) -> list[RunSpec]:
    specs: list[RunSpec] = []
    for depth in design.unbalanced_depths:
        flows = [
            *((DECAY, GradientFlow(flow_time=8 / decay, weight_decay=decay)) for decay in design.weight_decays),
            (NO_DECAY, GradientFlow(flow_time=design.flow_time)),
            (COLLAPSE, GradientFlow(flow_time=12 / design.collapsing_decay, weight_decay=design.collapsing_decay)),
        ]
        specs += [
            RunSpec(
                experiment=experiment,
                data=data,
                model=_network(design, depth),
                init=InitSpec(scheme="gaussian"),
                dynamics=flow,
                seed=seed,
                snapshots=max(60, design.snapshots) if experiment == DECAY else design.snapshots,
            )
            for experiment, flow in flows
        ]
        specs.append(
            RunSpec(
                experiment=STOCHASTIC,
                data=data,
                model=_network(design, depth),
                init=InitSpec(scheme="gaussian"),
                dynamics=Optimizer(learning_rate=0.05, steps=300, weight_decay=0.01, batch_size=batch_size),
                seed=seed,
                snapshots=301,
                observe=("balance", "discrete_balance"),
            )
        )
    return specs


def _network(design: Design, depth: int) -> ModelSpec:
    return ModelSpec(hidden=(design.width,) * (depth - 1))
