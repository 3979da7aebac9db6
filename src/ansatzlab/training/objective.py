"""The loss of a network on a data set, and its gradient."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import UnknownNameError
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.mlp import ACTIVATIONS, MLP, identity

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
        ``(W_L … W_{l+1})ᵀ (P Σxx − Σyx) (W_{l−1} … W_1)ᵀ``. On a batch the residuals stand for the statistics.

    Cost:
        O(L) products of the layers' sizes, one of the three dimensions being the smaller of the numbers of inputs and
        outputs, whatever n.
    """

    def __init__(self, data: Dataset) -> None:
        """Keep the data and form its statistics."""
        self._data = data
        self.examples = len(data.inputs)
        self._statistics = _second_moments(data.inputs, data.targets)

    def __call__(self, parameters: Sequence[Tensor], rows: Rows = None) -> tuple[float, list[Tensor]]:
        """Return the loss and its gradient (see `Objective`)."""
        slope = partial(_slope_by_statistics, *self._statistics)
        if rows is not None:
            slope = partial(_slope_by_residuals, self._data.inputs[rows], self._data.targets[rows])
        loss, gradients = _linear_square_loss(parameters, slope)
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
        slope = partial(_slope_by_statistics, *self._statistics)
        if rows is not None:
            slope = partial(_slope_by_residuals, _taken(self._inputs, rows), _taken(self._targets, rows))
        return _linear_square_loss(parameters, slope)


CACHED = 2**21
"""How many bytes of one layer's outputs are worked on at once: few enough to stay in a processor's cache."""


WORTHWHILE = 4
"""How many networks at once are faster than one by one."""


class StackedNetworkLoss:
    """`NetworkLoss` of a stack of networks of one architecture, a few networks at a time.

    Deep linear networks and MLPs are differentiated through batched products; any other under ``torch.func.vmap``.

    Attributes:
        examples: The number of examples.
    """

    def __init__(self, model: nn.Module, data: Sequence[Dataset], loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Keep the architecture, the data (one set for all networks or one for each) and the loss."""
        like = next(model.parameters())
        self._inputs, self._targets = _stacked(data, like.dtype)
        self.examples = self._inputs.shape[-2]
        self._outputs = _stacked_forward(model)
        self._loss = loss
        widest = max(parameter.shape[0] for parameter in model.parameters())
        self._bytes_an_example = widest * like.element_size()

    def __call__(self, parameters: Sequence[Tensor], rows: StackedRows = None) -> tuple[Tensor, list[Tensor]]:
        """Return the losses and their gradients (see `StackedObjective`)."""
        inputs, targets = self._inputs, self._targets
        if rows is not None:
            inputs, targets = _taken(inputs, rows), _taken(targets, rows)
        fitting = CACHED // (self._bytes_an_example * inputs.shape[-2])
        size = fitting if fitting >= WORTHWHILE else 1
        losses: list[Tensor] = []
        gradients: list[tuple[Tensor, ...]] = []
        for start in range(0, len(parameters[0]), size):
            part = slice(start, start + size)
            leaves = [parameter[part].detach().requires_grad_() for parameter in parameters]
            shown, wanted = (each if each.ndim == 2 else each[part] for each in (inputs, targets))
            outputs = self._outputs(leaves, shown)
            loss = vmap(self._loss, in_dims=(0, None if wanted.ndim == 2 else 0))(outputs, wanted)
            losses.append(loss.detach())
            gradients.append(torch.autograd.grad(loss.sum(), leaves))
        return torch.cat(losses), [torch.cat(parts) for parts in zip(*gradients, strict=True)]


def _stacked_forward(model: nn.Module) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
    """Return what maps stacked parameters and inputs, (n, i) or (r, n, i), to outputs (r, n, c)."""
    names = [name for name, _ in model.named_parameters()]
    if not isinstance(model, DeepLinear | MLP):

        def one(parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
            outputs: Tensor = functional_call(model, dict(zip(names, parameters, strict=True)), (inputs,))
            return outputs

        return lambda parameters, inputs: vmap(one, in_dims=(0, None if inputs.ndim == 2 else 0))(
            list(parameters), inputs
        )
    activation = ACTIVATIONS[model.activation] if isinstance(model, MLP) else identity

    def forward(parameters: Sequence[Tensor], inputs: Tensor) -> Tensor:
        if parameters[0].ndim == 3 and len(parameters[0]) == 1:  # a batch of one product is slower than the product
            return forward([each[0] for each in parameters], inputs if inputs.ndim == 2 else inputs[0])[None]
        values, outputs = dict(zip(names, parameters, strict=True)), inputs
        for index in range(len(model.layers)):
            outputs = outputs if index == 0 else activation(outputs)
            outputs = outputs @ values[f"layers.{index}.weight"].mT
            bias = values.get(f"layers.{index}.bias")
            outputs = outputs if bias is None else outputs + bias.unsqueeze(-2)
        return outputs

    return forward


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


Slope = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gives the square loss of a linear map, or of each of a stack, and its gradient by the map."""


def _linear_square_loss(weights: Sequence[Tensor], slope_of: Slope) -> tuple[Tensor, list[Tensor]]:
    """Return the loss of one network or of each of a stack, and its gradient (see `LinearSquareLoss`)."""
    if weights[-1].shape[-2] <= weights[0].shape[-1]:
        return _from_above(weights, slope_of)

    def transposed(product: Tensor) -> tuple[Tensor, Tensor]:
        loss, slope = slope_of(product.mT)
        return loss, slope.mT

    loss, gradients = _from_above([weight.mT for weight in reversed(weights)], transposed)
    return loss, [gradient.mT.contiguous() for gradient in reversed(gradients)]


def _from_above(weights: Sequence[Tensor], slope_of: Slope) -> tuple[Tensor, list[Tensor]]:
    """Do it in products of which one dimension is the number of outputs: cheapest if they are fewer than the inputs."""
    chains = _running_products(weights)
    loss, slope = slope_of(chains[-1])
    gradients = []
    for weight, above in zip(weights, reversed(chains[:-1]), strict=False):
        gradients.append(above.mT @ slope)
        slope = slope @ weight.mT
    return loss, [*gradients, slope]


def _slope_by_statistics(xx: Tensor, yx: Tensor, yy: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
    slope = product @ xx - yx
    return (((slope - yx) * product).sum(dim=(-2, -1)) + yy) / 2, slope


def _slope_by_residuals(inputs: Tensor, targets: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
    residuals = inputs @ product.mT - targets
    n = inputs.shape[-2]
    return residuals.square().sum(dim=(-2, -1)) / (2 * n), residuals.mT @ inputs / n


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
    """Return ``W_L, W_L W_{L−1}, …``."""
    return reduce(lambda products, weight: [*products, products[-1] @ weight], weights[-2::-1], [weights[-1]])
