"""What a network's weights are like, whatever they were trained on: norms, stable ranks, balance of neurons."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ansatzlab.laws.kuzborskij2025lowrank.descent import ACTIVATIONS
from ansatzlab.laws.kuzborskij2025lowrank.network import Network, evaluate, read_network, widened


@dataclass(frozen=True)
class LayerStructure:
    """What one trained matrix is like.

    Attributes:
        name: The parameter's name.
        degree: p, the power by which the outputs grow with it.
        squared_norm: ‖W‖², Frobenius.
        stable_rank: ‖W‖² over the squared spectral norm, 1 for rank one; nan for zero, or if it is no matrix.
    """

    name: str
    degree: int
    squared_norm: float
    stable_rank: float


@dataclass(frozen=True)
class Structure:
    """What a network's weights are like, whatever they were trained on.

    Attributes:
        layers: Its trained matrices, first to last.
        spread: Largest less smallest ``‖W_k‖²/p_k``, over the largest; nan for zero weights.
        neuron_imbalance: Of a chain, the largest ``| ‖row_j W_k‖²/q − ‖column_j W_{k+1}‖² |`` over hidden neurons whose
            both sides are trained, over the largest such side, q the activation's degree; nan without one.
        rank_product: Of a chain, the product of the stable ranks of all its matrices; nan of other networks.
        rank_bound: Of a chain of degree 1, ``(Π ‖W_k‖ · min_i ‖x_i‖/|f(x_i)|)²`` over the inputs with an output,
            which the product never exceeds.
    """

    layers: tuple[LayerStructure, ...]
    spread: float
    neuron_imbalance: float
    rank_product: float
    rank_bound: float


def stable_rank(weight: Float[Tensor, "o i"]) -> float:
    """Return ``‖W‖_F² / ‖W‖_2²``, between 1 and the rank; nan of zero.

    Example:
        >>> stable_rank(torch.diag(torch.tensor([2.0, 1.0])))
        1.25
    """
    largest = float(torch.linalg.matrix_norm(weight, 2)) if weight.numel() else 0.0
    return float(weight.square().sum()) / largest**2 if largest else math.nan


def structure_of(model: nn.Module, inputs: Tensor) -> Structure:
    """Say what a network's weights are like: norms, stable ranks, balance of its neurons.

    Args:
        model: A network without biases, homogeneous in every trained matrix, with one output; it is not changed.
        inputs: Examples that it accepts.

    Returns:
        The structure.

    Raises:
        ModelError: If it is another network, or has weights that are not finite.

    Precision:
        The network's own dtype, but at least float32.
    """
    model, inputs = widened(model, inputs)
    with torch.no_grad():
        return read_structure(read_network(model, inputs), inputs, evaluate(model, inputs))


def read_structure(network: Network, inputs: Tensor, outputs: Tensor) -> Structure:
    """Return the structure of a network that was read, given its outputs on the inputs."""
    layers = tuple(
        LayerStructure(
            name=name,
            degree=network.degrees[name],
            squared_norm=float(weight.square().sum()),
            stable_rank=stable_rank(weight) if weight.ndim == 2 else math.nan,
        )
        for name, weight in ((name, network.weights[name]) for name in network.trained)
    )
    shares = [layer.squared_norm / layer.degree for layer in layers]
    product = math.prod(map(stable_rank, network.matrices)) if network.activation else math.nan
    return Structure(
        layers=layers,
        spread=(max(shares) - min(shares)) / max(shares) if max(shares) else math.nan,
        neuron_imbalance=_neuron_imbalance(network),
        rank_product=product,
        rank_bound=_rank_bound(network, inputs, outputs),
    )


def _neuron_imbalance(network: Network) -> float:
    if not network.activation:
        return math.nan
    degree, worst = ACTIVATIONS[network.activation].degree, []
    for (lower, W), (upper, V) in pairwise(network.weights.items()):
        incoming, outgoing = W.square().sum(1) / degree, V.square().sum(0)
        scale = float(torch.maximum(incoming, outgoing).max())
        if scale and {lower, upper} <= set(network.trained):
            worst.append(float((incoming - outgoing).abs().max()) / scale)
    return max(worst, default=math.nan)


def _rank_bound(network: Network, inputs: Tensor, outputs: Tensor) -> float:
    """Return ``(Π ‖W_k‖_F · min ‖x‖/|f(x)|)²``: ``|f(x)| ≤ ‖x‖ Π ‖W_k‖_2`` divided by the Frobenius norms, squared.

    An input without an output, such as zero, bounds nothing.
    """
    if not network.activation or ACTIVATIONS[network.activation].degree != 1 or not bool(outputs.any()):
        return math.nan
    norms, seen = math.prod(float(weight.norm()) for weight in network.matrices), outputs != 0
    return (norms * float((inputs[seen].norm(dim=1) / outputs[seen].abs()).min())) ** 2
