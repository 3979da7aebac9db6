"""What is foretold of a merged network, derived for this project."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.laws.kuzborskij2025lowrank.descent import Descent


def foretold_bounds(
    readout: Float[Tensor, "1 m"],
    other_start: Float[Tensor, "m d"],
    other_inputs: Float[Tensor, "k d"],
    inputs: Float[Tensor, "n d"],
    descent: Descent,
) -> Float[Tensor, " n"]:
    """Bound by how much merging moves the outputs, from the other network's start alone, without its training.

    Definition:
        One hidden ReLU layer with a shared readout u, of which only W is trained. Along gradient descent
        ``W′(t) x = κ^t W′(0) x − η Σ_s κ^{t−1−s} (1/n) Σ_i c_i(s) ⟨x′_i, x⟩`` with κ = 1 − 2ηλ and ``‖c_i‖ ≤ ‖u‖``, so
        ``|f_merged(x) − f(x)| ≤ ‖u‖ ‖W′(t) x‖ ≤ ‖u‖ (κ^t ‖W′(0) x‖ + η ‖u‖ max_i |⟨x′_i, x⟩| Σ_{s<t} κ^s)``.

    Args:
        readout: u.
        other_start: W′(0).
        other_inputs: What the other network is trained on.
        inputs: Where the bounds are wanted.
        descent: How the other network is trained, for as many steps as ``descent.steps``.

    Returns:
        The bounds.
    """
    size, left = readout.norm(), descent.kept**descent.steps
    passed = descent.steps if descent.kept == 1 else (1 - left) / (1 - descent.kept)
    alike = (inputs @ other_inputs.mT).abs().amax(1)
    forgotten = left * (inputs @ other_start.mT).norm(dim=1)
    bounds: Tensor = size * (forgotten + descent.learning_rate * passed * size * alike)
    return bounds


def rank_one_deviation(own: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Foretell ``|f_merged/f − 1|`` of deep linear networks from the leading singular triplets of their matrices.

    Definition:
        With rank-one layers ``W_k = s_k l_k r_kᵀ`` and orthogonal inputs the other network is silent in the first
        layer. From there on what the own network writes along l is read by both, and so is what the other writes. With
        two layers it is ``(s′_2/s_2) |⟨r′_2, l_1⟩|``: the overlap of the hidden directions, times how much stronger the
        other readout is.

    Args:
        own: The matrices of the network whose inputs are seen.
        other: Those of the other.

    Returns:
        The relative deviation.
    """
    mine, theirs = ([_leading(weight) for weight in each] for each in (own, other))
    own_output, merged = mine[0][1] * mine[0][0], mine[0][1] * mine[0][0]
    for (left, s, right), (p, t, q) in zip(mine[1:], theirs[1:], strict=True):
        own_output = s * (right @ own_output) * left
        merged = s * (right @ merged) * left + t * (q @ merged) * p
    return float((merged / own_output - 1).abs())


def _leading(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    left, sizes, right = torch.linalg.svd(weight, full_matrices=False)
    return left[:, 0], sizes[0], right[0]
