"""Interference: neurons that fire together make the AGOP's cross terms, which the weights do not have."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.counterexamples.family import Counterexample, demand, one_hidden_layer, random_signs
from ansatzlab.linalg.null import haar_orthogonal
from ansatzlab.shapes import InputGram, Weight


def interference(*, seed: int, m: int = 64, examples: int = 100_000) -> Counterexample:
    """Write down ``f(x) = Σ_j a_j relu(w_j·x)`` with orthonormal w_j and ``a_j = ±1``, on Gaussian inputs.

    Definition:
        Targets are its own outputs, so that it fits them exactly, and it is balanced: ``WWᵀ = I``, ``|a_j| = |w_j|``.
        ``M = I`` and `arc_cosine_gram` give no exponent but 0: at α the cosine is ``tr G^α/(√m ‖G^α‖)``.

    Conventions:
        M is flat, so the cosine tends to 1 as α → 0 whatever G is. The family is judged at the law's exponent ½.

    Args:
        seed: Of the directions, the signs and the inputs.
        m: The number of neurons and of inputs.
        examples: The number of inputs.

    Returns:
        The counterexample.

    Raises:
        InputError: If a number is below 2.

    Source:
        Derived in docs/devdocs/counterexamples.md.
    """
    demand("interference", m=(m, m >= 2, "at least 2"), examples=(examples, examples >= 2, "at least 2"))
    generator = torch.Generator().manual_seed(seed)
    W = haar_orthogonal(m, generator)[0]
    signs = random_signs(m, generator)
    model = one_hidden_layer(W, signs[None], "relu")
    inputs = torch.randn(examples, m, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        targets = model(inputs)
    return Counterexample(
        family="interference",
        model=model,
        inputs=inputs,
        targets=targets,
        example_weights=None,
        gram=arc_cosine_gram(W, signs),
        why="Any two neurons fire together on a quarter of the inputs, so the AGOP has cross terms a_j a_k/4 that "
        "WᵀW = I has not.",
        reached="written down; it is its own teacher",
    )


def arc_cosine_gram(W: Weight, a: Float[Tensor, " m"]) -> InputGram:
    """Return the AGOP of ``Σ_j a_j relu(w_j·x)`` over standard Gaussian inputs.

    Definition:
        ``G = Σ_jk a_j a_k (π − θ_jk)/(2π) w_j w_kᵀ``, θ_jk the angle of w_j and w_k: ``(π − θ)/(2π)`` is how often both
        fire.

    Args:
        W: The directions w_j as rows, none zero, shape (m, i).
        a: The output weights, shape (m,).

    Returns:
        G, shape (i, i).

    Source:
        Cho and Saul 2009, the arc-cosine kernel of order 0.

    Example:
        >>> eye = torch.eye(2, dtype=torch.float64)
        >>> arc_cosine_gram(eye, torch.ones(2, dtype=torch.float64))
        tensor([[0.5000, 0.2500],
                [0.2500, 0.5000]], dtype=torch.float64)
    """
    directions = W / W.norm(dim=1, keepdim=True)
    cosines = (directions @ directions.mT).clamp(-1, 1).fill_diagonal_(1.0)
    together = (math.pi - cosines.arccos()) / (2 * math.pi)
    scaled = a[:, None] * W
    gram: InputGram = scaled.mT @ together @ scaled
    return gram
