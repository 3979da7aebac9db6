import math

import pytest
import torch
from torch.testing import assert_close

from ansatzlab.data.dataset import Dataset, subsample
from ansatzlab.errors import InputError


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def numbered(n: int) -> Dataset:
    rows = torch.arange(n, dtype=torch.float64)[:, None]
    return Dataset(name="numbered", inputs=rows, targets=-rows, description="Row numbers.")


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2), (0, 2), (3, 0), ()])
def test_arrays_must_be_matrices(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"data set 'bad': inputs: got shape .*; wanted two dimensions"):
        Dataset(name="bad", inputs=zeros(*shape), targets=zeros(3, 1), description="")
    with pytest.raises(InputError, match=r"data set 'bad': targets: got shape .*; wanted two dimensions"):
        Dataset(name="bad", inputs=zeros(3, 1), targets=zeros(*shape), description="")


def test_arrays_must_be_float64() -> None:
    with pytest.raises(InputError, match=r"'bad': inputs: got dtype torch.float32; wanted torch.float64; convert"):
        Dataset(name="bad", inputs=zeros(3, 2).float(), targets=zeros(3, 1), description="")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_entries_must_be_finite(value: float) -> None:
    targets = zeros(4, 3)
    targets[2, 1] = targets[3, 0] = value
    with pytest.raises(
        InputError, match=r"'bad': targets: got 2 entries that are not finite, the first at row 2, column 1"
    ):
        Dataset(name="bad", inputs=zeros(4, 2), targets=targets, description="")


def test_rows_must_match() -> None:
    with pytest.raises(InputError, match="got 4 rows of inputs and 3 of targets; wanted one target row"):
        Dataset(name="bad", inputs=zeros(4, 2), targets=zeros(3, 1), description="")


def test_subsample_draws_distinct_rows_and_keeps_pairs() -> None:
    drawn = subsample(numbered(50), seed=1, size=20)
    assert drawn.name == "numbered"
    assert drawn.description == "Row numbers. 20 of 50 examples, drawn with seed 1."
    assert_close(drawn.targets, -drawn.inputs)
    assert len(drawn.inputs.unique()) == 20


def test_subsamples_of_one_seed_are_nested_and_of_others_differ() -> None:
    large = subsample(numbered(50), seed=1, size=20)
    assert_close(subsample(numbered(50), seed=1, size=5).inputs, large.inputs[:5])
    assert not torch.equal(subsample(numbered(50), seed=2, size=20).inputs, large.inputs)


def test_subsample_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    subsample(numbered(50), seed=1, size=20)
    assert_close(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [-1, 0, 51])
def test_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"'numbered': got size {size}; wanted between 1 and the 50 examples it has"):
        subsample(numbered(50), seed=0, size=size)
