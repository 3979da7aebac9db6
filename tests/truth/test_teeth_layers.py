"""The test of the tests for layer kinds and seeds: each planted fault must turn the check that is there for it red."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ansatzlab.errors import ModelError
from ansatzlab.measurement import attention, kinds, recurrent, seeds, subject
from ansatzlab.measurement.gram import RunningSums
from ansatzlab.measurement.kinds import LinearMap
from ansatzlab.measurement.reference import reference_agop
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Signs
from ansatzlab.testing.cases import normal
from ansatzlab.testing.compare import assert_close


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().double().eval()


def summed_squares(value: Callable[[Tensor], Tensor], leaf: Tensor) -> Tensor:
    """Σ over outputs and rows of g gᵀ, g the gradient of ``value(leaf)`` by a row of the leaf."""
    leaf = leaf.clone().requires_grad_()
    gradients = torch.stack([torch.autograd.grad(v, leaf, retain_graph=True)[0] for v in value(leaf).flatten()])
    return torch.einsum("cpi,cpj->ij", gradients, gradients)


def convolution() -> tuple[nn.Module, Tensor, Tensor]:
    """A convolution, its data and its AGOP by torch's own unfold."""
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(64, 2)))
    x = normal(2, 3, 3, 3)
    weight, bias = (parameter.detach() for parameter in model[0].parameters())

    def outputs(patches: Tensor) -> Tensor:
        return model[1:]((patches @ weight.flatten(1).T + bias).T.reshape(1, 4, 4, 4))

    grams = [summed_squares(outputs, functional.unfold(example[None], 2, padding=1)[0].T) for example in x]
    return model, x, sum(grams) / len(x)


def check_a_convolution() -> None:
    model, x, truth = convolution()
    assert_close(measure(model, x, check="never")["0"].agop(), truth, what="convolution")


def check_that_a_convolution_checks_itself() -> None:
    model, x, _ = convolution()
    try:
        measure(model, x)
    except ModelError as error:
        raise AssertionError(str(error)) from error


def check_a_grouped_convolution() -> None:
    """The AGOP of two groups by patches cut with torch's unfold: one block for each."""
    model = seeded(lambda: nn.Sequential(nn.Conv1d(4, 6, 2, groups=2), nn.Tanh(), nn.Flatten()))
    x = normal(3, 4, 5)
    weight, bias = model[0].weight.detach().flatten(1), model[0].bias.detach()

    def outputs(patches: Tensor) -> Tensor:
        return model[1:]((patches @ torch.block_diag(weight[:3], weight[3:]).T + bias).T[None])

    grams = [summed_squares(outputs, example.unfold(1, 2, 1).transpose(0, 1).flatten(1)) for example in x]
    whole = sum(grams) / len(x)
    got = measure(model, x, check="never")["0"].agop()
    assert_close(got, torch.block_diag(whole[:4, :4], whole[4:, 4:]), what="groups")


def check_a_head() -> None:
    """The AGOP of one head of V, whose attention is uniform because Q and K are zero, in closed form."""
    layer = seeded(lambda: nn.MultiheadAttention(4, 2, batch_first=True))
    layer.in_proj_weight.data[:8] = 0.0
    x = normal(2, 3, 4)

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x, x, x)[0].mean(1)

    head = measure(First(), x, check="never")["layer.v_proj"].parts["head1"]
    through = layer.out_proj.weight.detach()[:, 2:] @ layer.in_proj_weight.detach()[10:]
    assert_close(head.agop(), through.T @ through / 3, what="head")


def check_the_gates() -> None:
    """With nothing hidden in the candidate state, the reset gate of a GRU does nothing; the update gate does."""
    layer = seeded(lambda: nn.GRU(3, 2, batch_first=True))
    layer.weight_hh_l0.data[4:] = 0.0
    layer.bias_hh_l0.data[4:] = 0.0

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0][:, -1]

    parts = measure(Last(), normal(2, 4, 3))["layer.weight_ih_l0"].parts
    assert float(parts["r"].agop().norm()) == 0.0
    assert float(parts["z"].agop().norm()) > 0.0


def check_an_embedding() -> None:
    """As many words as dimensions, so that nothing but the numbers tells E from Eᵀ."""
    model = seeded(lambda: nn.Sequential(nn.Embedding(4, 4), nn.Tanh(), nn.Flatten(), nn.Linear(12, 2)))
    tokens = torch.tensor([[0, 3, 1], [2, 2, 0]])
    table = model[0].weight.detach()
    grams = [
        summed_squares(lambda rows: model[1:]((rows @ table)[None]), functional.one_hot(sentence, 4).double())
        for sentence in tokens
    ]
    assert_close(measure(model, tokens, check="never")["0"].agop(), sum(grams) / 2, what="embedding")


def check_a_tall_layer() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, 3)))
    x = normal(5, 2)
    layer = measure(model, x)["0"]
    assert_close(layer.agop(), reference_agop(model, x)["0"], what="tall")
    W = model[0].weight.detach()
    assert_close(layer.weight_gram(), W.T @ W, what="WᵀW")


def check_that_signs_are_unbiased() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5)))
    x = normal(4, 3)
    exact = measure(model, x)["0"].agop()
    draws = torch.stack([measure(model, x, seeds=Signs(2, seed=s), check="never")["0"].agop() for s in range(100)])
    error = draws.std(0) / len(draws) ** 0.5
    assert float(((draws.mean(0) - exact).abs() / error).max()) < 4.5


def check_that_a_full_block_is_exact() -> None:
    zeros = torch.zeros(3, 8, dtype=torch.float64)
    found = torch.stack(list(seeds.cotangents(Signs(8), zeros, zeros, None, 0)), dim=1)
    gram = torch.einsum("nkc,nkd->ncd", found, found)
    assert_close(gram, torch.eye(8, dtype=torch.float64).expand_as(gram), what="Σ v vᵀ")


def alter(monkeypatch: pytest.MonkeyPatch, example: nn.Module, change: Callable[[LinearMap], LinearMap]) -> None:
    """Read every module of the example's kind with a changed map."""

    def changed(kind: kinds.LayerKind) -> kinds.LayerKind:
        if not kind.matches(example):
            return kind
        return replace(kind, maps=lambda module: tuple(change(found) for found in kind.maps(module)))

    monkeypatch.setattr(kinds, "KINDS", tuple(changed(kind) for kind in kinds.KINDS))


def taps_first(rows: Tensor) -> Tensor:
    """Put the taps of each patch (3 channels, 4 taps) before its channels."""
    return rows.unflatten(-1, (3, 4)).transpose(-1, -2).flatten(-2)


def patches_in_another_order_than_the_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(found: LinearMap) -> LinearMap:
        return replace(found, inputs=lambda tensor: taps_first(found.inputs(tensor)))

    alter(monkeypatch, nn.Conv2d(1, 1, 1), change)


def patches_and_weight_taps_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consistent with itself, so that no self-check can see it."""

    def change(found: LinearMap) -> LinearMap:
        return replace(
            found,
            inputs=lambda tensor: taps_first(found.inputs(tensor)),
            matrix=lambda weight: taps_first(found.matrix(weight)),
        )

    alter(monkeypatch, nn.Conv2d(1, 1, 1), change)


def one_group_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(found: LinearMap) -> LinearMap:
        return replace(
            found,
            matrix=lambda weight: found.matrix(weight)[:-1],
            inputs=lambda tensor: found.inputs(tensor)[:, :, :-1],
            outputs=lambda tensor: found.outputs(tensor)[:, :, :-1],
        )

    alter(monkeypatch, nn.Conv1d(1, 1, 1), change)


def groups_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(found: LinearMap) -> LinearMap:
        return replace(found, outputs=lambda tensor: found.outputs(tensor).flip(2))

    alter(monkeypatch, nn.Conv1d(1, 1, 1), change)


def positions_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    add = RunningSums.add

    def averaged(sums: RunningSums, gradients: Tensor, direction: int) -> None:
        add(sums, gradients / gradients.shape[1] ** 0.5, direction)

    monkeypatch.setattr(RunningSums, "add", averaged)


def heads_along_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    third = attention._third

    def columns(weight: Tensor, *, index: int, count: int = 3) -> Tensor:
        return third(weight, index=index, count=count).mT

    monkeypatch.setattr(attention, "_third", columns)


def gates_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent, "_GATES", {**recurrent._GATES, "GRU": ("z", "r", "n")})


def embedding_not_transposed(monkeypatch: pytest.MonkeyPatch) -> None:
    alter(monkeypatch, nn.Embedding(1, 1), lambda found: replace(found, matrix=lambda weight: weight[None]))


def basis_not_orthonormal(monkeypatch: pytest.MonkeyPatch) -> None:
    original = torch.linalg.qr

    def skewed(matrix: Tensor, *mode: str, **options: str) -> object:
        found = original(matrix, *mode, **options)
        lengths = torch.arange(1, found.Q.shape[-1] + 1, dtype=found.Q.dtype)
        return SimpleNamespace(Q=found.Q * lengths, R=found.R)

    monkeypatch.setattr(subject.torch.linalg, "qr", skewed)


def normal_numbers(scale: float) -> Callable[..., Iterator[Tensor]]:
    def drawn(signs: Signs, outputs: Tensor, index: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(1000 * signs.seed + index)
        for _ in range(signs.count):
            noise = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)
            yield scale * noise / signs.count**0.5

    return drawn


def signs_of_another_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "_signs", normal_numbers(1.2))


def signs_that_are_normal_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unbiased still, but neither ±1 nor orthogonal."""
    monkeypatch.setattr(seeds, "_signs", normal_numbers(1.0))


@dataclass(frozen=True)
class Fault:
    plant: Callable[[pytest.MonkeyPatch], None]
    caught_by: Callable[[], None]


FAULTS = [
    Fault(patches_in_another_order_than_the_weight, check_that_a_convolution_checks_itself),
    Fault(patches_and_weight_taps_first, check_a_convolution),
    Fault(positions_averaged, check_a_convolution),
    Fault(one_group_too_few, check_a_grouped_convolution),
    Fault(groups_in_another_order, check_a_grouped_convolution),
    Fault(heads_along_columns, check_a_head),
    Fault(gates_swapped, check_the_gates),
    Fault(embedding_not_transposed, check_an_embedding),
    Fault(basis_not_orthonormal, check_a_tall_layer),
    Fault(signs_of_another_variance, check_that_signs_are_unbiased),
    Fault(signs_that_are_normal_numbers, check_that_a_full_block_is_exact),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.plant.__name__)
def test_the_check_passes_and_the_fault_in_a_layer_turns_it_red(fault: Fault, monkeypatch: pytest.MonkeyPatch):
    fault.caught_by()
    fault.plant(monkeypatch)
    with pytest.raises(AssertionError):
        fault.caught_by()
