"""All layers of an MLP in one pass, against one Jacobian of a rebuilt sub-network per layer."""

import sys
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn

import ansatzlab
from ansatzlab.measurement.result import Measurement
from benchmarks.baselines import agreement, alignments, dense_baselines
from benchmarks.floor import floor_notes
from benchmarks.memory import memory_notes
from benchmarks.timing import Case, Row, compare

LARGE = (3072, 1024, 1024, 1024, 10)
CASES = (
    (LARGE, 1000, torch.float64, 100),
    (LARGE, 1000, torch.float32, 100),
    ((784, 512, 512, 512, 10), 500, torch.float32, 250),
    ((64, 128, 128, 10), 1000, torch.float32, 1000),
)
"""Widths, numbers of examples, dtypes, and examples at a time in ours.

Only in float64 do both ways give the same alignments to 1e-5. The slow way takes all examples at once, as a script does
(250 at a time save it 10 % of time and memory).
"""


def network(number: int) -> tuple[nn.Sequential, Tensor]:
    """Return a ReLU network and its data."""
    widths, n, dtype, _ = CASES[number]
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to(dtype), torch.randn(n, widths[0]).to(dtype)


def measured(model: nn.Sequential, x: Tensor, batch: int) -> Measurement:
    return ansatzlab.measure(model, x.split(batch), check="never")


def case(number: int = 0) -> Case:
    model, x = network(number)
    widths, n, dtype, batch = CASES[number]
    return Case(
        "measure, all layers at α = ½",
        f"MLP {'-'.join(map(str, widths))}, n = {n}, {str(dtype).removeprefix('torch.')}",
        slow=lambda: alignments(dense_baselines(model, x, chunk=len(x))),
        ours=lambda: {name: layer.alignment(0.5).value for name, layer in measured(model, x, batch).items()},
    )


def run() -> Iterator[Row]:
    for number, (widths, n, _, batch) in enumerate(CASES):
        model, x = network(number)
        double = dense_baselines(deepcopy(model).double(), x.double(), chunk=len(x))
        notes = agreement(dense_baselines(model, x, chunk=len(x)), double, measured(model, x, batch))
        notes |= memory_notes(sys.modules[__name__], number)
        row = compare(case(number), notes=notes | floor_notes(widths, n))
        row["notes"]["share_of_floor"] = row["notes"]["floor_seconds"] / row["our_seconds"]
        yield row
