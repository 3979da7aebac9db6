"""The rivals against their definitions: brute force by autograd in float64, explicit matrices, a stationary point."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import InputError
from ansatzlab.linalg.similarity import cosine, pearson, residual
from ansatzlab.linalg.subspace import compare, row_space, whole
from ansatzlab.measurement import rivals as module
from ansatzlab.measurement.loss_sums import sum_losses
from ansatzlab.measurement.rivals import CONVENTIONS, Rival, RivalTable, fact, rivals
from ansatzlab.measurement.run import measure
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.training.dynamics import Optimizer
from ansatzlab.training.loop import train
from ansatzlab.training.objective import objective_for

DECAY = 0.05


def half_squares(outputs: Tensor, batch) -> Tensor:
    return (outputs - batch[1]).square().flatten(1).sum(1) / 2


def examples(count: int, inputs: int, outputs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((count, inputs), (count, outputs))
    first, second = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return first + 0.3, second


def network(widths: list[int], seed: int = 1, activation: str = "tanh") -> MLP:
    model = MLP(widths, activation=activation, bias=True)
    initialize(model, "pytorch_default", seed=seed, scale=2.0)
    return model


WIDE, SQUARE, TALL = [23, 4, 3, 2], [6, 6, 6, 4], [3, 14, 9, 2]
"""Layers with many more inputs than outputs, with as many, with fewer: each is read in other coordinates."""


class Brute:
    """Everything by its definition: one example at a time, gradients by the inputs that enter each layer."""

    def __init__(self, model: MLP, inputs: Tensor, targets: Tensor):
        self.weights = [layer.weight.detach() for layer in model.layers]
        count, depth = len(inputs), len(self.weights)
        square = [torch.zeros(w.shape[1], w.shape[1], dtype=torch.float64) for w in self.weights]
        self.agop, self.enfa, self.fact, self.gram = ([m.clone() for m in square] for _ in range(4))
        self.backward = [torch.zeros(w.shape[0], w.shape[0], dtype=torch.float64) for w in self.weights]
        self.means = [torch.zeros(w.shape[1], dtype=torch.float64) for w in self.weights]
        self.output_gram = [m.clone() for m in self.backward]
        for x, y in zip(inputs, targets, strict=True):
            entering, leaving = [], []
            h = x
            for index, layer in enumerate(model.layers):
                h = torch.tanh(h) if index else h.clone().requires_grad_()
                entering.append(h)
                h = layer(h)
                leaving.append(h)
            loss = (h - y).square().sum() / 2
            by_input = torch.autograd.grad(loss, entering, retain_graph=True)
            by_output = torch.autograd.grad(loss, leaving, retain_graph=True)
            for index in range(depth):
                grad, came_in = by_input[index], entering[index].detach()
                self.enfa[index] += torch.outer(grad, grad) / count
                self.fact[index] -= torch.outer(grad, came_in) / (count * DECAY)
                self.backward[index] -= torch.outer(by_output[index], self.weights[index] @ came_in) / (count * DECAY)
                self.gram[index] += torch.outer(came_in, came_in) / count
                self.means[index] += came_in / count
            for output in h:
                jacobian = torch.autograd.grad(output, [*entering, *leaving], retain_graph=True)
                for index in range(depth):
                    self.agop[index] += torch.outer(jacobian[index], jacobian[index]) / count
                    at_output = jacobian[depth + index]
                    self.output_gram[index] += torch.outer(at_output, at_output) / count


def assert_compares(entry: Rival, target: Tensor, other: Tensor, tolerance: float = 1e-9):
    assert entry.cosine == pytest.approx(cosine(target, other), abs=tolerance)
    assert entry.pearson == pytest.approx(pearson(target, other), abs=tolerance)
    assert entry.residual == pytest.approx(residual(target, other), abs=tolerance)


@pytest.fixture(scope="module", params=[WIDE, SQUARE, TALL], ids=["wide", "square", "tall"])
def compared(request) -> tuple[Brute, RivalTable, MLP, MLP]:
    widths = request.param
    model, start = network(widths), network(widths, seed=2)
    inputs, targets = examples(17, widths[0], widths[-1])
    batches = [(inputs[:10], targets[:10]), (inputs[10:], targets[10:])]
    table = rivals(model, batches, loss=half_squares, weight_decay=DECAY, initial=start)
    return Brute(model, inputs, targets), table, model, start


def names(model: MLP) -> list[str]:
    return [f"layers.{index}" for index in range(len(model.layers))]


def test_fact_is_the_sum_over_examples_of_its_definition(compared):
    """∇_h ℓ hᵀ by autograd through the inputs, not through the weights: a missing 1/n, 1/λ or sign would show."""
    truth, table, model, _ = compared
    for index, name in enumerate(names(model)):
        M, F = truth.weights[index].T @ truth.weights[index], truth.fact[index]
        entry = table.find(name, "fact")
        assert_compares(entry, M, F)
        assert entry.mismatch == pytest.approx(float((M - F).norm() / M.norm()), rel=1e-9)


def test_the_positive_form_of_fact_is_the_root_of_its_square(compared):
    truth, table, model, _ = compared
    for index, name in enumerate(names(model)):
        M, F = truth.weights[index].T @ truth.weights[index], truth.fact[index]
        values, vectors = torch.linalg.eigh(F @ F.T)
        positive = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        entry = table.find(name, "fact-psd")
        assert_compares(entry, M, positive, tolerance=1e-6)
        assert entry.mismatch == pytest.approx(float((M - positive).norm() / M.norm()), abs=1e-6)


def test_the_backward_form_of_fact_is_about_the_outputs(compared):
    truth, table, model, _ = compared
    for index, name in enumerate(names(model)):
        W = truth.weights[index]
        entry = table.find(name, "fact-backward")
        assert_compares(entry, W @ W.T, truth.backward[index])
        wanted = float((W @ W.T - truth.backward[index]).norm() / (W @ W.T).norm())
        assert entry.mismatch == pytest.approx(wanted, rel=1e-9)


def test_enfa_takes_loss_gradients_one_example_at_a_time(compared):
    truth, table, model, _ = compared
    for index, name in enumerate(names(model)):
        M = truth.weights[index].T @ truth.weights[index]
        assert_compares(table.find(name, "enfa", 1.0), M, truth.enfa[index])


def test_the_ansatz_takes_output_gradients(compared):
    truth, table, model, _ = compared
    for index, name in enumerate(names(model)):
        M = truth.weights[index].T @ truth.weights[index]
        assert_compares(table.find(name, "nfa", 1.0), M, truth.agop[index])


def test_the_centred_correlation_has_what_was_learnt_in_both_places(compared):
    truth, table, model, start = compared
    for index, name in enumerate(names(model)):
        moved = truth.weights[index] - start.layers[index].weight.detach()
        entry = table.find(name, "c-nfc")
        assert_compares(entry, moved.T @ moved, moved.T @ truth.output_gram[index] @ moved)


def test_the_commutator_is_that_of_the_full_matrices(compared):
    truth, table, model, _ = compared
    for index, name in enumerate(names(model)):
        M, G = truth.weights[index].T @ truth.weights[index], truth.agop[index]
        wanted = float((M @ G - G @ M).norm() / (math.sqrt(2) * M.norm() * G.norm()))
        assert table.find(name, "commutator").mismatch == pytest.approx(wanted, abs=1e-12)


def test_the_plain_gram_is_the_second_moment_of_what_goes_in(compared):
    truth, table, model, _ = compared
    for index, name in enumerate(names(model)):
        M, gram, mean = truth.weights[index].T @ truth.weights[index], truth.gram[index], truth.means[index]
        assert_compares(table.find(name, "gram"), M, gram)
        assert_compares(table.find(name, "gram-centered"), M, gram - torch.outer(mean, mean))


def test_every_row_says_its_convention(compared):
    _, table, model, _ = compared
    rows = table.rows()
    assert {row["rival"] for row in rows} == set(CONVENTIONS)
    assert {row["layer"] for row in rows} == set(names(model))
    assert all(row["convention"] == CONVENTIONS[str(row["rival"])] for row in rows)
    assert all(row["weight_decay"] == DECAY for row in rows)


def test_the_last_layer_says_that_its_ansatz_is_a_tautology(compared):
    _, table, model, _ = compared
    last = names(model)[-1]
    assert "whatever the weights" in table.find(last, "nfa", 1.0).note
    assert table.find(last, "nfa", 0.5).note == ""
    assert table.find(last, "commutator").mismatch < 1e-12


@pytest.fixture(scope="module")
def stationary() -> tuple[DeepLinear, list[tuple[Tensor, Tensor]]]:
    """A small linear network at a stationary point of its penalised loss, other than zero."""
    inputs, targets = examples(40, 5, 3)
    data = Dataset("random", inputs=inputs, targets=targets + inputs[:, :3], description="")
    model = DeepLinear([5, 4, 3])
    initialize(model, "gaussian", seed=0)
    optimizer = Optimizer(name="SGD", learning_rate=0.1, steps=800, weight_decay=DECAY, options={"momentum": 0.9})
    for _ in train(model, objective_for(model, data), optimizer, snapshots=2):
        pass
    return model, [(data.inputs, data.targets)]


def test_fact_is_exact_at_a_stationary_point(stationary):
    model, batches = stationary
    table = rivals(model, batches, loss=half_squares, weight_decay=DECAY)
    for name in ("layers.0", "layers.1"):
        for rival in ("fact", "fact-psd", "fact-backward"):
            entry = table.find(name, rival)
            assert entry.cosine == pytest.approx(1.0, abs=1e-12)
            assert entry.mismatch < 1e-8
    assert float(model.layers[0].weight.detach().norm()) > 0.1


@pytest.mark.parametrize("wrong", [DECAY / 2, 2 * DECAY])
def test_another_penalty_is_told_by_the_mismatch_and_not_by_the_cosine(stationary, wrong):
    """λ‖θ‖² read as (λ/2)‖θ‖², or the other way round."""
    model, batches = stationary
    entry = rivals(model, batches, loss=half_squares, weight_decay=wrong).find("layers.0", "fact")
    assert entry.cosine == pytest.approx(1.0, abs=1e-12)
    assert entry.mismatch == pytest.approx(abs(1 - DECAY / wrong), rel=1e-6)


@pytest.mark.parametrize("fault", [-1.0, 40.0, DECAY], ids=["sign", "missing 1/n", "missing 1/λ"])
def test_planted_faults_in_fact_are_caught(stationary, fault):
    model, batches = stationary
    sums = sum_losses(model, batches, half_squares, layers=None)["layers.0"]
    right, *_ = fact("layers.0", sums, DECAY)
    wrong, *_ = fact("layers.0", replace(sums, gradient=fault * sums.gradient), DECAY)
    assert right.mismatch < 1e-8 < 0.5 < wrong.mismatch


def test_a_planted_fault_in_the_commutator_is_caught():
    """W Wᵀ for WᵀW does not commute with the AGOP where WᵀW does."""
    model = DeepLinear([4, 4, 4])
    initialize(model, "balanced", seed=3)
    inputs, _ = examples(9, 4, 4)
    layer = measure(model, [inputs])["layers.0"]
    assert module.commutator(layer) < 1e-12
    turned = replace(layer, blocks=layer.blocks.mT.contiguous())
    assert module.commutator(turned) > 1e-2


def test_the_mismatch_is_the_certificate_of_convergence_at_any_weights():
    """‖WᵀW − F‖ = ‖Wᵀ(λW + ∂loss/∂W)‖/λ, the gradient by the network's own backward pass."""
    model = network(SQUARE, activation="relu")
    inputs, targets = examples(17, 6, 4)
    (half_squares(model(inputs), (inputs, targets)).mean()).backward()
    table = rivals(model, [(inputs, targets)], loss=half_squares, weight_decay=DECAY)
    for name, layer in zip(names(model), model.layers, strict=True):
        W = layer.weight.detach()
        wanted = float((W.T @ (DECAY * W + layer.weight.grad)).norm() / DECAY / (W.T @ W).norm())
        assert table.find(name, "fact").mismatch == pytest.approx(wanted, rel=1e-10)


def test_convolutions_take_their_patches():
    """The same identity for a convolution with groups, whose gradient sums over positions."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)).double()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(5, 4, 4, 4, generator=generator, dtype=torch.float64)
    targets = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    half_squares(model(inputs), (inputs, targets)).mean().backward()
    table = rivals(model, [(inputs, targets)], loss=half_squares, weight_decay=DECAY)
    W = model[0].weight.detach().reshape(2, 3, -1)
    slope = DECAY * W + model[0].weight.grad.reshape(2, 3, -1)
    wanted = float((W.mT @ slope).norm() / DECAY / (W.mT @ W).norm())
    assert table.find("0", "fact").mismatch == pytest.approx(wanted, rel=1e-10)
    assert 0 < table.find("0", "gram").cosine < 1


def test_what_cannot_be_said_is_left_out_with_the_reason():
    model = network(SQUARE)
    batches = [examples(9, 6, 4)]
    table = rivals(model, batches, loss=half_squares, weight_decay=0.0)
    assert math.isnan(table.find("layers.0", "fact").cosine)
    assert "without weight decay" in table.find("layers.0", "fact").note
    assert "initial=" in table.find("layers.0", "c-nfc").note
    unmoved = rivals(model, batches, loss=half_squares, weight_decay=0.0, initial=model)
    assert "still W₀" in unmoved.find("layers.0", "c-nfc").note
    embedding = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2)).double()
    tokens, targets = torch.tensor([[0, 1], [2, 4]]), torch.ones(2, 2, dtype=torch.float64)
    table = rivals(embedding, [(tokens, targets)], loss=half_squares, weight_decay=0.1)
    assert "one-hot" in table.find("0", "gram").note
    assert table.find("0", "fact").mismatch > 0


def test_bad_arguments_are_refused_in_one_line():
    model = network(SQUARE)
    batches = [examples(9, 6, 4)]
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="wanted the λ ≥ 0"):
            rivals(model, batches, loss=half_squares, weight_decay=wrong)
    table = rivals(model, batches, loss=half_squares, weight_decay=0.1)
    with pytest.raises(InputError, match="of which there are 2"):
        table.find("layers.0", "nfa")
    with pytest.raises(InputError, match="of which there are 0"):
        table.find("layers.7", "fact")
    with pytest.raises(InputError, match="one finite number per example"):
        rivals(model, batches, loss=lambda outputs, batch: outputs.sum(), weight_decay=0.1)  # noqa: ARG005


def test_a_one_shot_iterator_of_batches_is_gone_through_twice():
    model = network(SQUARE)
    batch = examples(9, 6, 4)
    once, again = (rivals(model, given, loss=half_squares, weight_decay=DECAY) for given in (iter([batch]), [batch]))
    assert repr(once) == repr(again)  # nan equals itself in words


def test_the_model_is_not_touched():
    model = network(SQUARE)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    rivals(model, [examples(9, 6, 4)], loss=half_squares, weight_decay=DECAY)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("shape", [(1, 3, 50), (1, 5, 5), (2, 3, 40), (2, 6, 4)], ids=str)
def test_matrices_compare_the_same_on_the_subspace_of_their_rows(shape):
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    small, other, subspace = row_space(first, second)
    likeness = compare(small.mT @ small, small.mT @ other, subspace)
    full, model = (torch.block_diag(*product) for product in (first.mT @ first, first.mT @ second))
    assert likeness.cosine == pytest.approx(cosine(full, model), abs=1e-12)
    assert likeness.pearson == pytest.approx(pearson(full, model), abs=1e-12)
    assert likeness.residual == pytest.approx(residual(full, model), abs=1e-12)


def test_a_zero_matrix_compares_with_nothing():
    zero, one = torch.zeros(1, 2, 2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)[None]
    assert math.isnan(compare(zero, one, whole(1, 2)).cosine)
    assert math.isnan(compare(zero, one, whole(1, 2)).residual)
    assert compare(one, zero, whole(1, 2)).residual == 1.0
