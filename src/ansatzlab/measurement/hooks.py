"""Reading a network's layers while it runs, without changing it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from ansatzlab.errors import ModelError
from ansatzlab.measurement.layers import Layer


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
def watch(layers: Mapping[str, Layer]) -> Iterator[Mapping[str, list[Use]]]:
    """Record every call of the layers inside the ``with``.

    The network goes on with a *copy* of each output, so that an in-place operation behind the layer (an in-place ReLU)
    cannot overwrite the tensor at which the gradient is taken. Hooks are removed on the way out, whatever happened.

    Args:
        layers: The layers by name.

    Yields:
        For each layer the list of its uses so far, in the order of the calls.
    """
    uses: dict[str, list[Use]] = {name: [] for name in layers}

    handles = []
    try:
        for name, layer in layers.items():
            handles.append(layer.module.register_forward_hook(partial(_record, name, uses[name]), with_kwargs=True))
        yield uses
    finally:
        for handle in handles:
            handle.remove()


def _record(
    name: str,
    uses: list[Use],
    _: nn.Module,
    arguments: tuple[object, ...],
    keywords: Mapping[str, object],
    output: object,
) -> Tensor:
    inputs = next(iter((*arguments, *keywords.values())), None)
    if not isinstance(inputs, Tensor) or not isinstance(output, Tensor):
        raise ModelError(
            f"measure: layer {name!r} was called with a {type(inputs).__name__} and returned a "
            f"{type(output).__name__}; wanted a tensor in and a tensor out; leave the layer out with layers=."
        )
    handle = output if output.requires_grad else output.detach().requires_grad_()
    uses.append(Use(inputs.detach(), handle))
    return handle.clone()


def output_gradients(
    outputs: Float[Tensor, "n c"], layers: Mapping[str, Layer], uses: Mapping[str, list[Use]]
) -> dict[str, list[Float[Tensor, "c n _s o"]]]:
    """Differentiate every network output at every layer's own output: one backward pass per output.

    Args:
        outputs: The network's outputs on one batch.
        layers: The layers by name.
        uses: What `watch` recorded while they were computed.

    Returns:
        For each layer and each of its uses the gradients as rows, shape (c, n, s, o).

    Raises:
        ModelError: If a layer never ran, its output does not have the examples in the first dimension, or no
            differentiable path leads from it to the outputs.
    """
    for name in layers:
        if not uses[name]:
            raise ModelError(
                f"measure: layer {name!r} was selected but never ran in the forward pass; wanted every selected layer "
                "to be called as a module; leave it out with layers=, or call the module rather than its weight."
            )
        for use in uses[name]:
            if len(use.outputs) != len(outputs):
                raise ModelError(
                    f"measure: layer {name!r} gives an output of shape {tuple(use.outputs.shape)} for {len(outputs)} "
                    "examples; wanted the examples in the first dimension; move the batch dimension first inside the "
                    "model, or leave the layer out with layers=."
                )
    flat = [use.outputs for name in layers for use in uses[name]]
    if not outputs.requires_grad:
        raise ModelError(
            "measure: the network's output does not depend differentiably on any selected layer; wanted a "
            "differentiable path; look for detach(), .item(), argmax or torch.no_grad() inside the model, or pick its "
            "tensor by output=."
        )
    try:
        columns = [
            torch.autograd.grad(column.sum(), flat, retain_graph=index + 1 < outputs.shape[1], allow_unused=True)
            for index, column in enumerate(outputs.unbind(dim=1))
        ]
    except CheckpointError as error:
        raise ModelError(
            "measure: the model recomputes its activations in the backward pass (checkpointing) and they differ; "
            "wanted a plain forward pass; switch checkpointing off while measuring."
        ) from error
    found: dict[str, list[Tensor]] = {}
    position = 0
    for name, layer in layers.items():
        span = range(position, position + len(uses[name]))
        position = span.stop
        if all(column[k] is None for column in columns for k in span):
            raise ModelError(
                f"measure: no differentiable path leads from layer {name!r} to the network's output; wanted one; leave "
                "the layer out with layers=, or look for detach() or a non-differentiable step behind it."
            )
        found[name] = [
            torch.stack(
                [
                    layer.kind.outputs(torch.zeros_like(flat[k]) if column[k] is None else column[k])
                    for column in columns
                ]
            )
            for k in span
        ]
    return found
