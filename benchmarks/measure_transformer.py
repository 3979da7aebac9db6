"""Every head of every q, k and v of a character transformer in one pass, against one Jacobian per head."""

import sys
from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor

import ansatzlab
from ansatzlab import LayerMeasurement
from ansatzlab.models.transformer import CharTransformer
from benchmarks.baselines import Head, agreement, alignments, head_baselines, head_rows
from benchmarks.memory import memory_notes
from benchmarks.timing import Case, Row, compare

VOCABULARY, CONTEXT, WIDTH, HEADS, DEPTH = 65, 32, 128, 4, 4
EXAMPLES = 16
"""As many as the slow way takes in about a minute."""

CHUNK = 8
"""Examples at a time in the slow way: 16 are no faster and take twice the memory, fewer than 8 are slower."""


def network() -> tuple[CharTransformer, Tensor]:
    """Return the transformer in float32, and sequences of characters."""
    torch.manual_seed(0)
    model = CharTransformer(VOCABULARY, CONTEXT, WIDTH, HEADS, DEPTH, dtype=torch.float32)
    return model, torch.randint(VOCABULARY, (EXAMPLES, CONTEXT))


def measured(model: CharTransformer, tokens: Tensor) -> dict[Head, LayerMeasurement]:
    """Return every head of every q, k and v; the outputs are the logits at the last position."""
    projections = [f"blocks.{block}.{name}" for block in range(DEPTH) for name in ("q", "k", "v")]
    m = ansatzlab.measure(model, [tokens], layers=projections, output=lambda logits: logits[:, -1], check="never")
    heads = [head_rows(block) for block in model.blocks for _ in ("q", "k", "v")]
    return {
        (name, head): m[name].rows(rows)
        for name, rows_of_heads in zip(projections, heads, strict=True)
        for head, rows in enumerate(rows_of_heads)
    }


def case() -> Case:
    model, tokens = network()
    return Case(
        "measure, every Q, K and V head at α = ½",
        f"transformer, {DEPTH} layers, {HEADS} heads, width {WIDTH}, {CONTEXT} characters, n = {EXAMPLES}",
        slow=lambda: alignments(head_baselines(model, tokens, chunk=CHUNK)),
        ours=lambda: {head: layer.alignment(0.5).value for head, layer in measured(model, tokens).items()},
    )


def run() -> Iterator[Row]:
    model, tokens = network()
    double = head_baselines(deepcopy(model).double(), tokens, chunk=CHUNK)
    notes = agreement(head_baselines(model, tokens, chunk=CHUNK), double, measured(model, tokens))
    yield compare(case(), notes=notes | memory_notes(sys.modules[__name__]))
