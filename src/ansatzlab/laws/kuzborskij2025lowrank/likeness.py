"""How alike two networks are: the directions they write, and whether they had one start."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ansatzlab.laws.kuzborskij2025lowrank.network import Network


@dataclass(frozen=True)
class Overlap:
    """How alike the strongest directions are that a hidden layer writes in both networks.

    Attributes:
        layer: The parameter's name.
        width: The number of its outputs.
        value: ``|⟨q_A, q_B⟩|`` of the leading left singular vectors.
        strength_ratio: The second network's spectral norm over the first's.
    """

    layer: str
    width: int
    value: float
    strength_ratio: float

    @property
    def expected(self) -> float:
        """The root mean square of independent directions, ``1/√width``."""
        return 1 / math.sqrt(self.width)


def overlaps_of(networks: Sequence[Network], summed: Collection[str]) -> tuple[Overlap, ...]:
    """Return how alike the hidden layers of two networks are.

    Args:
        networks: The two.
        summed: The names of the weights that are not the same in both.

    Returns:
        One overlap for each hidden layer; none where a weight is the same in both.
    """
    one, other = networks
    found: list[Overlap] = []
    for name, W in one.weights.items():
        V = other.weights[name]
        if name not in summed:
            return ()
        if W.ndim != 2 or W.shape[0] == 1:
            continue
        (q, s, _), (p, t, _) = (torch.linalg.svd(each, full_matrices=False) for each in (W, V))
        ratio = float(t[0] / s[0]) if s[0] else math.nan
        found.append(Overlap(name, len(W), abs(float(q[:, 0] @ p[:, 0])), ratio))
    return tuple(found)


def start_cosine(one: Network, other: Network, inputs: Tensor) -> float:
    """Return the cosine of two first layers off all the inputs, where descent leaves nothing but their starts.

    Args:
        one: A network.
        other: Another, of the same shape.
        inputs: What either was trained on.

    Returns:
        The cosine; nan if the inputs leave no direction or the first layers are no matrices on them.
    """
    W, V = one.matrices[0].double(), other.matrices[0].double()
    x = inputs.reshape(len(inputs), -1).double()
    if W.ndim != 2 or W.shape[1] != x.shape[1]:
        return math.nan
    values, vectors = torch.linalg.eigh(x.mT @ x)
    off = vectors[:, values <= len(values) * torch.finfo(values.dtype).eps * values[-1]]
    left = [weight @ off for weight in (W, V)]
    size = float(left[0].norm() * left[1].norm())
    return float((left[0] * left[1]).sum()) / size if size else math.nan
