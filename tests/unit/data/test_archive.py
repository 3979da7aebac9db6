import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ansatzlab.data.archive import read_npz
from ansatzlab.errors import InputError

X = np.arange(6.0).reshape(3, 2)


def save(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f8", "int32"])
def test_matrices_are_read_as_they_are(dtype: str, tmp_path: Path) -> None:
    path = save(tmp_path, inputs=X.astype(dtype), targets=2 * X.astype(dtype))
    data = read_npz(path)
    assert data.name == str(path)
    assert_close(data.inputs, torch.from_numpy(X))
    assert_close(data.targets, torch.from_numpy(2 * X))


@pytest.mark.parametrize("labels", [[5, -1, 5], [True, False, True]])
def test_integer_targets_are_one_hot_in_increasing_order(labels: list[int], tmp_path: Path) -> None:
    data = read_npz(save(tmp_path, inputs=X, targets=np.array(labels)))
    assert_close(data.targets, torch.tensor([[0, 1], [1, 0], [0, 1]], dtype=torch.float64))


def test_float_targets_become_one_column(tmp_path: Path) -> None:
    data = read_npz(save(tmp_path, inputs=X, targets=np.array([1.0, 2.0, 3.0])))
    assert_close(data.targets, torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.npz': there is no such file; wanted a .npz archive; check the path"):
        read_npz(tmp_path / "absent.npz")


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 broken"])
def test_file_that_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read \(.*\); wanted a .npz archive"):
        read_npz(path)


def test_single_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with path.open("wb") as file:
        np.save(file, X)
    with pytest.raises(InputError, match="cannot be read"):
        read_npz(path)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(Object arrays cannot be loaded"):
        read_npz(save(tmp_path, inputs=np.array([{}, {}], dtype=object), targets=X))


def test_missing_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"got arrays \['inputs', 'y'\]; wanted \['targets'\] too; save it with"):
        read_npz(save(tmp_path, inputs=X, y=X))


@pytest.mark.parametrize("inputs", [X.astype(str), X.astype(complex)])
def test_arrays_must_be_real_numbers(inputs: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"got inputs of dtype .*; wanted real numbers; encode"):
        read_npz(save(tmp_path, inputs=inputs, targets=X))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"inputs": X[:, :, None], "targets": X}, r"inputs: got shape \(3, 2, 1\)"),
        ({"inputs": X, "targets": np.array(1.0)}, r"targets: got shape \(\)"),
        ({"inputs": X, "targets": X[:2]}, "3 rows of inputs and 2 of targets"),
        ({"inputs": X, "targets": np.array([1.0, math.nan, 0.0])}, "first at row 1, column 0"),
    ],
)
def test_unusable_arrays_are_refused_naming_the_file(
    arrays: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=rf"mine.npz'.*{message}"):
        read_npz(save(tmp_path, **arrays))
