"""Balance: the conservation law behind the ansatz in linear networks."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor

Matrix = Float[Tensor, "*_r _o _i"]
Imbalance = Float[Tensor, "*_r _m _m"]


def imbalance(weights: Sequence[Matrix]) -> list[Imbalance]:
    """Return how far neighbouring layers are from balance.

    Definition:
        ``D_l = W_{l+1}ᵀ W_{l+1} − W_l W_lᵀ`` for l = 1 … L − 1. Under gradient flow of any loss with decay λ,
        ``D_l(t) = e^{−2λt} D_l(0)``.

    Args:
        weights: The weight matrices from the first layer to the last, without biases; of a stack of networks, stacks.

    Returns:
        The L − 1 matrices D_l, shape (m_l, m_l), or stacks of them.

    Source:
        tansley2025nfa, claims (i) and (ii); derived in docs/devdocs/balance.md.

    Example:
        >>> import torch
        >>> imbalance([torch.eye(2), 2 * torch.eye(2)])[0]
        tensor([[3., 0.],
                [0., 3.]])
    """
    return [upper.mT @ upper - lower @ lower.mT for lower, upper in pairwise(weights)]


def next_imbalance(
    current: Sequence[Imbalance],
    gradients: Sequence[Matrix],
    *,
    learning_rate: float | Float[Tensor, "r 1 1"],
    weight_decay: float | Float[Tensor, "r 1 1"],
) -> list[Imbalance]:
    """Return the imbalance after one step of gradient descent with coupled decay, exactly.

    Definition:
        ``D ← (1 − ηλ)² D + η² (g_{l+1}ᵀ g_{l+1} − g_l g_lᵀ)``, g the gradient of the data loss on the step's batch: the
        terms of first order in η cancel in a linear network, for any loss and any batch.

    Args:
        current: The imbalance before the step.
        gradients: The gradient of the data loss by each weight matrix at the weights before the step.
        learning_rate: η; one per network for stacks.
        weight_decay: λ; likewise.

    Returns:
        The imbalance after it.

    Precision:
        Rounding of the products, relative to ‖W_l W_lᵀ‖ and not to a small D.

    Source:
        Derived in docs/devdocs/balance.md.
    """
    kept = (1 - learning_rate * weight_decay) ** 2
    return [kept * d + learning_rate**2 * source for d, source in zip(current, imbalance(gradients), strict=True)]
