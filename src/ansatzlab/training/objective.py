"""The loss of a network on a data set, and its gradient."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import UnknownNameError
from ansatzlab.models.deep_linear import DeepLinear

Rows = Int[Tensor, " m"] | None
"""The examples of a batch, or None for all of them."""


@runtime_checkable
class Objective(Protocol):
    """A loss of a network's parameters, without any penalty.

    Attributes:
        examples: The number of examples.
    """

    examples: int

    def __call__(self, parameters: Sequence[Tensor], rows: Rows = None) -> tuple[float, list[Tensor]]:
        """Return the loss and its gradient, one tensor per parameter, on the examples ``rows`` (None: all)."""
        ...


def square_loss(outputs: Float[Tensor, "n c"], targets: Float[Tensor, "n c"]) -> Float[Tensor, ""]:
    """Return ``(1/2n) Σ ‖f(x) − y‖²``: half the squared error, summed over outputs, averaged over examples."""
    return (outputs - targets).square().sum() / (2 * len(outputs))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "square": square_loss,
    "cross_entropy": functional.cross_entropy,
}
"""Losses by name; cross-entropy takes the targets as probabilities."""


def objective_for(model: nn.Module, data: Dataset, loss: str = "square") -> Objective:
    """Return the loss of a network on a data set in its cheapest exact form.

    Args:
        model: The network.
        data: The data set.
        loss: A name in `LOSSES`.

    Returns:
        For a deep linear network without bias on square loss `LinearSquareLoss`, whose cost does not depend on the
        number of examples; for any other `NetworkLoss`.

    Raises:
        UnknownNameError: If the loss is unknown.
    """
    if loss not in LOSSES:
        raise UnknownNameError("loss", loss, LOSSES)
    if loss == "square" and isinstance(model, DeepLinear) and all(p.ndim == 2 for p in model.parameters()):
        return LinearSquareLoss(data)
    return NetworkLoss(model, data, LOSSES[loss])


class LinearSquareLoss:
    """Square loss of a deep linear network from sufficient statistics.

    Definition:
        With ``P = W_L … W_1``, ``Σxx = XᵀX/n``, ``Σyx = YᵀX/n``: loss
        ``½ tr(P Σxx Pᵀ) − tr(P Σyxᵀ) + ½ mean|y|²``, gradient by W_l
        ``(W_L … W_{l+1})ᵀ (P Σxx − Σyx) (W_{l−1} … W_1)ᵀ``.

    Cost:
        O(L) products of the layers' sizes, whatever n.
    """

    def __init__(self, data: Dataset) -> None:
        """Keep the data and form its statistics."""
        self._data = data
        self.examples = len(data.inputs)
        self._statistics = _second_moments(data.inputs, data.targets)

    def __call__(self, parameters: Sequence[Tensor], rows: Rows = None) -> tuple[float, list[Tensor]]:
        """Return the loss and its gradient (see `Objective`)."""
        xx, yx, yy = self._statistics
        if rows is not None:
            xx, yx, yy = _second_moments(self._data.inputs[rows], self._data.targets[rows])
        below = _running_products(parameters)
        product = below[-1]
        slope = product @ xx - yx
        loss = float(((slope - yx) * product).sum() + yy) / 2
        gradients: list[Tensor] = []
        above = slope
        for index in reversed(range(len(parameters))):
            gradients.append(above @ below[index - 1].mT if index else above)
            above = parameters[index].mT @ above
        return loss, gradients[::-1]


class NetworkLoss:
    """The loss of any network, differentiated by autograd."""

    def __init__(self, model: nn.Module, data: Dataset, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Keep the network, the data and the loss."""
        self._model, self._data, self._loss = model, data, loss
        self._names = [name for name, _ in model.named_parameters()]
        self.examples = len(data.inputs)

    def __call__(self, parameters: Sequence[Tensor], rows: Rows = None) -> tuple[float, list[Tensor]]:
        """Return the loss and its gradient (see `Objective`)."""
        inputs, targets = self._data.inputs, self._data.targets
        if rows is not None:
            inputs, targets = inputs[rows], targets[rows]
        leaves = [parameter.detach().requires_grad_() for parameter in parameters]
        loss = self._loss(functional_call(self._model, dict(zip(self._names, leaves, strict=True)), (inputs,)), targets)
        return float(loss.detach()), list(torch.autograd.grad(loss, leaves))


def _second_moments(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, float]:
    n = len(inputs)
    return inputs.mT @ inputs / n, targets.mT @ inputs / n, float(targets.square().sum()) / n


def _running_products(weights: Sequence[Tensor]) -> list[Tensor]:
    """Return ``W_1, W_2 W_1, …``."""
    return reduce(lambda products, weight: [*products, weight @ products[-1]], weights[1:], [weights[0]])
