"""The spectrum against the definitions on explicit d × d matrices, other libraries, and the problem's symmetries."""

from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ansatzlab.linalg.psd import gram_eigensystem, psd_power, rounding_cut
from ansatzlab.linalg.similarity import cosine, pearson, residual, traceless_cosine
from ansatzlab.linalg.spectrum import Spectrum, ansatz_spectrum

EXPONENTS = (0.0, 1 / 8, 1 / 3, 0.5, 1.0, 2.0)
DEFINITIONS = {"cosine": cosine, "pearson": pearson, "traceless": traceless_cosine}
PRECISION = {"rtol": 1e-11, "atol": 1e-12}  # spectra spread over less than 1e5, in float64

# --- building matrices of known rank and condition ---------------------------------------------------------------


def haar(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    return torch.nn.init.orthogonal_(torch.empty(rows, columns, dtype=torch.float64), generator=generator)


def matrix(rows: int, columns: int, rank: int, generator: torch.Generator) -> Tensor:
    """A random matrix with singular values 2 … 1/2."""
    values = torch.logspace(1, -1, rank, base=2, dtype=torch.float64)
    return (haar(rows, rank, generator) * values) @ haar(columns, rank, generator).mT


def exact_law(exponent: float, values: Tensor, inputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """W with these singular values, and a factor R of K such that ``G^exponent = WᵀW``."""
    left = haar(len(values), len(values), generator)
    weight = (left * values) @ haar(inputs, len(values), generator).mT
    return weight, values.pow(1 / exponent - 1)[:, None] * left.mT


@dataclass(frozen=True)
class Case:
    outputs: int
    inputs: int
    weight_rank: int
    rows: int
    factor_rank: int

    @property
    def rank(self) -> int:
        return min(self.weight_rank, self.factor_rank)

    def build(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        weight = matrix(self.outputs, self.inputs, self.weight_rank, generator)
        return weight, matrix(self.rows, self.outputs, self.factor_rank, generator)


CASES = {
    "wide": Case(4, 9, 4, 12, 4),
    "tall": Case(9, 4, 4, 12, 9),
    "square": Case(6, 6, 6, 6, 6),
    "few gradients": Case(6, 8, 6, 2, 2),
    "more rows than rank": Case(6, 8, 6, 20, 3),
    "deficient weight": Case(7, 8, 3, 20, 7),
    "both deficient": Case(7, 6, 4, 20, 3),
    "one output": Case(1, 6, 1, 5, 1),
    "one input": Case(6, 1, 1, 8, 6),
    "one gradient": Case(5, 7, 5, 1, 1),
}
FORMS = ("gram", "factor")


def spectrum_from(weight: Tensor, factor: Tensor, form: str) -> Spectrum:
    if form == "gram":
        return ansatz_spectrum(weight, gram=factor.mT @ factor)
    return ansatz_spectrum(weight, factor=factor)


def explicit(weight: Tensor, factor: Tensor, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """M, and the top ``rank`` eigenpairs of the explicit d × d AGOP, by NumPy."""
    W, R = weight.numpy(), factor.numpy()
    values, vectors = np.linalg.eigh(W.T @ (R.T @ R) @ W)
    return W.T @ W, values[::-1][:rank], vectors[:, ::-1][:, :rank]


def explicit_power(values: np.ndarray, vectors: np.ndarray, exponent: float) -> Tensor:
    return torch.from_numpy((vectors * values**exponent) @ vectors.T)


# --- the definitions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_column_is_what_its_definition_says(case: Case, form: str) -> None:
    weight, factor = case.build()
    M, values, vectors = explicit(weight, factor, case.rank)
    energies = np.diag(vectors.T @ M @ vectors)
    spectrum = spectrum_from(weight, factor, form)
    assert spectrum.rank == case.rank
    assert spectrum.dimension == case.inputs
    scale = float(np.linalg.norm(M))
    np.testing.assert_allclose(spectrum.eigenvalues, values, rtol=1e-10)
    np.testing.assert_allclose(spectrum.energies, energies, rtol=1e-10)
    off = np.linalg.norm(M - (vectors * energies) @ vectors.T)
    np.testing.assert_allclose(spectrum.off_energy, off, rtol=1e-10, atol=1e-13 * scale)
    np.testing.assert_allclose(spectrum.sums.square(), vectors.sum(0) ** 2, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(spectrum.trace, np.trace(M), rtol=1e-12)
    np.testing.assert_allclose(spectrum.total, M.sum(), rtol=1e-12, atol=1e-13 * scale)
    np.testing.assert_allclose(spectrum.weight_gram_norm, scale, rtol=1e-12)
    np.testing.assert_allclose(spectrum.agop_norm, np.linalg.norm(values), rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_read_out_is_that_of_the_explicit_matrices(case: Case, form: str) -> None:
    weight, factor = case.build()
    M, values, vectors = explicit(weight, factor, case.rank)
    target = torch.from_numpy(M)
    spectrum = spectrum_from(weight, factor, form)
    for exponent in EXPONENTS:
        power = explicit_power(values, vectors, exponent)
        for comparator, definition in DEFINITIONS.items():
            wanted = definition(target, power)
            if case.inputs == 1 or (case.rank == case.inputs and exponent == 0 and comparator == "traceless"):
                # Centring leaves nothing of a 1 × 1 matrix, or of G⁰ = I: the definition divides rounding by rounding.
                wanted = wanted if comparator == "cosine" else float("nan")
            assert_close(spectrum.alignment(exponent, comparator), wanted, equal_nan=True, **PRECISION)
        misfit = residual(target, power)
        assert_close(spectrum.residual(exponent), misfit, **PRECISION)
        assert_close(spectrum.squared_misfit(exponent), (misfit * float(target.norm())) ** 2, **PRECISION)
        for scale in (1.0, 0.3):
            error = float((target - scale * power).norm() / target.norm())
            assert_close(spectrum.relative_error(exponent, scale), error, **PRECISION)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_the_power_is_scipys_where_the_agop_is_invertible(exponent: float) -> None:
    weight, factor = CASES["tall"].build()
    G = (weight.mT @ factor.mT @ factor @ weight).numpy()
    power = torch.from_numpy(scipy.linalg.fractional_matrix_power(G, exponent).real)
    assert_close(psd_power(gram_eigensystem(torch.from_numpy(G)), exponent), power, **PRECISION)
    assert_close(ansatz_spectrum(weight, factor=factor).alignment(exponent), cosine(weight.mT @ weight, power))


@pytest.mark.parametrize("form", FORMS)
def test_fifty_digits_agree_on_a_rational_case(form: str) -> None:
    """W 3 × 4 and R 2 × 3 of small integers: the AGOP has rank 2 of 4; mpmath takes its cube root in 50 digits."""
    W = [[2, -1, 0, 3], [1, 4, -2, 0], [0, 1, 1, -1]]
    R = [[1, 2, 0], [0, -1, 3]]
    with mpmath.workdps(50):
        weight, factor = mpmath.matrix(W), mpmath.matrix(R)
        M = weight.T * weight
        product = factor * weight
        values, vectors = mpmath.eigsy(product.T * product)  # ascending; the first two are zero
        assert abs(values[1]) < 1e-45 < values[2]
        power = mpmath.matrix(4, 4)
        for j in (2, 3):
            power += mpmath.cbrt(values[j]) * vectors[:, j] * vectors[:, j].T
        inner = mpmath.fsum(M[i, j] * power[i, j] for i in range(4) for j in range(4))
        expected_cosine = inner / (mpmath.norm(M) * mpmath.norm(power))
        expected_residual = mpmath.sqrt(1 - expected_cosine**2)
        expected_error = mpmath.norm(M - power) / mpmath.norm(M)
    spectrum = spectrum_from(torch.tensor(W, dtype=torch.float64), torch.tensor(R, dtype=torch.float64), form)
    assert_close(spectrum.alignment(1 / 3), float(expected_cosine), rtol=1e-14, atol=0)
    assert_close(spectrum.residual(1 / 3), float(expected_residual), rtol=1e-14, atol=0)
    assert_close(spectrum.relative_error(1 / 3), float(expected_error), rtol=1e-14, atol=0)


# --- symmetries --------------------------------------------------------------------------------------------------


@st.composite
def layers(draw: st.DrawFn) -> tuple[Tensor, Tensor, float, int]:
    """A weight of any shape and rank, a positive definite K, an exponent, and a seed for what moves them."""
    outputs, inputs = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    rank = draw(st.integers(1, min(outputs, inputs)))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = torch.Generator().manual_seed(seed)
    factor = matrix(outputs + 1, outputs, outputs, generator)
    return matrix(outputs, inputs, rank, generator), factor.mT @ factor, draw(st.floats(0.1, 2.0)), seed


def answers(spectrum: Spectrum, exponent: float) -> Tensor:
    """What does not depend on which eigenvectors are chosen where eigenvalues (nearly) coincide."""
    return torch.tensor(
        [spectrum.alignment(exponent), spectrum.residual(exponent), spectrum.alignment(exponent, "traceless")],
        dtype=torch.float64,
    )


SYMMETRY = {"rtol": 1e-9, "atol": 1e-7, "equal_nan": True}  # a residual near 0 or a vanishing traceless part
hypothesis_settings = settings(deadline=None, max_examples=25, derandomize=True)


def traceless_is_defined(weight: Tensor) -> bool:
    M = weight.mT @ weight
    return float((M - torch.eye(len(M), dtype=M.dtype) * M.diagonal().mean()).norm() / M.norm()) > 1e-3


def assert_same(one: Spectrum, other: Spectrum, exponent: float, *, traceless: bool) -> None:
    kept = slice(None) if traceless else slice(2)
    assert_close(answers(one, exponent)[kept], answers(other, exponent)[kept], **SYMMETRY)


@hypothesis_settings
@given(layers())
def test_a_rotation_of_the_inputs_changes_nothing(case: tuple[Tensor, Tensor, float, int]) -> None:
    weight, gram, exponent, seed = case
    Q = haar(weight.shape[1], weight.shape[1], torch.Generator().manual_seed(seed + 1))
    plain, rotated = ansatz_spectrum(weight, gram=gram), ansatz_spectrum(weight @ Q, gram=gram)
    assert_close(rotated.eigenvalues, plain.eigenvalues, rtol=1e-10, atol=1e-12)
    assert_close(rotated.trace, plain.trace)
    assert_close(rotated.weight_gram_norm, plain.weight_gram_norm)
    assert_same(rotated, plain, exponent, traceless=traceless_is_defined(weight))


@hypothesis_settings
@given(layers())
def test_a_rotation_of_the_outputs_changes_nothing(case: tuple[Tensor, Tensor, float, int]) -> None:
    weight, gram, exponent, seed = case
    U = haar(len(weight), len(weight), torch.Generator().manual_seed(seed + 1))
    plain, rotated = ansatz_spectrum(weight, gram=gram), ansatz_spectrum(U.mT @ weight, gram=U.mT @ gram @ U)
    assert_close(rotated.eigenvalues, plain.eigenvalues, rtol=1e-10, atol=1e-12)
    assert_close(rotated.total, plain.total, rtol=1e-10, atol=1e-12)
    assert_same(rotated, plain, exponent, traceless=traceless_is_defined(weight))


@hypothesis_settings
@given(layers(), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_scales_move_the_constant_and_nothing_else(
    case: tuple[Tensor, Tensor, float, int], weight_scale: float, gradient_scale: float
) -> None:
    weight, gram, exponent, _ = case
    plain = ansatz_spectrum(weight, gram=gram)
    scaled = ansatz_spectrum(weight_scale * weight, gram=gradient_scale * gram)
    agop_scale = weight_scale**2 * gradient_scale
    assert scaled.rank == plain.rank
    assert_close(scaled.eigenvalues, agop_scale * plain.eigenvalues, rtol=1e-10, atol=0)
    assert_same(scaled, plain, exponent, traceless=traceless_is_defined(weight))
    constant = weight_scale**2 / agop_scale**exponent
    assert_close(scaled.relative_error(exponent, constant), plain.relative_error(exponent), **SYMMETRY)


def test_a_rotation_of_the_outputs_alone_is_noticed() -> None:
    """Teeth of the two tests above: W and K must turn together."""
    weight, factor = CASES["square"].build()
    gram = factor.mT @ factor
    U = haar(6, 6, torch.Generator().manual_seed(5))
    plain, turned = ansatz_spectrum(weight, gram=gram), ansatz_spectrum(U.mT @ weight, gram=gram)
    with pytest.raises(AssertionError, match="not close"):
        assert_same(plain, turned, 0.5, traceless=True)


@hypothesis_settings
@given(layers())
def test_two_positive_matrices_never_point_apart(case: tuple[Tensor, Tensor, float, int]) -> None:
    weight, gram, exponent, _ = case
    spectrum = ansatz_spectrum(weight, gram=gram)
    assert bool((spectrum.eigenvalues > 0).all())
    assert bool((spectrum.eigenvalues.diff() <= 0).all())
    assert bool((spectrum.energies > 0).all())
    assert 0 < spectrum.alignment(exponent) <= 1 + 1e-14
    assert 0 <= spectrum.residual(exponent) <= 1
    assert_close(spectrum.residual(exponent) ** 2 + spectrum.alignment(exponent) ** 2, 1.0, rtol=1e-12, atol=0)


# --- rank before root --------------------------------------------------------------------------------------------


def deficient(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """A 40 × 40 Gram matrix of rank 5, accumulated in a dtype, with the eigenpairs it was planted with."""
    vectors = haar(40, 5, torch.Generator().manual_seed(1))
    values = torch.tensor([4.0, 3.0, 2.0, 1.5, 1.0], dtype=torch.float64)
    factor = (values.sqrt()[:, None] * vectors.mT).to(dtype)
    return factor.mT @ factor, values, vectors


def naive_root(gram: Tensor, exponent: float) -> Tensor:
    """What published scripts do: an eigendecomposition, negative eigenvalues clamped, no cut."""
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp_min(0).pow(exponent)) @ vectors.mT


def relative_error(got: Tensor, wanted: Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_roots_of_a_deficient_matrix_are_exact_with_the_cut_and_wrong_without(depth: int) -> None:
    gram, values, vectors = deficient()
    truth = (vectors * values.pow(1 / depth)) @ vectors.mT
    system = gram_eigensystem(gram)
    assert system.rank == 5
    assert relative_error(psd_power(system, 1 / depth), truth) < 1e-13
    assert relative_error(naive_root(gram, 1 / depth), truth) > 1e-9


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_the_cut_is_that_of_the_dtype_the_gram_was_accumulated_in(depth: int) -> None:
    """Casting a float32 Gram matrix to float64 does not bring digits back, so float64's cut keeps rounding."""
    gram, values, vectors = deficient(torch.float32)
    truth = (vectors * values.pow(1 / depth)) @ vectors.mT
    late = gram_eigensystem(gram.double())
    right = gram_eigensystem(gram.double(), cut=rounding_cut(40, torch.float32))
    assert late.rank > 5 == right.rank
    assert relative_error(psd_power(right, 1 / depth), truth) < 1e-6
    assert relative_error(psd_power(late, 1 / depth), truth) > 1e-5
    assert gram_eigensystem(gram).rank == 5, "of a float32 matrix it is the default"


def test_gradients_in_float32_put_their_rounding_under_the_factor() -> None:
    generator = torch.Generator().manual_seed(2)
    weight, factor = matrix(12, 12, 12, generator), matrix(30, 12, 4, generator)
    rounded = factor.float().double()
    assert ansatz_spectrum(weight, factor=rounded).rank > 4, "otherwise this test shows nothing"
    spectrum = ansatz_spectrum(weight, factor=rounded, gradient_dtype=torch.float32)
    assert spectrum.rank == 4
    assert spectrum.cut == 12 * torch.finfo(torch.float32).eps ** 2
    exact = ansatz_spectrum(weight, factor=factor)
    assert_close(spectrum.residual(0.2), exact.residual(0.2), rtol=1e-5, atol=0)


def test_a_float32_gram_is_cut_at_its_own_rounding() -> None:
    generator = torch.Generator().manual_seed(2)
    weight, factor = matrix(12, 12, 12, generator), matrix(30, 12, 4, generator)
    single = factor.float()
    spectrum = ansatz_spectrum(weight.float(), gram=single.mT @ single, gradient_dtype=torch.float32)
    assert spectrum.rank == 4
    assert spectrum.cut == rounding_cut(12, torch.float32)


# --- what the factor is for --------------------------------------------------------------------------------------


def test_the_factor_resolves_eigenvalues_that_the_gram_drowns() -> None:
    """λ from 1 to 1e-24: the factor's singular values go down to 1e-12, where eps leaves 4 digits."""
    generator = torch.Generator().manual_seed(3)
    values = torch.tensor([1.0, 1e-4, 1e-12], dtype=torch.float64)
    U, V = haar(3, 3, generator), haar(5, 3, generator)
    weight, factor = U @ V.mT, values[:, None] * U.mT  # K = U s² Uᵀ, so G = V s² Vᵀ
    spectrum = ansatz_spectrum(weight, factor=factor)
    assert_close(spectrum.eigenvalues, values.square(), rtol=1e-3, atol=0)
    assert ansatz_spectrum(weight, gram=factor.mT @ factor).rank == 2


def test_the_factor_keeps_a_deep_law_exact_where_the_gram_does_not() -> None:
    """Depth 8 with singular values 0.8 … 0.2: λ spans ten decades, and the eighth root of what K keeps is off."""
    values = torch.linspace(0.8, 0.2, 6, dtype=torch.float64)
    weight, factor = exact_law(1 / 8, values, 10, torch.Generator().manual_seed(4))
    by_factor = ansatz_spectrum(weight, factor=factor).relative_error(1 / 8)
    by_gram = ansatz_spectrum(weight, gram=factor.mT @ factor).relative_error(1 / 8)
    assert by_factor < 1e-14
    assert by_gram > 1e3 * by_factor


# --- the residual does not cancel --------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [1 / 4, 1 / 3, 1 / 2, 1.0, 2.0])
def test_the_residual_of_an_exact_law_is_rounding_and_that_of_the_cosine_is_not(exponent: float) -> None:
    """An eigenvector is good to ε over the gap of the singular values (0.05 at α = 2), in sums of 9 terms."""
    rounding = 9 * torch.finfo(torch.float64).eps / 0.05
    by_cosine = []
    for seed in range(20):
        values = torch.linspace(1.0, 0.5, 6, dtype=torch.float64)
        weight, factor = exact_law(exponent, values, 9, torch.Generator().manual_seed(seed))
        spectrum = ansatz_spectrum(weight, factor=factor)
        assert spectrum.residual(exponent) < rounding
        assert spectrum.relative_error(exponent) < rounding
        by_cosine.append(abs(1 - spectrum.alignment(exponent) ** 2) ** 0.5)
    assert max(by_cosine) > 1e-9
