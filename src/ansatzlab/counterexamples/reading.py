"""Measuring a counterexample: how well it fits, and how badly its first layer obeys the ansatz."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.counterexamples.descent import weighted_square_loss
from ansatzlab.counterexamples.family import Counterexample, linear_layers_of
from ansatzlab.errors import InputError
from ansatzlab.linalg.spectrum import Spectrum
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.run import measure
from ansatzlab.models.mlp import MLP

FIRST = "layers.0"
BATCH = 4096
JITTERED = 5000
"""At least so many jittered inputs: each training input is taken as often as that needs."""

LAW_EXPONENT = 0.5
"""The exponent that the law of linear networks names for two layers."""


@dataclass(frozen=True)
class Alignments:
    """How a first layer stands to its AGOP.

    Attributes:
        cosine_half: The cosine at α = ½.
        residual_half: The scale-free residual there.
        cosine_one: The cosine at α = 1.
        residual_one: The residual there.
        best_cosine: The largest cosine over α from 0.05 to 4.
        best_exponent: Where it is; nan where the spectrum does not tell.
        floor: The cosine that α → 0 would score.
        rank: The numerical rank of the AGOP.
        size: ``tr G / tr M``: how much of the weights the gradients see.
        imbalance: The largest ``| |incoming|² − |outgoing|² |`` of a hidden neuron over the largest of the two.
        verdict: What the measurement says of it at the law's exponent.
        reason: Why.
        null_z: By how many standard deviations of the structural null the residual there lies below its mean; nan
            where none was drawn.
        spectrum: What all of this was read from.
    """

    cosine_half: float
    residual_half: float
    cosine_one: float
    residual_one: float
    best_cosine: float
    best_exponent: float
    floor: float
    rank: int
    size: float
    imbalance: float
    verdict: str
    reason: str
    null_z: float
    spectrum: Spectrum

    @property
    def supremum(self) -> float:
        """The larger of the best cosine and the floor."""
        return max(self.best_cosine, self.floor)


@dataclass(frozen=True)
class Reading:
    """A counterexample as measured.

    Attributes:
        loss: The square loss, examples weighted as they count.
        largest_residual: The largest ``|f(x) − y|`` over examples and outputs, whatever they count.
        gram_error: ``‖G − closed form‖/‖closed form‖``; nan where there is none.
        alignments: How its first layer stands to its AGOP.
    """

    loss: float
    largest_residual: float
    gram_error: float
    alignments: Alignments


def read(example: Counterexample, *, jitter: float = 0.0, seed: int = 0) -> Reading:
    """Measure a counterexample.

    Args:
        example: The counterexample.
        jitter: Standard deviation of Gaussian noise that is added to the inputs where the AGOP is measured, not where
            the fit is; 0 for the training inputs themselves.
        seed: Of the noise.

    Returns:
        The reading; with jitter no error of the closed form, which is for the training inputs.

    Raises:
        InputError: If the jitter is negative or not finite.

    Example:
        >>> from ansatzlab.counterexamples.registry import get_family
        >>> reading = read(get_family("cancellation").build(seed=0))
        >>> reading.loss < 1e-20, round(reading.alignments.best_cosine, 2)
        (True, 0.05)
    """
    if not 0 <= jitter < math.inf:
        raise InputError(f"read: got jitter={jitter}; wanted a number from 0; change it.")
    with torch.no_grad():
        outputs = example.model(example.inputs)
    inputs, weights = example.inputs, example.example_weights
    if jitter:
        copies = math.ceil(JITTERED / len(inputs))
        inputs, weights = inputs.repeat(copies, 1), None if weights is None else weights.repeat(copies)
        noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(seed), dtype=inputs.dtype)
        inputs = inputs + jitter * noise
    layer = first_layer(example.model, inputs, weights)
    error = math.nan
    if example.gram is not None and not jitter:
        error = float((layer.agop() - example.gram).norm() / example.gram.norm())
    return Reading(
        loss=float(weighted_square_loss(outputs, example.targets, example.example_weights)),
        largest_residual=float((outputs - example.targets).abs().max()),
        gram_error=error,
        alignments=read_alignments(layer, example.model),
    )


def first_layer(
    model: MLP,
    inputs: Float[Tensor, "n i"],
    weights: Float[Tensor, " n"] | None = None,
    initial: Mapping[str, Tensor] | None = None,
) -> LayerMeasurement:
    """Measure the first layer of a network on inputs that may count several times."""
    batches = [inputs[first : first + BATCH] for first in range(0, len(inputs), BATCH)]
    return measure(model, batches, layers=FIRST, example_weights=weights, initial=initial)[FIRST]


def read_alignments(layer: LayerMeasurement, model: MLP) -> Alignments:
    """Read everything that is said of a counterexample's first layer.

    Args:
        layer: The first layer.
        model: The network.

    Returns:
        The scores; where the AGOP is zero all cosines are 0 and all residuals 1.
    """
    spectrum, fit, verdict = layer.spectrum(), layer.fit_exponent(), layer.verdict(LAW_EXPONENT)
    weight_gram = layer.weight_gram()
    return Alignments(
        cosine_half=_cosine(spectrum.residual(LAW_EXPONENT)),
        residual_half=spectrum.residual(LAW_EXPONENT),
        cosine_one=_cosine(spectrum.residual(1.0)),
        residual_one=spectrum.residual(1.0),
        best_cosine=_cosine(fit.residual),
        best_exponent=fit.value,
        floor=fit.floor if spectrum.rank else 0.0,
        rank=spectrum.rank,
        size=float(layer.agop().trace() / weight_gram.trace()),
        imbalance=neuron_imbalance(model),
        verdict=verdict.word,
        reason=verdict.reason,
        null_z=verdict.null.z if verdict.null is not None else math.nan,
        spectrum=spectrum,
    )


def neuron_imbalance(model: MLP) -> float:
    """Return the largest ``| |incoming|² − |outgoing|² |`` of a hidden neuron over the largest of these squares.

    Conventions:
        A bias counts as an incoming weight. Gradient flow keeps the difference for degree-1 homogeneous activations.
    """
    worst, largest = 0.0, 0.0
    with torch.no_grad():
        for lower, upper in pairwise(linear_layers_of(model)):
            incoming = lower.weight.square().sum(1)
            incoming = incoming if lower.bias is None else incoming + lower.bias.square()
            outgoing = upper.weight.square().sum(0)
            worst = max(worst, float((incoming - outgoing).abs().max()))
            largest = max(largest, float(incoming.max()), float(outgoing.max()))
    return worst / largest if largest else 0.0


def _cosine(residual: float) -> float:
    return math.sqrt(max(0.0, 1 - residual**2))
