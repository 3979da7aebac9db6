"""The trainings that stand at a noise floor."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ansatzlab.laws.law import Budget
from ansatzlab.sweeps.spec import ONE_OR_MORE, Frozen, Seed
from ansatzlab.sweeps.task import TaskSpec

LABELS = "noise-floor-labels"
INTERPOLATING = "noise-floor-interpolating"
TASK = "ansatzlab.laws.tansley2025nfa.noise.training:train_to_floor"

Depths = Annotated[tuple[Annotated[int, Field(ge=2)], ...], *ONE_OR_MORE]
ThreeOrMore = Annotated[tuple[PositiveFloat, ...], Field(min_length=3)]


class Design(Frozen):
    """The settings of the chapter's experiments.

    Attributes:
        seeds: Seeds of the teacher, the initial weights and the batches.
        floor_depths: Depths L.
        floor_width: Width of the hidden layers.
        floor_rates: Learning rates η, at the decay in the middle of ``floor_decays``.
        floor_decays: Decays λ, at the learning rate in the middle of ``floor_rates``; far below the teacher's singular
            values.
        label_noise: Standard deviation of the noise on each target; the interpolating data have none.
        floor_examples: Number of examples, more than inputs.
        floor_inputs: Number of inputs.
        teacher: Singular values of the linear teacher, as many as it has outputs.
        floor_batch: Examples a step.
        replicas: Trainings that are averaged for every rate and decay.
        burn_in: How long a training runs before it is averaged, in units of ``1/(2ηλ)`` steps of the slowest one.
        average: How long it is averaged, likewise.
    """

    seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    floor_depths: Depths = (2, 3)
    floor_width: PositiveInt = 4
    floor_rates: ThreeOrMore = (0.08, 0.04, 0.02)
    floor_decays: ThreeOrMore = (0.01, 0.02, 0.04)
    label_noise: PositiveFloat = 0.2
    floor_examples: PositiveInt = 200
    floor_inputs: PositiveInt = 10
    teacher: Annotated[tuple[PositiveFloat, ...], *ONE_OR_MORE] = (1.0, 0.9, 0.8)
    floor_batch: PositiveInt = 16
    replicas: PositiveInt = 4
    burn_in: NonNegativeFloat = 14.0
    average: PositiveFloat = 10.0

    @property
    def points(self) -> list[list[float]]:
        """The pairs of a rate and a decay, each once."""
        rate, decay = (sorted(values)[len(values) // 2] for values in (self.floor_rates, self.floor_decays))
        pairs = [*((each, decay) for each in self.floor_rates), *((rate, each) for each in self.floor_decays)]
        return [list(pair) for pair in dict.fromkeys(pairs)]


DESIGNS: Mapping[Budget, Design] = {"full": Design()}


def plan(design: Design, _: str) -> tuple[TaskSpec, ...]:
    """Return every run that the chapter's claims need.

    Args:
        design: The settings.
        _: The data set that the user asked for; a floor with and without label noise needs a teacher of its own.

    Returns:
        The specs.
    """
    return tuple(
        TaskSpec(
            experiment=experiment,
            task=TASK,
            seed=seed,
            options={
                "data": "low_rank_linear",
                "depth": depth,
                "width": design.floor_width,
                "points": design.points,
                "noise": noise,
                "size": design.floor_examples,
                "input_dim": design.floor_inputs,
                "spectrum": list(design.teacher),
                "batch_size": design.floor_batch,
                "replicas": design.replicas,
                "burn_in": design.burn_in,
                "average": design.average,
            },
        )
        for seed in design.seeds
        for depth in design.floor_depths
        for experiment, noise in ((LABELS, design.label_noise), (INTERPOLATING, 0.0))
    )
