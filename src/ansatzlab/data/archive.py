"""A user's own data in a NumPy ``.npz`` file."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import InputError

KEYS = ("inputs", "targets")


def read_npz(path: Path) -> Dataset:
    """Return the data set in a ``.npz`` file, exactly as it is: nothing is centred or scaled.

    Conventions:
        One-dimensional integer (or boolean) targets are classes: one-hot, one column for each distinct label, in
        increasing order. One-dimensional float targets become one column. All numbers become float64.

    Args:
        path: A file with the arrays ``inputs`` (n, i) and ``targets`` (n, c) or (n,). Pickled objects are refused.

    Returns:
        The data set, named by its path.

    Raises:
        InputError: The file is missing or not a ``.npz`` archive, lacks an array, or holds arrays that are not numbers,
            not of these shapes or not finite.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(Path(folder) / "mine.npz", inputs=np.eye(3), targets=np.array([7, 9, 7]))
        ...     read_npz(Path(folder) / "mine.npz").targets
        tensor([[1., 0.],
                [0., 1.],
                [1., 0.]], dtype=torch.float64)
    """
    arrays = _read_arrays(path)
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise InputError(
            f"data file '{path}': got arrays {sorted(arrays)}; wanted {missing} too; "
            "save it with numpy.savez(path, inputs=..., targets=...)."
        )
    for key in KEYS:
        if arrays[key].dtype.kind not in "biuf":
            raise InputError(
                f"data file '{path}': got {key} of dtype {arrays[key].dtype}; wanted real numbers; encode them first."
            )
    return Dataset(
        name=str(path),
        inputs=torch.from_numpy(arrays["inputs"].astype(np.float64)),
        targets=_target_columns(arrays["targets"]),
        description=f"Arrays of the file '{path}', neither centred nor scaled.",
    )


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return all arrays of the archive, or refuse the file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return dict(archive)
    except FileNotFoundError:
        raise InputError(f"data file '{path}': there is no such file; wanted a .npz archive; check the path.") from None
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"data file '{path}': cannot be read ({error}); wanted a .npz archive of plain arrays, without pickled "
            "objects; save it with numpy.savez(path, inputs=..., targets=...)."
        ) from error


def _target_columns(targets: np.ndarray) -> Tensor:
    """Return the targets as float64 columns, one-hot where they are labels."""
    if targets.ndim == 1 and targets.dtype.kind in "biu":
        targets = targets[:, None] == np.unique(targets)
    elif targets.ndim == 1:
        targets = targets[:, None]
    return torch.from_numpy(targets.astype(np.float64))
