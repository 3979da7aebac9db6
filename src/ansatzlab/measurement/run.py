"""`measure`: every layer of a network in one pass over the data."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ansatzlab.errors import InputError, ModelError, UnknownNameError
from ansatzlab.measurement.gram import Accumulation, GradientSums, sum_gradients
from ansatzlab.measurement.hooks import Use, output_gradients, watch
from ansatzlab.measurement.layers import Layer, Selector, select_layers
from ansatzlab.measurement.outputs import Batch, OutputPicker, as_batches, batch_size, call, output_matrix
from ansatzlab.measurement.result import LayerMeasurement, Measurement
from ansatzlab.measurement.seeds import Exact
from ansatzlab.measurement.selfcheck import check_batch, refuse_random_layers

Check = Literal["first", "every", "never"]


def measure(
    model: nn.Module,
    batches: Iterable[Batch] | Batch,
    *,
    layers: Selector = None,
    seeds: Exact | None = None,
    output: OutputPicker = None,
    initial: Mapping[str, Tensor] | nn.Module | None = None,
    example_weights: Float[Tensor, " n"] | None = None,
    accumulation: Accumulation = "gram",
    check: Check = "first",
) -> Measurement:
    """Measure how every layer's weights stand to its average gradient outer product (AGOP).

    Definition:
        For each layer with weights W (o, i), the sums of ``b bᵀ``, b the gradient of one network output at the layer's
        own output, over outputs, positions and examples. The AGOP is ``Wᵀ K W`` with their mean K, exactly.

    Conventions:
        Mean over examples; sum over outputs, positions and the uses of a module. The gradient is that of the network's
        *outputs*, not of a loss. Outputs of more than two dimensions count every entry after the first as one output.

    Args:
        model: Any network; neither it nor its gradients, mode, buffers or random state are changed.
        batches: An iterable of tensors, of tuples whose first item is the input, or of dicts passed as keywords; a
            single tensor or dict is one batch. Examples in the first dimension.
        layers: A layer name, several, a predicate ``(name, module) -> bool``, or None for all that can be measured.
        seeds: Which combinations of outputs are differentiated; `Exact` by default.
        output: Picks the output tensor from what the model returns: a function, a key or an index.
        initial: The network before training, or its state dict, for the read-outs that remove W₀.
        example_weights: A weight ≥ 0 per example, in the order of the batches, shape (n,).
        accumulation: ``"gram"`` sums ``b bᵀ``. ``"factor"`` keeps a triangular factor of the stacked b, which resolves
            eigenvalues of the AGOP down to eps² of the largest, for twice the arithmetic of the sums.
        check: On which batches the measurement checks itself (see `ansatzlab.measurement.selfcheck`).

    Returns:
        The measurement: a mapping from layer names, with the skipped modules and their reasons.

    Raises:
        InputError: If the batches are empty, hold numbers that are not finite, or do not fit an argument.
        UnknownNameError: If a layer is not in the model.
        ModelError: If the network cannot be measured as it is; the message names the layer.

    Precision:
        Gradients in the model's own dtype; sums in float64.

    Cost:
        One forward and c backward passes per batch (the first twice), O(n c o²) for each layer's sums. Memory: the
        activations of one batch and its c gradients per layer.

    Source:
        tansley2025nfa; the identity is derived in docs/devdocs/identity.md.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)).double()
        >>> m = measure(model, [torch.ones(5, 4, dtype=torch.float64)])
        >>> list(m), m["0"].agop().shape, m["2"].tautological
        (['0', '2'], torch.Size([4, 4]), True)
    """
    _check_choices(accumulation=(accumulation, Accumulation), check=(check, Check))
    if example_weights is not None:
        _check_weights(example_weights)
    chosen, skipped = select_layers(model, layers)
    refuse_random_layers(model)
    totals: dict[str, GradientSums] = {}
    coarsest = torch.float64
    seen = 0
    with _undisturbed(model):
        for index, batch in enumerate(as_batches(batches)):
            size = batch_size(batch, index)
            weights = None if example_weights is None else _weights_of(example_weights, seen, size)
            forward = partial(_outputs, batch=batch, output=output, size=size, index=index)
            with watch(chosen) as uses:
                outputs = forward(model)
            if index == 0 and layers is None:
                chosen, idle = _that_ran(chosen, uses)
                skipped = {**skipped, **idle}
            gradients = output_gradients(outputs, chosen, uses)
            if check == "every" or (check == "first" and index == 0):
                check_batch(model, forward, chosen, outputs.detach())
            for name, found in gradients.items():
                sums = sum_gradients(found, weights, accumulation)
                _refuse_nonfinite(sums, name, index)
                totals[name] = totals[name] + sums if name in totals else sums
                coarsest = max(coarsest, *(use.dtype for use in found), key=lambda dtype: torch.finfo(dtype).eps)
            seen += size
    if seen == 0:
        raise InputError("measure(batches=): got no batch; wanted at least one; an iterator may be used up already.")
    if example_weights is not None and len(example_weights) != seen:
        raise InputError(
            f"measure(example_weights=): got {len(example_weights)} weights for {seen} examples; wanted one each."
        )
    start = _initial_weights(initial, chosen)
    return Measurement(
        layers={
            name: LayerMeasurement(
                name=name,
                kind=layer.kind.name,
                weight=layer.weight.detach().double().clone(),
                initial=start.get(name),
                sums=totals[name],
                seeds=seeds or Exact(),
                gradient_dtype=coarsest,
            )
            for name, layer in chosen.items()
        },
        skipped=skipped,
    )


def _outputs(
    network: Callable[..., object], *, batch: Batch, output: OutputPicker, size: int, index: int
) -> Float[Tensor, "n c"]:
    return output_matrix(call(network, batch), output, size, index)


def _that_ran(
    layers: Mapping[str, Layer], uses: Mapping[str, list[Use]]
) -> tuple[Mapping[str, Layer], Mapping[str, str]]:
    """Tell the layers that the forward pass called from those it never called as modules."""
    running = {name: layer for name, layer in layers.items() if uses[name]}
    if not running:
        raise ModelError(
            f"measure: none of the layers {', '.join(layers)} ran as a module in the forward pass; wanted at least "
            "one; measure the plain model (of a compiled one, model._orig_mod), and call modules rather than their "
            "weights."
        )
    return running, {name: "never ran as a module in the forward pass" for name in layers if name not in running}


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Leave buffers and random state as they are, and differentiate whatever mode the caller is in."""
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    kept = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, name, buffer, value in kept:
            if not torch.equal(buffer, value):
                buffer.detach().copy_(value)
            if getattr(module, name) is not buffer:
                setattr(module, name, buffer)


def _check_choices(**choices: tuple[str, object]) -> None:
    for argument, (got, literal) in choices.items():
        if got not in get_args(literal):
            raise UnknownNameError(f"{argument}= of measure", str(got), get_args(literal))


def _check_weights(weights: Tensor) -> None:
    if not isinstance(weights, Tensor) or weights.ndim != 1:
        raise InputError(
            f"measure(example_weights=): got a {type(weights).__name__}; wanted a tensor with one weight per example."
        )
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()) or not bool(weights.any()):
        raise InputError(
            "measure(example_weights=): got weights that are negative, not finite or all zero; wanted one finite "
            "weight ≥ 0 per example, not all zero."
        )


def _weights_of(weights: Float[Tensor, " n"], start: int, size: int) -> Float[Tensor, " m"]:
    if start + size > len(weights):
        raise InputError(
            f"measure(example_weights=): got {len(weights)} weights for at least {start + size} examples; wanted one "
            "each."
        )
    return weights[start : start + size]


def _refuse_nonfinite(sums: GradientSums, layer: str, batch: int) -> None:
    if not bool(torch.isfinite(sums.second_moment).all()):
        raise ModelError(
            f"measure: the output gradients at layer {layer!r} are not finite in batch {batch}; wanted finite numbers; "
            "look for a division by zero or a square root at zero behind the layer, or measure in float64."
        )


def _initial_weights(
    initial: Mapping[str, Tensor] | nn.Module | None, layers: Mapping[str, Layer]
) -> dict[str, Float[Tensor, "_o _i"]]:
    if initial is None:
        return {}
    state = initial.state_dict() if isinstance(initial, nn.Module) else initial
    for layer in layers.values():
        got = state.get(layer.weight_name)
        if got is None or got.shape != layer.weight.shape or not bool(torch.isfinite(got).all()):
            raise InputError(
                f"measure(initial=): got {'nothing' if got is None else f'shape {tuple(got.shape)}'} for "
                f"{layer.weight_name!r}; wanted finite numbers of shape {tuple(layer.weight.shape)}; pass the state "
                "dict of the same network before training."
            )
    return {name: state[layer.weight_name].detach().double().clone() for name, layer in layers.items()}
