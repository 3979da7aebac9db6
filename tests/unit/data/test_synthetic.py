import math

import pytest
import torch
from torch.testing import assert_close

from ansatzlab.data.synthetic import LINKS, low_rank_linear, multi_index
from ansatzlab.errors import InputError


def teacher(**options: object) -> torch.Tensor:
    data = low_rank_linear(**options)
    return torch.linalg.lstsq(data.inputs, data.targets).solution.mT


def test_linear_teacher_has_the_asked_spectrum() -> None:
    A = teacher(seed=3, size=100, input_dim=8, output_dim=6, spectrum=[3.0, 0.5])
    expected = torch.tensor([3.0, 0.5, 0, 0, 0, 0], dtype=torch.float64)
    assert_close(torch.linalg.svdvals(A), expected, rtol=0, atol=1e-13)


def test_linear_teacher_depends_on_the_seed_only() -> None:
    A = teacher(seed=3, size=100)
    assert_close(teacher(seed=3, size=200), A, rtol=0, atol=1e-13)
    assert (teacher(seed=4, size=100) - A).norm() > 0.1


@pytest.mark.parametrize("source", [low_rank_linear, multi_index])
def test_data_are_a_function_of_the_arguments(source: type) -> None:
    state = torch.get_rng_state()
    one, other = source(seed=1, size=30, noise=0.1), source(seed=1, size=30, noise=0.1)
    assert_close(torch.get_rng_state(), state)
    assert_close(one.inputs, other.inputs, rtol=0, atol=0)
    assert_close(one.targets, other.targets, rtol=0, atol=0)
    assert not torch.equal(source(seed=2, size=30, noise=0.1).inputs, one.inputs)


@pytest.mark.parametrize("source", [low_rank_linear, multi_index])
def test_noise_has_the_asked_size_and_is_all_that_changes(source: type) -> None:
    clean, noisy = source(seed=1, size=20_000), source(seed=1, size=20_000, noise=0.3)
    assert_close(noisy.inputs, clean.inputs, rtol=0, atol=0)
    # 20,000 draws: relative standard error 0.5 %; 2.5 % is five of them.
    assert_close((noisy.targets - clean.targets).std().item(), 0.3, rtol=0.025, atol=0)


@pytest.mark.parametrize(
    ("link", "expected"), [("linear", 0.0), ("product", -6.0), ("quadratic", 14.0), ("relu", 3.0), ("staircase", -8.0)]
)
def test_link_values(link: str, expected: float) -> None:
    z = torch.tensor([[1.0, -3.0, 2.0]], dtype=torch.float64)
    assert_close(LINKS[link](z), torch.tensor([expected], dtype=torch.float64))


def test_quadratic_target_sees_an_orthonormal_subspace() -> None:
    """y = xᵀ P x with P the projector on the indices: fitted from the data, P is idempotent of trace k."""
    data = multi_index(seed=0, size=200, input_dim=5, index_dim=2)
    products = (data.inputs[:, :, None] * data.inputs[:, None, :]).flatten(1)
    P = (torch.linalg.pinv(products) @ data.targets).reshape(5, 5)
    assert_close(P, P.mT, rtol=0, atol=1e-12)
    assert_close(P @ P, P, rtol=0, atol=1e-12)
    assert_close(P.trace().item(), 2.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("link", sorted(LINKS))
def test_every_link_makes_one_target(link: str) -> None:
    assert multi_index(seed=0, size=10, link=link).targets.shape == (10, 1)


def test_links_share_their_directions_and_inputs() -> None:
    """With one direction, linear squared is quadratic: the link changes nothing else."""
    linear, quadratic = (multi_index(seed=0, size=10, index_dim=1, link=link) for link in ("linear", "quadratic"))
    assert_close(linear.targets.square(), quadratic.targets)


@pytest.mark.parametrize("name", ["size", "input_dim", "output_dim"])
def test_counts_must_be_positive(name: str) -> None:
    with pytest.raises(InputError, match=f"low_rank_linear: got {name} 0; wanted at least 1"):
        low_rank_linear(**{name: 0})


def test_index_dim_must_be_positive() -> None:
    with pytest.raises(InputError, match="multi_index: got index_dim 0; wanted at least 1"):
        multi_index(index_dim=0)


@pytest.mark.parametrize("source", [low_rank_linear, multi_index])
@pytest.mark.parametrize("noise", [-0.1, math.nan, math.inf])
def test_noise_must_be_finite_and_not_negative(source: type, noise: float) -> None:
    with pytest.raises(InputError, match=r"got noise .*; wanted a finite number that is not negative"):
        source(noise=noise)


@pytest.mark.parametrize("spectrum", [[], [1.0] * 4, [1.0, 0.0], [-1.0], [math.nan]])
def test_unusable_spectrum_is_refused(spectrum: list[float]) -> None:
    with pytest.raises(InputError, match=r"low_rank_linear: got spectrum .*; wanted 1 to 3 positive finite numbers"):
        low_rank_linear(output_dim=3, spectrum=spectrum)


def test_too_many_directions_are_refused() -> None:
    with pytest.raises(InputError, match="got index_dim 4 with input_dim 3; wanted at most input_dim"):
        multi_index(input_dim=3, index_dim=4)


def test_unknown_link_is_refused() -> None:
    with pytest.raises(InputError, match="unknown link 'quadratics'; did you mean 'quadratic'"):
        multi_index(link="quadratics")
