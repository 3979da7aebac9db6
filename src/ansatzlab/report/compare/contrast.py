"""Two measurements of one layer: how far weights and AGOPs moved, and how sure the difference of two scores is."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import InputError
from ansatzlab.linalg.influence import alignment_gradient
from ansatzlab.linalg.subspace import compare, row_space
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.decomposition import influences_on
from ansatzlab.measurement.layer import LayerMeasurement

DIRECTIONS = 5
"""How many leading eigenvectors of the AGOPs are compared."""


@dataclass(frozen=True)
class Contrast:
    """How far apart two measurements of a layer are, whatever the convention.

    Attributes:
        same_weights: Whether the weights are equal.
        same_sums: Whether the sums of gradients are.
        weight_change: ``‖W₂ − W₁‖/‖W₁‖``; nan for other shapes, and where only the column space of W was kept.
        agop_cosine: The cosine of the two AGOPs; nan for other shapes, or where one is zero.
        overlap: ``‖V₁V₂ᵀ‖²/k`` of their k leading eigenvectors, of several blocks those of the first: 1 for the same
            subspace; nan for other shapes, or where one is zero or too coarse to be read.
        directions: k.
        chance: What random subspaces overlap on average, k over the number of inputs.
    """

    same_weights: bool
    same_sums: bool
    weight_change: float
    agop_cosine: float
    overlap: float
    directions: int
    chance: float


def contrast(first: LayerMeasurement, second: LayerMeasurement) -> Contrast:
    """Compare a layer's weights and AGOPs in two measurements.

    Args:
        first: The layer.
        second: The same layer of another measurement.

    Returns:
        How far apart they are.

    Cost:
        One decomposition of each layer.

    Example:
        >>> import ansatzlab
        >>> m = ansatzlab.measure(torch.nn.Linear(3, 2), [torch.ones(4, 3)])
        >>> found = contrast(m[""], m[""])
        >>> found.same_sums, found.weight_change, round(found.overlap, 6)
        (True, 0.0, 1.0)
    """
    alike = first.blocks.shape == second.blocks.shape and first.shape == second.shape
    same_weights = alike and torch.equal(first.blocks, second.blocks)
    moments = first.sums.second_moment, second.sums.second_moment
    same_sums = (
        same_weights
        and first.sums.is_factor == second.sums.is_factor
        and moments[0].shape == moments[1].shape
        and torch.equal(*moments)
        and first.sums.weight_total == second.sums.weight_total
    )
    change = agops = overlap = math.nan
    count = 0
    if alike:
        whole = first.blocks.shape[0] * first.blocks.shape[1] == first.height
        change = _relative_change(first.blocks, second.blocks) if whole or same_weights else math.nan
        agops = _agop_cosine(first, second)
        count, overlap = _overlap(first, second)
    chance = count / first.shape[1] if count else math.nan
    return Contrast(same_weights, same_sums, change, agops, overlap, count, chance)


def difference_error(
    first: LayerMeasurement, second: LayerMeasurement, convention: Convention, *, same_examples: bool
) -> tuple[float, bool]:
    """Return the standard error of the difference of two alignments.

    Definition:
        On the same examples ``SE² = mean_x (ψ_x − φ_x)² / n``, ψ_x and φ_x the influences of example x on the two: what
        an example does to both cancels. Else ``SE² = SE₁² + SE₂²``.

    Args:
        first: The layer in the first measurement.
        second: The layer in the second.
        convention: How both are read.
        same_examples: Whether both were measured on the same examples in the same order; if the kept ones do not lie
            at the same places they are taken for others.

    Returns:
        The error, nan where one of the two has none; and whether it is the first of the two formulas.

    Source:
        The influences are derived in docs/devdocs/errors.md.
    """
    errors = first.read(convention).error, second.read(convention).error
    if any(map(math.isnan, errors)):
        return math.nan, False
    if same_examples and _kept_alike(first, second):
        influences = _influences(first, convention) - _influences(second, convention)
        return float((influences.square().mean() / first.sums.examples).sqrt()), True
    return math.hypot(*errors), False


def _kept_alike(first: LayerMeasurement, second: LayerMeasurement) -> bool:
    """Whether the same places of equally many examples were kept."""
    one, other = first.sums.sample, second.sums.sample
    counted = first.sums.examples == second.sums.examples
    return counted and one is not None and other is not None and torch.equal(one.places, other.places)


def _influences(layer: LayerMeasurement, convention: Convention) -> Float[Tensor, " m"]:
    """Return what each sampled example does to an alignment."""
    spectrum, frame = layer.decomposition(centered=convention.centered, init_removed=convention.init_removed)
    gradient = alignment_gradient(frame, spectrum, convention.exponent, convention.comparator)
    return influences_on(layer.sums, gradient, spectrum, frame, centered=convention.centered)


def _relative_change(first: Tensor, second: Tensor) -> float:
    norm = float(first.double().norm())
    return float((second.double() - first.double()).norm()) / norm if norm else math.nan


def _agop_cosine(first: LayerMeasurement, second: LayerMeasurement) -> float:
    """Return the cosine of the AGOPs, in a basis of the rows of both weights."""
    one, other, subspace = row_space(first.blocks.double(), second.blocks.double())
    agops = [weight.mT @ layer.sums.mean_gram() @ weight for weight, layer in ((one, first), (other, second))]
    return compare(agops[0], agops[1], subspace).cosine


def _overlap(first: LayerMeasurement, second: LayerMeasurement) -> tuple[int, float]:
    """Return how many leading directions both have, at most `DIRECTIONS`, and how much their spans overlap.

    There are none where a layer's gradients are too coarse to resolve a spectrum.
    """
    try:
        found = [layer.agop_directions(DIRECTIONS) for layer in (first, second)]
    except InputError:
        return 0, math.nan
    count = min(map(len, found))
    if not count:
        return 0, math.nan
    one, other = (directions[:count] for directions in found)
    return count, float((one @ other.mT).square().sum()) / count
