"""Rare firing: a strong neuron that hardly ever fires is large in the weights and small in the AGOP."""

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.counterexamples.descent import settle
from ansatzlab.counterexamples.family import Counterexample, demand, one_hidden_layer, random_signs, weights_of
from ansatzlab.training.dynamics import Optimizer

STEADY = 0.4
"""The learning rate, relative to the largest with which the descent is stable at its end: no neuron overshoots."""

SETTLED = 30.0
"""How many of its final time constants the slowest neuron is trained for."""


def rare_firing(*, seed: int, m: int = 16, largest: float = 10.0, rarity: float = 3.0) -> Counterexample:
    """Train neurons of disjoint supports whose strengths M_j fall in equal ratios from ``largest`` to 1.

    Definition:
        Input j is the j-th unit vector and counts ``p_j ∝ M_j^{−rarity}`` times; the network is to give ``±M_j`` on it.
        Each neuron learns one input: ``M = diag(M_j)`` and ``G = diag(p_j M_j²)``.

    Conventions:
        ``G ∝ M^{2 − rarity}``: up to a rarity of 2 the ansatz holds with the exponent 1/(2 − rarity) and not with
        ½; at 2 the AGOP is flat; beyond 2 its order is that of M reversed, and no positive exponent helps.

    Args:
        seed: Of the order, the signs and the start.
        m: The number of neurons and of inputs.
        largest: The largest M_j.
        rarity: How much rarer a stronger neuron fires.

    Returns:
        The counterexample.

    Raises:
        InputError: If there are fewer than 2 neurons, or ``largest`` is not above 1.
        DivergedError: If the training stops being finite.

    Source:
        Derived in docs/devdocs/counterexamples.md.
    """
    demand(
        "rare_firing",
        m=(m, m >= 2, "at least 2"),
        largest=(largest, 1 < largest <= 1e3, "more than 1, at most 1000"),
        rarity=(rarity, 0 <= rarity <= 4, "0 to 4"),
    )
    strengths = float(largest) ** torch.linspace(1, 0, m, dtype=torch.float64)
    return trained("rare_firing", strengths, multiplicities(strengths, rarity, rarest=1000), seed)


def reversed_spectrum(
    *, seed: int, m: int = 64, R: float = 50.0, rarity: float = 2.5, descend: bool = True
) -> Counterexample:
    """Train one strong neuron that fires rarely among equal ones: ``M = diag(R, 1, …, 1)``.

    Definition:
        As `rare_firing`, the rare input once: with R = 50 there are 1.1 million examples. The cosine with ``G^α``
        falls in α from its limit ``(R + m − 1)/√(m (R² + m − 1))`` at α → 0, which tends to ``1/√m`` as R grows: the
        least that matrices of one range can have.

    Args:
        seed: Of the order, the signs and the start.
        m: The number of neurons and of inputs.
        R: The strength of the strong one.
        rarity: How much more rarely it fires: ``R^{−rarity}`` times as often.
        descend: Whether it is trained, in about ``40 R^{rarity − 1}`` steps; if not, the descent's limit is written
            down.

    Returns:
        The counterexample.

    Raises:
        InputError: If there are fewer than 2 neurons, R is not above 1, or the rarity does not reverse the order.
        DivergedError: If the training stops being finite.

    Source:
        Derived in docs/devdocs/counterexamples.md.
    """
    demand(
        "reversed_spectrum",
        m=(m, m >= 2, "at least 2"),
        R=(R, 1 < R <= 1e3, "more than 1, at most 1000"),
        rarity=(rarity, 2 < rarity <= 4, "more than 2, at most 4"),
    )
    strengths = torch.ones(m, dtype=torch.float64)
    strengths[0] = R
    counts = multiplicities(strengths, rarity, rarest=1)
    return trained("reversed_spectrum", strengths, counts, seed, descend=descend)


def supremum(R: float, m: int) -> float:
    """Return the supremum over α > 0 of the cosine in `reversed_spectrum`: its limit at α → 0.

    Example:
        >>> round(supremum(50.0, 64), 3), round(supremum(1000.0, 64), 3)
        (0.279, 0.133)
    """
    return float((R + m - 1) / (m * (R**2 + m - 1)) ** 0.5)


def multiplicities(strengths: Float[Tensor, " m"], rarity: float, rarest: int) -> Float[Tensor, " m"]:
    """Return how often each input counts, whole numbers in the ratios ``M_j^{−rarity}``.

    Example:
        >>> multiplicities(torch.tensor([50.0, 1.0], dtype=torch.float64), 2.5, 1)
        tensor([1.0000e+00, 1.7678e+04], dtype=torch.float64)
    """
    return (rarest * (strengths / strengths.max()).pow(-rarity)).round()


def trained(
    family: str, strengths: Float[Tensor, " m"], counts: Float[Tensor, " m"], seed: int, *, descend: bool = True
) -> Counterexample:
    """Train a network whose neuron j is to have strength M_j and learns from an input of its own.

    Conventions:
        Gradient descent on the weighted square loss. The start is ``W = diag(s)``,
        ``V = ±s``, s uniform in [0.3, 0.5]: balanced, and descent keeps it so.
    """
    generator = torch.Generator().manual_seed(seed)
    m = len(strengths)
    order = torch.randperm(m, generator=generator)
    strengths, counts, signs = strengths[order], counts[order], random_signs(m, generator)
    size = 0.3 + 0.2 * torch.rand(m, generator=generator, dtype=torch.float64) if descend else strengths.sqrt()
    model = one_hidden_layer(torch.diag(size), (signs * size)[None], "relu")
    inputs, targets = torch.eye(m, dtype=torch.float64), (signs * strengths)[:, None]
    start, reached = None, "written down: the limit of the descent"
    if descend:
        descent = _descent(strengths, counts)
        start = settle(model, inputs, targets, descent, counts)
        reached = f"gradient descent, {descent.steps} steps, from W = diag(s), V = ±s, s in [0.3, 0.5]"
    first, second = weights_of(model)
    return Counterexample(
        family=family,
        model=model,
        inputs=inputs,
        targets=targets,
        example_weights=counts,
        gram=torch.diag(counts / counts.sum() * (second[0] * first.diagonal()).square()),
        why="A neuron of strength M_j fires on a share p_j of the examples and enters the AGOP as p_j M_j²: the rarer "
        "it fires, the less of it the AGOP sees.",
        reached=reached,
        start=start,
    )


def _descent(strengths: Float[Tensor, " m"], counts: Float[Tensor, " m"]) -> Optimizer:
    """Return the gradient descent that the slowest neuron needs: at the end neuron j has the curvature 2 p_j M_j."""
    curvatures = 2 * strengths * counts / counts.sum()
    rate = STEADY * 2 / float(curvatures.max())
    return Optimizer(learning_rate=rate, steps=round(SETTLED / (rate * float(curvatures.min()))))
