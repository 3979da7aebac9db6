"""How the networks are trained and looked at, as records."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from ansatzlab.sweeps.spec import Frozen
from ansatzlab.training.dynamics import Rate


class Recipe(Frozen):
    """How a network is trained and looked at.

    Attributes:
        data: The data set.
        digest: Of a file, its content's hash.
        size: How many of its examples, drawn once and for all; all of them if it has fewer.
        optimizer: A name of `ansatzlab.training.dynamics.OPTIMIZERS`.
        learning_rate: η at the start; it falls to zero along a cosine.
        weight_decay: λ, coupled but for adamw.
        epochs: Passes over the data.
        batch_size: Examples a step.
        snapshots: How many moments are looked at, the first and the last among them.
        probe: On how many of the examples (the first) the layers are measured.
        draws: Rotations of the structural null, which is drawn at every other snapshot and at the last.
    """

    data: str
    digest: str = ""
    size: PositiveInt = 5000
    optimizer: str = "adam"
    learning_rate: PositiveFloat = 1e-3
    weight_decay: Rate = 0.0
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 100
    snapshots: Annotated[int, Field(ge=2)] = 7
    probe: PositiveInt = 500
    draws: Annotated[int, Field(ge=2)] = 10


class PerceptronRecipe(Recipe):
    """A multilayer perceptron without biases.

    Attributes:
        depth: L.
        width: Of its hidden layers.
        activation: Its activation.
    """

    depth: Annotated[int, Field(ge=2)]
    width: PositiveInt = 128
    activation: str = "relu"


class ConvolutionRecipe(Recipe):
    """Two convolutions and a linear classifier on images of 28 × 28.

    Attributes:
        depth: L, which is three.
        width: Channels of the first convolution.
        activation: Its activation.
    """

    depth: Literal[3] = 3
    width: PositiveInt = 8
    activation: Literal["relu"] = "relu"


class TransformerRecipe(Recipe):
    """A causal transformer over the characters of Python's documentation.

    Attributes:
        data: ``text``.
        depth: Its blocks.
        width: Of the residual stream.
        heads: Of the attention.
        context: The characters of a window.
        activation: Its activation.
    """

    data: Literal["text"] = "text"
    depth: PositiveInt = 2
    width: PositiveInt = 48
    heads: PositiveInt = 4
    context: PositiveInt = 48
    activation: Literal["gelu"] = "gelu"
