"""Balanced initialisation: W_{l+1}ᵀW_{l+1} = W_l W_lᵀ for any widths and depth, with the asked singular values."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import SCHEMES, geometric_spectrum, initialize
from ansatzlab.models.mlp import MLP

PRECISION = {"rtol": 0.0, "atol": 1e-13}  # singular values are at most 1 here, so this is a few hundred eps

widths_lists = st.lists(st.integers(1, 12), min_size=3, max_size=7)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def spectra(draw: st.DrawFn) -> tuple[list[int], list[float]]:
    widths = draw(widths_lists)
    values = draw(st.lists(st.floats(0.1, 1.0), min_size=1, max_size=min(widths)))
    return widths, values


def weights_of(model: DeepLinear | MLP) -> list[Tensor]:
    return [layer.weight.detach() for layer in model.layers]


def assert_balanced(weights: list[Tensor]) -> None:
    for before, after in pairwise(weights):
        assert_close(after.mT @ after, before @ before.mT, **PRECISION)


@settings(deadline=None, max_examples=60)
@given(widths_lists, seeds)
def test_any_widths_and_depth_are_balanced(widths: list[int], seed: int) -> None:
    model = DeepLinear(widths)
    initialize(model, "balanced", seed=seed)
    weights = weights_of(model)
    assert_balanced(weights)
    rank = min(widths)
    for W in weights:
        assert_close(torch.linalg.svdvals(W)[:rank], geometric_spectrum(rank), **PRECISION)


@settings(deadline=None, max_examples=60)
@given(spectra(), seeds, st.floats(0.1, 1.0))
def test_singular_values_are_as_asked(case: tuple[list[int], list[float]], seed: int, scale: float) -> None:
    widths, values = case
    model = MLP(widths)
    initialize(model, "balanced", seed=seed, scale=scale, singular_values=values)
    weights = weights_of(model)
    assert_balanced(weights)
    asked = scale * torch.tensor(values, dtype=torch.float64).sort(descending=True).values
    for W in weights:
        found = torch.linalg.svdvals(W)
        assert_close(found[: len(values)], asked, **PRECISION)
        assert_close(found[len(values) :], torch.zeros(len(found) - len(values), dtype=torch.float64), **PRECISION)


@settings(deadline=None, max_examples=60)
@given(widths_lists, seeds)
def test_bases_are_orthonormal(widths: list[int], seed: int) -> None:
    """With unit singular values W_l = U_l U_{l-1}ᵀ, so W_l W_lᵀ is the projector on the columns of U_l."""
    model = DeepLinear(widths)
    initialize(model, "balanced", seed=seed, singular_values=[1.0] * min(widths))
    for W in weights_of(model):
        projector = W @ W.mT
        assert_close(projector @ projector, projector, **PRECISION)
        assert_close(projector.trace().item(), float(min(widths)), **PRECISION)


@settings(deadline=None, max_examples=60)
@given(spectra(), seeds)
def test_end_to_end_spectrum_is_the_power_of_the_layers(case: tuple[list[int], list[float]], seed: int) -> None:
    widths, values = case
    model = DeepLinear(widths)
    initialize(model, "balanced", seed=seed, singular_values=values)
    asked = torch.tensor(values, dtype=torch.float64).sort(descending=True).values ** (len(widths) - 1)
    assert_close(torch.linalg.svdvals(model.end_to_end().detach())[: len(values)], asked, **PRECISION)


def test_bases_are_haar() -> None:
    """E[U] = 0 entry by entry, which a QR without its signs fixed violates (its first row has one sign)."""
    draws = []
    for seed in range(400):
        model = DeepLinear([3, 3, 3])
        initialize(model, "balanced", seed=seed, singular_values=[1.0])
        W = model.layers[0].weight.detach()
        draws.append(W)
    mean = torch.stack(draws).mean(dim=0)
    # W = u vᵀ with independent unit vectors: each entry has variance 1/9, so the mean's deviation is 1/60.
    assert_close(mean, torch.zeros_like(mean), rtol=0, atol=5 / 60)


@pytest.mark.parametrize("scheme", sorted(SCHEMES.keys() - {"balanced", "identity", "orthogonal"}))
def test_other_schemes_are_seen_to_be_unbalanced(scheme: str) -> None:
    model = DeepLinear([6, 4, 5])
    initialize(model, scheme, seed=0, scale=100.0)
    with pytest.raises(AssertionError, match="not close"):
        assert_balanced(weights_of(model))


@pytest.mark.parametrize("fault", [1e-12, 1e-6])
def test_a_planted_imbalance_is_detected(fault: float) -> None:
    model = DeepLinear([6, 4, 5])
    initialize(model, "balanced", seed=0)
    first, second = weights_of(model)
    with pytest.raises(AssertionError, match="not close"):
        assert_balanced([first * (1 + fault), second])


def test_a_basis_drawn_anew_between_two_layers_is_detected() -> None:
    one, other = DeepLinear([6, 4, 5]), DeepLinear([6, 4, 5])
    initialize(one, "balanced", seed=0)
    initialize(other, "balanced", seed=1)
    with pytest.raises(AssertionError, match="not close"):
        assert_balanced([weights_of(one)[0], weights_of(other)[1]])
