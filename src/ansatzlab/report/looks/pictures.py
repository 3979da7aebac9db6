"""Numbers on the pixels of an image as a picture file."""

from io import BytesIO
from typing import Literal

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.image import imsave
from torch import Tensor

Scale = Literal["signed", "strength", "image"]

_SHOWN_SIDE = 112  # pixels


def picture_png(
    values: Float[Tensor, "channels height width"],
    scale: Scale = "signed",
    span: tuple[float, float] | None = None,
) -> bytes:
    """Draw numbers on pixels as a PNG file.

    Conventions:
        ``"signed"``: zero is white, the entry of largest size full red or, if it
        is negative, full blue; of three channels zero is grey. ``"strength"``, of numbers without sign: zero is dark,
        the largest bright yellow; of three channels zero is black. ``"image"``: from the smallest, black, to the
        largest, white. Three channels are red, green and blue.

    Args:
        values: The numbers; 1 or 3 channels.
        scale: How colours stand for them.
        span: What is black and what is white in an ``"image"``, for several on one scale; None for its own.

    Returns:
        The file's bytes; each entry is a square of whole pixels.
    """
    found = values.detach().cpu().double().numpy()
    unit = _between(found, *(span or (found.min(), found.max()))) if scale == "image" else _from_zero(found, scale)
    if len(unit) == 3:
        colours = unit.transpose(1, 2, 0)
    else:
        colours = colormaps[{"signed": "RdBu_r", "strength": "viridis", "image": "gray"}[scale]](unit[0])[..., :3]
    factor = max(1, _SHOWN_SIDE // max(found.shape[1:]))
    buffer = BytesIO()
    imsave(buffer, np.kron(colours, np.ones((factor, factor, 1))), format="png")
    return buffer.getvalue()


def _between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Put numbers between 0 and 1: ``low`` at 0, ``high`` at 1."""
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.full_like(values, 0.5)


def _from_zero(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Put numbers between 0 and 1: the largest in size at an end, zero at the other one, or in the middle."""
    scaled = values / (np.abs(values).max() or 1.0)
    return 0.5 + 0.5 * scaled if scale == "signed" else scaled


def place_of_largest(values: Float[Tensor, "channels height width"]) -> str:
    """Say where the entry of largest size is, rows and columns counted from 1.

    Example:
        >>> import torch
        >>> place_of_largest(torch.tensor([[[0.0, 1.0], [-2.0, 0.5]]]))
        'row 2, column 1'
    """
    channel, row, column = np.unravel_index(int(values.abs().argmax()), tuple(values.shape))
    colour = f" of {('red', 'green', 'blue')[channel]}" if len(values) == 3 else ""
    return f"row {row + 1}, column {column + 1}{colour}"
