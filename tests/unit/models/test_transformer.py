import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from ansatzlab.errors import InputError
from ansatzlab.models.transformer import CharTransformer

VOCABULARY, CONTEXT, WIDTH, HEADS, DEPTH = 11, 9, 6, 2, 2


def transformer(dtype=torch.float64):
    torch.manual_seed(0)
    return CharTransformer(VOCABULARY, CONTEXT, WIDTH, HEADS, DEPTH, dtype=dtype)


def text(n=3, length=CONTEXT):
    return torch.randint(VOCABULARY, (n, length), generator=torch.Generator().manual_seed(1))


def attention_by_hand(block, a):
    """One example (s, i): every head and position written out, from rows of the weights."""
    size = WIDTH // HEADS
    mixed = torch.zeros_like(a)
    for head in range(HEADS):
        rows = slice(head * size, (head + 1) * size)
        q, k, v = (a @ layer.weight[rows].mT + layer.bias[rows] for layer in (block.q, block.k, block.v))
        for position in range(len(a)):
            scores = k[: position + 1] @ q[position] / math.sqrt(size)
            mixed[position, rows] = scores.softmax(0) @ v[: position + 1]
    return mixed @ block.out.weight.mT + block.out.bias


def normalized(layer, h):
    centered = h - h.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias


def test_forward_is_the_formula():
    model = transformer()
    for tokens in text(length=7):
        h = model.token.weight[tokens] + model.position.weight[:7]
        for block in model.blocks:
            h = h + attention_by_hand(block, normalized(block.norm1, h))
            hidden = normalized(block.norm2, h) @ block.fc1.weight.mT + block.fc1.bias
            h = h + functional.gelu(hidden) @ block.fc2.weight.mT + block.fc2.bias
        expected = normalized(model.norm, h) @ model.head.weight.mT + model.head.bias
        assert_close(model(tokens[None])[0], expected)


def test_no_position_sees_a_later_one():
    model, tokens = transformer(), text()
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % VOCABULARY
    before, after = model(tokens), model(changed)
    assert_close(after[:, :5], before[:, :5], rtol=0, atol=1e-14)
    assert bool(((after - before)[:, 5:].abs().amax(-1) > 1e-3).all())


def test_examples_do_not_interact():
    model, tokens = transformer(), text()
    assert_close(model(tokens)[1:2], model(tokens[1:2]))


def test_every_map_is_a_module_of_its_own():
    named = {name for name, module in transformer().named_modules() if isinstance(module, nn.Linear)}
    layers = ("q", "k", "v", "out", "fc1", "fc2")
    assert named == {f"blocks.{block}.{layer}" for block in range(DEPTH) for layer in layers} | {"head"}


def test_parameters_are_float64_unless_asked_otherwise():
    assert {p.dtype for p in transformer().parameters()} == {torch.float64}
    assert {p.dtype for p in transformer(torch.float32).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "wrong", [{"vocabulary": 0}, {"context": 0}, {"width": -6}, {"heads": 0}, {"depth": 0}, {"heads": 4}]
)
def test_unusable_sizes_are_refused(wrong):
    sizes = {"vocabulary": 11, "context": 9, "width": 6, "heads": 2, "depth": 2} | wrong
    with pytest.raises(InputError, match=r"CharTransformer: got {.*}; wanted positive integers, width a multiple"):
        CharTransformer(**sizes)


def test_a_text_longer_than_the_context_is_refused():
    with pytest.raises(InputError, match=r"got sequences of 10 characters; wanted at most 9; shorten them"):
        transformer()(text(length=CONTEXT + 1))
