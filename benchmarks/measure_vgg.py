"""The patch AGOPs of all convolutions of a VGG11 in one pass, against one Jacobian by the patches per layer."""

import sys
from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

import ansatzlab
from ansatzlab.measurement.result import Measurement
from ansatzlab.models.conv import vgg11
from benchmarks.baselines import agreement, alignments, patch_baselines
from benchmarks.memory import memory_notes
from benchmarks.timing import Case, Row, compare

EXAMPLES = 16
"""As many as the slow way takes in about a minute; all of them at once, for both ways, is its fastest."""


def network() -> tuple[nn.Sequential, Tensor]:
    """Return VGG11 for images of 32 × 32 in float32, and its data."""
    torch.manual_seed(0)
    return vgg11(dtype=torch.float32), torch.randn(EXAMPLES, 3, 32, 32)


def measured(model: nn.Sequential, x: Tensor) -> Measurement:
    convolutions = [name for name, module in model.named_children() if isinstance(module, nn.Conv2d)]
    return ansatzlab.measure(model, [x], layers=convolutions, check="never")


def case() -> Case:
    model, x = network()
    return Case(
        "measure, all convolutions at α = ½",
        f"VGG11 on 32 × 32, 10 outputs, n = {EXAMPLES}",
        slow=lambda: alignments(patch_baselines(model, x, chunk=EXAMPLES)),
        ours=lambda: {name: layer.alignment(0.5).value for name, layer in measured(model, x).items()},
    )


def agops_case() -> Case:
    """Without the read-out, since most of the slow way's time is the roots of matrices of up to 4608 × 4608."""
    model, x = network()
    return Case(
        "measure, all convolutions, sums only",
        f"VGG11 on 32 × 32, 10 outputs, n = {EXAMPLES}",
        slow=lambda: patch_baselines(model, x, chunk=EXAMPLES),
        ours=lambda: measured(model, x),
    )


def run() -> Iterator[Row]:
    model, x = network()
    double = patch_baselines(deepcopy(model).double(), x.double(), chunk=EXAMPLES)
    notes = agreement(patch_baselines(model, x, chunk=EXAMPLES), double, measured(model, x))
    yield compare(case(), notes=notes | memory_notes(sys.modules[__name__]))
    yield compare(agops_case())
