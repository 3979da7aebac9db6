"""Plain convolutional networks for small images."""

from collections import OrderedDict

import torch
from torch import nn

from ansatzlab.errors import InputError

VGG11 = ((1,), (2,), (4, 4), (8, 8), (8, 8))
"""VGG11's stages: the channels of each convolution in units of the first one's, a halving of the image after each."""


def vgg11(
    classes: int = 10, in_channels: int = 3, width: int = 64, *, dtype: torch.dtype = torch.float64
) -> nn.Sequential:
    """Return the eight convolutions of VGG11 and one linear classifier, for images of 32 × 32.

    Definition:
        Convolutions 3 × 3 with padding 1 of w, 2w, 4w, 4w, 8w, 8w, 8w, 8w channels, each followed by an in-place ReLU;
        max pooling by 2 after the first, second, fourth, sixth and eighth; a linear map from the 8w numbers left.

    Conventions:
        torchvision's ``vgg11`` has the same convolutions and in-place activations, but three linear layers with dropout
        on images of 224 × 224.

    The convolutions are the modules ``conv1`` … ``conv8``, the linear layer is ``classifier``. A new network has
    torch's default parameters, drawn from torch's global generator.

    Args:
        classes: The number of outputs.
        in_channels: The channels of the images.
        width: The channels w of the first convolution; 64 in VGG11.
        dtype: The dtype of the parameters.

    Returns:
        The network: images (n, in_channels, 32, 32) to outputs (n, classes).

    Raises:
        InputError: If a size is not a positive integer.

    Source:
        Simonyan and Zisserman 2015, configuration A.

    Example:
        >>> import torch
        >>> vgg11(width=4)(torch.zeros(2, 3, 32, 32, dtype=torch.float64)).shape
        torch.Size([2, 10])
    """
    _check_sizes("vgg11", classes=classes, in_channels=in_channels, width=width)
    layers = _stages(in_channels, [[width * factor for factor in stage] for stage in VGG11], dtype)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(8 * width, classes, dtype=dtype)
    return nn.Sequential(layers)


def small_cnn(
    classes: int = 10, in_channels: int = 1, width: int = 16, *, dtype: torch.dtype = torch.float64
) -> nn.Sequential:
    """Return two convolutions and one linear classifier, for images of 28 × 28 such as digits.

    Definition:
        Convolutions 3 × 3 with padding 1 of w and 2w channels, each followed by an in-place ReLU and max pooling by 2;
        a linear map from the 7 · 7 · 2w numbers left.

    The convolutions are the modules ``conv1`` and ``conv2``, the linear layer is ``classifier``. A new network has
    torch's default parameters, drawn from torch's global generator.

    Args:
        classes: The number of outputs.
        in_channels: The channels of the images.
        width: The channels w of the first convolution.
        dtype: The dtype of the parameters.

    Returns:
        The network: images (n, in_channels, 28, 28) to outputs (n, classes).

    Raises:
        InputError: If a size is not a positive integer.

    Example:
        >>> import torch
        >>> small_cnn()(torch.zeros(2, 1, 28, 28, dtype=torch.float64)).shape
        torch.Size([2, 10])
    """
    _check_sizes("small_cnn", classes=classes, in_channels=in_channels, width=width)
    layers = _stages(in_channels, [[width], [2 * width]], dtype)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(7 * 7 * 2 * width, classes, dtype=dtype)
    return nn.Sequential(layers)


def _stages(in_channels: int, stages: list[list[int]], dtype: torch.dtype) -> OrderedDict[str, nn.Module]:
    """Return the named layers of all stages: convolutions with in-place ReLUs, then a halving of the image."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels, number = in_channels, 0
    for stage, widths in enumerate(stages, start=1):
        for width in widths:
            number += 1
            layers[f"conv{number}"] = nn.Conv2d(channels, width, kernel_size=3, padding=1, dtype=dtype)
            layers[f"relu{number}"] = nn.ReLU(inplace=True)
            channels = width
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    return layers


def _check_sizes(where: str, **sizes: int) -> None:
    wrong = {name: size for name, size in sizes.items() if not isinstance(size, int) or size < 1}
    if wrong:
        raise InputError(f"{where}: got {wrong}; wanted positive integers; change them.")
