"""The runs that test what is said of the counterexamples."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from ansatzlab.counterexamples.search import HOMOGENEOUS
from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import UnknownNameError
from ansatzlab.laws.law import Budget
from ansatzlab.models.mlp import ACTIVATIONS
from ansatzlab.sweeps.spec import ONE_OR_MORE, DataSpec, Frozen, Seed
from ansatzlab.sweeps.task import TaskSpec, data_options

ZOO, JITTERED, SEARCH = "zoo", "zoo-jittered", "search"
"""The experiments."""

TASKS = "ansatzlab.laws.tansley2025nfa.counterexamples.tasks"
CLASSES = "digits"
"""The data of the search where the chosen data have no classes."""

Sizes = Annotated[tuple[Annotated[int, Field(ge=2)], ...], *ONE_OR_MORE]
Strength = Annotated[float, Field(gt=1, le=1000)]


class Design(Frozen):
    """The settings of the chapter's experiments.

    Attributes:
        zoo_seeds: Seeds of all that is random.
        interference_m: Sizes of the interference networks.
        trained_strengths: Strengths of the rare neuron that are trained into.
        written_strengths: Strengths at which the descent's limit is written down: it would take too long.
        zoo_jitter: Noise on the inputs of the plateau network.
        search_hidden: Hidden widths of the search.
        search_activation: Activation of the search; balanced networks are searched for only where it is homogeneous.
        search_accuracy: The least accuracy.
        search_training: Steps of the plain training.
        search_steps: Steps of the search.
        search_held_out: The share of the examples that the search does not see.
    """

    zoo_seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    interference_m: Sizes = (4, 16, 64)
    trained_strengths: Annotated[tuple[Strength, ...], *ONE_OR_MORE] = (10.0, 20.0, 50.0)
    written_strengths: tuple[Strength, ...] = (100.0, 200.0, 500.0, 1000.0)
    zoo_jitter: PositiveFloat = 1.0
    search_hidden: Annotated[tuple[PositiveInt, ...], *ONE_OR_MORE] = (64, 64)
    search_activation: str = "relu"
    search_accuracy: Annotated[float, Field(gt=0, lt=1)] = 0.95
    search_training: PositiveInt = 600
    search_steps: PositiveInt = 150
    search_held_out: Annotated[float, Field(gt=0, lt=1)] = 0.33


DESIGNS: dict[Budget, Design] = {"full": Design()}
"""The descents into the rarest neurons and the searches take minutes, so that there is no quick budget."""


def plan(design: Design, data: str) -> tuple[TaskSpec, ...]:
    """Return every run that the claims need.

    Args:
        design: The settings.
        data: The data set of the search, if its targets are classes; the zoo has its own.

    Returns:
        The specs.

    Raises:
        UnknownNameError: If the activation of the search is unknown.
        InputError: If the data are not usable.
    """
    if design.search_activation not in ACTIVATIONS:
        raise UnknownNameError("activation", design.search_activation, ACTIVATIONS)
    networks: list[tuple[str, dict[str, int | float | bool]]] = []
    networks += [("interference", {"m": m}) for m in design.interference_m]
    networks += [(family, {}) for family in ("plateau", "cancellation", "rare_firing", "non_homogeneous")]
    networks += [("reversed_spectrum", {"R": R}) for R in design.trained_strengths]
    networks += [("reversed_spectrum", {"R": R, "descend": False}) for R in design.written_strengths]
    source = DataSpec.of(data)
    chosen = source if _has_classes(source.load()) else DataSpec(name=CLASSES)
    kinds = (True, False) if design.search_activation in HOMOGENEOUS else (False,)
    specs = []
    for seed in design.zoo_seeds:
        specs += [_measured(ZOO, seed, family=family, **settings) for family, settings in networks]
        specs.append(_measured(JITTERED, seed, family="plateau", jitter=design.zoo_jitter))
        specs += [_searched(design, chosen, seed, balanced=balanced) for balanced in kinds]
    return tuple(specs)


def _measured(experiment: str, seed: int, **options: str | int | float) -> TaskSpec:
    return TaskSpec(experiment=experiment, task=f"{TASKS}:measure_family", options=dict(options), seed=seed)


def _searched(design: Design, data: DataSpec, seed: int, *, balanced: bool) -> TaskSpec:
    return TaskSpec(
        experiment=SEARCH,
        task=f"{TASKS}:search_and_compare",
        options={
            **data_options(data),
            "hidden": list(design.search_hidden),
            "activation": design.search_activation,
            "accuracy": design.search_accuracy,
            "balanced": balanced,
            "training_steps": design.search_training,
            "steps": design.search_steps,
            "held_out": design.search_held_out,
        },
        seed=seed,
    )


def _has_classes(data: Dataset) -> bool:
    targets = data.targets
    binary = bool(((targets == 0) | (targets == 1)).all())
    return binary and targets.shape[1] > 1 and bool((targets.sum(1) == 1).all())
