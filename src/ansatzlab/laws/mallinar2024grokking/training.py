"""Train a network with quadratic activation on modular arithmetic and measure its first layer as it groks."""

from collections.abc import Iterator
from statistics import fmean, stdev
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import mse_loss

from ansatzlab.data.registry import load
from ansatzlab.laws.tansley2025nfa.nonlinear.objective import SampleLoss, share_right
from ansatzlab.laws.tansley2025nfa.nonlinear.reading import Row, judged, score
from ansatzlab.linalg.null import haar_orthogonal
from ansatzlab.linalg.psd import gram_eigensystem, psd_power
from ansatzlab.linalg.similarity import pearson
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.run import measure
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.sweeps.spec import Frozen
from ansatzlab.training.dynamics import Optimizer, Rate
from ansatzlab.training.loop import train

LAYER = "layers.0"


class Recipe(Frozen):
    """How the network is trained and looked at. The defaults but for the length are the published code's.

    Attributes:
        operation: ``add``, ``sub``, ``mul`` or ``div``.
        prime: p.
        fraction: The share of all pairs that is trained on.
        width: Hidden units.
        epochs: Passes over the training pairs.
        batch_size: Pairs a step.
        learning_rate: η of AdamW, constant, with betas (0.9, 0.98).
        weight_decay: λ of AdamW.
        snapshots: How many moments the accuracies are looked at; the layer is measured at every other and at the last.
        draws: Rotations of the structural null.
        data: ``modular``.
        depth: 2.
    """

    operation: str = "add"
    prime: PositiveInt = 61
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    width: PositiveInt = 256
    epochs: PositiveInt = 100
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-3
    weight_decay: Rate = 1.0
    snapshots: Annotated[int, Field(ge=2)] = 25
    draws: Annotated[int, Field(ge=2)] = 10
    data: Literal["modular"] = "modular"
    depth: Literal[2] = 2


def train_modular(*, seed: int, **options: object) -> Iterator[Row]:
    """Train a network of one hidden layer without biases, quadratic activation, on part of an operation's table.

    Conventions:
        Loss: the squared error averaged over examples and outputs, in single precision. The AGOP is that of the outputs
        on the training pairs.

    Args:
        seed: Of the training pairs, the initial weights and the batches.
        options: The fields of `Recipe`.

    Yields:
        A row for each snapshot, of the first layer: ``accuracy`` on the training pairs, ``test_accuracy`` on all
        others and ``epoch``; at every other snapshot and the last the columns of
        `ansatzlab.laws.tansley2025nfa.nonlinear.reading.judged` and ``score`` at ½ by Pearson, named ``pearson_…``, and
        those of `off_diagonal`.

    Raises:
        InputError: If an option is not valid.
        DivergedError: If the training stops being finite.
    """
    recipe = Recipe.parse(options, "train_modular")
    table = load("modular", seed=seed, prime=recipe.prime, operation=recipe.operation)
    inputs, targets, classes = table.inputs.float(), table.targets.float(), table.targets.argmax(1)
    count = max(1, int(recipe.fraction * len(inputs)))
    model = MLP([2 * recipe.prime, recipe.width, recipe.prime], activation="quadratic", bias=False, dtype=torch.float32)
    initialize(model, "pytorch_default", seed=seed)
    objective = SampleLoss(model, inputs[:count], targets[:count], mse_loss)
    batch = min(recipe.batch_size, count)
    optimizer = Optimizer(
        name="AdamW",
        decay="decoupled",
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        options={"betas": (0.9, 0.98)},
        batch_size=batch,
        steps=recipe.epochs * (count // batch),
    )
    for snapshot in train(model, objective, optimizer, snapshots=recipe.snapshots, seed=seed):
        row: Row = {
            "snapshot": snapshot.index,
            "step": snapshot.step,
            "flow_time": snapshot.flow_time,
            "loss": snapshot.loss,
            "layer": LAYER,
            "layer_index": 1,
            "epoch": (snapshot.step or 0) / (count // batch),
            "accuracy": share_right(model, inputs[:count], classes[:count]),
            "test_accuracy": share_right(model, inputs[count:], classes[count:]),
        }
        if snapshot.index % 2 == 0 or snapshot.step == optimizer.steps:
            first = snapshot.index == 0
            layer = measure(model, [inputs[:count]], layers=LAYER, check="first" if first else "never")[LAYER]
            row |= score(layer, "pearson", 0.5, "pearson")
            row |= judged(layer, "pearson", 0.5, recipe.draws, "pearson")
            row |= off_diagonal(layer, recipe.draws)
        yield row


def off_diagonal(layer: LayerMeasurement, draws: int) -> Row:
    """Return how alike M and ``G^½`` are where both diagonals are set to zero.

    Conventions:
        Pearson's correlation over all entries, the zeros included, as the published code has it.

    Args:
        layer: The layer.
        draws: Rotations of the structural null.

    Returns:
        ``off_value``, and of the same with output gradients turned at random the mean and standard deviation,
        ``off_null`` and ``off_null_sd``.
    """
    W, K = layer.blocks[0].double(), layer.sums.mean_gram()[0].double()
    turns = haar_orthogonal(len(K), torch.Generator().manual_seed(0), count=draws)
    turned = [_off_diagonal(W, Q @ K @ Q.mT) for Q in turns]
    return {"off_value": _off_diagonal(W, K), "off_null": fmean(turned), "off_null_sd": stdev(turned)}


def _off_diagonal(W: Float[Tensor, "o i"], K: Float[Tensor, "o o"]) -> float:
    matrices = (W.mT @ W, psd_power(gram_eigensystem(W.mT @ K @ W), 0.5))
    return pearson(*(matrix - matrix.diagonal().diag() for matrix in matrices))
