"""Deep linear networks, where the laws have closed forms."""

from collections.abc import Sequence
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ansatzlab.errors import InputError
from ansatzlab.models.mlp import linear_layers


class DeepLinear(nn.Module):
    """Linear network of depth two or more.

    Definition:
        ``f(x) = W_L … W_1 x`` with ``L = len(widths) - 1 ≥ 2``; with ``bias=True`` every layer adds its bias.

    The layers are the modules ``layers.0`` … ``layers.{L-1}``. A new network has torch's default parameters, drawn
    from torch's global generator; ``ansatzlab.models.init.initialize`` replaces them by seeded ones.

    Attributes:
        layers: The linear layers, first to last.

    Source:
        tansley2025nfa, claim (i); Theorem A of THEORY.md §3 has no biases, hence the default.

    Example:
        >>> import torch
        >>> model = DeepLinear([3, 4, 2])
        >>> x = torch.eye(3, dtype=torch.float64)
        >>> torch.testing.assert_close(model(x), model.end_to_end().mT)
    """

    def __init__(self, widths: Sequence[int], *, bias: bool = False, dtype: torch.dtype = torch.float64) -> None:
        """Build the layers.

        Args:
            widths: Input width, at least one hidden width, output width; positive integers.
            bias: Whether every layer has a bias.
            dtype: The dtype of the parameters.

        Raises:
            InputError: The widths are unusable, or there are fewer than two layers.
        """
        super().__init__()
        if len(widths) < 3:
            raise InputError(
                f"DeepLinear: got widths {list(widths)}, i.e. depth {max(len(widths) - 1, 0)}; "
                "the laws here need at least 2 layers; give at least one hidden width."
            )
        self.layers = linear_layers(widths, bias=bias, dtype=dtype)

    def forward(self, x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n c"]:
        """Return the network's outputs."""
        for layer in self.layers:
            x = layer(x)
        return x

    def end_to_end(self) -> Float[Tensor, "c i"]:
        """Return the product ``W_L … W_1`` (c, i), differentiable in every layer; biases have no part in it."""
        weights: list[Tensor] = [layer.weight for layer in self.layers if isinstance(layer, nn.Linear)]
        return reduce(lambda product, weight: weight @ product, weights)
