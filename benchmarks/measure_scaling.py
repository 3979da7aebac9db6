"""Time and peak memory against the number of examples, and against the number of a layer's inputs."""

import math
import sys
from collections.abc import Iterator
from statistics import linear_regression

import torch
from torch import Tensor, nn

import ansatzlab
from ansatzlab import Measurement
from benchmarks.memory import peak_memory
from benchmarks.timing import Case, Row, median_seconds

SIZES = (1_000, 2_000, 4_000, 8_000, 16_000)
WIDTHS = (784, 512, 512, 10)
BATCH = 250
WIDE_INPUTS, WIDE_EXAMPLES, WIDE_BATCH = 150_528, 64, 16
"""A flattened image of 3 × 224 × 224."""


def batches(n: int, width: int, size: int) -> Iterator[Tensor]:
    """Yield n examples, each batch drawn when it is asked for."""
    for index in range(n // size):
        yield torch.randn(size, width, generator=torch.Generator().manual_seed(index))


def case(n: int, inputs: int = WIDTHS[0]) -> Case:
    """Return the measurement of n examples; of the wide network where that many inputs are asked for."""
    torch.manual_seed(0)
    if inputs == WIDE_INPUTS:
        model, size = nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 10)), WIDE_BATCH
    else:
        hidden = [nn.Linear(WIDTHS[0], WIDTHS[1]), nn.ReLU(), nn.Linear(WIDTHS[1], WIDTHS[2]), nn.ReLU()]
        model, size = nn.Sequential(*hidden, nn.Linear(WIDTHS[2], WIDTHS[3])), BATCH

    def sums() -> Measurement:
        return ansatzlab.measure(model, batches(n, inputs, size), check="never")

    def ours() -> dict[str, float]:
        return {name: layer.alignment(0.5).value for name, layer in sums().items()}

    return Case("sums, and all layers at α = ½", f"{inputs} inputs, n = {n}", slow=sums, ours=ours)


def run() -> Iterator[Row]:
    module = sys.modules[__name__]
    seconds = [median_seconds(case(n).slow) for n in SIZES]
    memories = [peak_memory(module, "ours", n).above for n in SIZES]
    for n, taken, memory in zip(SIZES, seconds, memories, strict=True):
        yield {
            "benchmark": "measure, the sums; peak with all layers at α = ½",
            "case": f"MLP {'-'.join(map(str, WIDTHS))}, n = {n}",
            "our_seconds": taken,
            "notes": {"our_peak_mib": memory / 2**20},
        }
    slope = linear_regression([math.log(n) for n in SIZES], [math.log(taken) for taken in seconds]).slope
    yield {
        "benchmark": "scaling of measure",
        "case": f"n = {SIZES[0]} to {SIZES[-1]}",
        "notes": {"time_slope": slope, "largest_over_smallest_peak": max(memories) / min(memories)},
    }
    wide = peak_memory(module, "ours", WIDE_EXAMPLES, WIDE_INPUTS)
    yield {
        "benchmark": "measure, all layers at α = ½",
        "case": f"MLP {WIDE_INPUTS}-256-10, n = {WIDE_EXAMPLES}",
        "our_seconds": median_seconds(case(WIDE_EXAMPLES, WIDE_INPUTS).ours),
        "notes": {"process_peak_mib": wide.peak / 2**20, "our_peak_mib": wide.above / 2**20},
    }
