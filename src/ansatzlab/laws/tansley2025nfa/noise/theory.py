"""The noise floor before any noise is drawn: from the full-batch minimum."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import InputError
from ansatzlab.training.balance import Imbalance, Matrix
from ansatzlab.training.objective import LinearSquareLoss

STEPS, CONVERGED, COLLAPSED = 20_000, 1e-9, 1e-2
"""How the minimum is sought: most steps, largest relative gradient at the end, smallest share of the weights left."""


def balanced_minimum(data: Dataset, depth: int, weight_decay: float) -> list[Matrix]:
    """Return the balanced minimum of the penalised square loss of a deep linear network, as narrow as its outputs.

    Definition:
        Descent on ``loss + (λ/2)‖θ‖²`` from the balanced factorisation ``W_l = s^{1/L}`` of the least-squares solution
        ``U diag(s) Vᵀ``, where it stays balanced.

    Args:
        data: The data set.
        depth: L.
        weight_decay: λ.

    Returns:
        The weights from the first layer to the last.

    Raises:
        InputError: If the decay sends the weights to zero, or the descent has not converged after `STEPS` steps.
    """
    solution = torch.linalg.lstsq(data.inputs, data.targets, driver="gelsd").solution.mT
    U, s, Vh = torch.linalg.svd(solution, full_matrices=False)
    root = s ** (1 / depth)
    weights = [root[:, None] * Vh, *[torch.diag(root)] * (depth - 2), U * root]
    objective = LinearSquareLoss(data)
    curvature = float(torch.linalg.matrix_norm(data.inputs, ord=2)) ** 2 / len(data.inputs)
    rate = 1 / (depth * curvature * max(1.0, float(root[0])) ** (2 * depth - 2))
    least = COLLAPSED * _norm(weights)
    for _ in range(STEPS):
        gradients = [g + weight_decay * W for g, W in zip(objective(weights)[1], weights, strict=True)]
        size = _norm(weights)
        if _norm(gradients) <= CONVERGED * weight_decay * size:
            return weights
        if size < least:
            break
        weights = [W - rate * g for W, g in zip(weights, gradients, strict=True)]
    raise InputError(
        f"balanced_minimum: with weight_decay {weight_decay:g} the weights fell to {_norm(weights):.1e}, where the "
        f"gradient is {_norm(gradients):.1e}; wanted a minimum well away from zero; lower the decay."
    )


def predicted_brackets(weights: Sequence[Matrix], data: Dataset, batch_size: int) -> list[Imbalance]:
    """Return ``E[g_{l+1}ᵀ g_{l+1} − g_l g_lᵀ]`` of batches drawn with replacement, at a balanced minimum.

    Definition:
        ``(1/mn) Σ_i (‖e_{l+1}‖² h_l h_lᵀ − ‖h_{l−1}‖² e_l e_lᵀ)``: of example i, ``h_l`` what leaves layer l and
        ``e_l`` the loss gradient there. The part of the mean gradient, which is −λW, is ``(1 − 1/m) λ² D_l``, zero if
        balanced.

    Args:
        weights: The weights of a balanced minimum.
        data: The data set.
        batch_size: m.

    Returns:
        One matrix per pair of layers.

    Source:
        Derived in docs/devdocs/balance.md.
    """
    entering = [data.inputs]
    for W in weights:
        entering.append(entering[-1] @ W.mT)
    leaving = [entering[-1] - data.targets]
    for W in reversed(weights[1:]):
        leaving.insert(0, leaving[0] @ W)
    scale = 1 / (batch_size * len(data.inputs))
    return [
        scale * (_weighted(entering[layer], leaving[layer]) - _weighted(leaving[layer - 1], entering[layer - 1]))
        for layer in range(1, len(weights))
    ]


def _weighted(vectors: Tensor, weights: Tensor) -> Imbalance:
    """Return ``Σ_i ‖w_i‖² v_i v_iᵀ``."""
    return (vectors * weights.square().sum(1, keepdim=True)).mT @ vectors


def _norm(parts: Sequence[Tensor]) -> float:
    return float(torch.stack([part.norm() for part in parts]).norm())
