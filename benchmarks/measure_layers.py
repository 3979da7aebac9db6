"""All layers' AGOPs in one pass, against one Jacobian of a rebuilt sub-network per layer."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from ansatzlab.linalg.psd import gram_eigensystem, psd_power
from ansatzlab.linalg.similarity import cosine
from ansatzlab.measurement.run import measure
from benchmarks.timing import compare


def jacobian_agops(model: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Return every linear layer's AGOP the way published scripts do: from the Jacobian of the rest of the network."""
    agops = []
    for index, module in enumerate(model):
        if isinstance(module, nn.Linear):
            inputs = model[:index](x).detach()
            jacobian = vmap(jacrev(model[index:]))(inputs)
            agops.append(torch.einsum("nci,ncj->ij", jacobian, jacobian).detach() / len(x))
    return agops


def jacobian_alignments(model: nn.Sequential, x: Tensor) -> list[float]:
    """Return every linear layer's cosine with the square root of its AGOP, from full matrices."""
    weights = [module.weight.detach() for module in model if isinstance(module, nn.Linear)]
    return [
        cosine(W.mT @ W, psd_power(gram_eigensystem(G), 0.5))
        for W, G in zip(weights, jacobian_agops(model, x), strict=True)
    ]


def run() -> Iterator[dict[str, object]]:
    for widths, n in (((64, 128, 128, 10), 1000), ((784, 512, 512, 512, 10), 500)):
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for i, o in pairwise(widths):
            layers += [nn.Linear(i, o), nn.ReLU()]
        model = nn.Sequential(*layers[:-1])
        x = torch.randn(n, widths[0])
        ours = [layer.agop() for layer in measure(model, x).values()]
        for got, wanted in zip(ours, jacobian_agops(model, x), strict=True):
            torch.testing.assert_close(got, wanted.double(), rtol=1e-3, atol=1e-5 * float(wanted.abs().max()))
        yield compare(
            "measure, all layers at α = ½",
            f"MLP {'-'.join(map(str, widths))}, n = {n}",
            slow=lambda model=model, x=x: jacobian_alignments(model, x),
            ours=lambda model=model, x=x: [layer.alignment(0.5) for layer in measure(model, x).values()],
        )
