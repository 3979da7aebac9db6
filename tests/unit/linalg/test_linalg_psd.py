import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ansatzlab.errors import InputError
from ansatzlab.linalg.psd import factor_eigensystem, gram_eigensystem, psd_power, rounding_cut


def random_factor(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(7, 4), (4, 4), (3, 6)])
def test_the_kept_part_rebuilds_the_matrix(shape: tuple[int, int]) -> None:
    F = random_factor(*shape)
    gram = F.mT @ F
    for system in (gram_eigensystem(gram), factor_eigensystem(F)):
        assert system.rank == min(shape)
        assert_close((system.vectors * system.values) @ system.vectors.mT, gram)
        assert_close(system.basis.mT @ system.basis, torch.eye(shape[1], dtype=torch.float64))
        assert bool((system.values.diff() <= 0).all())
        assert_close(system.vectors, system.basis[:, : system.rank], rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(7, 4), (3, 6)])
def test_both_forms_have_the_same_eigenvalues(shape: tuple[int, int]) -> None:
    F = random_factor(*shape)
    assert_close(factor_eigensystem(F).values, gram_eigensystem(F.mT @ F).values)


@pytest.mark.parametrize("shape", [(7, 4), (3, 6)])
def test_powers_add_up(shape: tuple[int, int]) -> None:
    system = factor_eigensystem(random_factor(*shape))
    third = psd_power(system, 1 / 3)
    assert_close(third @ third @ third, psd_power(system, 1.0))
    assert_close(psd_power(system, 0.7) @ psd_power(system, 0.3), psd_power(system, 1.0))
    assert_close(psd_power(system, -1.0), torch.linalg.pinv(psd_power(system, 1.0), hermitian=True))
    projector = psd_power(system, 0.0)
    assert_close(projector @ projector, projector)
    assert_close(projector.trace().item(), float(system.rank))


@pytest.mark.parametrize("exponent", [0.2, 0.5, 2.0])
def test_powers_are_positive_semi_definite(exponent: float) -> None:
    power = psd_power(factor_eigensystem(random_factor(3, 6)), exponent)
    assert_close(power, power.mT)
    values = torch.linalg.eigvalsh(power)
    assert float(values[0]) > -1e-13 * float(values[-1])


def test_a_zero_matrix_has_rank_zero_and_its_powers_are_zero() -> None:
    zero = torch.zeros(3, 3, dtype=torch.float64)
    for system in (gram_eigensystem(zero), factor_eigensystem(zero)):
        assert system.rank == 0
        assert_close(psd_power(system, 0.5), zero, rtol=0, atol=0)


def test_default_cuts_are_the_rounding_of_each_form() -> None:
    eps = torch.finfo(torch.float64).eps
    assert rounding_cut(10, torch.float64) == 10 * eps
    assert rounding_cut(10, torch.float32) == 10 * torch.finfo(torch.float32).eps
    assert gram_eigensystem(torch.eye(5, dtype=torch.float64)).cut == 5 * eps
    assert factor_eigensystem(torch.ones(3, 7, dtype=torch.float64)).cut == (7 * eps) ** 2


@pytest.mark.parametrize(("cut", "rank"), [(0.2, 2), (0.25, 1), (0.3, 1), (0.05, 3)])
def test_an_eigenvalue_at_the_cut_is_dropped(cut: float, rank: int) -> None:
    values = torch.tensor([4.0, 1.0, 0.25], dtype=torch.float64)
    assert gram_eigensystem(torch.diag(values), cut=cut).rank == rank
    assert factor_eigensystem(torch.diag(values.sqrt()), cut=cut).rank == rank


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[0, 1] = matrix[1, 0] = bad
    with pytest.raises(InputError, match=r"gram_eigensystem: got a \(3, 3\) matrix with 2 entries that are not finite"):
        gram_eigensystem(matrix)
    with pytest.raises(InputError, match=r"factor_eigensystem: got a \(3, 3\) matrix with 2 entries"):
        factor_eigensystem(matrix)
