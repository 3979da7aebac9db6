"""Which layers of a network are measured, and why the others are not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ansatzlab.errors import InputError, ModelError, UnknownNameError
from ansatzlab.measurement.kinds import LayerKind, kind_of

Selector = str | Sequence[str] | Callable[[str, nn.Module], bool] | None


@dataclass(frozen=True)
class Layer:
    """A layer to be measured.

    Attributes:
        name: Its name in the model's own ``named_modules()``.
        module: The module itself, never changed.
        kind: How it reads as a linear map.
    """

    name: str
    module: nn.Module
    kind: LayerKind

    @property
    def weight(self) -> Tensor:
        """The weight matrix, shape (o, i)."""
        weight: Tensor = self.module.get_parameter(self.kind.weight)
        return weight

    @property
    def weight_name(self) -> str:
        """The name of the weight matrix in the model's own ``named_parameters()``."""
        return f"{self.name}.{self.kind.weight}" if self.name else self.kind.weight


def select_layers(model: nn.Module, selector: Selector) -> tuple[Mapping[str, Layer], Mapping[str, str]]:
    """Choose the layers to measure.

    Args:
        model: The network.
        selector: A name of ``named_modules()``, several, a predicate ``(name, module) -> bool`` over the layers that
            have a kind, or None for all of those.

    Returns:
        The chosen layers by name, in the model's order, and for every other module that holds parameters of its own the
        reason why it is skipped.

    Raises:
        UnknownNameError: If a name is not in the model.
        InputError: If a named module has no kind, or the selector chooses nothing.
        ModelError: If the model holds no layer that could be measured.
    """
    modules = dict(model.named_modules())
    known = {
        name: Layer(name, module, kind)
        for name, module in modules.items()
        if (kind := kind_of(module)) and kind.weight in dict(module.named_parameters(recurse=False))
    }
    if not known:
        held = sum(p.numel() for p in model.parameters())
        raise ModelError(
            f"measure: {type(model).__name__} has no layer to measure (it holds {held} parameters); wanted at least "
            "one torch.nn.Linear; check that the trained network itself is passed, not a wrapper around its output."
        )
    chosen = _chosen(modules, known, selector)
    skipped = {
        name: "not selected" if name in known else _why_not(module)
        for name, module in modules.items()
        if name not in chosen and (kind_of(module) or next(module.parameters(recurse=False), None) is not None)
    }
    return chosen, skipped


def _why_not(module: nn.Module) -> str:
    if kind_of(module):
        return f"the weight of this {type(module).__name__} is computed from other parameters (a parametrisation)"
    return f"{type(module).__name__} is not a linear map of features known here"


def _chosen(modules: Mapping[str, nn.Module], known: Mapping[str, Layer], selector: Selector) -> Mapping[str, Layer]:
    if selector is None:
        return known
    if isinstance(selector, str):
        selector = (selector,)
    if callable(selector):
        chosen = {name: layer for name, layer in known.items() if selector(name, layer.module)}
        if not chosen:
            raise InputError(
                f"measure(layers=): the predicate chose none of the {len(known)} layers; wanted at least one of: "
                f"{', '.join(known)}."
            )
        return chosen
    for name in selector:
        if name not in modules:
            raise UnknownNameError("layer", name, known)
        if name not in known:
            raise InputError(
                f"measure(layers=): layer {name!r} cannot be measured: {_why_not(modules[name])}; choose from: "
                f"{', '.join(known)}."
            )
    if not selector:
        raise InputError(f"measure(layers=): got no name; choose from: {', '.join(known)}, or pass None for all.")
    return {name: layer for name, layer in known.items() if name in selector}
