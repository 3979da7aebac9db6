"""Learning rates from the curvature of the loss, where theory gives them."""

from collections.abc import Sequence
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import InputError
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.training.dynamics import Optimizer, SharpnessRate

Matrix = Float[Tensor, "_o _i"]


def with_rate(dynamics: Optimizer, model: nn.Module, data: Dataset, loss: str) -> Optimizer:
    """Return an optimiser whose learning rate is a number: a rule is applied to the network at its start.

    Args:
        dynamics: The optimiser.
        model: The network with its initial weights.
        data: The data set.
        loss: The loss's name.

    Returns:
        The same optimiser, with ``fraction · 2/λ`` for a `SharpnessRate`, λ of the loss with its penalty.

    Raises:
        InputError: If the rule has no theory for this network or loss.
    """
    rule = dynamics.learning_rate
    if not isinstance(rule, SharpnessRate):
        return dynamics
    if not isinstance(model, DeepLinear) or loss != "square" or any(p.ndim != 2 for p in model.parameters()):
        raise InputError(
            "learning_rate: the sharpness rule knows deep linear networks without biases on square loss; wanted a "
            "number for any other; give learning_rate as one."
        )
    penalty = dynamics.weight_decay if dynamics.decay == "coupled" else 0.0
    curvature = sharpness_bound([p.detach() for p in model.parameters()], data) + penalty
    return dynamics.model_copy(update={"learning_rate": rule.fraction * 2 / curvature})


def sharpness_bound(weights: Sequence[Matrix], data: Dataset) -> float:
    """Return a bound on the curvature of a deep linear network's square loss, at its start and at its end.

    Definition:
        The larger of two bounds on the largest eigenvalue of the Gauss–Newton matrix, which at zero residual is the
        Hessian, σ the largest eigenvalue of ``XᵀX/n``: at the weights given,
        ``σ Σ_l ‖W_L … W_{l+1}‖² ‖W_{l−1} … W_1‖²``; at a balanced minimum whose product has the largest singular value
        s, ``σ L s^{2−2/L}``. Spectral norms; s that of the least-squares solution.

    Conventions:
        A minimum that is not balanced may be sharper; so may the Hessian at the start, whose residual term is left out.

    Args:
        weights: The weights from the first layer to the last.
        data: The data set.

    Returns:
        The bound, positive.

    Raises:
        InputError: If the inputs are zero.

    Source:
        Derived in docs/devdocs/rates.md.

    Example:
        >>> eye = torch.eye(2, dtype=torch.float64)
        >>> data = Dataset("unit", 2**0.5 * eye, 2**0.5 * eye, "white inputs, the identity to learn")
        >>> round(sharpness_bound([eye, eye, eye], data), 12)
        3.0
    """
    scale = float(torch.linalg.matrix_norm(data.inputs, ord=2)) ** 2 / len(data.inputs)
    if not scale:
        raise InputError("learning_rate: the inputs are all zero, so that the loss has no curvature; wanted others.")
    depth = len(weights)
    solution = torch.linalg.lstsq(data.inputs, data.targets, driver="gelsd").solution
    largest = float(torch.linalg.matrix_norm(solution, ord=2))
    at_the_end: float = depth * largest ** (2 - 2 / depth)
    return scale * max(_at(weights), at_the_end)


def _at(weights: Sequence[Matrix]) -> float:
    total = 0.0
    for index in range(len(weights)):
        above, below = weights[index + 1 :], weights[:index]
        total += _squared_norm(above) * _squared_norm(below)
    return total


def _squared_norm(chain: Sequence[Matrix]) -> float:
    """Return the squared spectral norm of the product of a chain of layers, 1 for an empty one."""
    if not chain:
        return 1.0
    product = reduce(lambda below, weight: weight @ below, chain)
    return float(torch.linalg.matrix_norm(product, ord=2)) ** 2
