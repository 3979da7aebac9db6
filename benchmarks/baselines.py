"""What published scripts do: for each layer, rebuild the rest of the network and take its full Jacobian.

Nothing here uses the identity ``G = WᵀKW``: every AGOP comes from a Jacobian by the layer's own input. Everything runs
under ``no_grad``, so that no graph by the parameters is kept: faster and smaller than most scripts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from ansatzlab import LayerMeasurement
from ansatzlab.linalg.similarity import cosine
from ansatzlab.models.transformer import Block, CharTransformer

Head = tuple[str, int]
"""An attention projection by name, and one of its heads."""

Key = TypeVar("Key", str, Head)
"""A layer's name, or a head."""

TOLERANCE = 1e-5
"""How far ours, of a float32 network, may be from the slow way: AGOPs relatively, alignments absolutely."""


@dataclass(frozen=True)
class Baseline:
    """One map of the network as the slow way sees it: its weight (o, i) and its AGOP (i, i)."""

    weight: Tensor
    agop: Tensor

    def alignment(self, exponent: float) -> float:
        """Return the cosine of ``WᵀW`` with a power of the AGOP, from full matrices, in their own dtype."""
        return cosine(self.weight.mT @ self.weight, matrix_power(self.agop, exponent))


def matrix_power(gram: Tensor, exponent: float) -> Tensor:
    """Return a power of a positive semi-definite matrix by its eigendecomposition, rounding below zero clamped."""
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp(min=0).pow(exponent)) @ vectors.mT


def mean_outer_product(function: Callable[..., Tensor], *inputs: Tensor, chunk: int, equation: str) -> Tensor:
    """Return the mean over examples of the outer product of the Jacobian by the first input, ``chunk`` at a time."""
    total: Tensor | None = None
    for part in zip(*(each.split(chunk) for each in inputs), strict=True):
        jacobian = vmap(jacrev(function))(*part)
        found = torch.einsum(equation, jacobian, jacobian)
        total = found if total is None else total + found
    return total / len(inputs[0])


@torch.no_grad()
def dense_baselines(model: nn.Sequential, x: Tensor, *, chunk: int) -> dict[str, Baseline]:
    """Return every linear layer of a chain: the Jacobian (n, c, i) of the layers from it on, by its input."""
    found = {}
    for index, (name, module) in enumerate(model.named_children()):
        if isinstance(module, nn.Linear):
            agop = mean_outer_product(model[index:], model[:index](x), chunk=chunk, equation="nci,ncj->ij")
            found[name] = Baseline(module.weight.detach(), agop)
    return found


@torch.no_grad()
def patch_baselines(model: nn.Sequential, x: Tensor, *, chunk: int) -> dict[str, Baseline]:
    """Return every convolution of a chain: the Jacobian (n, c, i·k·k, p) by the p patches of its input.

    The convolution is a matrix product with the unfolded patches; each patch counts as an input of its own, and the
    AGOP sums over them.
    """
    found = {}
    for index, (name, module) in enumerate(model.named_children()):
        if isinstance(module, nn.Conv2d):
            h = model[:index](x)
            geometry = {
                "kernel_size": module.kernel_size,
                "stride": module.stride,
                "padding": module.padding,
                "dilation": module.dilation,
            }
            patches = functional.unfold(h, **geometry)
            size = module(h[:1]).shape[-2:]
            rest = from_patches(module, size, model[index + 1 :])
            agop = mean_outer_product(rest, patches, chunk=chunk, equation="ncip,ncjp->ij")
            found[name] = Baseline(module.weight.detach().flatten(1), agop)
    return found


def from_patches(conv: nn.Conv2d, size: torch.Size, rest: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return the network from one example's patches (i·k·k, p) on."""

    def outputs(patches: Tensor) -> Tensor:
        z = conv.weight.flatten(1) @ patches + conv.bias[:, None]
        return rest(z.unflatten(1, size)[None])[0]

    return outputs


@torch.no_grad()
@sdpa_kernel(SDPBackend.MATH)  # the fused kernel has no batching rule: under vmap it falls back to a loop over examples
def head_baselines(model: CharTransformer, tokens: Tensor, *, chunk: int) -> dict[Head, Baseline]:
    """Return every head of every q, k and v: the Jacobian (n, c, s, i) of the last position's logits.

    It is taken by the copy of the normalised stream (s, i) that enters that head of that projection; every other use of
    the stream stays fixed. The AGOP sums over positions.
    """
    found = {}
    stream = model.token(tokens) + model.position(torch.arange(tokens.shape[1]))
    for number, block in enumerate(model.blocks):
        copies = block.norm1(stream)
        for projection in ("q", "k", "v"):
            layer = getattr(block, projection)
            for head, rows in enumerate(head_rows(block)):
                rest = from_head(model, number, projection, rows)
                agop = mean_outer_product(rest, copies, stream, chunk=chunk, equation="ncsi,ncsj->ij")
                found[f"blocks.{number}.{projection}", head] = Baseline(layer.weight[rows].detach(), agop)
        stream = block(stream)
    return found


def head_rows(block: Block) -> list[slice]:
    """Return the rows of q, k and v that make up each head."""
    width = len(block.q.weight) // block.heads
    return [slice(head * width, (head + 1) * width) for head in range(block.heads)]


def from_head(model: CharTransformer, number: int, projection: str, rows: slice) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the network from one block on: of the copy (s, i) that enters one head, and of the stream (s, i)."""
    block = model.blocks[number]

    def outputs(copy: Tensor, stream: Tensor) -> Tensor:
        a = block.norm1(stream)
        maps = {name: getattr(block, name)(a) for name in ("q", "k", "v")}
        layer, z = getattr(block, projection), maps[projection]
        own = copy @ layer.weight[rows].mT + layer.bias[rows]
        maps[projection] = torch.cat([z[:, : rows.start], own, z[:, rows.stop :]], dim=1)
        h = stream + block.attend(**{name: z[None] for name, z in maps.items()})[0]
        h = h + block.fc2(functional.gelu(block.fc1(block.norm2(h))))
        return model.head(model.norm(model.blocks[number + 1 :](h[None])[0, -1]))

    return outputs


def alignments(baselines: Mapping[Key, Baseline]) -> dict[Key, float]:
    """Return the cosine of ``WᵀW`` with the AGOP's square root for every map, as a script in float32 finds it."""
    return {name: baseline.alignment(0.5) for name, baseline in baselines.items()}


def agreement(
    single: Mapping[Key, Baseline], double: Mapping[Key, Baseline], layers: Mapping[Key, LayerMeasurement]
) -> dict[str, object]:
    """Return how far ours is from the slow way, at most, over all maps; refuse more than `TOLERANCE`.

    AGOPs are compared with those of the slow way in float32, in the Frobenius norm relative to them. Alignments are
    compared with those of the slow way in **float64**: in float32 its own are wrong by more than the tolerance, since
    the square root enlarges the rounding in the null space of a rank-deficient AGOP (their error is returned too).
    """
    if not list(single) == list(double) == list(layers):
        raise AssertionError(f"got {list(layers)}; wanted {list(single)}")
    agops, ours, theirs = [], [], []
    for name, layer in layers.items():
        wanted, truth = single[name].agop.double(), double[name].alignment(0.5)
        agops.append(float((layer.agop() - wanted).norm() / wanted.norm()))
        ours.append(abs(layer.alignment(0.5).value - truth))
        theirs.append(abs(single[name].alignment(0.5) - truth))
    if max(agops + ours) > TOLERANCE:
        raise AssertionError(f"AGOPs differ by up to {max(agops):.1e}, alignments by up to {max(ours):.1e}")
    return {"agop_error": max(agops), "alignment_error": max(ours), "slow_alignment_error": max(theirs)}
