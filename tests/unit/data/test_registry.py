from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ansatzlab.data.registry import SOURCES, load
from ansatzlab.data.shipped import digits, linnerud
from ansatzlab.data.synthetic import multi_index
from ansatzlab.errors import InputError


@pytest.mark.parametrize("name", sorted(SOURCES.keys() - {"fashion_mnist", "flights", "mnist"}))
def test_every_source_bears_its_name_and_takes_seed_and_size(name: str) -> None:
    data = load(name, seed=1, size=7)
    assert data.name == name
    assert len(data.inputs) == 7
    assert_close(load(name, seed=1, size=7).inputs, data.inputs, rtol=0, atol=0)
    assert not torch.equal(load(name, seed=2, size=7).inputs, data.inputs)


def test_real_data_come_whole_and_in_order_by_default() -> None:
    assert_close(load("linnerud", seed=5).inputs, linnerud().inputs)


def test_subsample_of_real_data_is_made_of_its_rows() -> None:
    whole, part = digits(), load("digits", size=5)
    rows = [int((whole.inputs == row).all(dim=1).nonzero()[0]) for row in part.inputs]
    assert_close(part.inputs, whole.inputs[rows])
    assert_close(part.targets, whole.targets[rows])


def test_options_reach_synthetic_sources() -> None:
    data = load("multi_index", seed=3, size=9, input_dim=4, link="sine")
    assert_close(data.targets, multi_index(seed=3, size=9, input_dim=4, link="sine").targets)


def test_a_path_is_a_users_file(tmp_path: Path) -> None:
    path = str(tmp_path / "mine.npz")
    np.savez(path, inputs=np.arange(8.0)[:, None], targets=np.arange(8.0))
    assert len(load(path).inputs) == 8
    drawn = load(path, seed=1, size=3)
    assert drawn.name == path
    assert_close(drawn.inputs, drawn.targets)


def test_more_than_available_is_refused() -> None:
    with pytest.raises(InputError, match="data set 'linnerud': got size 21; wanted between 1 and the 20 examples"):
        load("linnerud", size=21)


def test_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="unknown data set 'digit'; did you mean 'digits'"):
        load("digit")


def test_unknown_option_is_refused() -> None:
    with pytest.raises(InputError, match=r"'digits': got the options \['noise'\]; wanted only \[\]; leave out"):
        load("digits", noise=0.1)
    with pytest.raises(
        InputError, match=r"got the options \['nois'\]; wanted only \['index_dim', 'input_dim', 'link', 'n"
    ):
        load("multi_index", nois=0.1)
