"""The layer kinds that can be measured, one row each.

A kind is a linear map inside the network. It says where its weight matrix is and how a layer's input and output read
as rows that this matrix connects.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerKind:
    """How to read one class of module as a linear map.

    Attributes:
        name: The kind's name in tables.
        module: The class of module; subclasses count.
        weight: The name of the parameter that holds W, shape (o, i).
        inputs: Turns the module's input into rows, shape (n, s, i): n examples, s positions.
        outputs: Turns the module's output (or its gradient) into rows, shape (n, s, o).
    """

    name: str
    module: type[nn.Module]
    weight: str
    inputs: Callable[[Tensor], Float[Tensor, "n s i"]]
    outputs: Callable[[Tensor], Float[Tensor, "n s o"]]


def _last_dimension_rows(tensor: Tensor) -> Float[Tensor, "n s f"]:
    """Read any leading dimensions after the first as positions: (n, …, f) to (n, s, f)."""
    return tensor.reshape(len(tensor), -1, tensor.shape[-1])


KINDS: tuple[LayerKind, ...] = (
    LayerKind("linear", nn.Linear, "weight", inputs=_last_dimension_rows, outputs=_last_dimension_rows),
)


def kind_of(module: nn.Module) -> LayerKind | None:
    """Return the module's kind, or None if it is no linear map that is known here."""
    return next((kind for kind in KINDS if isinstance(module, kind.module)), None)
