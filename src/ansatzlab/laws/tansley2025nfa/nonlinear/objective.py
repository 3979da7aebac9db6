"""The loss of any network on inputs of any kind, in the network's own dtype."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ansatzlab.training.objective import Rows

CHUNK = 500
"""How many examples are looked at at once when all of them are."""


class SampleLoss:
    """A mean loss over examples, differentiated by autograd.

    Conventions:
        `ansatzlab.training.objective.NetworkLoss` but for the data: images, tokens, single precision. All examples are
        gone through in parts, so that memory does not grow with their number.

    Attributes:
        examples: The number of examples.
    """

    def __init__(
        self, model: nn.Module, inputs: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        """Keep the network, the data and the loss (a mean over examples)."""
        self._model, self._inputs, self._targets, self._loss = model, inputs, targets, loss
        self._names = [name for name, _ in model.named_parameters()]
        self.examples = len(inputs)

    def __call__(self, parameters: Sequence[Tensor], rows: Rows = None) -> tuple[float, list[Tensor]]:
        """Return the loss and its gradient (see `ansatzlab.training.objective.Objective`)."""
        if rows is not None:
            return self._on(parameters, self._inputs[rows], self._targets[rows])
        total, sums = 0.0, [torch.zeros_like(parameter) for parameter in parameters]
        for first, last in pairwise([*range(0, self.examples, CHUNK), self.examples]):
            loss, gradients = self._on(parameters, self._inputs[first:last], self._targets[first:last])
            share = (last - first) / self.examples
            total += share * loss
            sums = [old + share * new for old, new in zip(sums, gradients, strict=True)]
        return total, sums

    def _on(self, parameters: Sequence[Tensor], inputs: Tensor, targets: Tensor) -> tuple[float, list[Tensor]]:
        leaves = [parameter.detach().requires_grad_() for parameter in parameters]
        outputs = functional_call(self._model, dict(zip(self._names, leaves, strict=True)), (inputs,))
        loss = self._loss(outputs, targets)
        return float(loss.detach()), list(torch.autograd.grad(loss, leaves))


def share_right(model: nn.Module, inputs: Tensor, classes: Tensor) -> float:
    """Return the share of predictions (the largest output, last dimension) that are right.

    Args:
        model: The network.
        inputs: Its inputs.
        classes: The right class of every prediction.

    Returns:
        A number in [0, 1].
    """
    with torch.no_grad():
        return float((model(inputs).argmax(-1) == classes).double().mean())
