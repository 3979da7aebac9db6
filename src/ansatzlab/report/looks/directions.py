"""What a layer looks at where its input is an image or an image's patch: its AGOP's diagonal and top eigenvectors."""

from collections.abc import Mapping
from math import isqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ansatzlab.errors import InputError
from ansatzlab.measurement.attribution import agop_diagonal
from ansatzlab.measurement.hooks import in_evaluation, undisturbed, visiting
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.layers import Layer, select_layers
from ansatzlab.measurement.outputs import Batch, call
from ansatzlab.measurement.result import Measurement
from ansatzlab.report.looks.pictures import picture_png, place_of_largest
from ansatzlab.report.looks.records import Look, Picture, percent
from ansatzlab.report.readout import display_name

SMALLEST_SIDE = 8
"""A flat input is guessed to be a square picture from this side on; 4, 9 or 16 numbers are as likely a table's row."""

MOST_GROUPS = 8
"""Of a layer with more blocks than this only the first are drawn."""

ImageShape = tuple[int, int, int]
"""Channels, height and width."""


def first_layer(model: nn.Module, example: Batch) -> str:
    """Return the name of the first layer that a network calls, of those that can be measured.

    It is found by running the network, for modules may be called in another order than they are defined in.

    Args:
        model: The network, which is left as it was.
        example: A batch of one example.

    Returns:
        The name; empty if the network calls none.
    """
    called: list[str] = []

    def visit(layer: Layer, _: Tensor, outputs: Tensor) -> Tensor:
        called.append(layer.name)
        return outputs

    with in_evaluation(model), undisturbed(model), torch.no_grad(), visiting(select_layers(model, None)[0], visit):
        call(model, example)
    return next(iter(called), "")


def image_shapes(model: nn.Module, example: Batch, layers: Mapping[str, object]) -> dict[str, ImageShape]:
    """Find the layers whose input is an image or a patch of one.

    Conventions:
        Only what the network's own input enters: its first layer. A convolution of 1 or 3 channels sees patches. A
        linear layer sees the image if it has as many inputs as the example has pixels, or, where examples are flat, a
        square (or three squares, the channels) of at least 8 × 8.

    Args:
        model: The network.
        example: A batch of one example.
        layers: The measured layers by name.

    Returns:
        Channels, height and width for each of these layers; empty where the input is no image.

    Example:
        >>> import torch
        >>> image_shapes(nn.Sequential(nn.Linear(64, 3)), torch.ones(1, 64), {"0": None})
        {'0': (1, 8, 8)}
    """
    values = [example] if isinstance(example, Tensor) else example.values() if isinstance(example, Mapping) else example
    inputs = next((value for value in values if isinstance(value, Tensor)), None)
    if inputs is None or not inputs.is_floating_point():
        return {}
    first = first_layer(model, example)
    if first not in layers:
        return {}
    modules = dict(model.named_modules())
    module = modules.get(first)  # a map inside a module is none of them
    shape = _patch(module) if isinstance(module, nn.Conv2d) else _pixels(module, inputs[0])
    return {} if shape is None else {first: shape}


def _patch(module: nn.Conv2d) -> ImageShape | None:
    channels, (height, width) = module.in_channels // module.groups, module.kernel_size
    return (channels, height, width) if channels in (1, 3) and min(height, width) > 1 else None


def _pixels(module: nn.Module | None, example: Tensor) -> ImageShape | None:
    if not isinstance(module, nn.Linear):
        return None
    shape = tuple(example.shape)
    if len(shape) in (2, 3) and example.numel() == module.in_features:
        channels, height, width = (1, *shape) if len(shape) == 2 else shape
        return (channels, height, width) if channels in (1, 3) and min(height, width) > 1 else None
    if len(shape) != 1 or len(example) != module.in_features:
        return None
    for channels in (1, 3):
        side = isqrt(module.in_features // channels)
        if channels * side**2 == module.in_features and side >= SMALLEST_SIDE:
            return channels, side, side
    return None


def directions(measurement: Measurement, shapes: Mapping[str, ImageShape], count: int = 8) -> tuple[Look, ...]:
    """Draw the AGOP's diagonal and top eigenvectors of the layers whose input is a picture.

    Conventions:
        An eigenvector has no sign; here its entry of largest size is positive. Of several blocks each has a diagonal of
        its own, and the eigenvectors are the top ones of all blocks together, each of which lies in one block.

    Args:
        measurement: The measurement.
        shapes: Channels, height and width of those layers' inputs.
        count: How many eigenvectors; no more than the AGOP's rank are shown.

    Returns:
        What to show, a layer each; nothing of a layer whose AGOP is zero.
    """
    looks = (_look(measurement[name], shape, count) for name, shape in shapes.items())
    return tuple(look for look in looks if look is not None)


def _look(layer: LayerMeasurement, shape: ImageShape, count: int) -> Look | None:
    diagonal = agop_diagonal(layer)
    trace = float(diagonal.sum())
    if not trace > 0:
        return None
    of_layer = f"of the AGOP of {display_name(layer.name)}"
    pictures = []
    for group, entries in enumerate(diagonal[:MOST_GROUPS]):
        where, values = _group(layer, group), entries.reshape(shape)
        alt = (
            f"Diagonal {of_layer}{where}: largest, {percent(float(entries.max()) / trace)} of the trace, at "
            f"{place_of_largest(values)}"
        )
        label, png = f"diagonal{where}", picture_png(values, "strength")
        pictures.append(Picture(f"diagonal-{group + 1}", label, alt, png))
    for rank, (value, group, vector) in enumerate(leading(layer, count), start=1):
        where, values = _group(layer, group), signed(vector).reshape(shape)
        share = percent(value / trace)
        alt = f"Eigenvector {rank} {of_layer}{where}, {share} of the trace: largest at {place_of_largest(values)}"
        pictures.append(Picture(f"direction-{rank}", f"{rank}{where}: {share}", alt, picture_png(values)))
    return Look("Top eigenvectors and diagonal of the AGOP of", layer.name, _caption(layer, shape), tuple(pictures))


def _group(layer: LayerMeasurement, group: int) -> str:
    return f", group {group + 1}" if layer.groups > 1 else ""


def _caption(layer: LayerMeasurement, shape: ImageShape) -> str:
    channels, height, width = shape
    what = "A patch" if layer.kind.startswith("conv") else "The input"
    size = f"{height} × {width} pixels" + (f" of {channels} channels" if channels > 1 else "")
    dark, zero, full = ("black", "grey", "in full colour") if channels > 1 else ("dark", "white", "bright yellow")
    signs = "" if channels > 1 else "red positive, blue negative, "
    left_out = f" Of {layer.groups} groups the first {MOST_GROUPS}." if layer.groups > MOST_GROUPS else ""
    return (
        f"{what}, {size}. The diagonal says how strongly the outputs react to each pixel alone: nothing is {dark}, the "
        f"strongest {full}. The eigenvectors are the patterns to which they react together, the largest eigenvalue "
        f"first, with its share of the trace: {signs}zero is {zero}; an eigenvector has no sign, so its largest entry "
        f"is drawn positive. Every picture has a scale of its own.{left_out}"
    )


def leading(layer: LayerMeasurement, count: int) -> list[tuple[float, int, Float[Tensor, " i"]]]:
    """Return the leading eigenvalues of the AGOP over all its blocks, each with its block and its eigenvector.

    Args:
        layer: The layer.
        count: How many; fewer are returned where the rank is smaller, and none where the layer's gradients are too
            coarse to resolve a spectrum.

    Returns:
        Eigenvalue, number of the block, and unit vector in the block's input coordinates, the largest eigenvalue first.
    """
    blocks = list(layer.parts.values()) if layer.groups > 1 else [layer]
    found = []
    try:
        for group, block in enumerate(blocks):
            values = block.spectrum().eigenvalues[:count].tolist()
            found += [
                (value, group, vector) for value, vector in zip(values, block.agop_directions(count), strict=True)
            ]
    except InputError:
        return []
    return sorted(found, key=lambda each: -each[0])[:count]


def signed(vector: Float[Tensor, " i"]) -> Float[Tensor, " i"]:
    """Turn an eigenvector, which has no sign, so that its entry of largest size is positive."""
    return vector * vector[vector.abs().argmax()].sign()
