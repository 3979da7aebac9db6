"""One example seen by the AGOPs of a network: it is run, and what enters each layer is attributed."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ansatzlab.errors import InputError
from ansatzlab.measurement.attribution import Attribution, attribute
from ansatzlab.measurement.hooks import in_evaluation, undisturbed, visiting
from ansatzlab.measurement.kinds import adjoint
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.layers import Layer, select_layers
from ansatzlab.measurement.outputs import Batch, batch_size, call
from ansatzlab.measurement.result import Measurement

SAME = 1e-5
"""Relative distance up to which weights are the same: another precision or machine may have computed them."""


def explain(
    model: nn.Module,
    measurement: Measurement,
    example: Batch,
    exponent: float = 1.0,
    baseline: Batch | None = None,
    *,
    layers: Iterable[str] | None = None,
) -> dict[str, Attribution]:
    """Attribute one example of the network's data at its layers (see `attribute`).

    Conventions:
        The network is run in evaluation mode on the example, and on the baseline: what each sends into a layer is its x
        and its x₀. The patches of a convolution are put together again: the values of a pixel are added over the
        patches that see it, so that the values add up to the total over all patches. A mean input as the baseline makes
        the values independent of where the data's zero lies; without one the zero of the layer's own input is taken.

    Args:
        model: The network that was measured, with the weights that it had then. It is left as it was, its mode, buffers
            and the random state too.
        measurement: The measurement.
        example: A batch of one example.
        exponent: α, at least 0.
        baseline: Another batch of one, of the same shapes, or None.
        layers: The layers by name; None for all that were measured.

    Returns:
        For each layer its attribution, the values of the shape of what enters the layer, the example's dimension
        included; of a layer that is called several times, with the calls in front.

    Raises:
        InputError: If this is not one example, if an explained layer has other weights than when it was measured, or as
            `attribute`.

    Cost:
        A forward pass (two with a baseline), and `attribute` for each layer.

    Example:
        >>> import torch, ansatzlab
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 2)).double()
        >>> images = torch.rand(5, 1, 4, 4, dtype=torch.float64)
        >>> found = explain(model, ansatzlab.measure(model, images), images[:1])
        >>> [(name, tuple(each.values.shape), round(each.completeness, 9)) for name, each in found.items()]
        [('0', (1, 1, 4, 4), 1.0), ('2', (1, 8), 1.0)]
    """
    if batch_size(example, 0) != 1:
        raise InputError(f"explain: got {batch_size(example, 0)} examples; wanted one; cut it out with batch[k:k + 1].")
    with in_evaluation(model), undisturbed(model), torch.no_grad():
        chosen, _ = select_layers(model, list(measurement if layers is None else layers))
        entered = _entering(model, chosen, example)
        reference = None if baseline is None else _entering(model, chosen, baseline)
        for name, layer in chosen.items():
            _refuse_other_weights(layer, measurement[name])
    found = {}
    for name, layer in chosen.items():
        origins = [None] * len(entered[name]) if reference is None else reference[name]
        uses = zip(entered[name], origins, strict=True)
        found[name] = _together([_attribute_use(layer, measurement[name], exponent, *use) for use in uses])
    return found


def _attribute_use(
    layer: Layer, measured: LayerMeasurement, exponent: float, inputs: Tensor, baseline: Tensor | None
) -> Attribution:
    """Attribute what entered a layer at one call: read as rows, and put together again."""
    if baseline is not None and baseline.shape != inputs.shape:
        raise InputError(
            f"explain: into layer {layer.name!r} the baseline sends shape {tuple(baseline.shape)} and the example "
            f"{tuple(inputs.shape)}; wanted the same; take a baseline of the example's shape."
        )
    origin = None if baseline is None else layer.map.inputs(baseline)
    found = attribute(measured, layer.map.inputs(inputs), exponent, origin)
    rows = found.values
    values = rows.reshape(inputs.shape) if layer.map.one_hot else adjoint(layer.map.inputs, inputs, rows)
    return replace(found, inputs=inputs, values=values, baseline=baseline)


def _together(uses: list[Attribution]) -> Attribution:
    """Put the calls of one layer together."""
    if len(uses) == 1:
        return uses[0]
    if len({use.inputs.shape for use in uses}) > 1:
        told = ", ".join(str(tuple(use.inputs.shape)) for use in uses)
        raise InputError(
            f"explain: layer {uses[0].layer!r} is called with inputs of several shapes, {told}; wanted one; leave the "
            "layer out with layers=, or pass what enters it at each call to attribute()."
        )
    return Attribution(
        uses[0].layer,
        inputs=torch.stack([use.inputs for use in uses]),
        values=torch.stack([use.values for use in uses]),
        total=sum(use.total for use in uses),
        exponent=uses[0].exponent,
        baseline=None
        if uses[0].baseline is None
        else torch.stack([use.baseline for use in uses if use.baseline is not None]),
    )


def _entering(model: nn.Module, layers: Mapping[str, Layer], batch: Batch) -> dict[str, list[Tensor]]:
    """Return what enters each layer at every call."""
    entered: dict[str, list[Tensor]] = {name: [] for name in layers}

    def record(layer: Layer, inputs: Tensor, outputs: Tensor) -> Tensor:
        entered[layer.name].append(inputs.detach().clone())
        return outputs

    with visiting(layers, record):
        call(model, batch)
    return entered


def _refuse_other_weights(layer: Layer, measured: LayerMeasurement) -> None:
    """Refuse a layer that was trained on, or belongs to another network."""
    now, then = layer.blocks.double(), measured.blocks.to(layer.blocks.device, torch.float64)
    if now.shape != then.shape and now.shape[::2] == then.shape[::2]:  # a tall layer, kept in another basis
        now, then = now.mT @ now, then.mT @ then
    if now.shape != then.shape or not bool((now - then).norm() <= SAME * then.norm()):
        raise InputError(
            f"explain: layer {layer.name!r} has other weights than when it was measured; wanted the network as it was "
            "then; load its weights of that moment, or measure it again."
        )
