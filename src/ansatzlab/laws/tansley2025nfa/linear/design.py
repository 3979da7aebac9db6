"""The runs that test the law."""

from typing import Annotated

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from ansatzlab.errors import InputError
from ansatzlab.laws.law import Budget
from ansatzlab.sweeps.spec import ONE_OR_MORE, DataSpec, Frozen, InitSpec, ModelSpec, RunSpec, Seed
from ansatzlab.training.dynamics import GradientFlow, Optimizer

LONGEST = 1e5
"""The most time units of the curvature that an experiment may last: beyond it the data are badly scaled."""

BALANCED_FLOW = "balanced-flow"
BALANCED_DESCENT = "balanced-descent"
DECAY = "unbalanced-decay"
NO_DECAY = "unbalanced-no-decay"
COLLAPSE = "collapse"
STOCHASTIC = "stochastic-descent"

Depth = Annotated[int, Field(ge=2)]
Depths = Annotated[tuple[Depth, ...], *ONE_OR_MORE]
Rates = Annotated[tuple[PositiveFloat, ...], *ONE_OR_MORE]


class Design(Frozen):
    """The settings of the chapter's experiments.

    Attributes:
        seeds: Seeds of the initial weights and of the batches.
        depths: Depths L of the balanced flows.
        unbalanced_depths: Depths of all other experiments.
        width: Width of every hidden layer.
        weight_decays: The decays λ of the unbalanced flows.
        collapsing_decay: A decay large enough to send every weight to zero; None for four times the largest singular
            value of the correlation ``YᵀX/n`` of targets and inputs, and at least 1.
        flow_time: How long the flows without decay last; a flow with decay λ lasts 8/λ.
        learning_rates: Step sizes η of the balanced descents, which all cover the flow time ``descent_time``; in units
            of ``1/(σ p²)``: σ the largest eigenvalue of the inputs' second moment ``XᵀX/n``, and
            ``p = max(1, ‖YᵀX/n‖/σ)`` for the size of the linear map to be learnt, since the curvature grows with both.
        descent_time: Steps times η of those descents.
        stochastic_rate: Step size of the stochastic descent, in the same units.
        batch_size: Examples a step of the stochastic descent (fewer if the data have fewer).
        snapshots: Snapshots of a flow.
    """

    seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    depths: Depths = (2, 3, 4, 5, 8)
    unbalanced_depths: Depths = (2, 3, 4)
    width: PositiveInt = 16
    weight_decays: Rates = (0.005, 0.01)
    collapsing_decay: PositiveFloat | None = None
    flow_time: PositiveFloat = 50.0
    learning_rates: Annotated[Rates, Field(min_length=3)] = (0.2, 0.1, 0.05, 0.025)
    descent_time: PositiveFloat = 20.0
    stochastic_rate: PositiveFloat = 0.05
    batch_size: PositiveInt = 16
    snapshots: Annotated[int, Field(ge=20)] = 40


DESIGNS: dict[Budget, Design] = {
    "quick": Design(),
    "full": Design(
        seeds=tuple(range(5)),
        unbalanced_depths=(2, 3, 4, 5),
        width=32,
        weight_decays=(0.003, 0.005, 0.01),
        flow_time=200.0,
        learning_rates=(0.2, 0.1, 0.05, 0.025, 0.0125),
        snapshots=80,
    ),
}


def plan(design: Design, data: str) -> tuple[RunSpec, ...]:
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
    dataset = source.load()
    design = _fitted(design, dataset.inputs, dataset.targets)
    return tuple(
        spec for seed in design.seeds for spec in (*_balanced(design, source, seed), *_unbalanced(design, source, seed))
    )


def _fitted(design: Design, inputs: Tensor, targets: Tensor) -> Design:
    """Return the design in the units of the data: rates by the curvature, the collapsing decay by the signal."""
    scale = float(torch.linalg.svdvals(inputs)[0]) ** 2 / len(inputs)
    signal = float(torch.linalg.svdvals(targets.mT @ inputs / len(inputs))[0])
    if not scale or not signal:
        raise InputError(
            "tansley2025nfa: the inputs, the targets or their correlation are zero; wanted data with something to "
            "learn."
        )
    unit = 1 / (scale * max(1.0, signal / scale) ** 2)
    longest = max(
        design.flow_time, design.descent_time / min(design.learning_rates), *(8 / d for d in design.weight_decays)
    )
    if longest / unit > LONGEST:
        raise InputError(
            f"tansley2025nfa: the largest eigenvalue of XᵀX/n is {scale:.3g} and that of the linear map to be learnt "
            f"about {signal / scale:.3g}, so that the experiments would take {longest / unit:.1g} steps and more; "
            "wanted numbers of order 1; standardise the columns of inputs and targets."
        )
    return design.model_copy(
        update={
            "learning_rates": tuple(rate * unit for rate in design.learning_rates),
            "stochastic_rate": design.stochastic_rate * unit,
            "batch_size": min(design.batch_size, len(inputs)),
            "collapsing_decay": design.collapsing_decay or max(1.0, 4 * signal),
        }
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


def _unbalanced(design: Design, data: DataSpec, seed: int) -> list[RunSpec]:
    specs: list[RunSpec] = []
    collapsing = design.collapsing_decay
    assert collapsing is not None, "set by _fitted"
    for depth in design.unbalanced_depths:
        flows = [
            *((DECAY, GradientFlow(flow_time=8 / decay, weight_decay=decay)) for decay in design.weight_decays),
            (NO_DECAY, GradientFlow(flow_time=design.flow_time)),
            (COLLAPSE, GradientFlow(flow_time=12 / collapsing, weight_decay=collapsing)),
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
                dynamics=Optimizer(
                    learning_rate=design.stochastic_rate, steps=300, weight_decay=0.01, batch_size=design.batch_size
                ),
                seed=seed,
                snapshots=301,
                observe=("balance", "discrete_balance"),
            )
        )
    return specs


def _network(design: Design, depth: int) -> ModelSpec:
    return ModelSpec(hidden=(design.width,) * (depth - 1))
