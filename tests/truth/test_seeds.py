"""Directions in output space: signs are unbiased and become exact, one output and a loss are what they say."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ansatzlab.errors import InputError, ModelError
from ansatzlab.measurement import seeds as seeds_module
from ansatzlab.measurement.outputs import Outputs
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Exact, LossGradient, Output, Signs, cotangents
from ansatzlab.testing.cases import normal
from ansatzlab.testing.compare import assert_close

EXAMPLES = 6


def network(outputs: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs), nn.Tanh()).double()


def directions(seeds, outputs: int, *, batch: int = 0) -> Tensor:
    """The directions of every example, shape (n, k, c)."""
    picked = torch.zeros(EXAMPLES, outputs, dtype=torch.float64)
    return torch.stack(list(cotangents(seeds, picked, picked, None, batch)), dim=1)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("count", "outputs"), [(1, 3), (2, 5), (3, 8)])
def test_signs_are_unbiased(count: int, outputs: int, shared: bool):
    """The mean over seeds lies within 4.5 of its standard errors of the exact AGOP, in every entry."""
    model, x = network(outputs), normal(EXAMPLES, 4)
    exact = measure(model, x)["0"].agop()
    draws = torch.stack(
        [
            measure(model, x, seeds=Signs(count, seed=seed, shared=shared), check="never")["0"].agop()
            for seed in range(300)
        ]
    )
    error = draws.std(0) / len(draws) ** 0.5
    assert float(error.max()) > 1e-6, "signs that never vary are not drawn"
    assert float(((draws.mean(0) - exact).abs() / error).max()) < 4.5


@pytest.mark.parametrize("outputs", [2, 4, 8])
def test_a_full_block_of_signs_is_an_orthogonal_basis(outputs: int):
    """As many as there are outputs, where a Hadamard matrix has that order: Σ v vᵀ = I for every example."""
    found = directions(Signs(outputs, seed=3), outputs)
    gram = torch.einsum("nkc,nkd->ncd", found, found)
    assert_close(gram, torch.eye(outputs, dtype=torch.float64).expand_as(gram), what="Σ v vᵀ")
    assert found.abs().mul(outputs**0.5).allclose(torch.ones_like(found))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_signs_of_an_example_are_orthogonal_where_the_order_is_the_number_of_outputs(count: int):
    found = directions(Signs(count), 8)
    gram = torch.einsum("nkc,nlc->nkl", found, found)
    assert_close(gram, (8 / count) * torch.eye(count, dtype=torch.float64).expand_as(gram), what="v vᵀ")


def test_a_full_block_measures_the_exact_agop(monkeypatch: pytest.MonkeyPatch):
    """With the cap taken away: c = 4 and 8 signs are exact by orthogonality, not because they were replaced."""
    from ansatzlab.measurement import subject

    monkeypatch.setattr(subject, "for_outputs", lambda seeds, _outputs: seeds)
    for outputs in (4, 8):
        model, x = network(outputs), normal(EXAMPLES, 4)
        got, wanted = measure(model, x, seeds=Signs(outputs))["0"], measure(model, x)["0"]
        assert isinstance(got.seeds, Signs)
        assert_close(got.agop(), wanted.agop(), what=f"{outputs} signs")


def test_more_signs_than_outputs_add_up_to_one():
    """As in a batch that has fewer outputs than the first one had: every sign is there, and the trace is exact."""
    found = directions(Signs(5), 3)
    assert_close(found.square().sum(1), torch.ones(EXAMPLES, 3, dtype=torch.float64), what="Σ v²")


class Tokens(nn.Module):
    """One output a token; the number of tokens may differ between batches."""

    def __init__(self):
        super().__init__()
        self.net = network(1)

    def forward(self, x):
        return self.net(x)[:, :, 0]


def test_a_later_batch_may_have_fewer_outputs_than_signs():
    """At the layer of one output the signs drop out of K: 10 outputs in 4 examples and 3 in 40."""
    model = Tokens()
    model.net = model.net[:3]
    batches = iter([normal(4, 10, 4), normal(40, 3, 4)])
    gram = measure(model, batches, seeds=Signs(5))["net.2"].sums.mean_gram()
    assert float(gram) == pytest.approx((4 * 10 + 40 * 3) / 44, rel=1e-12)


@pytest.mark.parametrize("seeds", [Signs(3), Signs(2, shared=True), Exact()])
def test_outputs_that_have_to_be_the_same_are_refused_and_signs_advised(seeds):
    with pytest.raises(
        ModelError, match=r"10 outputs in batch 1 and 3 in the first.*Signs\(k\), not shared, with k below 3"
    ):
        measure(Tokens(), iter([normal(4, 3, 4), normal(4, 10, 4)]), seeds=seeds)
    measure(Tokens(), iter([normal(4, 3, 4), normal(4, 10, 4)]), seeds=Signs(2))


@pytest.mark.parametrize(("count", "outputs"), [(3, 3), (5, 3), (8, 8)])
def test_as_many_signs_as_outputs_are_replaced_by_the_exact_measurement(count: int, outputs: int):
    model, x = network(outputs), normal(EXAMPLES, 4)
    got, wanted = measure(model, x, seeds=Signs(count))["0"], measure(model, x)["0"]
    assert got.seeds == Exact()
    assert torch.equal(got.agop(), wanted.agop())


def test_more_signs_leave_less_error():
    """Of 16 outputs: the mean squared error falls faster than 1/k, because the signs are orthogonal."""
    model, x = network(16), normal(EXAMPLES, 4)
    exact = measure(model, x)["0"].agop()
    squared = {}
    for count in (2, 8):
        found = [measure(model, x, seeds=Signs(count, seed=s), check="never")["0"].agop() for s in range(60)]
        squared[count] = float(torch.stack([(g - exact).square().sum() for g in found]).mean())
    independent = 2 / 8
    orthogonal = (16 / 8 - 1) / (16 / 2 - 1)
    assert squared[8] / squared[2] < math.sqrt(independent * orthogonal)


def test_signs_are_fixed_by_their_seed_and_differ_between_batches_and_examples():
    assert torch.equal(directions(Signs(2, seed=5), 16), directions(Signs(2, seed=5), 16))
    assert not torch.equal(directions(Signs(2, seed=5), 16), directions(Signs(2, seed=6), 16))
    assert not torch.equal(directions(Signs(2), 16, batch=0), directions(Signs(2), 16, batch=1))
    first = directions(Signs(2), 16)
    assert not torch.equal(first[0], first[1])


def test_signs_leave_the_callers_random_numbers_alone():
    before = torch.get_rng_state()
    directions(Signs(2), 16)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_signs_of_different_batches_are_uncorrelated():
    """Over 400 batches the mean of v₀ᵀv₁ between neighbours is zero within 4 standard errors; so is a sign's mean."""
    found = torch.stack([directions(Signs(1), 16, batch=batch)[:, 0] for batch in range(400)])
    between = (found[1:] * found[:-1]).sum(-1).flatten()
    assert abs(float(between.mean())) < 4 * float(between.std()) / len(between) ** 0.5
    assert float(found.mean(0).abs().max()) < 4.5 / 400**0.5


def test_shared_signs_are_the_same_everywhere_and_can_be_centred():
    first, later = directions(Signs(2, shared=True), 16), directions(Signs(2, shared=True), 16, batch=7)
    assert torch.equal(first, later)
    assert torch.equal(first[0], first[1])
    model, x = network(8), normal(EXAMPLES, 4)
    exact = measure(model, x)["0"].agop(centered=True)
    draws = torch.stack(
        [
            measure(model, x.split(2), seeds=Signs(2, seed=s, shared=True), check="never")["0"].agop(centered=True)
            for s in range(300)
        ]
    )
    error = draws.std(0) / len(draws) ** 0.5
    assert float(((draws.mean(0) - exact).abs() / error).max()) < 4.5


def test_a_centred_read_out_under_signs_is_refused():
    layer = measure(network(8), normal(EXAMPLES, 4), seeds=Signs(2))["0"]
    for read in (layer.agop, layer.spectrum):
        with pytest.raises(InputError, match=r"layer '0': centered=True needs each output's mean.*shared=True"):
            read(centered=True)
    with pytest.raises(InputError, match="centered=True needs"):
        layer.alignment(0.5, centered=True)


@pytest.mark.parametrize("backend", ["hooks", "probes"])
@pytest.mark.parametrize("centered", [False, True])
def test_single_outputs_add_up_to_all(backend: str, centered: bool):
    model, x = network(3), normal(EXAMPLES, 4)
    parts = [measure(model, x, seeds=Output(i), backend=backend)["0"].agop(centered=centered) for i in range(3)]
    assert_close(sum(parts), measure(model, x)["0"].agop(centered=centered), what="Σ outputs")


def test_an_output_of_a_sequence_is_counted_over_its_flattened_entries():
    model, x = network(3), normal(EXAMPLES, 2, 4)
    got = measure(model, x, seeds=Output(4))["0"].agop()
    wanted = measure(model, x, seeds=Output(1), output=Outputs(positions=1))["0"].agop()
    assert_close(got, wanted, what="entry (1, 1)")


@pytest.mark.parametrize("index", [3, -1])
def test_an_output_that_is_not_there_is_refused(index: int):
    with pytest.raises(InputError, match=rf"got Output\({index}\) of 3 outputs; wanted 0 to 2"):
        measure(network(3), normal(EXAMPLES, 4), seeds=Output(index))


def test_fewer_than_one_sign_is_refused():
    with pytest.raises(InputError, match=r"Signs\(count=0\): wanted at least one direction"):
        Signs(0)


@pytest.mark.parametrize("backend", ["hooks", "probes"])
def test_the_loss_gradient_is_each_examples_own(backend: str):
    """eNFA: K is the second moment of ∂ℓ_x/∂z, one example at a time, by the ordinary backward pass of that loss."""
    model, x = network(3), normal(EXAMPLES, 4)
    labels = torch.arange(EXAMPLES) % 3

    def loss(outputs: Tensor, batch: object) -> Tensor:
        assert isinstance(batch, tuple)
        return functional.cross_entropy(outputs, batch[1], reduction="none")

    batches = [(x[:4], labels[:4]), (x[4:], labels[4:])]
    measured = measure(model, batches, seeds=LossGradient(loss), backend=backend)
    W = model[0].weight.detach()
    gram = torch.zeros(5, 5, dtype=torch.float64)
    for example, label in zip(x, labels, strict=True):
        z = (W @ example + model[0].bias.detach()).requires_grad_()
        value = functional.cross_entropy(model[1:](z[None]), label[None])
        gradient = torch.autograd.grad(value, z)[0]
        gram += torch.outer(gradient, gradient) / EXAMPLES
    assert_close(measured["0"].sums.mean_gram()[0], gram, what="K")
    assert_close(measured["0"].agop(), W.T @ gram @ W, what="eNFA")


@pytest.mark.parametrize(
    "loss",
    [
        lambda outputs, _: outputs.square().mean(),
        lambda outputs, _: outputs,
        lambda outputs, _: outputs.sum(1)[:2],
        lambda outputs, _: (outputs * float("inf")).sum(1),
    ],
    ids=["mean", "all entries", "too few", "not finite"],
)
def test_a_loss_that_is_not_one_finite_number_an_example_is_refused(loss):
    with pytest.raises(InputError, match=r"LossGradient\): the loss returns shape .*wanted one finite number"):
        measure(network(3), normal(EXAMPLES, 4), seeds=LossGradient(loss))


def test_the_directions_are_counted():
    for seeds, wanted in ((Exact(), 7), (Signs(3), 3), (Output(2), 1), (LossGradient(lambda y, _: y.sum(1)), 1)):
        assert seeds_module.count_directions(seeds, 7) == wanted
        assert directions(seeds, 7).shape == (EXAMPLES, wanted, 7)


@pytest.mark.parametrize(
    ("output", "tautological"),
    [
        (None, True),
        (Outputs(positions="last"), True),
        (Outputs(positions="mean"), True),
        (lambda y: y[:, :, :5], False),
        (functional.softplus, False),
    ],
    ids=["each position", "the last", "their mean", "some outputs", "behind a nonlinearity"],
)
def test_a_last_layer_is_tautological_under_signs_too(output, tautological: bool):
    """There K is the signs' own second moment: a multiple of the identity but for their error."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6)).double()
        x = torch.randn(20, 4, 5, dtype=torch.float64)
    measured = measure(model, x.split(7), seeds=Signs(2), output=output)
    assert [layer.tautological for layer in measured.values()] == [False, tautological]


def test_the_rows_of_a_last_layer_are_tautological_too():
    model, x = network(8)[:3], normal(EXAMPLES, 4)
    layer = measure(model, x, seeds=Signs(2))["2"]
    assert layer.tautological
    assert layer.rows(slice(2, 6)).tautological
    assert not measure(model, x, seeds=Signs(2))["0"].rows(slice(1, 4)).tautological


class Scaled(nn.Module):
    def __init__(self, net, scale):
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, x):
        return self.net(x) * self.scale


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1.0, 1e9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_whether_a_layer_is_the_last_does_not_depend_on_the_scale(dtype, scale):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)).to(dtype)
    found = measure(Scaled(net, scale), normal(40, 8).to(dtype), seeds=Signs(3), check="never")
    assert [layer.tautological for layer in found.values()] == [False, True]
