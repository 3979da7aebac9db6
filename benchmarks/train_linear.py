"""A gradient of a deep linear network from sufficient statistics, against autograd over the examples."""

from collections.abc import Iterator

import torch

from ansatzlab.data.registry import load
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.training.objective import LOSSES, LinearSquareLoss, NetworkLoss
from benchmarks.timing import Case, compare

GRADIENTS = 50


def run() -> Iterator[dict[str, object]]:
    for n in (1_000, 4_000, 16_000):
        data = load("low_rank_linear", size=n, input_dim=32, output_dim=10)
        model = DeepLinear([32, 32, 32, 32, 10])
        initialize(model, "gaussian", seed=0)
        weights = [p.detach() for p in model.parameters()]
        ours, slow = LinearSquareLoss(data), NetworkLoss(model, data, LOSSES["square"])
        for got, wanted in zip(ours(weights)[1], slow(weights)[1], strict=True):
            torch.testing.assert_close(got, wanted)
        yield compare(
            Case(
                f"{GRADIENTS} gradients, linear network of depth 4",
                f"width 32, n = {n}",
                slow=lambda slow=slow, weights=weights: [slow(weights) for _ in range(GRADIENTS)],
                ours=lambda ours=ours, weights=weights: [ours(weights) for _ in range(GRADIENTS)],
            )
        )
