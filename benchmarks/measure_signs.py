"""Random signs: their cost against one training step, and their error and speed against every output of a thousand."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

import ansatzlab
from ansatzlab import Exact, Signs
from benchmarks import measure_mlp, measure_vgg
from benchmarks.timing import Case, Row, compare

OUTPUTS, EXAMPLES, BATCH, DRAWS = 1000, 256, 64, 32


def training_step(model: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of one step: forward, backward, no optimiser."""
    return torch.autograd.grad(functional.cross_entropy(model(x), labels), list(model.parameters()))


def step_cases() -> Iterator[Case]:
    """Yield one batch measured with one draw of signs, against one training step on it."""
    for name, (model, x) in {
        "MLP 3072-1024-1024-1024-10": measure_mlp.network(1),
        "VGG11": measure_vgg.network(),
    }.items():
        labels = torch.arange(len(x)) % 10
        yield Case(
            "Signs(1), sums of one batch, against one training step",
            f"{name}, batch of {len(x)}",
            slow=lambda model=model, x=x, labels=labels: training_step(model, x, labels),
            ours=lambda model=model, x=x: ansatzlab.measure(model, [x], seeds=Signs(1), check="never"),
        )


def many_outputs() -> tuple[nn.Sequential, Tensor]:
    """Return a float32 network of a thousand outputs, and its data."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i, o in pairwise((784, 512, 512, OUTPUTS)):
        layers += [nn.Linear(i, o), nn.ReLU()]
    return nn.Sequential(*layers[:-1]), torch.randn(EXAMPLES, 784)


def many_alignments(model: nn.Module, x: Tensor, seeds: Exact | Signs) -> dict[str, float]:
    m = ansatzlab.measure(model, x.split(BATCH), seeds=seeds, check="never")
    return {name: layer.alignment(0.5).value for name, layer in m.items()}


def run() -> Iterator[Row]:
    for case in step_cases():
        row = compare(case)
        row["notes"]["training_steps"] = row["our_seconds"] / row["slow_seconds"]
        yield row
    model, x = many_outputs()
    exact, signs = (many_alignments(model, x, seeds) for seeds in (Exact(), Signs(DRAWS)))
    yield compare(
        Case(
            f"Signs({DRAWS}) against Exact(), all layers at α = ½",
            f"MLP 784-512-512-{OUTPUTS}, n = {EXAMPLES}",
            slow=lambda: many_alignments(model, x, Exact()),
            ours=lambda: many_alignments(model, x, Signs(DRAWS)),
        ),
        notes={f"relative_error_{name}": abs(signs[name] - value) / value for name, value in exact.items()},
    )
