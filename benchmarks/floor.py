"""How fast measuring could be: its arithmetic at the machine's own matrix-product rate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from benchmarks.timing import Row, median_seconds

SIZE = 2048
"""Side of the square matrices whose product sets the rate."""


@dataclass(frozen=True)
class Work:
    """Floating-point operations of measuring a network exactly, an addition and a multiplication counted as two."""

    forward: float
    backwards: float
    grams: float

    def seconds(self, network_rate: float, gram_rate: float) -> float:
        """Return the time at these rates: of the network's products, and of the sums of ``b bᵀ``."""
        return (self.forward + self.backwards) / network_rate + self.grams / gram_rate


def matmul_rate(dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a square matrix product."""
    a, b = torch.randn(2, SIZE, SIZE, dtype=dtype)
    return 2 * SIZE**3 / median_seconds(lambda: a @ b)


def mlp_work(widths: Sequence[int], n: int) -> Work:
    """Return the work for an MLP: one forward, one backward per output to the first layer's output, ``BᵀB`` per layer.

    ``BᵀB`` counts as a full product; its symmetry could save half.
    """
    sizes = [i * o for i, o in pairwise(widths)]
    c = widths[-1]
    return Work(
        forward=2 * n * sum(sizes),
        backwards=2 * n * c * sum(sizes[1:]),
        grams=2 * n * c * sum(o * o for o in widths[1:]),
    )


def decomposition_seconds(widths: Sequence[int]) -> float:
    """Return the time of one float64 eigendecomposition per layer, of the smaller side."""
    total = 0.0
    for pair in pairwise(widths):
        root = torch.randn(min(pair), min(pair), dtype=torch.float64)
        total += median_seconds(lambda gram=root @ root.mT: torch.linalg.eigh(gram))
    return total


def floor_notes(widths: Sequence[int], n: int) -> dict[str, object]:
    """Return the floors of measuring an MLP, with float32 and with float64 sums, and of its decompositions."""
    work, single, double = mlp_work(widths, n), matmul_rate(torch.float32), matmul_rate(torch.float64)
    return {
        "float32_gflops": single / 1e9,
        "float64_gflops": double / 1e9,
        "forward_gflop": work.forward / 1e9,
        "backwards_gflop": work.backwards / 1e9,
        "grams_gflop": work.grams / 1e9,
        "floor_seconds": work.seconds(single, single),
        "floor_seconds_float64_sums": work.seconds(single, double),
        "decomposition_seconds": decomposition_seconds(widths),
    }


def run() -> Iterator[Row]:
    widths, n = (3072, 1024, 1024, 1024, 10), 1000
    name = f"MLP {'-'.join(map(str, widths))}, n = {n}"
    yield {"benchmark": "arithmetic floor of measure", "case": name, "notes": floor_notes(widths, n)}
