"""The trainings of nonlinear networks."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, PositiveInt

from ansatzlab.data.images import has_fashion_mnist, has_mnist
from ansatzlab.errors import UnknownNameError
from ansatzlab.laws.law import Budget
from ansatzlab.models.mlp import ACTIVATIONS
from ansatzlab.sweeps.spec import ONE_OR_MORE, DataSpec, Frozen, Seed
from ansatzlab.sweeps.task import TaskSpec, data_options

PERCEPTRON, CONVOLUTIONS, TRANSFORMER = "nonlinear-mlp", "nonlinear-cnn", "nonlinear-transformer"
EXPERIMENTS = (PERCEPTRON, CONVOLUTIONS, TRANSFORMER)

TASKS = {
    PERCEPTRON: "train_measured",
    CONVOLUTIONS: "train_convolutions",
    TRANSFORMER: "train_transformer",
}

OPTIMIZERS: dict[str, tuple[float, float]] = {"sgd": (0.1, 0.003), "adam": (0.001, 0.003), "adamw": (0.001, 1.0)}
"""The optimisers, each with its learning rate and the decay that stands for *some* (of adamw decoupled)."""

SWEPT = "adam"
"""The optimiser, with decay, under which depths are swept."""

COMPARED = 3
"""The depth at which optimisers and decays are compared, and the long trainings are done."""

Names = Annotated[tuple[str, ...], *ONE_OR_MORE]
Depths = Annotated[tuple[Annotated[int, Field(ge=2)], ...], *ONE_OR_MORE]
Options = dict[str, object]


class Design(Frozen):
    """The settings of the nonlinear trainings.

    Attributes:
        seeds: Seeds of the initial weights and of the batches.
        nonlinear_mnist: Whether the perceptrons are trained on MNIST where it is installed, and not on the data asked
            for.
        nonlinear_size: How many examples.
        nonlinear_depths: Depths L of the perceptrons.
        nonlinear_activations: Their activations.
        nonlinear_optimizers: The optimisers compared at depth 3.
        nonlinear_width: Width of their hidden layers.
        nonlinear_epochs: Passes over the data.
        nonlinear_long: Passes of the long trainings, of ReLU and tanh at depth 3; 0 for none.
        nonlinear_networks: Whether the convolutions and the transformer are trained too.
    """

    seeds: Annotated[tuple[Seed, ...], *ONE_OR_MORE] = (0, 1, 2)
    nonlinear_mnist: bool = True
    nonlinear_size: PositiveInt = 5000
    nonlinear_depths: Depths = (2, 3, 4, 5, 6)
    nonlinear_activations: Names = ("relu", "leaky_relu", "gelu", "tanh")
    nonlinear_optimizers: Names = tuple(OPTIMIZERS)
    nonlinear_width: PositiveInt = 128
    nonlinear_epochs: PositiveInt = 10
    nonlinear_long: Annotated[int, Field(ge=0)] = 60
    nonlinear_networks: bool = True


DESIGNS: dict[Budget, Design] = {
    "quick": Design(
        nonlinear_mnist=False,
        nonlinear_size=1500,
        nonlinear_depths=(3,),
        nonlinear_activations=("relu", "tanh"),
        nonlinear_optimizers=("adam",),
        nonlinear_width=64,
        nonlinear_epochs=20,
        nonlinear_long=0,
        nonlinear_networks=False,
    ),
    "full": Design(),
}


def plan(design: Design, data: str) -> tuple[TaskSpec, ...]:
    """Return the trainings.

    Args:
        design: The settings.
        data: The data set of the perceptrons, where MNIST is not installed or not wanted.

    Returns:
        The specs; the convolutions only where Fashion-MNIST or MNIST is installed.

    Raises:
        UnknownNameError: If an activation or an optimiser is unknown.
        InputError: If the data asked for are to be trained on and are not usable.
    """
    for name in design.nonlinear_activations:
        if name not in ACTIVATIONS:
            raise UnknownNameError("activation", name, ACTIVATIONS)
    for name in design.nonlinear_optimizers:
        if name not in OPTIMIZERS:
            raise UnknownNameError("optimiser of the nonlinear trainings", name, OPTIMIZERS)
    trainings = [(PERCEPTRON, options) for options in _perceptrons(design, data)]
    if design.nonlinear_networks:
        trainings += [(CONVOLUTIONS, options) for options in _convolutions(design)]
        trainings.append((TRANSFORMER, TRANSFORMER_OPTIONS))
    return tuple(
        TaskSpec(
            experiment=experiment,
            task=f"ansatzlab.laws.tansley2025nfa.nonlinear.training:{TASKS[experiment]}",
            options=options,
            seed=seed,
        )
        for experiment, options in trainings
        for seed in design.seeds
    )


def _perceptrons(design: Design, data: str) -> Iterator[Options]:
    if design.nonlinear_mnist and has_mnist():
        source = DataSpec(name="mnist")
    else:
        source = DataSpec.of(data)
        source.load()  # refuses what cannot be used before anything is trained
    shared: Options = {
        **data_options(source),
        "size": design.nonlinear_size,
        "width": design.nonlinear_width,
    }
    ordinary = shared | {"epochs": design.nonlinear_epochs}
    for activation in design.nonlinear_activations:
        for depth in design.nonlinear_depths:
            if depth != COMPARED:
                yield ordinary | {"activation": activation, "depth": depth} | _optimizer(SWEPT, OPTIMIZERS[SWEPT][1])
        for name in design.nonlinear_optimizers:
            for decay in _decays(name):
                yield ordinary | {"activation": activation, "depth": COMPARED} | _optimizer(name, decay)
    for activation in ("relu", "tanh") if design.nonlinear_long else ():
        long = shared | {"epochs": design.nonlinear_long, "activation": activation, "depth": COMPARED}
        yield long | _optimizer(SWEPT, OPTIMIZERS[SWEPT][1])


def _convolutions(design: Design) -> Iterator[Options]:
    data = "fashion_mnist" if has_fashion_mnist() else "mnist" if has_mnist() else ""
    for decay in _decays(SWEPT) if data else ():
        shared: Options = {"data": data, "size": design.nonlinear_size, "depth": 3, "activation": "relu", "width": 8}
        yield shared | {"epochs": 10} | _optimizer(SWEPT, decay)


def _decays(name: str) -> tuple[float, ...]:
    """Return no decay and some; of adamw only some, as without it adamw is adam."""
    some = OPTIMIZERS[name][1]
    return (some,) if name == "adamw" else (0.0, some)


def _optimizer(name: str, decay: float) -> Options:
    return {"optimizer": name, "learning_rate": OPTIMIZERS[name][0], "weight_decay": decay}


TRANSFORMER_OPTIONS: Options = {
    "data": "text",
    "size": 1500,
    "depth": 2,
    "width": 48,
    "activation": "gelu",
    "epochs": 10,
    "batch_size": 25,
    "optimizer": "adamw",
    "learning_rate": 0.003,
    "weight_decay": 0.1,
    "snapshots": 5,
    "probe": 128,
}
"""The transformer's training."""
