"""Which linear layers of a network feed one another, and what is read off a pair of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ansatzlab.errors import InputError, UnknownNameError


@dataclass(frozen=True)
class Joint:
    """Two linear layers, of which the second takes what leaves the first, whatever acts on it in between.

    Attributes:
        lower: The first layer's name.
        upper: The second layer's name.
        below: The first layer.
        above: The second layer.
    """

    lower: str
    upper: str
    below: nn.Linear
    above: nn.Linear

    @property
    def weights(self) -> tuple[Tensor, Tensor]:
        """Both weight matrices."""
        return self.below.weight, self.above.weight

    @property
    def biases(self) -> tuple[Tensor, ...]:
        """The first layer's bias, if it has one; the second's has no part in the balance."""
        return () if self.below.bias is None else (self.below.bias,)


def joints(model: nn.Module, layers: Sequence[str] | None = None) -> tuple[Joint, ...]:
    """Find the pairs of consecutive linear layers.

    Conventions:
        Without names the order in which the model registers its modules is taken for the order in which it uses them; a
        chain ends where widths do not match, where a module with parameters of another kind comes between, and at a
        layer that is not trained.

    Args:
        model: The network.
        layers: The names of linear layers in the order in which they are used; None to find them.

    Returns:
        The pairs, from the input to the output.

    Raises:
        UnknownNameError: If a name is not in the model.
        InputError: If a named module is no trained linear layer, two that follow one another do not match, one is used
            twice, or there is no pair at all.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> [(pair.lower, pair.upper) for pair in joints(model)]
        [('0', '2')]
    """
    found = _found(model) if layers is None else _named(model, layers)
    if not found:
        raise InputError(
            f"balance account: {type(model).__name__} has no two trained linear layers of which one feeds the other; "
            "wanted a chain of torch.nn.Linear; name its layers in order."
        )
    shared = {id(part) for pair in found for part in (pair.below.weight, pair.above.weight)}
    if len(shared) < len({name for pair in found for name in (pair.lower, pair.upper)}):
        raise InputError(
            "balance account: two of the layers share one weight; wanted layers with weights of their own."
        )
    return tuple(found)


def _found(model: nn.Module) -> list[Joint]:
    held = [(n, m) for n, m in model.named_modules() if next(m.parameters(recurse=False), None) is not None]
    return [
        Joint(lower, upper, below, above)
        for (lower, below), (upper, above) in pairwise(held)
        if isinstance(below, nn.Linear) and isinstance(above, nn.Linear) and _fit(below, above)
    ]


def _fit(below: nn.Linear, above: nn.Linear) -> bool:
    moving = (below.weight, above.weight) if below.bias is None else (below.weight, above.weight, below.bias)
    return all(parameter.requires_grad for parameter in moving) and below.out_features == above.in_features


def _named(model: nn.Module, layers: Sequence[str]) -> list[Joint]:
    if isinstance(layers, str) or len(set(layers)) < max(len(layers), 2):
        raise InputError(f"balance account: got layers={layers!r}; wanted at least two names, each once, in order.")
    modules = dict(model.named_modules())
    chosen: list[nn.Linear] = []
    for name in layers:
        if name not in modules:
            raise UnknownNameError("layer", name, modules)
        module = modules[name]
        if not isinstance(module, nn.Linear) or not module.weight.requires_grad:
            raise InputError(
                f"balance account: {name!r} is a {type(module).__name__}"
                f"{' that is not trained' if isinstance(module, nn.Linear) else ''}; wanted a trained torch.nn.Linear."
            )
        chosen.append(module)
    pairs = list(zip(pairwise(layers), pairwise(chosen), strict=True))
    for (lower, upper), (below, above) in pairs:
        if below.out_features != above.in_features:
            raise InputError(
                f"balance account: {lower!r} has {below.out_features} outputs and {upper!r} {above.in_features} "
                "inputs; wanted layers that follow one another; give their names in the order of use."
            )
    return [Joint(lower, upper, below, above) for (lower, upper), (below, above) in pairs]


@dataclass(frozen=True)
class Reading:
    """The weights of a pair, or their gradients, in the form in which balance compares them.

    Attributes:
        above: The second layer's matrix (o, m).
        below: The first layer's matrix (m, i), its bias a last column if it has one.
        biased: Whether it has.
    """

    above: Tensor
    below: Tensor
    biased: bool

    @property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Both matrices."""
        return self.above, self.below


def read(joint: Joint, *, gradients: bool = False) -> Reading:
    """Read a pair's weights or gradients in float64 (where the device has it).

    Raises:
        InputError: If a gradient is missing.
    """
    parts = []
    for name, parameter in zip(
        (joint.upper, joint.lower, joint.lower), (*joint.weights[::-1], *joint.biases), strict=False
    ):
        tensor = parameter.grad if gradients else parameter
        if tensor is None:
            raise InputError(
                f"balance account: {name!r} has no gradient; wanted one; call record() after loss.backward() and "
                "before optimizer.step()."
            )
        # squares of float32 are exact in float64, which some devices lack
        parts.append(tensor.detach() if tensor.device.type == "mps" else tensor.detach().double())
    below = parts[1] if len(parts) == 2 else torch.cat([parts[1], parts[2][:, None]], dim=1)
    return Reading(parts[0], below, biased=len(parts) == 3)
