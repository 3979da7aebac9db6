"""What a measurement checks about itself on the first batch."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from ansatzlab.errors import ModelError
from ansatzlab.measurement.hooks import Use, watch
from ansatzlab.measurement.layers import Layer, select_layers

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 2e-2}
"""Relative tolerance of the rebuilt weight gradient, by the dtype in which the network computes."""


_TINY = 1e-300


def refuse_random_layers(model: nn.Module) -> None:
    """Refuse modules in training mode that make examples depend on one another or on chance.

    Args:
        model: The network.

    Raises:
        ModelError: Naming the module and what to do.
    """
    for name, module in model.named_modules():
        batch_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        dropout = isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
        if module.training and (batch_norm or dropout):
            raise ModelError(
                f"measure: module {name!r} ({type(module).__name__}) is in training mode, so an output depends on "
                f"{'the other examples' if batch_norm else 'chance'}; wanted evaluation mode; call model.eval() first."
            )


def check_batch(
    model: nn.Module,
    forward: Callable[[Callable[..., object]], Float[Tensor, "n c"]],
    layers: Mapping[str, Layer],
    outputs: Float[Tensor, "n c"],
) -> None:
    """Run the first batch again and check what the measurement relies on.

    Five things: no buffer is changed by a forward pass; the forward pass repeats itself; each layer computes W h + b;
    the weight gradient ``Σ b hᵀ`` rebuilt from each layer's captured inputs and output gradients equals autograd's (so
    every use of the weight was seen); the outputs of the first, middle and last example depend on no other example's
    row.

    Args:
        model: The network.
        forward: Computes the network's outputs on the first batch by the callable that it is given.
        layers: The measured layers.
        outputs: What the measuring pass computed on the same batch.

    Raises:
        ModelError: Naming the layer (or buffer) and what is wrong with it.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    owners = {id(layer.weight): layer for layer in layers.values()}
    leaves = {owner.weight_name: owner.weight.detach().clone().requires_grad_() for owner in owners.values()}
    sharing = {name: layer for name, layer in select_layers(model, None)[0].items() if id(layer.weight) in owners}
    with watch(sharing) as uses:
        again = forward(lambda *args, **kwargs: functional_call(model, leaves, args, kwargs))
    for name, buffer in model.named_buffers():
        if not torch.equal(buffer, buffers[name]):
            raise ModelError(
                f"measure: a forward pass changes the buffer {name!r}; wanted a network at rest; call model.eval() "
                "first."
            )
    tolerance = TOLERANCE[outputs.dtype]
    if not torch.allclose(again, outputs, rtol=tolerance, atol=tolerance * float(outputs.abs().max())):
        raise ModelError(
            "measure: two forward passes on the same batch differ; wanted a deterministic network; call model.eval() "
            "and look for random numbers drawn inside forward()."
        )
    scores = again @ _unequal(again.shape[1], again)
    _check_maps(layers, uses)
    _check_weight_gradients(scores, sharing, uses, leaves)
    _check_independence(scores, layers, uses)


def _unequal(count: int, like: Tensor) -> Float[Tensor, " k"]:
    """Return fixed unequal weights, so that what is summed does not cancel as it would for centred data."""
    return torch.cos(torch.arange(1, count + 1, dtype=like.dtype, device=like.device))


def _check_weight_gradients(
    scores: Float[Tensor, " n"],
    layers: Mapping[str, Layer],
    uses: Mapping[str, list[Use]],
    leaves: Mapping[str, Tensor],
) -> None:
    handles = [use.outputs for name in layers for use in uses[name]]
    total = scores @ _unequal(len(scores), scores)
    gradients = torch.autograd.grad(total, [*handles, *leaves.values()], retain_graph=True, allow_unused=True)
    at_outputs = iter(gradients[: len(handles)])
    exact = dict(zip(leaves, gradients[len(handles) :], strict=True))
    owners = {id(layer.weight): layer.weight_name for layer in layers.values() if layer.weight_name in leaves}
    rebuilt = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    scales = dict.fromkeys(leaves, 0.0)
    for name, layer in layers.items():
        for use in uses[name]:
            gradient = next(at_outputs)
            if gradient is not None:
                rows, inputs = layer.kind.outputs(gradient), layer.kind.inputs(use.inputs)
                owner = owners[id(layer.weight)]
                rebuilt[owner] += torch.einsum("nso,nsi->oi", rows, inputs.to(rows.dtype))
                scales[owner] += float((rows.norm(dim=-1) * inputs.norm(dim=-1)).sum())
    for name, target in exact.items():
        wanted = torch.zeros_like(rebuilt[name]) if target is None else target
        error, scale = float((rebuilt[name] - wanted).norm()), max(scales[name], float(wanted.norm()))
        if error > TOLERANCE[wanted.dtype] * scale:
            raise ModelError(
                f"measure: {name!r}: the weight gradient rebuilt from the layer's captured inputs and output gradients "
                f"differs from autograd's by {error:.2g} (on a scale of {scale:.2g}); the weight is used outside the "
                "module's own forward (a tied weight, F.linear on it, a reparametrisation); call the module for every "
                "use, or leave the layer out with layers=."
            )


def _check_maps(layers: Mapping[str, Layer], uses: Mapping[str, list[Use]]) -> None:
    for name, layer in layers.items():
        bias = getattr(layer.module, "bias", None)
        for use in uses[name]:
            inputs, outputs = layer.kind.inputs(use.inputs), layer.kind.outputs(use.outputs.detach())
            wanted = inputs.to(outputs.dtype) @ layer.weight.detach().to(outputs.dtype).mT
            if isinstance(bias, Tensor):
                wanted = wanted + bias.detach().to(outputs.dtype)
            if float((outputs - wanted).norm()) > TOLERANCE[outputs.dtype] * max(float(wanted.norm()), _TINY):
                raise ModelError(
                    f"measure: layer {name!r} ({type(layer.module).__name__}) does not compute W h + b; wanted a "
                    "linear map; a subclass or a forward hook of yours changes what goes in or comes out: leave the "
                    "layer out with layers=, or remove the hook."
                )


def _check_independence(
    scores: Float[Tensor, " n"], layers: Mapping[str, Layer], uses: Mapping[str, list[Use]]
) -> None:
    """Differentiate the scores of the first, the middle and the last example: no other example's row may answer."""
    names = [name for name in layers for _ in uses[name]]
    handles = [use.outputs for name in layers for use in uses[name]]
    for example in sorted({0, len(scores) // 2, len(scores) - 1}):
        gradients = torch.autograd.grad(scores[example], handles, allow_unused=True, retain_graph=True)
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is not None and bool(torch.cat([gradient[:example], gradient[example + 1 :]]).any()):
                raise ModelError(
                    f"measure: at layer {name!r} the output for example {example} depends on other examples of the "
                    "batch; wanted independent examples; call model.eval() (batch statistics), or measure one example "
                    "a batch."
                )
