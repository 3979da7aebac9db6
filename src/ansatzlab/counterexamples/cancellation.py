"""Cancellation: pairs of neurons whose contributions cancel are in the weights and not in the function."""

import torch

from ansatzlab.counterexamples.descent import settle
from ansatzlab.counterexamples.family import Counterexample, demand, one_hidden_layer, random_signs, weights_of
from ansatzlab.training.dynamics import Optimizer

STEPS = 400


def cancellation(*, seed: int, neurons: int = 8, pairs: int = 8, strength: float = 4.0) -> Counterexample:
    """Train neurons that fit their targets beside pairs (w, a), (w, −a) that add up to nothing.

    Definition:
        The inputs are unit vectors. The first ones have targets ``±y_j``, y_j from 1 to 2, each fitted by a neuron of
        its own; on the others, one for each pair, the target is 0 and the pair cancels from the start, so that no
        gradient ever moves it. ``M = diag(y_j, 2 strength²)``, ``G = diag(y_j²/n, 0)``: on what the AGOP sees the
        ansatz holds with ½, and all the rest of M is out of reach of every exponent.

    Args:
        seed: Of the signs and the start.
        neurons: How many neurons fit.
        pairs: How many pairs cancel.
        strength: The norm of w, and ``|a|``, in each pair.

    Returns:
        The counterexample.

    Raises:
        InputError: If a number is not positive.
        DivergedError: If the training stops being finite.

    Source:
        Derived in docs/devdocs/counterexamples.md.
    """
    demand(
        "cancellation",
        neurons=(neurons, neurons >= 2, "at least 2"),
        pairs=(pairs, pairs >= 1, "at least 1"),
        strength=(strength, 0 < strength <= 1e3, "a positive number up to 1000"),
    )
    generator = torch.Generator().manual_seed(seed)
    i = neurons + pairs
    targets = torch.zeros(i, dtype=torch.float64)
    targets[:neurons] = random_signs(neurons, generator) * torch.linspace(1, 2, neurons, dtype=torch.float64)
    size = 0.3 + 0.2 * torch.rand(neurons, generator=generator, dtype=torch.float64)
    eye = torch.eye(i, dtype=torch.float64)
    twice = float(strength) * eye[neurons:]
    W = torch.cat([size[:, None] * eye[:neurons], twice, twice])
    a = torch.full((pairs,), float(strength), dtype=torch.float64)
    V = torch.cat([size * targets[:neurons].sign(), a, -a])[None]
    model = one_hidden_layer(W, V, "relu")
    descent = Optimizer(learning_rate=i / 8, steps=STEPS)  # the curvature of a fitted neuron is at most 4/i
    start = settle(model, eye, targets[:, None], descent)
    first, second = weights_of(model)
    slopes = second[0, :neurons] * first.diagonal()[:neurons]
    return Counterexample(
        family="cancellation",
        model=model,
        inputs=eye,
        targets=targets[:, None],
        example_weights=None,
        gram=torch.diag(torch.cat([slopes.square(), torch.zeros(pairs, dtype=torch.float64)]) / i),
        why="The neurons (w, a) and (w, −a) add up to nothing: WᵀW counts both, the function and its gradients none.",
        reached=f"gradient descent, {STEPS} steps; the pairs cancel at the start, on inputs whose target is 0, and "
        "get no gradient",
        start=start,
    )
