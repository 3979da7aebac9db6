"""Attention, gates and embeddings against truths that share no code with the layer kinds.

Each layer is rebuilt here from its definition, the copy of the input that enters it is a leaf, and its Jacobian is
autograd's.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ansatzlab.measurement.run import measure
from ansatzlab.testing.cases import Called, normal
from ansatzlab.testing.compare import assert_close

EXAMPLES = 2


def read(features: Tensor) -> Tensor:
    """Two outputs that depend on every entry of a layer's output, unequally and not linearly."""
    flat = features.flatten(1)
    weights = torch.cos(torch.arange(1, 2 * flat.shape[1] + 1, dtype=flat.dtype)).reshape(2, -1)
    return torch.tanh(flat + 0.3 * flat.square()) @ weights.T


def seeded(build, *arguments, **options) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(*arguments, **options).double().eval()


@pytest.mark.parametrize("which", ["q", "k", "v"])
def test_a_head_of_attention_is_its_rows_and_its_own_copy_of_the_input(which: str):
    size, heads, width = 6, 2, 3
    module = seeded(nn.MultiheadAttention, size, heads, batch_first=True)
    batch = normal(EXAMPLES, 4, size)

    model = Called(module, lambda layer, x: read(layer(x, x, x)[0]))
    measured = measure(model, batch)[f"layer.{which}_proj"]
    whole = module.in_proj_weight.detach().reshape(3, heads, width, size)
    bias = module.in_proj_bias.detach().reshape(3, heads, width)
    grams = torch.zeros(heads + 1, size, size, dtype=torch.float64)
    for x in batch:
        # one copy of the input for each of Q, K and V, and in it one for each head
        leaves = x.expand(3, heads, *x.shape).clone().requires_grad_()
        q, k, v = torch.einsum("qhti,qhoi->qhto", leaves, whole) + bias[:, :, None]
        attention = torch.softmax(torch.einsum("hto,hso->hts", q, k) / width**0.5, dim=-1)
        mixed = torch.einsum("hts,hso->tho", attention, v).reshape(len(x), size)
        outputs = read((mixed @ module.out_proj.weight.detach().T + module.out_proj.bias.detach())[None])[0]
        for value in outputs:
            gradient = torch.autograd.grad(value, leaves, retain_graph=True)[0]["qkv".index(which)]
            grams[:heads] += torch.einsum("hti,htj->hij", gradient, gradient)
            together = gradient.sum(0)  # a copy that all heads share
            grams[heads] += together.T @ together
    grams /= EXAMPLES
    for head in range(heads):
        assert_close(measured.parts[f"head{head}"].agop(), grams[head], what=f"head {head}")
    assert_close(measured.agop(), grams[heads], what="all heads")


@pytest.mark.parametrize("side", ["ih", "hh"])
def test_a_gate_of_a_gru_is_its_rows_summed_over_time(side: str):
    width, hidden = 3, 2
    module = seeded(nn.GRU, width, hidden, batch_first=True)
    batch = normal(EXAMPLES, 4, width)

    model = Called(module, lambda layer, x: read(layer(x)[0]))
    measured = measure(model, batch)[f"layer.weight_{side}_l0"]
    W, U = (getattr(module, f"weight_{name}_l0").detach().reshape(3, hidden, -1) for name in ("ih", "hh"))
    b, c = (getattr(module, f"bias_{name}_l0").detach().reshape(3, hidden) for name in ("ih", "hh"))
    features = W.shape[-1] if side == "ih" else hidden
    grams = {gate: torch.zeros(features, features, dtype=torch.float64) for gate in ("r", "z", "n")}
    for sequence in batch:
        copies = {gate: [] for gate in grams}
        state, states = torch.zeros(hidden, dtype=torch.float64), []
        for x in sequence:
            parts = []
            for gate, (w, u, first, second) in zip(grams, zip(W, U, b, c, strict=True), strict=True):
                shift = torch.zeros(features, dtype=torch.float64, requires_grad=True)
                copies[gate].append(shift)
                entering, held = (x + shift, state) if side == "ih" else (x, state + shift)
                parts.append((w @ entering + first, u @ held + second))
            reset = torch.sigmoid(parts[0][0] + parts[0][1])
            update = torch.sigmoid(parts[1][0] + parts[1][1])
            new = torch.tanh(parts[2][0] + reset * parts[2][1])
            state = (1 - update) * new + update * state
            states.append(state)
        torch.testing.assert_close(torch.stack(states), module(sequence[None])[0][0])
        for value in read(torch.stack(states)[None])[0]:
            for gate, shifts in copies.items():
                found = torch.autograd.grad(value, shifts, retain_graph=True, materialize_grads=True)
                grams[gate] += sum(torch.outer(g, g) for g in found)
    for gate, gram in grams.items():
        assert_close(measured.parts[gate].agop(), gram / EXAMPLES, what=f"gate {gate}")


def test_an_embedding_is_a_linear_map_of_one_hot_inputs():
    module = seeded(nn.Embedding, 7, 4, padding_idx=0)
    tokens = torch.tensor([[1, 0, 3, 3], [6, 2, 1, 0]])
    measured = measure(Called(module, lambda layer, x: read(layer(x))), tokens)["layer"]
    total = torch.zeros(7, 7, dtype=torch.float64)
    for sentence in tokens:
        leaves = functional.one_hot(sentence, 7).double().requires_grad_()
        for value in read((leaves @ module.weight.detach())[None])[0]:
            gradient = torch.autograd.grad(value, leaves, retain_graph=True)[0]
            total += gradient.T @ gradient
    assert_close(measured.agop(), total / len(tokens), what="embedding")
    assert_close(measured.weight_gram(), (module.weight @ module.weight.T).detach(), what="E Eᵀ")
