"""Multilayer perceptrons of any widths."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ansatzlab.errors import InputError, UnknownNameError


def identity(z: Tensor) -> Tensor:
    """Return ``z`` itself."""
    return z


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": functional.elu,
    "gelu": functional.gelu,
    "identity": identity,
    "leaky_relu": functional.leaky_relu,
    "quadratic": torch.square,
    "relu": functional.relu,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "tanh": torch.tanh,
}
"""Activations by name, each with torch's default constants (``leaky_relu``: slope 0.01; ``gelu``: exact)."""


def linear_layers(widths: Sequence[int], *, bias: bool, dtype: torch.dtype) -> nn.ModuleList:
    """Return one linear layer for each pair of neighbouring widths.

    Args:
        widths: Input width, hidden widths, output width; positive integers, at least two of them.
        bias: Whether every layer has a bias.
        dtype: The dtype of the parameters.

    Returns:
        The ``len(widths) - 1`` layers, first to last, with the parameters torch gives them.

    Raises:
        InputError: A width is not a positive integer, or there are fewer than two.
    """
    if len(widths) < 2 or not all(isinstance(width, int) and width > 0 for width in widths):
        raise InputError(
            f"linear_layers: got widths {list(widths)}; wanted at least two positive integers; "
            "give the input width, any hidden widths and the output width."
        )
    return nn.ModuleList(nn.Linear(width, following, bias=bias, dtype=dtype) for width, following in pairwise(widths))


class MLP(nn.Module):
    """Fully connected network, linear after the last layer.

    Definition:
        ``f(x) = W_L σ(W_{L-1} … σ(W_1 x + b_1) … + b_{L-1}) + b_L`` with ``L = len(widths) - 1``.

    The linear layers are the modules ``layers.0`` … ``layers.{L-1}``; the activation is a function, not a module.
    A new network has torch's default parameters, drawn from torch's global generator;
    ``ansatzlab.models.init.initialize`` replaces them by seeded ones.

    Attributes:
        layers: The linear layers, first to last.
        activation: The activation's name.

    Example:
        >>> import torch
        >>> model = MLP([3, 8, 2], activation="tanh")
        >>> [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
        ['layers.0', 'layers.1']
        >>> model(torch.zeros(5, 3, dtype=torch.float64)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        activation: str = "relu",
        bias: bool = True,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """Build the layers.

        Args:
            widths: Input width, hidden widths, output width; positive integers, at least two of them.
            activation: A name in ``ACTIVATIONS``.
            bias: Whether every layer has a bias.
            dtype: The dtype of the parameters.

        Raises:
            InputError: The widths are unusable or the activation is unknown.
        """
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UnknownNameError("activation", activation, ACTIVATIONS)
        self.layers = linear_layers(widths, bias=bias, dtype=dtype)
        self.activation = activation

    def forward(self, x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n c"]:
        """Return the network's outputs."""
        *hidden, last = self.layers
        for layer in hidden:
            x = ACTIVATIONS[self.activation](layer(x))
        outputs: Tensor = last(x)
        return outputs

    def extra_repr(self) -> str:
        """Return the activation, for ``repr``."""
        return f"activation={self.activation!r}"
