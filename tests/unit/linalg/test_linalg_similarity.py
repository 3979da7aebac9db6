import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ansatzlab.linalg.similarity import cosine, pearson, residual, traceless_cosine


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


A, B = draw(5, 5, seed=0), draw(5, 5, seed=1)
EYE = torch.eye(5, dtype=torch.float64)


def test_cosine_is_that_of_the_flattened_vectors() -> None:
    a, b = A.numpy().ravel(), B.numpy().ravel()
    assert_close(cosine(A, B), float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))


def test_pearson_is_numpys_correlation() -> None:
    assert_close(pearson(A, B), float(np.corrcoef(A.numpy().ravel(), B.numpy().ravel())[0, 1]))


def test_traceless_cosine_does_not_see_multiples_of_the_identity() -> None:
    assert_close(traceless_cosine(A + 3 * EYE, B - 2 * EYE), traceless_cosine(A, B))
    bare_a, bare_b = A - A.trace() / 5 * EYE, B - B.trace() / 5 * EYE
    assert_close(traceless_cosine(A, B), cosine(bare_a, bare_b))


def test_pearson_does_not_see_constants_but_cosine_does() -> None:
    assert_close(pearson(A + 3, B - 2), pearson(A, B))
    assert abs(cosine(A + 3, B - 2) - cosine(A, B)) > 0.1


@pytest.mark.parametrize("measure", [cosine, pearson, traceless_cosine])
def test_similarities_do_not_see_positive_scales(measure) -> None:
    assert_close(measure(3 * A, 0.1 * B), measure(A, B))
    assert_close(measure(A, -B), -measure(A, B))
    assert_close(measure(A, A), 1.0)


def test_residual_is_the_least_squares_distance() -> None:
    solution = torch.linalg.lstsq(B.reshape(-1, 1), A.reshape(-1, 1)).solution
    assert_close(residual(A, B), float((A - float(solution) * B).norm() / A.norm()))
    assert_close(residual(A, B), math.sqrt(1 - cosine(A, B) ** 2))
    assert_close(residual(A, -7 * B), residual(A, B))


def test_residual_of_a_multiple_is_rounding() -> None:
    assert residual(A, 3 * A) < 1e-15


def test_zero_matrices() -> None:
    zero = torch.zeros_like(A)
    assert residual(A, zero) == 1.0
    assert math.isnan(residual(zero, A))
    assert math.isnan(cosine(A, zero))
    assert math.isnan(pearson(A, torch.ones_like(A)))
    assert math.isnan(traceless_cosine(A, EYE))


def test_arguments_are_left_as_they_were() -> None:
    a, b = A.clone(), B.clone()
    for measure in (cosine, pearson, traceless_cosine, residual):
        measure(a, b)
    assert_close((a, b), (A, B), rtol=0, atol=0)
