"""Reaching a counterexample by gradient descent or gradient flow from a stated start."""

from functools import partial

from jaxtyping import Float
from torch import Tensor

from ansatzlab.data.dataset import Dataset
from ansatzlab.models.mlp import MLP
from ansatzlab.training.dynamics import GradientFlow, Optimizer
from ansatzlab.training.loop import train
from ansatzlab.training.objective import NetworkLoss


def weighted_square_loss(
    outputs: Float[Tensor, "n c"], targets: Float[Tensor, "n c"], weights: Float[Tensor, " n"] | None = None
) -> Float[Tensor, ""]:
    """Return ``Σ w ‖f(x) − y‖² / (2 Σ w)``: the square loss where examples count several times.

    Example:
        >>> import torch
        >>> zeros, targets = torch.zeros(2, 1), torch.tensor([[1.0], [3.0]])
        >>> float(weighted_square_loss(zeros, targets, torch.tensor([3.0, 1.0])))
        1.5
    """
    squares = (outputs - targets).square().sum(1) / 2
    return squares.mean() if weights is None else weights @ squares / weights.sum()


def settle(
    model: MLP,
    inputs: Float[Tensor, "n i"],
    targets: Float[Tensor, "n c"],
    dynamics: GradientFlow | Optimizer,
    weights: Float[Tensor, " n"] | None = None,
) -> dict[str, Tensor]:
    """Train a network in place on the square loss of all examples.

    Args:
        model: The network.
        inputs: Inputs.
        targets: Targets.
        dynamics: How it is trained.
        weights: How often each example counts; None for once each.

    Returns:
        The weights that it started from.

    Raises:
        DivergedError: If the loss or a weight stops being finite.
    """
    start = {name: value.clone() for name, value in model.state_dict().items()}
    data = Dataset("counterexample", inputs=inputs, targets=targets, description="A counterexample's own data.")
    objective = NetworkLoss(model, data, partial(weighted_square_loss, weights=weights))
    for _ in train(model, objective, dynamics, snapshots=2):
        pass
    return start
