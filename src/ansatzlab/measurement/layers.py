"""Which layers of a network are measured, and why the others are not."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ansatzlab.errors import InputError, ModelError, UnknownNameError
from ansatzlab.measurement.kinds import Blocks, InputRows, LayerKind, LinearMap, OutputRows, is_packed, kind_of, why_not

Selector = str | Iterable[str] | Callable[[str, nn.Module], bool] | None


class InitialWeights(dict[str, Tensor]):
    """Weights before training by their parameters' names, and nothing else of that network.

    Given to `ansatzlab.measure` as ``initial`` the untrained network is not measured beside the trained one, although
    in a network without biases these are its whole state.
    """


@dataclass(frozen=True)
class Layer:
    """A linear map to be measured.

    Attributes:
        name: The module's name in the model's own ``named_modules()``, with the map's suffix behind it if the module
            holds several.
        owner: The module's name.
        module: The module itself, never changed.
        kind: How the module is read.
        map: Which linear map in it this is.
    """

    name: str
    owner: str
    module: nn.Module
    kind: LayerKind
    map: LinearMap

    @property
    def parameter(self) -> Tensor:
        """The tensor that holds the weight: a parameter, or what a parametrisation computes."""
        tensor: Tensor = attrgetter(self.map.parameter)(self.module)
        return tensor

    @property
    def parameter_name(self) -> str:
        """The parameter's name in the model, as in its state dict."""
        return f"{self.owner}.{self.map.parameter}" if self.owner else self.map.parameter

    @property
    def blocks(self) -> Blocks:
        """The weight as blocks, shape (g, o, i)."""
        return self.map.matrix(self.parameter.detach())

    def input_rows(self, tensor: Tensor, examples: int) -> InputRows:
        """Read what went in as rows of examples, shape (n, s, g, i)."""
        return _by_example(self.map.inputs(tensor), examples)

    def output_rows(self, tensor: Tensor, examples: int) -> OutputRows:
        """Read what came out, or its gradient, as rows of examples, shape (n, s, g, o)."""
        return _by_example(self.map.outputs(tensor), examples)


def _by_example(rows: Tensor, examples: int) -> Tensor:
    """Read rows of which several in a row belong to one example, as where (n, t, …) was flattened to (n t, …)."""
    return rows if len(rows) == examples else rows.reshape(examples, -1, *rows.shape[2:])


def detached_copy(model: nn.Module) -> nn.Module:
    """Copy a network, also where computed weights or features are kept in it, which `copy.deepcopy` alone refuses."""
    held = [tensor for module in model.modules() for tensor in _tensors_in(list(vars(module).values()))]
    return copy.deepcopy(model, {id(tensor): tensor.detach().clone() for tensor in held if not tensor.is_leaf})


def _tensors_in(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | Mapping):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors_in(part)


def select_layers(model: nn.Module, selector: Selector) -> tuple[Mapping[str, Layer], Mapping[str, str]]:
    """Choose the layers to measure.

    Args:
        model: The network.
        selector: A name of a layer, several, a predicate ``(name, module) -> bool`` over the layers, or None for all of
            them. The name of a module that holds several linear maps stands for all of these.

    Returns:
        The chosen layers by name, in the model's order, and for every other module that holds parameters of its own the
        reason why it is skipped.

    Raises:
        UnknownNameError: If a name is not in the model.
        InputError: If a named module has no kind, or the selector chooses nothing.
        ModelError: If the model holds no layer that could be measured, or a lazy module without a weight.
    """
    modules = dict(model.named_modules())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ModelError(
                f"measure: {name!r} has no shape before the first call of its lazy module; wanted a network with "
                "weights; call the model once on a batch first."
            )
    known: dict[str, Layer] = {}
    inside: set[str] = set()
    for name, module in modules.items():
        kind = kind_of(module)
        if kind is None or name in inside:
            continue
        for part in kind.maps(module):
            whole = ".".join(filter(None, (name, part.suffix)))
            known[whole] = Layer(whole, name, module, kind, part)
            inside.add(whole)
    if not known:
        held = sum(p.numel() for p in model.parameters())
        reasons = dict.fromkeys(
            why_not(m) for m in modules.values() if next(m.parameters(recurse=False), None) is not None
        )
        raise ModelError(
            f"measure: {type(model).__name__} has no layer to measure (it holds {held} parameters"
            f"{''.join(f'; {reason}' for reason in reasons)}); wanted at least "
            "one linear map, such as torch.nn.Linear or a convolution; check that the trained network itself is "
            "passed, not a wrapper around its output."
        )
    chosen = _chosen(modules, known, selector)
    owners = {layer.owner for layer in known.values()}
    skipped = {name: "not selected" for name in known if name not in chosen} | {
        name: why_not(module)
        for name, module in modules.items()
        if name not in known
        and name not in owners
        and (is_packed(module) or next(module.parameters(recurse=False), None) is not None)
    }
    return chosen, skipped


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
    selector = tuple(selector)
    for name in selector:
        if name not in modules and name not in known:
            raise UnknownNameError("layer", name, known)
        if not any(name in (layer.name, layer.owner) for layer in known.values()):
            raise InputError(
                f"measure(layers=): layer {name!r} cannot be measured: {why_not(modules[name])}; choose from: "
                f"{', '.join(known)}."
            )
    if not selector:
        raise InputError(f"measure(layers=): got no name; choose from: {', '.join(known)}, or pass None for all.")
    return {name: layer for name, layer in known.items() if name in selector or layer.owner in selector}
