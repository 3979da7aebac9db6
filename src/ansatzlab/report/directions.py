"""A layer's top AGOP eigenvectors as pictures, where its input is an image or an image's patch."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from math import isqrt

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.image import imsave
from torch import Tensor, nn

from ansatzlab.measurement.result import Measurement

SMALLEST_SIDE = 8
"""A flat input is guessed to be a square picture from this side on; 4, 9 or 16 numbers are as likely a table's row."""

_SHOWN_SIDE = 112  # pixels


@dataclass(frozen=True)
class Picture:
    """The top AGOP eigenvectors of one layer.

    Attributes:
        layer: The layer's name.
        reading: How its input was read as a picture, in words.
        files: One PNG file for each direction, the top one first.
    """

    layer: str
    reading: str
    files: tuple[bytes, ...]


def image_shapes(model: nn.Module, example: Tensor, layers: Mapping[str, object]) -> dict[str, tuple[int, int, int]]:
    """Find the layers whose input is an image or a patch of one.

    Conventions:
        Only what the network's own input enters: its first layer. A convolution of 1 or 3 channels sees patches. A
        linear layer sees the image if it has as many inputs as the example has pixels, or, where examples are flat, a
        square (or three squares, the channels) of at least 8 × 8.

    Args:
        model: The network.
        example: One input of the network, without the dimension of examples.
        layers: The measured layers by name, in the network's order.

    Returns:
        Channels, height and width for each of these layers; empty where the input is no image.

    Example:
        >>> import torch
        >>> image_shapes(nn.Sequential(nn.Linear(64, 3)), torch.ones(64), {"0": None})
        {'0': (1, 8, 8)}
    """
    first = next((name for name, module in model.named_modules() if name in layers), None)
    if first is None or not example.is_floating_point():
        return {}
    module = model.get_submodule(first)
    shape = _patch(module) if isinstance(module, nn.Conv2d) else _pixels(module, example)
    return {} if shape is None else {first: shape}


def _patch(module: nn.Conv2d) -> tuple[int, int, int] | None:
    channels, (height, width) = module.in_channels // module.groups, module.kernel_size
    return (channels, height, width) if channels in (1, 3) and min(height, width) > 1 else None


def _pixels(module: nn.Module, example: Tensor) -> tuple[int, int, int] | None:
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


def directions(
    measurement: Measurement, shapes: Mapping[str, tuple[int, int, int]], count: int = 8
) -> tuple[Picture, ...]:
    """Draw the top AGOP eigenvectors of the layers whose input is a picture.

    Conventions:
        An eigenvector has no sign; here its entry of largest size is positive.

    Args:
        measurement: The measurement.
        shapes: Channels, height and width of those layers' inputs.
        count: How many eigenvectors; no more than the AGOP's rank are shown.

    Returns:
        The pictures.
    """
    pictures = []
    for name, (channels, height, width) in shapes.items():
        layer = measurement[name]
        vectors = layer.agop_directions(count)
        reading = f"{height} × {width}" + (f", {channels} channels" if channels > 1 else "")
        files = tuple(picture_png(vector.reshape(channels, height, width)) for vector in vectors)
        if files:
            pictures.append(Picture(name, reading, files))
    return tuple(pictures)


def picture_png(direction: Float[Tensor, "channels height width"]) -> bytes:
    """Draw one direction as a PNG file.

    Conventions:
        One channel: red is positive, blue negative, white zero. Three: red, green and blue, grey is zero.

    Args:
        direction: Its entries; 1 or 3 channels.

    Returns:
        The file's bytes; each entry is a square of whole pixels.
    """
    values = direction.detach().cpu().double().numpy()
    peak = values.flat[np.abs(values).argmax()]
    scaled = values / peak if peak else values  # the entry of largest size becomes 1
    half = 0.5 + 0.5 * scaled
    colours = colormaps["RdBu_r"](half[0])[..., :3] if len(half) == 1 else half.transpose(1, 2, 0)
    factor = max(1, _SHOWN_SIDE // max(values.shape[1:]))
    buffer = BytesIO()
    imsave(buffer, np.kron(colours, np.ones((factor, factor, 1))), format="png")
    return buffer.getvalue()
