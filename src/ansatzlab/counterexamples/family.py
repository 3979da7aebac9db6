"""What a counterexample is, and what a family of them is."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.models.mlp import MLP
from ansatzlab.shapes import InputGram


@dataclass(frozen=True, eq=False)
class Counterexample:
    """A network, the data that it fits, and why its first layer disobeys the ansatz.

    Attributes:
        family: The family's name.
        model: The network; its first layer is ``layers.0``.
        inputs: Inputs (n, i).
        targets: Targets (n, c).
        example_weights: How often each example counts (n,); None for once each.
        gram: The first layer's AGOP in closed form (i, i); None where there is none.
        why: Why the ansatz fails, in a sentence.
        reached: How the weights came about, in words.
        start: The weights that gradient descent started from; None where the network was written down.
    """

    family: str
    model: MLP
    inputs: Float[Tensor, "n i"]
    targets: Float[Tensor, "n c"]
    example_weights: Float[Tensor, " n"] | None
    gram: InputGram | None
    why: str
    reached: str
    start: Mapping[str, Tensor] | None = None


Builder = Callable[..., Counterexample]
"""Takes the keyword ``seed``, and numbers by name, each with a default."""


WORDS = {int: "a whole number", float: "a finite number", bool: "true or false"}
"""What settings can be, in words."""


@dataclass(frozen=True)
class Family:
    """Counterexamples of one mechanism.

    Attributes:
        name: Its name.
        title: What it is, in a few words.
        statement: What is claimed of it.
        builder: Makes one.
    """

    name: str
    title: str
    statement: str
    builder: Builder

    @property
    def settings(self) -> dict[str, object]:
        """What a user may change, with its values."""
        found = {name: each.default for name, each in signature(self.builder).parameters.items() if name != "seed"}
        fixed = self.builder.keywords if isinstance(self.builder, partial) else {}
        return {name: fixed.get(name, value) for name, value in found.items()}

    def build(self, *, seed: int = 0, **settings: object) -> Counterexample:
        """Make one.

        Args:
            seed: Of all that is random.
            settings: Changes to `settings`, by name.

        Returns:
            The counterexample.

        Raises:
            InputError: If a setting is unknown or has a value it cannot have.
        """
        for name, value in settings.items():
            if name not in self.settings:
                raise UnknownNameError(f"setting of {self.name}", name, self.settings)
            wanted = type(self.settings[name])
            allowed = (int, float) if wanted is float else (wanted,)
            fits = isinstance(value, allowed) and isinstance(value, bool) == (wanted is bool)
            if not fits or (isinstance(value, float) and not math.isfinite(value)):
                raise InputError(f"{self.name}: got {name} = {value!r}; wanted {WORDS[wanted]}; change it.")
        return self.builder(seed=seed, **settings)


def demand(family: str, **conditions: tuple[object, bool, str]) -> None:
    """Refuse settings that a family cannot have.

    Args:
        family: The family's name.
        conditions: For each setting what was got, whether it will do, and what was wanted.

    Raises:
        InputError: For the first that will not do.
    """
    for name, (got, fine, wanted) in conditions.items():
        if not fine:
            raise InputError(f"{family}: got {name} = {got!r}; wanted {wanted}; change it.")


def one_hidden_layer(first: Float[Tensor, "m i"], second: Float[Tensor, "c m"], activation: str) -> MLP:
    """Return the network ``x ↦ V σ(W x)`` with these weights, in float64.

    Args:
        first: W.
        second: V.
        activation: σ, a name in `ansatzlab.models.mlp.ACTIVATIONS`.

    Returns:
        The network, without biases.

    Example:
        >>> eye = torch.eye(2, dtype=torch.float64)
        >>> one_hidden_layer(eye, eye, "relu")(-eye[0]).abs().tolist()
        [0.0, 0.0]
    """
    model = MLP([first.shape[1], first.shape[0], second.shape[0]], activation=activation, bias=False)
    with torch.no_grad():
        for layer, weight in zip(linear_layers_of(model), (first, second), strict=True):
            layer.weight.copy_(weight)
    return model


def linear_layers_of(model: MLP) -> list[nn.Linear]:
    """Return a network's layers, first to last."""
    return [layer for layer in model.layers if isinstance(layer, nn.Linear)]


def weights_of(model: MLP) -> tuple[Float[Tensor, "m i"], Float[Tensor, "c m"]]:
    """Return copies of a one-hidden-layer network's two weight matrices."""
    first, second = (layer.weight.detach().clone() for layer in linear_layers_of(model))
    return first, second


def random_signs(count: int, generator: torch.Generator) -> Float[Tensor, " count"]:
    """Draw ±1, shape (count,), float64."""
    return 2.0 * torch.randint(2, (count,), generator=generator).double() - 1.0
