"""What a measurement checks about itself on a batch: by default on the first, and the first of several examples."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from ansatzlab.errors import ModelError
from ansatzlab.measurement.hooks import Use, gradients_of, watch
from ansatzlab.measurement.kinds import adjoint
from ansatzlab.measurement.layers import Layer, select_layers

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 2e-2}
"""Relative tolerance of the rebuilt weight gradient, by the dtype in which the network computes."""

LOOKED_AT = 8
"""So many examples of the batch, spread over it, are looked at closely."""

_TINY = 1e-300

Outputs = Float[Tensor, "n c"]


def refuse_unfit_modules(model: nn.Module) -> None:
    """Refuse weights that cannot be computed with, and modules whose outputs depend on other examples or on chance.

    Args:
        model: The network.

    Raises:
        ModelError: Naming the module or weight and what to do.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta or tensor.is_inference():
            raise ModelError(
                f"measure: {name!r} {'has no values (device meta)' if tensor.is_meta else 'was made in inference mode'}"
                "; wanted a network that can be differentiated through; "
                f"{'load its weights' if tensor.is_meta else 'build or copy it outside torch.inference_mode()'} first."
            )
    for name, module in model.named_modules():
        if isinstance(module, nn.DataParallel):
            raise ModelError(
                f"measure: module {name!r} (DataParallel) copies the network to several devices, out of sight; wanted "
                "the network itself; pass its .module."
            )
        batch_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        dropout = isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
        dropout |= isinstance(module, nn.MultiheadAttention | nn.RNNBase) and module.dropout > 0
        if module.training and (batch_norm or dropout):
            raise ModelError(
                f"measure: module {name!r} ({type(module).__name__}) is in training mode, so an output depends on "
                f"{'the other examples' if batch_norm else 'chance'}; wanted evaluation mode; call model.eval() first."
            )


def check_batch(
    model: nn.Module,
    forward: Callable[[Callable[..., object]], Outputs],
    layers: Mapping[str, Layer],
    outputs: Outputs,
) -> None:
    """Run a batch again and check what the measurement relies on.

    Five things: no buffer is changed by a forward pass; the forward pass repeats itself and is not changed by being
    watched; each layer computes W h + b; the weight gradient ``Σ b hᵀ`` rebuilt from each layer's captured inputs and
    output gradients equals autograd's (so every use of the weight was seen; not for weights that are computed); the
    outputs of the first, middle and last example depend on no other example's row (if there are several).

    Args:
        model: The network.
        forward: Computes the network's outputs on the batch by the callable that it is given.
        layers: The measured layers.
        outputs: What the measuring pass computed on the same batch.

    Raises:
        ModelError: Naming the layer (or buffer) and what is wrong with it.
    """
    _check_repetition(model, forward, outputs)
    parameters = {id(parameter) for parameter in model.parameters()}
    held = {id(layer.parameter): layer for layer in layers.values() if id(layer.parameter) in parameters}
    leaves = {layer.parameter_name: layer.parameter.detach().clone().requires_grad_() for layer in held.values()}
    known = select_layers(model, None)[0]
    sharing = {name: layer for name, layer in known.items() if name in layers or id(layer.parameter) in held}
    with watch(sharing, keep_inputs=True) as uses:
        again = forward(lambda *args, **kwargs: functional_call(model, leaves, args, kwargs))
    scores = again @ _unequal(again.shape[1], again)
    examples = sorted({round(place) for place in torch.linspace(0, len(scores) - 1, LOOKED_AT).tolist()})
    _check_maps({name: sharing[name] for name in layers}, uses, len(scores), examples)
    _check_independence(scores, layers, uses)
    _check_weight_gradients(scores, examples, sharing, uses, leaves)


def _check_repetition(model: nn.Module, forward: Callable[[Callable[..., object]], Outputs], outputs: Outputs) -> None:
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        plain = forward(model)
    for name, buffer in model.named_buffers():
        if not torch.equal(buffer, buffers[name]):
            raise ModelError(
                f"measure: a forward pass changes the buffer {name!r}; wanted a network at rest; call model.eval() "
                "first."
            )
    if _differ(plain, outputs):
        with torch.no_grad():
            random = _differ(plain, forward(model))
        if random:
            raise ModelError(
                "measure: two forward passes on the same batch differ; wanted a deterministic network; call "
                "model.eval() and look for random numbers drawn inside forward()."
            )
        raise ModelError(
            "measure: the network computes something else while its layers are watched (relative difference "
            f"{float((plain - outputs).norm() / plain.norm()):.2g}); wanted the same outputs; leave attention and "
            "recurrent modules that do more than their torch classes out with layers=."
        )


def _differ(a: Outputs, b: Outputs) -> bool:
    tolerance = TOLERANCE[b.dtype]
    return not torch.allclose(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


def _unequal(count: int, like: Tensor) -> Float[Tensor, " k"]:
    """Return fixed unequal weights, so that what is summed does not cancel as it would for centred data."""
    return torch.cos(torch.arange(1, count + 1, dtype=torch.float64, device=like.device)).to(like.dtype)


def _only(tensor: Tensor, size: int, examples: list[int]) -> Tensor:
    """Return the rows of some examples, of a tensor in which an example has one row or several in succession."""
    return tensor.reshape(size, -1, *tensor.shape[1:])[examples].flatten(0, 1)


def _check_weight_gradients(
    scores: Float[Tensor, " n"],
    examples: list[int],
    layers: Mapping[str, Layer],
    uses: Mapping[str, list[Use]],
    leaves: Mapping[str, Tensor],
) -> None:
    if not leaves:
        return
    handles = [use.outputs for name in layers for use in uses[name]]
    total = scores[examples] @ _unequal(len(examples), scores)
    gradients = gradients_of(total, [*handles, *leaves.values()])
    at_outputs = iter(gradients[: len(handles)])
    exact = dict(zip(leaves, gradients[len(handles) :], strict=True))
    names = {id(layer.parameter): name for name in leaves for layer in layers.values() if layer.parameter_name == name}
    rebuilt = {name: torch.zeros_like(leaf, dtype=torch.float64) for name, leaf in leaves.items()}
    scales = dict.fromkeys(leaves, 0.0)
    for name, layer in layers.items():
        for use in uses[name]:
            gradient = next(at_outputs)
            if gradient is None or id(layer.parameter) not in names:
                continue
            rows = layer.output_rows(_only(gradient, len(scores), examples), len(examples)).double()
            inputs = layer.input_rows(_only(use.inputs, len(scores), examples), len(examples))
            parameter = names[id(layer.parameter)]
            found, scale = layer.map.outer_products(layer.blocks, rows, inputs)
            rebuilt[parameter] += adjoint(layer.map.matrix, rebuilt[parameter], layer.map.kept_gradient(found))
            scales[parameter] += scale
    for name, target in exact.items():
        wanted = torch.zeros_like(leaves[name]) if target is None else target
        wanted = wanted.to_dense() if wanted.is_sparse else wanted
        error, scale = float((rebuilt[name] - wanted).norm()), max(scales[name], float(wanted.norm()))
        if error > TOLERANCE[scores.dtype] * scale:
            raise ModelError(
                f"measure: {name!r}: the weight gradient rebuilt from the layer's captured inputs and output gradients "
                f"differs from autograd's by {error:.2g} (on a scale of {scale:.2g}); the weight is used outside the "
                "module's own forward (a tied weight, F.linear on it, a reparametrisation); call the module for every "
                "use, or leave the layer out with layers=."
            )


def _check_maps(layers: Mapping[str, Layer], uses: Mapping[str, list[Use]], size: int, examples: list[int]) -> None:
    """Compare what each layer returns with W h put together again: they may differ by a bias."""
    for name, layer in layers.items():
        weight = layer.blocks.double()
        for use in uses[name]:
            outputs = _only(use.outputs.detach(), size, examples).double()
            inputs = layer.map.inputs(_only(use.inputs, size, examples))
            if not layer.map.one_hot and inputs.shape[-1] != weight.shape[-1]:
                raise _not_linear(layer)
            wanted = adjoint(layer.map.outputs, outputs, layer.map.products(weight, inputs))
            channel = 1 if layer.map.kind.startswith("conv") else outputs.ndim - 1
            others = [place for place in range(outputs.ndim) if place != channel]
            rest = outputs - wanted
            error = float((rest - rest.mean(others, keepdim=True)).norm())
            if error > TOLERANCE[use.outputs.dtype] * max(float(outputs.norm()), float(wanted.norm()), _TINY):
                raise _not_linear(layer)


def _not_linear(layer: Layer) -> ModelError:
    return ModelError(
        f"measure: layer {layer.name!r} ({type(layer.module).__name__}) does not compute W h + b; wanted a linear map; "
        "a subclass of yours computes something else: leave the layer out with layers=."
    )


def _check_independence(
    scores: Float[Tensor, " n"], layers: Mapping[str, Layer], uses: Mapping[str, list[Use]]
) -> None:
    """Differentiate the scores of the first, the middle and the last example: no other example's row may answer."""
    names = [name for name in layers for _ in uses[name]]
    handles = [use.outputs for name in layers for use in uses[name]]
    for example in sorted({0, len(scores) // 2, len(scores) - 1}):
        gradients = gradients_of(scores[example], handles)
        for name, gradient in zip(names, gradients, strict=True):
            if gradient is None:
                continue
            rows = gradient.reshape(len(scores), -1)
            if bool(torch.cat([rows[:example], rows[example + 1 :]]).any()):
                raise ModelError(
                    f"measure: at layer {name!r} the output for example {example} depends on other examples of the "
                    "batch; wanted independent examples; call model.eval() (batch statistics), leave a layer that runs "
                    "once for all examples out with layers=, or measure one example a batch."
                )
