"""The runs that test the law."""

from collections.abc import Sequence
from itertools import product
from typing import Annotated

from pydantic import Field, JsonValue, PositiveInt

from ansatzlab.errors import UnknownNameError
from ansatzlab.laws.law import Budget
from ansatzlab.laws.liu2022nesterov.presets import PRESETS
from ansatzlab.laws.liu2022nesterov.problem import directions
from ansatzlab.sweeps.spec import ONE_OR_MORE, DataSpec, Frozen, Seed
from ansatzlab.sweeps.task import TaskSpec, data_options

RATES, LIMIT, NARROW, RESNET, REAL = (
    f"nesterov-{name}" for name in ("rates", "limit-tuned", "narrow", "resnet", "data")
)
"""Descents at several condition numbers: families in which a slope is fitted."""

GRAM, TWIN, REACH = (f"nesterov-{name}" for name in ("gram", "twin", "reach"))
"""Measurements at several widths."""

TASKS = "ansatzlab.laws.liu2022nesterov.tasks"
ACCELERATED: tuple[str, ...] = ("nesterov",)
SLOPES: tuple[str, ...] = ("gd", *ACCELERATED)

Condition = Annotated[float, Field(gt=1, allow_inf_nan=False)]
Conditions = Annotated[tuple[Condition, ...], Field(min_length=3)]
Depth = Annotated[int, Field(ge=2)]
Depths = Annotated[tuple[Depth, ...], *ONE_OR_MORE]
Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=2)]


class Design(Frozen):
    """The settings of the experiments.

    Attributes:
        seeds: Of the synthetic data and the initial weights.
        condition_numbers: κ of ``X Xᵀ`` of the synthetic data.
        depths: L of the deep linear networks.
        width: m of the deep linear networks.
        limit_depths: L of the networks that are tuned to the limit of infinite width.
        limit_width: Their m.
        narrow_width: m of the control.
        resnets: Pairs L, m of the ResNets.
        accelerated_resnets: Likewise of those that only Nesterov's descent is run on.
        data_condition: Of a data set only principal directions are kept whose κ stays within this.
        data_points: How many numbers of directions are tried, spread evenly over their κ.
        accelerated_data_widths: m of further networks on the data set, that only Nesterov's descent is run on.
        few_condition: κ of the measurements at several widths.
        gram_depths: L where H_0 is compared with its limit.
        gram_widths: m, likewise.
        gram_draws: Networks whose distances are averaged.
        twin_widths: m where the linearised twin is compared.
        twin_draws: Networks whose deviations are averaged.
        reach_depth: L where it is counted how many networks are trained.
        reach_widths: m, likewise.
        reach_draws: How many networks.
        reach_methods: By what.
        reach_steps: In how many steps.
    """

    seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    condition_numbers: Conditions = (4.0, 16.0, 64.0)
    depths: Depths = (3,)
    width: PositiveInt = 512
    limit_depths: tuple[Depth, ...] = (3,)
    limit_width: PositiveInt = 256
    narrow_width: PositiveInt = 128
    resnets: tuple[tuple[Depth, PositiveInt], ...] = ((4, 256),)
    accelerated_resnets: tuple[tuple[Depth, PositiveInt], ...] = ((16, 128),)
    data_condition: Condition = 32.0
    data_points: Annotated[int, Field(ge=3)] = 3
    accelerated_data_widths: tuple[PositiveInt, ...] = ()
    few_condition: Condition = 16.0
    gram_depths: Depths = (2, 8)
    gram_widths: Widths = (64, 1024)
    gram_draws: PositiveInt = 8
    twin_widths: Widths = (128, 512)
    twin_draws: PositiveInt = 8
    reach_depth: Depth = 8
    reach_widths: Widths = (8, 256)
    reach_draws: PositiveInt = 8
    reach_methods: Annotated[tuple[str, ...], *ONE_OR_MORE] = ("nesterov",)
    reach_steps: PositiveInt = 400


DESIGNS: dict[Budget, Design] = {
    "quick": Design(),
    "full": Design(
        condition_numbers=(4.0, 16.0, 64.0, 256.0),
        depths=(3, 6),
        limit_depths=(3, 6),
        resnets=((4, 256), (16, 128)),
        accelerated_resnets=((4, 512), (16, 512)),
        data_condition=256.0,
        data_points=4,
        accelerated_data_widths=(1024,),
        gram_widths=(64, 256, 1024),
        gram_draws=16,
        twin_draws=16,
        reach_widths=(8, 32, 64, 256),
        reach_methods=SLOPES,
    ),
}


def plan(design: Design, data: str) -> tuple[TaskSpec, ...]:
    """Return every run that the claims need.

    Args:
        design: The settings.
        data: The data set beside the synthetic data.

    Returns:
        The specs.

    Raises:
        UnknownNameError: If a method is unknown.
        InputError: If the data are not usable.
    """
    for name in design.reach_methods:
        if name not in PRESETS:
            raise UnknownNameError("descent", name, PRESETS)
    source = DataSpec.of(data)
    kept = directions(source.load(), design.data_condition, design.data_points)
    return tuple(
        TaskSpec(experiment=experiment, task=f"{TASKS}:{task}", options=options, seed=seed)
        for seed in design.seeds
        for experiment, task, options in (*_descents(design), *_on_data(design, source, kept), *_measurements(design))
    )


Options = dict[str, JsonValue]
Planned = tuple[str, str, Options]


def _descents(design: Design) -> list[Planned]:
    """Return the descents on synthetic data: experiment, task, options."""
    families: list[tuple[str, Options, tuple[str, ...]]] = []
    for depth in design.depths:
        families += [
            (RATES, {"depth": depth, "width": design.width}, tuple(PRESETS)),
            (NARROW, {"depth": depth, "width": design.narrow_width}, ACCELERATED),
        ]
    for depth in design.limit_depths:
        shape: Options = {"depth": depth, "width": design.limit_width, "tuned_to": "limit"}
        families.append((LIMIT, shape, SLOPES))
    for pairs, methods in ((design.resnets, SLOPES), (design.accelerated_resnets, ACCELERATED)):
        families += [(RESNET, {"kind": "resnet", "depth": depth, "width": width}, methods) for depth, width in pairs]
    return [
        (experiment, "descend_and_compare", {**shape, "optimizer": method, "condition": condition})
        for experiment, shape, methods in families
        for method, condition in product(methods, design.condition_numbers)
    ]


def _on_data(design: Design, source: DataSpec, kept: Sequence[int]) -> list[Planned]:
    """Return the descents on a data set: experiment, task, options."""
    widths = [(design.width, SLOPES), *((width, ACCELERATED) for width in design.accelerated_data_widths)]
    shared = {"depth": design.depths[0], **data_options(source)}
    return [
        (REAL, "descend_and_compare", {**shared, "width": width, "optimizer": method, "directions": number})
        for width, methods in widths
        for method, number in product(methods, kept)
    ]


def _measurements(design: Design) -> list[Planned]:
    """Return the measurements at several widths: experiment, task, options."""
    condition = design.few_condition
    gram: Options = {"condition": condition, "widths": [*sorted(design.gram_widths)], "draws": design.gram_draws}
    twin: Options = {"condition": condition, "widths": [*sorted(design.twin_widths)], "draws": design.twin_draws}
    reach: Options = {
        "condition": condition,
        "widths": [*sorted(design.reach_widths)],
        "draws": design.reach_draws,
        "steps": design.reach_steps,
    }
    return [
        *((GRAM, "measure_distance", {"depth": depth, **gram}) for depth in design.gram_depths),
        *((TWIN, "follow_twin", {"depth": depth, **twin}) for depth in design.depths),
        *(
            (REACH, "count_trained", {"depth": design.reach_depth, "optimizer": method, **reach})
            for method in design.reach_methods
        ),
    ]
