"""The nulls against Monte Carlo over rotations, and the rotations against the moments of the uniform distribution."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ansatzlab.linalg.null import haar_null, haar_orthogonal, rotated_factor, rotated_gram
from ansatzlab.linalg.psd import gram_eigensystem, psd_power
from ansatzlab.linalg.similarity import cosine
from ansatzlab.linalg.spectrum import Spectrum, ansatz_spectrum

DRAWS = 20000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


# --- the Haar null -------------------------------------------------------------------------------------------------

LAYERS = {
    "wide": (gaussian(1, 3, 5), gaussian(1, 6, 3, seed=1)),
    "tall": (gaussian(1, 6, 3), gaussian(1, 9, 6, seed=1)),
    "two inputs": (gaussian(1, 4, 2), gaussian(1, 4, 4, seed=1)),
    "one gradient": (gaussian(1, 5, 4), gaussian(1, 1, 5, seed=1)),
    "steep": (gaussian(1, 5, 5) * torch.logspace(0, -2, 5, dtype=torch.float64), gaussian(1, 5, 5, seed=1)),
    "blocks": (gaussian(3, 2, 3), gaussian(3, 4, 2, seed=1)),
}


def explicit(weight: Tensor, factor: Tensor, exponent: float) -> tuple[Tensor, Tensor]:
    """M and ``G^α`` of the direct sum of the blocks."""
    M = torch.block_diag(*(weight.mT @ weight))
    G = torch.block_diag(*(weight.mT @ factor.mT @ factor @ weight))
    return M, psd_power(gram_eigensystem(G), exponent)


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_mean_and_sd_are_those_of_random_rotations(layer: tuple[Tensor, Tensor], exponent: float) -> None:
    """To 2 %. With 20 000 draws the sd is known to about 0.5 % (kurtosis 3), the mean to sd/141."""
    M, power = explicit(*layer, exponent)
    null = haar_null(ansatz_spectrum(layer[0], factor=layer[1]), exponent)
    Q = haar_orthogonal(len(M), generator(2), count=DRAWS)
    cosines = (Q @ power @ Q.mT * M).sum((-2, -1)) / (M.norm() * power.norm())
    assert_close(null.mean, float(cosines.mean()), rtol=0.02, atol=0)
    assert_close(null.sd, float(cosines.std()), rtol=0.02, atol=0)
    assert_close(null.z, (cosine(M, power) - null.mean) / null.sd, rtol=1e-9, atol=1e-9)
    assert null.reason == ""


def test_a_matrix_drawn_by_chance_has_a_z_of_variance_one() -> None:
    """Layers whose K is made so that G is a rotation of one and the same matrix."""
    weight = gaussian(4, 4)
    shape = torch.diag(torch.tensor([4.0, 2.0, 1.0, 0.5], dtype=torch.float64))
    scores = []
    for Q in haar_orthogonal(4, generator(3), count=1000):
        factor = shape.sqrt() @ torch.linalg.solve(weight, Q.mT, left=False)
        scores.append(haar_null(ansatz_spectrum(weight, factor=factor), 0.5).z)
    found = torch.tensor(scores)
    assert abs(float(found.mean())) < 3 / math.sqrt(1000)
    assert_close(float(found.std()), 1.0, rtol=0, atol=0.1)


def spectrum_of(weight: list[float], gram: list[float]) -> Spectrum:
    return ansatz_spectrum(
        torch.diag(torch.tensor(weight, dtype=torch.float64)), gram=torch.diag(torch.tensor(gram, dtype=torch.float64))
    )


def test_one_input_has_no_null() -> None:
    null = haar_null(ansatz_spectrum(gaussian(3, 1), factor=gaussian(3, 3)), 0.5)
    assert (null.sd, null.reason) == (0.0, "a layer of one input has no rotations")
    assert_close(null.mean, 1.0)
    assert math.isnan(null.z)


@pytest.mark.parametrize(
    ("weight", "gram", "exponent", "named"),
    [
        ([2.0, 2.0, 2.0], [3.0, 2.0, 1.0], 0.5, "M proportional"),
        ([2.0, 1.0, 1.0], [0.25, 1.0, 1.0], 0.5, "G^α proportional"),
        ([2.0, 1.0, 1.0], [3.0, 2.0, 1.0], 0.0, "G^α proportional"),
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], 0.5, "M and G^α proportional"),
    ],
)
def test_a_multiple_of_the_identity_has_no_z(
    weight: list[float], gram: list[float], exponent: float, named: str
) -> None:
    spectrum = spectrum_of(weight, gram)
    null = haar_null(spectrum, exponent)
    assert null.reason == f"{named} to the identity: no rotation changes the cosine"
    assert (null.sd, math.isnan(null.z)) == (0.0, True)
    assert_close(null.mean, spectrum.alignment(exponent))  # every rotation scores alike


def test_a_random_multiple_of_an_orthogonal_matrix_counts_as_flat() -> None:
    """``M = 3 QᵀQ`` is the identity to rounding only; one part in 10⁵ away from it there is a null again."""
    Q = haar_orthogonal(50, generator(4))[0]
    factor = gaussian(50, 50)
    assert "M proportional" in haar_null(ansatz_spectrum(math.sqrt(3) * Q, factor=factor), 0.5).reason
    bent = Q * torch.linspace(1, 1 + 1e-5, 50, dtype=torch.float64)
    assert haar_null(ansatz_spectrum(bent, factor=factor), 0.5).reason == ""


@pytest.mark.parametrize(("weight", "gram", "which"), [([2.0, 1.0], [0.0, 0.0], "AGOP"), ([0.0, 0.0], [1.0, 2.0], "w")])
def test_without_an_agop_or_weights_there_is_nothing(weight: list[float], gram: list[float], which: str) -> None:
    null = haar_null(spectrum_of(weight, gram), 0.5)
    assert null.reason.startswith(f"the {which}")
    assert null.reason.endswith("zero: there is no cosine")
    assert all(math.isnan(number) for number in (null.mean, null.sd, null.z))


# --- random rotations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_rotations_are_orthogonal_of_the_asked_number_and_seeded(size: int) -> None:
    Q = haar_orthogonal(size, generator(), count=7)
    assert Q.dtype == torch.float64
    assert_close(Q @ Q.mT, torch.eye(size, dtype=torch.float64).expand(7, size, size), rtol=0, atol=1e-14)
    assert_close(Q, haar_orthogonal(size, generator(), count=7), rtol=0, atol=0)
    assert not torch.equal(Q, haar_orthogonal(size, generator(1), count=7))


def check_uniform(Q: Tensor) -> None:
    """Entries: mean 0, variance 1/d, fourth moment 3/(d(d + 2)), uncorrelated; either determinant as often.

    Each within five standard errors of the sample. An entry is at most 1, so its powers have a variance below their
    mean.
    """
    count, d, _ = Q.shape
    allowed = 5 / math.sqrt(count)
    flat = Q.reshape(count, -1)
    assert float(flat.mean(0).abs().max()) < allowed / math.sqrt(d)
    second = flat.mT @ flat / count
    assert float((second - torch.eye(d * d, dtype=Q.dtype) / d).abs().max()) < allowed * math.sqrt(3 / d / (d + 2))
    fourth = flat.pow(4).mean(0)
    assert float((fourth - 3 / (d * (d + 2))).abs().max()) < allowed * math.sqrt(3 / d / (d + 2))
    assert abs(float(torch.linalg.det(Q).mean())) < allowed


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_rotations_are_uniform(size: int) -> None:
    check_uniform(haar_orthogonal(size, generator(5), count=DRAWS))


def test_uniformity_has_teeth() -> None:
    """Without the signs Q_11 is never positive; a rotation drawn by its angle alone never reflects."""
    unsigned = torch.linalg.qr(torch.randn(DRAWS, 3, 3, dtype=torch.float64, generator=generator(5))).Q
    angles = 2 * math.pi * torch.rand(DRAWS, dtype=torch.float64, generator=generator(5))
    turns = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], -1).reshape(-1, 2, 2)
    for biased in (unsigned, turns):
        with pytest.raises(AssertionError):
            check_uniform(biased)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_rotated_gram_keeps_every_blocks_spectrum_and_the_dtype(dtype: torch.dtype) -> None:
    factor = gaussian(3, 2, 5).to(dtype)
    gram = factor.mT @ factor
    turned = rotated_gram(gram, generator(6))
    assert turned.dtype == dtype
    tolerance = 50 * torch.finfo(dtype).eps * float(gram.norm())
    assert_close(torch.linalg.eigvalsh(turned), torch.linalg.eigvalsh(gram), rtol=0, atol=tolerance)
    assert not torch.allclose(turned, gram, rtol=0.1)
    assert rotated_factor(factor, generator(6)).dtype == dtype


def test_a_rotated_factor_is_the_factor_of_the_rotated_gram() -> None:
    factor = gaussian(3, 2, 5)
    turned = rotated_factor(factor, generator(6))
    assert turned.shape == factor.shape
    assert_close(turned.mT @ turned, rotated_gram(factor.mT @ factor, generator(6)))
    assert_close(turned @ turned.mT, factor @ factor.mT)  # the rows keep their lengths and angles


def test_each_block_has_its_own_rotation() -> None:
    same = gaussian(1, 3, 3).expand(2, 3, 3)
    first, second = rotated_factor(same, generator(7))
    assert not torch.allclose(first, second, rtol=0.1)


def test_a_rotated_gram_is_flat_on_average() -> None:
    """E QSQᵀ = tr(S)/o · I: within five standard errors, from blocks that are all the same S."""
    S = torch.diag(torch.tensor([5.0, 1.0, 0.0], dtype=torch.float64))
    turned = rotated_gram(S.expand(DRAWS, 3, 3), generator(8))
    error = turned.std(0) / math.sqrt(DRAWS)
    assert bool(((turned.mean(0) - 2 * torch.eye(3, dtype=torch.float64)).abs() < 5 * error).all())
