"""Reading a network's layers while it runs, without changing it."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from ansatzlab.errors import ModelError
from ansatzlab.measurement.layers import Layer

Visitor = Callable[[Layer, Tensor, Tensor], Tensor]
"""Called at every use of a layer with what went in and what came out; returns what the network goes on with."""


@dataclass(frozen=True)
class Use:
    """One call of a layer.

    Attributes:
        inputs: What went in.
        outputs: The layer's own output, the tensor at which gradients are taken.
    """

    inputs: Tensor
    outputs: Tensor


@contextmanager
def visiting(layers: Mapping[str, Layer], visitor: Visitor) -> Iterator[None]:
    """Let a visitor see, and replace, the output of every layer at every call inside the ``with``.

    It sees them before hooks of the user's own do, which therefore belong to what is behind the layer. Its own hooks
    are removed on the way out, whatever happened.

    Args:
        layers: The layers by name.
        visitor: Sees them.

    Yields:
        Nothing.
    """
    modules: dict[str, list[Layer]] = {}
    for layer in layers.values():
        modules.setdefault(layer.owner, []).append(layer)
    handles = []
    try:
        for found in modules.values():
            hook = partial(_call if found[0].kind.trace is None else _call_traced, tuple(found), visitor)
            handles.append(found[0].module.register_forward_hook(hook, prepend=True, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def running_plainly(model: nn.Module) -> Iterator[None]:
    """Run a network inside the ``with`` so that every module calls its forward hooks, and no backward hook is called.

    Compiled parts run eagerly, and transformers without torch's fused path, which in evaluation mode leaves modules
    out and sets padded positions to zero. Backward hooks of the user's own could change the gradients.
    """
    modules = list(model.modules())
    compiled = any(type(m).__name__ == "OptimizedModule" or m._compiled_call_impl is not None for m in modules)
    fused = torch.backends.mha.get_fastpath_enabled()
    kept = [(vars(m), name, vars(m)[name]) for m in modules for name in _BACKWARD_HOOKS if vars(m).get(name)]
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        torch.backends.mha.set_fastpath_enabled(False)
        for attributes, name, _ in kept:
            attributes[name] = OrderedDict()
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            for attributes, name, hooks in kept:
                attributes[name] = hooks


_BACKWARD_HOOKS = ("_backward_hooks", "_backward_pre_hooks")


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Leave buffers and random state as they are, run eagerly, and differentiate whatever mode the caller is in."""
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    kept = [
        (
            module,
            {name: (buffer, None if buffer is None else buffer.clone()) for name, buffer in module._buffers.items()},
        )
        for module in model.modules()
    ]
    with ExitStack() as stack:
        stack.enter_context(running_plainly(model))
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        try:
            yield
        finally:
            for module, buffers in kept:
                for name in set(module._buffers.keys()) - set(buffers):
                    delattr(module, name)
                for name, (buffer, value) in buffers.items():
                    if buffer is not None and value is not None and not torch.equal(buffer, value):
                        buffer.detach().copy_(value)
                    if getattr(module, name) is not buffer:
                        setattr(module, name, buffer)


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Have every module in evaluation mode inside the ``with``, and each in its own mode again behind it.

    The flags are set one by one: ``train()`` and ``eval()``, which a network may have overridden, are not called.
    """
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def watch(layers: Mapping[str, Layer], *, keep_inputs: bool = False) -> Iterator[Mapping[str, list[Use]]]:
    """Record every call of the layers inside the ``with``.

    The network goes on with a *copy* of each output, so that an in-place operation behind the layer (an in-place ReLU)
    cannot overwrite the tensor at which the gradient is taken.

    Args:
        layers: The layers by name.
        keep_inputs: Whether to keep what went in, as it was; otherwise only its shape can be relied on.

    Yields:
        For each layer the list of its uses so far, in the order of the calls.
    """
    uses: dict[str, list[Use]] = {name: [] for name in layers}

    def record(layer: Layer, inputs: Tensor, output: Tensor) -> Tensor:
        handle = output if output.requires_grad else output.detach().requires_grad_()
        uses[layer.name].append(Use(inputs.detach() if keep_inputs else inputs.new_empty(0), handle))
        return handle.clone()

    with visiting(layers, record):
        yield uses


def _call(
    layers: tuple[Layer, ...],
    visitor: Visitor,
    _: nn.Module,
    arguments: tuple[object, ...],
    keywords: Mapping[str, object],
    output: object,
) -> Tensor:
    inputs = next(iter((*arguments, *keywords.values())), None)
    if not isinstance(inputs, Tensor) or not isinstance(output, Tensor):
        raise ModelError(
            f"measure: layer {layers[0].name!r} was called with a {type(inputs).__name__} and returned a "
            f"{type(output).__name__}; wanted a tensor in and a tensor out; leave the layer out with layers=."
        )
    return visitor(layers[0], inputs, output)


def _call_traced(
    layers: tuple[Layer, ...],
    visitor: Visitor,
    module: nn.Module,
    arguments: tuple[object, ...],
    keywords: Mapping[str, object],
    _: object,
) -> object:
    watched = {layer.map.suffix: layer for layer in layers}

    def visit(suffix: str, inputs: Tensor, output: Tensor) -> Tensor:
        return visitor(watched[suffix], inputs, output) if suffix in watched else output

    trace = layers[0].kind.trace
    assert trace is not None
    return trace(module, arguments, keywords, visit)


def differentiate(
    outputs: Float[Tensor, "n c"],
    directions: Iterator[Float[Tensor, "n c"]],
    count: int,
    handles: Sequence[Tensor],
) -> Iterator[tuple[Tensor | None, ...]]:
    """Differentiate the outputs along each direction by every handle: one backward pass a direction.

    Args:
        outputs: The network's outputs on one batch.
        directions: Directions in output space, one for each example.
        count: How many there are.
        handles: The tensors to differentiate by.

    Yields:
        For each direction the gradient at each handle, None where no path leads there.

    Raises:
        ModelError: If the network cannot be differentiated a second time.
    """
    for index, direction in enumerate(directions):
        # A scalar, because differentiating a matrix makes torch import its symbolic shapes: 40 MB and a second.
        yield gradients_of((outputs * direction).sum(), handles, keep_graph=index + 1 < count)


def gradients_of(scalar: Tensor, handles: Sequence[Tensor], *, keep_graph: bool = True) -> tuple[Tensor | None, ...]:
    """Differentiate a number by every handle; None where no path leads.

    Raises:
        ModelError: If the network recomputes its activations in a way that cannot be differentiated here.
    """
    try:
        return torch.autograd.grad(scalar, handles, retain_graph=keep_graph, allow_unused=True)
    except (CheckpointError, RuntimeError) as error:
        reentrant = "use_reentrant" in str(error)
        if not reentrant and not isinstance(error, CheckpointError):
            raise
        why = "reentrantly" if reentrant else "and they differ"
        raise ModelError(
            f"measure: the model recomputes its activations in the backward pass (checkpointing) {why}; wanted a plain "
            "forward pass; switch checkpointing off while measuring."
        ) from error


def refuse_constant(outputs: Float[Tensor, "n c"]) -> None:
    """Refuse outputs that cannot be differentiated by any layer.

    Raises:
        ModelError: If there is no differentiable path.
    """
    if not outputs.requires_grad:
        raise ModelError(
            "measure: the network's output does not depend differentiably on any selected layer; wanted a "
            "differentiable path; look for detach(), .item(), argmax or torch.no_grad() inside the model, or pick its "
            "tensor by output=."
        )
