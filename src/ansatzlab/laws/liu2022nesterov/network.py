"""Deep linear networks and deep linear ResNets on their data: outputs, gradients by hand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.laws.liu2022nesterov.problem import Problem
from ansatzlab.models.deep_linear import DeepLinear

Matrix = Float[Tensor, "_o _i"]


@dataclass(frozen=True, eq=False)
class LinearNetwork:
    """A chain of linear layers at its start, and what it is trained on.

    Definition:
        ``h_l = f_l W_l h_{l−1}``, plus ``h_{l−1}`` in a ResNet; ``U = h_L``, or ``B h_L`` if there is a fixed output
        map. The loss is ``½‖U − Y‖²``, summed over examples and outputs.

    Conventions:
        One row an example. The factors f_l stand in the layers and not as one product before the network, so that no
        power of the width overflows.

    Attributes:
        weights: The trained weights at the start, from the first layer to the last.
        factors: f_l.
        problem: The data.
        entry: The fixed input map A with its factor (m_0, i); None for none.
        leaving: The fixed output map B with its factor (c, m_L); None for none.
        skips: Whether every layer adds its input.
    """

    weights: tuple[Matrix, ...]
    factors: tuple[float, ...]
    problem: Problem
    entry: Matrix | None = None
    leaving: Matrix | None = None
    skips: bool = False

    @property
    def depth(self) -> int:
        """The number of trained layers, L."""
        return len(self.weights)

    def outputs(self, weights: Sequence[Matrix], inputs: Float[Tensor, "n i"]) -> Float[Tensor, "n c"]:
        """Return the outputs on any inputs at some weights."""
        return self._out(self.states(weights, inputs)[-1])

    def states(self, weights: Sequence[Matrix], inputs: Float[Tensor, "n i"] | None = None) -> list[Matrix]:
        """Return what enters every trained layer, and what leaves the last one, by default on the problem's inputs."""
        first = self.problem.inputs if inputs is None else inputs
        states = [first if self.entry is None else first @ self.entry.mT]
        for factor, W in zip(self.factors, weights, strict=True):
            passed = states[-1] @ W.mT * factor
            states.append(passed + states[-1] if self.skips else passed)
        return states

    def residual(self, weights: Sequence[Matrix]) -> Matrix:
        """Return ``U − Y`` (r, c) at some weights."""
        return self._out(self.states(weights)[-1]) - self.problem.targets

    def gradients(self, weights: Sequence[Matrix]) -> tuple[Matrix, list[tuple[Matrix, Matrix]]]:
        """Return the residual and the loss gradients at some weights, each as two factors.

        Args:
            weights: The weights.

        Returns:
            ``U − Y`` (r, c), and for every layer ``E`` (r, o) and ``A`` (r, i) of its gradient ``EᵀA``, whose rank is
            at most r.

        Cost:
            ``4 r`` times the number of weights.
        """
        states = self.states(weights)
        residual = self._out(states[-1]) - self.problem.targets
        slope = residual if self.leaving is None else residual @ self.leaving
        found = []
        for index in range(self.depth - 1, -1, -1):
            scaled = slope * self.factors[index]
            found.append((scaled, states[index]))
            if index:
                slope = scaled @ weights[index] + slope if self.skips else scaled @ weights[index]
        return residual, found[::-1]

    def output_maps(self, weights: Sequence[Matrix]) -> list[Matrix]:
        """Return for every layer the map (c, o) from what leaves it to the outputs, the layer's factor included."""
        top = torch.eye(self.problem.targets.shape[1], dtype=torch.float64) if self.leaving is None else self.leaving
        found = []
        for factor, W in zip(reversed(self.factors), reversed(weights), strict=True):
            found.append(factor * top)
            top = found[-1] @ W + top if self.skips else found[-1] @ W
        return found[::-1]

    def _out(self, last: Matrix) -> Matrix:
        return last if self.leaving is None else last @ self.leaving.mT


def build(problem: Problem, kind: str, *, depth: int, width: int, seed: int) -> LinearNetwork:
    """Build the network of a kind (see `deep_linear` and `resnet`).

    Raises:
        UnknownNameError: If the kind is unknown.
        InputError: If the depth or the width cannot be.
    """
    if kind not in BUILDERS:
        raise UnknownNameError("network", kind, BUILDERS)
    return BUILDERS[kind](problem, depth=depth, width=width, seed=seed)


def deep_linear(problem: Problem, *, depth: int, width: int, seed: int) -> LinearNetwork:
    """Build a deep linear network with Gaussian weights.

    Definition:
        ``U = (m^{L−1} c)^{−½} W_L … W_1 X``, entries N(0, 1), all hidden widths m: a factor ``1/√o`` in each
        layer of o outputs.

    Args:
        problem: The data.
        depth: L, at least 2.
        width: m.
        seed: Of the weights.

    Returns:
        The network.

    Raises:
        InputError: If the depth or the width cannot be.

    Source:
        liu2022nesterov; the normalisation is that of the neighbouring theorems for gradient descent.
    """
    _check(depth, width)
    widths = [problem.inputs.shape[1], *[width] * (depth - 1), problem.targets.shape[1]]
    generator = Generator().manual_seed(seed)
    weights = [_gaussian(out, into, generator) for into, out in pairwise(widths)]
    return LinearNetwork(
        weights=tuple(weights),
        factors=tuple(1 / math.sqrt(out) for out in widths[1:]),
        problem=problem,
    )


def resnet(problem: Problem, *, depth: int, width: int, seed: int) -> LinearNetwork:
    """Build a deep linear ResNet whose hidden layers are zero and whose outer maps are random and fixed.

    Definition:
        ``U = (m c)^{−½} B (I + W_L) … (I + W_1) A X``, entries of A and B N(0, 1), ``W_l = 0`` at the start.

    Args:
        problem: The data.
        depth: L, at least 2.
        width: m, at least the larger of the inputs and the outputs.
        seed: Of the fixed maps.

    Returns:
        The network.

    Raises:
        InputError: If the depth or the width cannot be.
    """
    inputs, outputs = problem.inputs.shape[1], problem.targets.shape[1]
    _check(depth, width)
    if width < max(inputs, outputs):
        raise InputError(
            f"resnet: got width {width} with {inputs} inputs and {outputs} outputs, where the fixed maps lose rank; "
            "wanted at least the larger of the two; raise the width."
        )
    generator = Generator().manual_seed(seed)
    entry, leaving = _gaussian(width, inputs, generator), _gaussian(outputs, width, generator)
    return LinearNetwork(
        weights=tuple(torch.zeros(width, width, dtype=torch.float64) for _ in range(depth)),
        factors=(1.0,) * depth,
        problem=problem,
        entry=entry / math.sqrt(width),
        leaving=leaving / math.sqrt(outputs),
        skips=True,
    )


def from_model(problem: Problem, model: DeepLinear) -> LinearNetwork:
    """Take a user's own deep linear network, with its weights as they are and no factors.

    Conventions:
        A method that is tuned to H_0 presumes that H stays near it. Weights that are small or narrow go far, and may
        need a smaller step: give `ansatzlab.laws.liu2022nesterov.system.follow` a tuning in place of a name.

    Args:
        problem: The data.
        model: The network, without biases.

    Returns:
        The network; the model is left as it is.

    Raises:
        InputError: If it has biases or does not fit the data.
    """
    layers = [layer for layer in model.layers if isinstance(layer, nn.Linear)]
    if any(layer.bias is not None for layer in layers):
        raise InputError("from_model: the network has biases; wanted one without; build it with bias=False.")
    weights = tuple(layer.weight.detach().double().clone() for layer in layers)
    ends, wanted = (weights[0].shape[1], weights[-1].shape[0]), (problem.inputs.shape[1], problem.targets.shape[1])
    if ends != wanted:
        raise InputError(
            f"from_model: the network has {ends[0]} inputs and {ends[1]} outputs; the data have {wanted[0]} and "
            f"{wanted[1]}; wanted the same."
        )
    return LinearNetwork(weights, (1.0,) * len(weights), problem)


BUILDERS = {"deep_linear": deep_linear, "resnet": resnet}


def _check(depth: int, width: int) -> None:
    if depth < 2:
        raise InputError(f"network: got depth {depth}; wanted at least 2 trained layers; raise it.")
    if width < 1:
        raise InputError(f"network: got width {width}; wanted at least 1; raise it.")


def _gaussian(rows: int, columns: int, generator: Generator) -> Matrix:
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)
