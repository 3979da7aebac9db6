"""The first-order responses against finite differences of the read-outs themselves, mpmath, and repeated sampling."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import mpmath
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ansatzlab.errors import UnknownNameError
from ansatzlab.linalg.exponent import fit_exponent
from ansatzlab.linalg.influence import alignment_gradient, exponent_gradient, residual_gradient
from ansatzlab.linalg.spectrum import Eigenframe, Spectrum, decompose

EXPONENTS = (0.25, 0.5, 1.0, 2.0)
COMPARATORS = ("cosine", "pearson", "traceless")
STEP = 1e-3
PRECISION = {"rtol": 1e-8, "atol": 1e-11}  # five points: STEP⁴ from the series, eps/STEP from rounding


# --- layers near a law, so that the fitted exponent lies inside the search -----------------------------------------


@dataclass(frozen=True)
class Case:
    """A layer of several blocks with singular values from 2 to ½, and an AGOP near ``M²`` on ``rows`` of its modes."""

    blocks: int
    outputs: int
    inputs: int
    rows: int

    def build(self, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """The weight, a factor R of K, and a direction dR."""
        generator = torch.Generator().manual_seed(seed)

        def gaussian(*shape: int) -> Tensor:
            return torch.randn(self.blocks, *shape, dtype=torch.float64, generator=generator)

        modes = min(self.outputs, self.inputs)
        left, right = torch.linalg.qr(gaussian(self.outputs, modes)).Q, torch.linalg.qr(gaussian(self.inputs, modes)).Q
        values = torch.logspace(1, -1, modes, base=2, dtype=torch.float64)
        factor = 0.1 * gaussian(self.rows, self.outputs)
        shared = min(self.rows, modes)
        factor[:, :shared] += values[:shared, None] * left.mT[:, :shared]
        return (left * values) @ right.mT, factor, 0.3 * gaussian(self.rows, self.outputs)


CASES = {
    "wide": Case(1, 4, 9, 6),
    "tall": Case(1, 8, 4, 9),
    "square": Case(1, 5, 5, 5),
    "few gradients": Case(1, 6, 8, 3),
    "few gradients, tall": Case(1, 7, 5, 3),
    "blocks": Case(3, 3, 5, 4),
    "blocks, few gradients": Case(3, 5, 4, 2),
}
FULL = [name for name, case in CASES.items() if case.rows >= min(case.outputs, case.inputs)]

Readout = Callable[[Spectrum], float]
Response = Callable[[Eigenframe, Spectrum], Tensor]


def fitted(spectrum: Spectrum) -> float:
    fit = fit_exponent(spectrum)
    assert fit.identifiable
    assert not fit.at_bound
    return fit.value


def readouts() -> dict[str, tuple[Readout, Response]]:
    table: dict[str, tuple[Readout, Response]] = {"exponent": (fitted, lambda f, s: exponent_gradient(f, s, fitted(s)))}
    for exponent in EXPONENTS:
        table[f"residual {exponent}"] = (
            lambda s, a=exponent: s.residual(a),
            lambda f, s, a=exponent: residual_gradient(f, s, a),
        )
        for comparator in COMPARATORS:
            table[f"{comparator} {exponent}"] = (
                lambda s, a=exponent, c=comparator: s.alignment(a, c),
                lambda f, s, a=exponent, c=comparator: alignment_gradient(f, s, a, c),
            )
    return table


READOUTS = readouts()


def finite_difference(function: Callable[[float], float]) -> float:
    near = function(STEP) - function(-STEP)
    far = function(2 * STEP) - function(-2 * STEP)
    return (8 * near - far) / (12 * STEP)


def check(gradient: Tensor, change: Tensor, wanted: float) -> None:
    """``⟨E, dG̃⟩`` is the wanted derivative, and E is symmetric."""
    assert_close(gradient, gradient.mT, rtol=1e-13, atol=1e-13)
    assert_close(float((gradient * change).sum()), wanted, **PRECISION)


def from_factor(case: Case) -> tuple[Callable[[float], tuple[Spectrum, Eigenframe]], Tensor]:
    """The layer at R + t dR, and dG̃ at t = 0. With fewer rows than modes the AGOP keeps its rank and turns."""
    weight, factor, direction = case.build()
    mixed = factor.mT @ direction
    _, frame = decompose(weight, factor=factor)
    change = frame.transform.mT @ (mixed + mixed.mT) @ frame.transform
    return lambda t: decompose(weight, factor=factor + t * direction), change


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_response_is_the_finite_difference_of_its_read_out(case: Case, name: str) -> None:
    readout, response = READOUTS[name]
    layer, change = from_factor(case)
    spectrum, frame = layer(0.0)
    assert spectrum.rank == layer(STEP)[0].rank == case.blocks * min(case.rows, case.outputs, case.inputs)
    check(response(frame, spectrum), change, finite_difference(lambda t: readout(layer(t)[0])))


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize("case", [CASES[name] for name in FULL], ids=FULL)
def test_a_gram_may_move_in_any_symmetric_direction(case: Case, name: str) -> None:
    readout, response = READOUTS[name]
    weight, factor, _ = case.build()
    gram = factor.mT @ factor
    noise = torch.randn(gram.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    direction = 0.3 * (noise + noise.mT)
    spectrum, frame = decompose(weight, gram=gram)
    change = frame.transform.mT @ direction @ frame.transform
    wanted = finite_difference(lambda t: readout(decompose(weight, gram=gram + t * direction)[0]))
    check(response(frame, spectrum), change, wanted)


@pytest.mark.parametrize("name", READOUTS)
def test_a_turn_of_the_range_is_seen(name: str) -> None:
    """G → (I + tX) G (I + tX)ᵀ of rank 3 in 6 dimensions."""
    readout, response = READOUTS[name]
    weight, factor, _ = Case(1, 6, 6, 3).build()
    X = 0.3 * torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def layer(t: float) -> tuple[Spectrum, Eigenframe]:
        turned = factor @ weight @ (torch.eye(6, dtype=torch.float64) + t * X.mT)
        return decompose(weight, factor=torch.linalg.solve(weight, turned, left=False))

    spectrum, frame = layer(0.0)
    vectors = torch.linalg.solve(weight[0], frame.transform[0])
    moved = vectors.mT @ X @ vectors * frame.eigenvalues
    check(response(frame, spectrum), (moved + moved.mT)[None], finite_difference(lambda t: readout(layer(t)[0])))


# --- equal and nearly equal eigenvalues ----------------------------------------------------------------------------


def by_hand(eigenvalues: Tensor) -> tuple[Callable[[float], Spectrum], Eigenframe, Tensor]:
    """A square layer whose AGOP is diag(eigenvalues) as it stands, and its path along a random dG̃."""
    size = len(eigenvalues)
    generator = torch.Generator().manual_seed(3)
    noise, moved = torch.randn(2, size, size, dtype=torch.float64, generator=generator)
    M = torch.diag(eigenvalues.sqrt()) + 0.05 * (noise + noise.mT)
    change = 0.2 * (moved + moved.mT)
    transform = torch.linalg.cholesky(M).mT
    inverse = torch.linalg.inv(transform)

    def layer(t: float) -> Spectrum:
        return decompose(transform, gram=inverse.mT @ (torch.diag(eigenvalues) + t * change) @ inverse)[0]

    frame = Eigenframe(
        transform=transform[None],
        eigenvalues=eigenvalues[None],
        ones=torch.ones(1, size, dtype=torch.float64),
    )
    return layer, frame, change[None]


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize("gap", [0.0, 1e-15, 1e-12, 1e-8, 1e-4])
def test_equal_and_nearly_equal_eigenvalues_respond_smoothly(gap: float, name: str) -> None:
    readout, response = READOUTS[name]
    layer, frame, change = by_hand(torch.tensor([4.0, 2.0 * (1 + gap), 2.0, 1.0, 1.0], dtype=torch.float64))
    check(response(frame, layer(0.0)), change, finite_difference(lambda t: readout(layer(t))))


def divided_differences(x: float, y: float, exponent: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Of ``x^α`` and ``x^α log x``, straight from the definition, in 80 digits."""
    x, y = mpmath.mpf(x), mpmath.mpf(y)
    if x == y:
        return exponent * x ** (exponent - 1), x ** (exponent - 1) * (exponent * mpmath.log(x) + 1)
    return (
        (x**exponent - y**exponent) / (x - y),
        (x**exponent * mpmath.log(x) - y**exponent * mpmath.log(y)) / (x - y),
    )


@pytest.mark.parametrize("exponent", [0.05, *EXPONENTS, 4.0])
@pytest.mark.parametrize("ratio", [1.0, *(1 - 2.0**-power for power in (52, 40, 27, 13, 4)), 0.3, 1e-6, 1e-12, 1e-25])
def test_divided_differences_are_those_of_eighty_digits(ratio: float, exponent: float) -> None:
    """Read off the diagonal: there ``G^α`` has no entry and ``E_ij = Γ_ij M_ij/(‖M‖ ‖G^α‖ λ_1)``."""
    eigenvalues = torch.tensor([3.0, 2.0, 2.0 * ratio], dtype=torch.float64)
    M = torch.tensor([[3.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    transform = torch.linalg.cholesky(M).mT
    frame = Eigenframe(transform[None], eigenvalues[None], torch.ones(1, 3, dtype=torch.float64))
    energies = M.diagonal()
    off = float((M - torch.diag(energies)).norm())
    spectrum = Spectrum(eigenvalues, energies, off, torch.ones(3, dtype=torch.float64), 6.0, 12.0, 3, 0.0)
    E = alignment_gradient(frame, spectrum, exponent)[0]
    with mpmath.workdps(80):
        x, y = mpmath.mpf(float(eigenvalues[1])) / 3, mpmath.mpf(float(eigenvalues[2])) / 3
        power, log_power = divided_differences(x, y, exponent)
        size = mpmath.sqrt(mpmath.fsum((mpmath.mpf(float(v)) / 3) ** (2 * exponent) for v in eigenvalues))
        wanted = power / (spectrum.weight_gram_norm * size * 3)
    assert_close(float(E[1, 2]), float(wanted), rtol=2e-14, atol=0)
    with mpmath.workdps(80):
        p = [(mpmath.mpf(float(v)) / 3) ** exponent for v in eigenvalues]
        b = [mpmath.mpf(float(v)) for v in energies]
        logs = [mpmath.log(mpmath.mpf(float(v)) / 3) for v in eigenvalues]
        inner, model = mpmath.fdot(p, b), mpmath.fdot(p, p)
        mean = mpmath.fdot([q * q for q in p], logs) / model
        tilt = mpmath.fdot([q * e for q, e in zip(p, b, strict=True)], logs) / inner
        second = mpmath.fsum(q * e * (v - tilt) ** 2 for q, e, v in zip(p, b, logs, strict=True)) / inner
        curvature = second - 2 * mpmath.fsum(q * q * (v - mean) ** 2 for q, v in zip(p, logs, strict=True)) / model
        wanted = -(log_power - mean * power) / (3 * inner * curvature)
    got = exponent_gradient(frame, spectrum, exponent)[0, 1, 2]
    if curvature < -1e-6:
        assert_close(float(got), float(wanted), rtol=1e-11, atol=0)
    elif curvature > 1e-6:
        assert bool(got.isnan())


# --- what must be so ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READOUTS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_scale_of_the_agop_moves_nothing(case: Case, name: str) -> None:
    """Euler: every read-out is homogeneous of degree 0, so ``⟨E, G̃⟩ = 0``, and E is of degree −1."""
    weight, factor, _ = case.build()
    spectrum, frame = decompose(weight, factor=factor)
    gradient = READOUTS[name][1](frame, spectrum)
    along = gradient.diagonal(dim1=-2, dim2=-1) * frame.eigenvalues
    assert abs(float(along.sum())) < 1e-12 * float(along.abs().sum())
    huge = replace(spectrum, eigenvalues=1e250 * spectrum.eigenvalues)
    scaled = READOUTS[name][1](replace(frame, eigenvalues=1e250 * frame.eigenvalues), huge)
    assert_close(1e250 * scaled, gradient, rtol=1e-10, atol=1e-12)


def test_cut_pairs_have_no_entry_and_mixed_ones_do() -> None:
    weight, factor, _ = CASES["few gradients"].build()
    spectrum, frame = decompose(weight, factor=factor)
    for _, response in READOUTS.values():
        E = response(frame, spectrum)[0]
        assert bool((E[3:, 3:] == 0).all())
        assert bool((E[:3, 3:] != 0).all())


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_where_the_law_is_exact_the_alignment_is_stationary_and_the_residual_has_no_derivative(exponent: float) -> None:
    """M = diag(4, 2, 1, 1) and G = M^{1/α}, all powers of two: exact to the last bit but for the root."""
    values = torch.tensor([4.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    gram = torch.diag(values.pow(1 / exponent - 1))
    spectrum, frame = decompose(torch.diag(values.sqrt()), gram=gram)
    assert float(alignment_gradient(frame, spectrum, exponent).abs().max()) < 1e-14
    assert bool(residual_gradient(frame, spectrum, exponent).isnan().all())
    assert bool(residual_gradient(frame, spectrum, exponent * 1.1).isfinite().all())
    assert bool(exponent_gradient(frame, spectrum, fitted(spectrum)).isfinite().all())


def test_there_is_no_derivative_without_an_agop_weights_or_an_exponent() -> None:
    square, zero = torch.eye(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    spread = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    for weight, gram in ((spread, zero), (zero, square)):
        spectrum, frame = decompose(weight, gram=gram)
        for comparator in COMPARATORS:
            assert bool(alignment_gradient(frame, spectrum, 0.5, comparator).isnan().all())
        assert bool(residual_gradient(frame, spectrum, 0.5).isnan().all())
        assert bool(exponent_gradient(frame, spectrum, 0.5).isnan().all())
    spectrum, frame = decompose(square, gram=spread)
    assert bool(alignment_gradient(frame, spectrum, 0.5, "traceless").isnan().all()), "M is a multiple of I"
    spectrum, frame = decompose(spread, gram=torch.diag(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)))
    assert bool(exponent_gradient(frame, spectrum, 1.0).isnan().all()), "rank 1 has no exponent"
    spectrum, frame = decompose(spread, gram=square)
    assert bool(exponent_gradient(frame, spectrum, math.nan).isnan().all())


def test_an_unknown_comparator_is_refused() -> None:
    spectrum, frame = decompose(torch.eye(2, dtype=torch.float64), gram=torch.eye(2, dtype=torch.float64))
    unchecked = alignment_gradient.__wrapped__  # as without the tests' type checker
    with pytest.raises(UnknownNameError, match="unknown comparator 'cosin'; did you mean 'cosine'"):
        unchecked(frame, spectrum, 1.0, "cosin")


# --- what it is for: the standard error over examples --------------------------------------------------------------


def sampled(readout: Readout, response: Response, draws: int, examples: int) -> tuple[Tensor, Tensor]:
    """The read-outs, and their standard errors by influence, of repeated samples of weighted examples.

    Each example is heavy-tailed and has two gradients that hang together, so that only a sum per example, and not one
    per gradient, has the right variance.
    """
    generator = torch.Generator().manual_seed(4)
    weight, mixing, _ = Case(1, 4, 6, 4).build()
    found, errors = [], []
    for _ in range(draws):
        size = torch.randn(examples, 1, 1, dtype=torch.float64, generator=generator).exp()
        rows = size.sqrt() * torch.randn(examples, 2, 4, dtype=torch.float64, generator=generator) @ mixing[0]
        weights = torch.rand(examples, dtype=torch.float64, generator=generator) + 0.1
        weights = weights / weights.mean()
        K = torch.einsum("n,nco,ncp->op", weights, rows, rows) / examples
        spectrum, frame = decompose(weight, gram=K[None])
        found.append(readout(spectrum))
        seen = rows @ frame.transform[0]
        influence = torch.einsum("nci,ij,ncj->n", seen, response(frame, spectrum)[0], seen)
        errors.append(float((weights * influence).norm()) / examples)
    return torch.tensor(found), torch.tensor(errors)


@pytest.mark.parametrize("name", ["cosine 0.5", "pearson 1.0", "traceless 0.5", "residual 0.25", "exponent"])
def test_the_standard_error_is_the_spread_over_repeated_samples(name: str) -> None:
    """300 draws of 2000 examples: their spread is known to 1/√600 = 4 %; three of those are allowed."""
    found, errors = sampled(*READOUTS[name], draws=300, examples=2000)
    assert_close(float(errors.mean() / found.std()), 1.0, rtol=0, atol=3 / math.sqrt(600))


# --- teeth ---------------------------------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[Eigenframe, Spectrum], Tensor]] = {
    "another exponent": lambda f, s: alignment_gradient(f, s, 0.501),
    "another comparator": lambda f, s: alignment_gradient(f, s, 0.5, "pearson"),
    "no pairs of kept and cut": lambda f, s: (
        alignment_gradient(f, s, 0.5) * ((f.eigenvalues[..., :, None] > 0) & (f.eigenvalues[..., None, :] > 0))
    ),
    "eigenvectors held fixed": lambda f, s: torch.diag_embed(alignment_gradient(f, s, 0.5).diagonal(dim1=-2, dim2=-1)),
    "half a triangle": lambda f, s: alignment_gradient(f, s, 0.5).tril(),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_finite_differences_have_teeth(fault: Response) -> None:
    layer, change = from_factor(CASES["few gradients"])
    spectrum, frame = layer(0.0)
    wanted = finite_difference(lambda t: layer(t)[0].alignment(0.5))
    check(alignment_gradient(frame, spectrum, 0.5), change, wanted)
    with pytest.raises(AssertionError, match="not close"):
        check(fault(frame, spectrum), change, wanted)
