"""The loss of a network on a data set, and its gradient."""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import UnknownNameError
from ansatzlab.models.deep_linear import DeepLinear

Rows = Int[Tensor, " m"] | None
"""The examples of a batch, or None for all of them."""


StackedRows = Int[Tensor, "r m"] | None
"""The examples of each network's batch, or None for all of them."""


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


@runtime_checkable
class StackedObjective(Protocol):
    """A loss of a stack of networks' parameters, each by itself, without any penalty.

    Attributes:
        examples: The number of examples that each network sees.
    """

    examples: int

    def __call__(self, parameters: Sequence[Tensor], rows: StackedRows = None) -> tuple[Tensor, list[Tensor]]:
        """Return the losses (r,) and their gradients, one stacked tensor (r, …) per parameter."""
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
    if has_statistics(model, loss):
        return LinearSquareLoss(data)
    return NetworkLoss(model, data, LOSSES[loss])


def stacked_objective_for(model: nn.Module, data: Sequence[Dataset], loss: str = "square") -> StackedObjective:
    """Return the loss of a stack of networks in its cheapest exact form (see `objective_for`).

    Args:
        model: One of the networks, for its architecture.
        data: The data set of all networks, or one of the same shape for each.
        loss: A name in `LOSSES`.

    Raises:
        UnknownNameError: If the loss is unknown.
    """
    if has_statistics(model, loss):
        return StackedLinearSquareLoss(data, next(model.parameters()).dtype)
    return StackedNetworkLoss(model, data, LOSSES[loss])


def has_statistics(model: nn.Module, loss: str) -> bool:
    """Whether the loss depends on the data through their second moments alone: of a linear network without biases.

    Raises:
        UnknownNameError: If the loss is unknown.
    """
    if loss not in LOSSES:
        raise UnknownNameError("loss", loss, LOSSES)
    return loss == "square" and isinstance(model, DeepLinear) and all(p.ndim == 2 for p in model.parameters())


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
        statistics = self._statistics
        if rows is not None:
            statistics = _second_moments(self._data.inputs[rows], self._data.targets[rows])
        loss, gradients = _linear_square_loss(parameters, *statistics)
        return float(loss), gradients


class StackedLinearSquareLoss:
    """`LinearSquareLoss` of a stack of networks, by batched products.

    Attributes:
        examples: The number of examples.
    """

    def __init__(self, data: Sequence[Dataset], dtype: torch.dtype = torch.float64) -> None:
        """Keep the data, one set for all networks or one for each, and form its statistics."""
        self._inputs, self._targets = _stacked(data, dtype)
        self.examples = self._inputs.shape[-2]
        self._statistics = _second_moments(self._inputs, self._targets)

    def __call__(self, parameters: Sequence[Tensor], rows: StackedRows = None) -> tuple[Tensor, list[Tensor]]:
        """Return the losses and their gradients (see `StackedObjective`)."""
        statistics = self._statistics
        if rows is not None:
            statistics = _second_moments(_taken(self._inputs, rows), _taken(self._targets, rows))
        return _linear_square_loss(parameters, *statistics)


class StackedNetworkLoss:
    """`NetworkLoss` of a stack of networks of one architecture, differentiated under ``torch.func.vmap``.

    Attributes:
        examples: The number of examples.
    """

    def __init__(self, model: nn.Module, data: Sequence[Dataset], loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Keep the architecture, the data (one set for all networks or one for each) and the loss."""
        self._inputs, self._targets = _stacked(data, next(model.parameters()).dtype)
        self.examples = self._inputs.shape[-2]
        names = [name for name, _ in model.named_parameters()]

        def of_one(parameters: Sequence[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
            return loss(functional_call(model, dict(zip(names, parameters, strict=True)), (inputs,)), targets)

        self._differentiate = grad_and_value(of_one)

    def __call__(self, parameters: Sequence[Tensor], rows: StackedRows = None) -> tuple[Tensor, list[Tensor]]:
        """Return the losses and their gradients (see `StackedObjective`)."""
        inputs, targets = self._inputs, self._targets
        if rows is not None:
            inputs, targets = _taken(inputs, rows), _taken(targets, rows)
        over = 0 if inputs.ndim == 3 else None
        gradients, losses = vmap(self._differentiate, in_dims=(0, over, over))(list(parameters), inputs, targets)
        return losses, list(gradients)


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


def _linear_square_loss(
    parameters: Sequence[Tensor], xx: Tensor, yx: Tensor, yy: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Return the loss of one network or of each of a stack, and its gradient (see `LinearSquareLoss`)."""
    below = _running_products(parameters)
    product = below[-1]
    slope = product @ xx - yx
    loss = (((slope - yx) * product).sum(dim=(-2, -1)) + yy) / 2
    gradients: list[Tensor] = []
    above = slope
    for index in reversed(range(len(parameters))):
        gradients.append(above @ below[index - 1].mT if index else above)
        if index:
            above = parameters[index].mT @ above
    return loss, gradients[::-1]


def _second_moments(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n = inputs.shape[-2]
    return inputs.mT @ inputs / n, targets.mT @ inputs / n, targets.square().sum(dim=(-2, -1)) / n


def _stacked(data: Sequence[Dataset], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of one data set as they are, of several as a stack (r, n, …), in a dtype."""
    inputs, targets = [each.inputs.to(dtype) for each in data], [each.targets.to(dtype) for each in data]
    return (inputs[0], targets[0]) if len(data) == 1 else (torch.stack(inputs), torch.stack(targets))


def _taken(values: Tensor, rows: Tensor) -> Tensor:
    """Return each network's rows, shape (r, m, …)."""
    return values[rows] if values.ndim == 2 else values[torch.arange(len(rows))[:, None], rows]


def _running_products(weights: Sequence[Tensor]) -> list[Tensor]:
    """Return ``W_1, W_2 W_1, …``."""
    return reduce(lambda products, weight: [*products, weight @ products[-1]], weights[1:], [weights[0]])
