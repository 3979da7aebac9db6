"""The counterexamples against their closed forms, theorems and brute force."""

import math

import pytest
import torch

from ansatzlab.counterexamples import misalignment
from ansatzlab.counterexamples import search as search_module
from ansatzlab.counterexamples.family import Counterexample, linear_layers_of, weights_of
from ansatzlab.counterexamples.interference import arc_cosine_gram, interference
from ansatzlab.counterexamples.misalignment import alignment_slope, best_alignment, exponent_grid
from ansatzlab.counterexamples.rare_firing import supremum
from ansatzlab.counterexamples.reading import Reading, first_layer, read
from ansatzlab.counterexamples.registry import get_family
from ansatzlab.counterexamples.search import Goal, outputs_and_gram, search
from ansatzlab.data.registry import load
from ansatzlab.linalg.spectrum import ansatz_spectrum
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP

Built = tuple[Counterexample, Reading]


@pytest.fixture(scope="module")
def reverse() -> Built:
    """Rank 64, M = (50, 1 × 63), as many as 1.1 million examples as multiplicities, trained into."""
    example = get_family("reversed_spectrum").build(seed=0)
    return example, read(example)


def jacobians(example: Counterexample) -> torch.Tensor:
    """The AGOP by its definition: Jacobians by the input, one example at a time."""
    each = torch.stack([torch.autograd.functional.jacobian(example.model, x) for x in example.inputs])
    weights = torch.ones(len(each), dtype=torch.float64) if example.example_weights is None else example.example_weights
    return torch.einsum("n,nci,ncj->ij", weights, each, each) / weights.sum()


# --- interference ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "half", "one"), [(4, 0.926, 0.756), (16, 0.845, 0.459), (64, 0.785, 0.244)])
def test_interference_has_the_arc_cosine_gram_and_its_scores(m: int, half: float, one: float) -> None:
    reading = read(interference(seed=1, m=m))
    assert reading.gram_error < 0.01
    assert reading.loss == 0
    assert reading.alignments.cosine_half == pytest.approx(half, abs=2e-3)
    assert reading.alignments.cosine_one == pytest.approx(one, abs=2e-3)
    assert reading.alignments.residual_half == pytest.approx(math.sqrt(1 - half**2), abs=4e-3)
    assert reading.alignments.imbalance < 1e-12


def test_the_arc_cosine_gram_of_directions_at_any_angle_is_that_of_sampled_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    a = torch.randn(3, generator=generator, dtype=torch.float64)
    x = torch.randn(200_000, 4, generator=generator, dtype=torch.float64)
    gradients = ((x @ W.mT > 0) * a) @ W
    sampled = gradients.mT @ gradients / len(x)
    assert (arc_cosine_gram(W, a) - sampled).norm() < 0.01 * sampled.norm()


# --- closed forms ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("plateau", {"m": 8, "gain": 6.0}),
        ("cancellation", {"neurons": 3, "pairs": 2}),
        ("rare_firing", {"m": 5, "largest": 3.0}),
        ("reversed_spectrum", {"m": 6, "R": 4.0}),
        ("non_homogeneous", {"m": 4, "largest": 2.0}),
    ],
)
def test_the_closed_form_is_the_measured_agop_and_that_of_the_definition(
    name: str, settings: dict[str, object]
) -> None:
    example = get_family(name).build(seed=2, **settings)
    reading = read(example)
    assert example.gram is not None
    assert reading.gram_error < 1e-7
    assert (jacobians(example) - example.gram).norm() < 1e-7 * example.gram.norm()
    assert reading.loss < 1e-10
    assert reading.largest_residual < 1e-4
    assert example.start is not None
    moved = max(float((example.model.state_dict()[key] - value).abs().max()) for key, value in example.start.items())
    assert moved > 0.1  # it was trained, not written down


# --- the reversed spectrum ---------------------------------------------------------------------------------------


def test_descent_reaches_the_reversed_spectrum_at_zero_loss_on_every_example(reverse: Built) -> None:
    example, reading = reverse
    assert example.example_weights is not None
    assert int(example.example_weights.sum()) == 1 + 63 * round(50**2.5)
    assert reading.loss <= 1e-10
    assert reading.largest_residual <= 1e-5
    strengths = weights_of(example.model)[0].diagonal().square().sort(descending=True).values
    assert strengths.tolist() == pytest.approx([50.0, *[1.0] * 63], rel=1e-6)


def test_no_exponent_aligns_the_reversed_spectrum(reverse: Built) -> None:
    scores = reverse[1].alignments
    assert scores.rank == 64
    assert scores.imbalance < 1e-12
    assert scores.best_cosine < 0.3
    assert scores.floor < 0.3
    assert scores.floor == pytest.approx(supremum(50.0, 64), abs=1e-9)
    by_hand = [scores.spectrum.alignment(alpha) for alpha in (1e-9, 1e-3, 0.05, 0.3, 1.0, 4.0)]
    assert by_hand == sorted(by_hand, reverse=True)
    assert scores.verdict == "no better than null"


def test_the_supremum_tends_to_the_least_that_rank_allows() -> None:
    found = [read(get_family("reversed_spectrum").build(seed=0, R=R, descend=False)) for R in (40.0, 44.0, 1000.0)]
    assert [max(each.alignments.floor, each.alignments.best_cosine) for each in found] == pytest.approx(
        [0.316, 0.299, 0.133], abs=6e-4
    )
    assert found[-1].alignments.floor < 1.1 / 8


@pytest.mark.parametrize(("rarity", "exponent"), [(0.0, 0.5), (1.0, 1.0)])
def test_up_to_a_rarity_of_two_the_ansatz_holds_with_another_exponent(rarity: float, exponent: float) -> None:
    scores = read(get_family("rare_firing").build(seed=0, m=4, largest=3.0, rarity=rarity)).alignments
    assert scores.best_exponent == pytest.approx(exponent, abs=1e-3)
    assert scores.best_cosine > 0.99999


# --- the other families ------------------------------------------------------------------------------------------


def test_the_plateau_hides_the_strongest_neuron_at_the_training_inputs_alone() -> None:
    example = get_family("plateau").build(seed=0, m=16)
    flat, jittered = read(example).alignments, read(example, jitter=1.0).alignments
    assert max(flat.best_cosine, flat.floor) < 0.2
    assert jittered.best_cosine > 0.9
    assert jittered.size > 50 * flat.size


def test_what_cancels_is_in_the_weights_only() -> None:
    scores = read(get_family("cancellation").build(seed=0)).alignments
    y = torch.linspace(1, 2, 8, dtype=torch.float64)
    expected = y.norm() / torch.cat([y, torch.full((8,), 32.0, dtype=torch.float64)]).norm()
    assert scores.cosine_half == pytest.approx(float(expected), rel=1e-9)  # on what G sees the law holds
    assert max(scores.best_cosine, scores.floor) < 0.05


def test_tanh_conserves_another_balance() -> None:
    example = get_family("non_homogeneous").build(seed=0, m=8)
    first, second = weights_of(example.model)
    w, v = first.norm(dim=1), second.diagonal()
    torch.testing.assert_close(v, w.sinh(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(w.sinh() * w.tanh(), example.targets[0].abs(), rtol=1e-8, atol=1e-8)
    slopes = (w * v / w.cosh().square()).sort().values
    assert not torch.equal(slopes, w.sort().values)
    strongest, middle = w.argmax(), (w - 1.2).abs().argmin()
    gram = (w * v / w.cosh().square()).square()
    assert gram[strongest] < gram[middle] / 5


# --- the search --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", exponent_grid(4))
@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5)])
def test_the_alignment_that_is_descended_on_is_the_spectrum_s(exponent: float, shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(3)
    W = torch.randn(*shape, generator=generator, dtype=torch.float64)
    B = torch.randn(20, shape[0], generator=generator, dtype=torch.float64)
    K = B.mT @ B / 20
    value = float(best_alignment(W, K, [exponent], 0.1))
    assert value == pytest.approx(ansatz_spectrum(W, gram=K).alignment(exponent), rel=1e-9)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_its_gradient_is_that_of_finite_differences(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(4)
    W = torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
    B = torch.randn(20, shape[0], generator=generator, dtype=torch.float64)
    K = (B.mT @ B / 20).requires_grad_()
    by_W, by_K = torch.autograd.grad(best_alignment(W, K, [0.05, 0.5, 2.0], 0.1), (W, K))
    step = 1e-6
    for _ in range(4):
        dW = torch.randn(*W.shape, generator=generator, dtype=torch.float64)
        dK = torch.randn(*K.shape, generator=generator, dtype=torch.float64)
        dK = dK + dK.mT
        up, down = (best_alignment(W + s * dW, K + s * dK, [0.05, 0.5, 2.0], 0.1) for s in (step, -step))
        slope = float((up - down).detach() / (2 * step))
        assert float((by_W * dW).sum() + (by_K * dK).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_equal_eigenvalues_have_a_slope_too() -> None:
    eye = torch.eye(4, dtype=torch.float64)
    M = torch.diag(torch.tensor([4.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    slope = alignment_slope(M, eye, [0.5], 0.1)
    assert torch.isfinite(slope.by_agop).all()
    step = 1e-6
    change = alignment_slope(M, eye + step * M, [0.5], 0.1).value - alignment_slope(M, eye, [0.5], 0.1).value
    assert change / step == pytest.approx(float((slope.by_agop * M).sum()), rel=1e-4)


def test_the_test_of_the_gradient_has_teeth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(misalignment, "_divided_differences", lambda logs, exponent: exponent + 0 * logs[:, None])
    with pytest.raises(AssertionError):
        test_its_gradient_is_that_of_finite_differences((4, 6))


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_the_gradients_of_the_search_are_those_of_the_measurement(activation: str) -> None:
    model = MLP([6, 5, 4, 3], activation=activation, bias=False)
    initialize(model, "he", seed=0)
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    outputs, K = outputs_and_gram(model, x)
    torch.testing.assert_close(outputs, model(x))
    torch.testing.assert_close(K.detach(), first_layer(model, x).sums.mean_gram()[0])


@pytest.mark.parametrize(("activation", "balanced"), [("relu", True), ("relu", False), ("tanh", False)])
def test_a_search_keeps_the_fit_and_loses_the_alignment(activation: str, balanced: bool) -> None:
    data = load("digits", size=300)
    goal = Goal(hidden=(24,), activation=activation, balanced=balanced, training_steps=400, steps=150, batch_size=128)
    found, again = search(data, goal), search(data, goal)
    assert found.fit.accuracy >= 0.95
    assert found.drop >= 0.2
    assert found.after.best_cosine == again.after.best_cosine
    measured = first_layer(found.model, data.inputs)
    assert math.sqrt(1 - measured.fit_exponent().residual ** 2) == pytest.approx(found.after.best_cosine, rel=1e-9)
    if balanced:
        assert found.after.imbalance < 1e-6


def test_a_search_on_a_regression_keeps_the_loss() -> None:
    goal = Goal(hidden=(24,), accuracy=None, loss=0.3, training_steps=300, steps=75)
    found = search(load("diabetes"), goal)
    assert found.fit.loss <= 0.3
    assert found.drop > 0.0
    assert linear_layers_of(found.model)[0].weight.shape == (24, 10)


def test_a_network_that_no_longer_fits_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "HARDER", 0.01)  # the loss soon counts for nothing
    monkeypatch.setattr(search_module, "SOFTER", 100.0)
    goal = Goal(hidden=(24,), accuracy=None, loss=0.3, training_steps=300, steps=100, learning_rate=0.02)
    found = search(load("diabetes"), goal)
    assert found.fit.loss <= 0.3
