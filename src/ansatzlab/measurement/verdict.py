"""What a score says once it is held against what geometry alone would give: a verdict in words."""

import math
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

import torch

from ansatzlab.errors import InputError
from ansatzlab.linalg.null import HaarNull, haar_null, rotated_factor, rotated_gram
from ansatzlab.linalg.reduction import reduce_weight
from ansatzlab.linalg.spectrum import Spectrum, decompose
from ansatzlab.measurement.convention import Alignment, Convention
from ansatzlab.measurement.layer import LayerMeasurement

Word = Literal[
    "holds", "aligned", "no better than null", "tautological", "not identifiable", "collapsed", "unsupported"
]

COLLAPSED = 1e-3
"""A layer whose weights shrank below this share of their initial norm has collapsed."""


@dataclass(frozen=True)
class Criteria:
    """When a law is said to hold.

    Attributes:
        largest_residual: The largest scale-free residual that *holds*.
        least_z: By how many standard deviations of the structural null a residual must lie below its mean.
        draws: How many rotations the structural null is estimated from.
        seed: Of the rotations.
    """

    largest_residual: float = 0.1
    least_z: float = 3.0
    draws: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be judged by."""
        if self.draws < 2 or not 0 <= self.largest_residual < 1 or not math.isfinite(self.least_z):
            raise InputError(f"{self}: wanted at least two draws, a residual in [0, 1) and a finite z.")


@dataclass(frozen=True)
class StructuralNull:
    """The same score when the output gradients are rotated at random: W, and with it row space and spectrum, stays.

    Definition:
        ``K`` is replaced by ``Q K Qᵀ``, Q Haar on the layer's outputs (block by block); this keeps both spectra.

    Conventions:
        A layer that was reduced to its column space is turned within it, and the spectrum that is kept is that of K
        there. z is in units of a standard deviation that is itself estimated from the draws.

    Attributes:
        mean: Of the alignment.
        sd: Its standard deviation.
        residual_mean: Of the scale-free residual.
        residual_sd: Its standard deviation.
        draws: How many rotations.
        z: How many standard deviations the measured residual lies below the null's mean; nan if they are all equal.
    """

    mean: float
    sd: float
    residual_mean: float
    residual_sd: float
    draws: int
    z: float


@dataclass(frozen=True)
class Verdict:
    """What can be said of one layer under one convention.

    Attributes:
        word: The verdict.
        reason: Why, with the numbers.
        alignment: The score.
        null: The structural null; None where nothing was drawn.
        haar: The closed-form null of a random rotation in input space; None likewise.
        start: The score before training, if the initial network was measured.
        criteria: By what it was judged.
    """

    word: Word
    reason: str
    alignment: Alignment | None
    null: StructuralNull | None
    haar: HaarNull | None
    start: Alignment | None
    criteria: Criteria


def judge(layer: LayerMeasurement, convention: Convention, criteria: Criteria | None = None) -> Verdict:
    """Say in words what a layer's alignment is worth.

    Definition:
        *holds*: residual ≤ 0.1 at the exponent and at least 3 sd beyond the structural null. *aligned*: beyond the null
        with a larger residual. *no better than null*: neither. Before any of these: *collapsed* (no weights or no
        gradients left), *tautological* (the AGOP is a multiple of ``WᵀW`` whatever the weights), *not identifiable*
        (the spectrum fits every exponent, or W − W₀ is zero), *unsupported* (the gradients are too coarse to be read).

    Conventions:
        Judged by the scale-free residual whatever the comparator: Pearson and traceless cosines have no residual.

    Args:
        layer: The layer.
        convention: How the alignment is read.
        criteria: The thresholds; those of `Criteria` by default.

    Returns:
        The verdict.

    Raises:
        InputError: If the convention asks for something that was not measured.

    Cost:
        One decomposition of k × k matrices per draw.

    Source:
        The nulls are derived in docs/devdocs/nulls.md.
    """
    criteria = criteria or Criteria()
    layer.weights(init_removed=convention.init_removed)
    layer.refuse_centering(convention.centered)
    try:
        alignment = layer.read(convention)
    except InputError as error:
        return Verdict("unsupported", str(error), None, None, None, None, criteria)
    start = layer.start.read(convention) if layer.start is not None and not convention.init_removed else None
    nothing = _nothing_to_judge(layer, convention)
    if nothing is not None:
        return Verdict(*nothing, alignment, None, None, start, criteria)
    null = structural_null(layer, alignment, criteria)
    spectrum = layer.spectrum(centered=convention.centered, init_removed=convention.init_removed)
    word, reason = _weigh(alignment, null, criteria)
    return Verdict(word, reason, alignment, null, haar_null(spectrum, convention.exponent), start, criteria)


def _nothing_to_judge(layer: LayerMeasurement, convention: Convention) -> tuple[Word, str] | None:
    """Return why a score would mean nothing, if so."""
    centered, init_removed = convention.centered, convention.init_removed
    if not layer.blocks.any():
        return "collapsed", "the weights are zero"
    if not layer.weights(init_removed=init_removed).any():
        return "not identifiable", "W − W₀ is zero: nothing was learned"
    if layer.spectrum(init_removed=init_removed).rank == 0:
        return "collapsed", "the AGOP is zero: the outputs no longer depend on this layer"
    if layer.initial is not None and float(layer.blocks.norm()) < COLLAPSED * float(layer.initial.norm()):
        share = float(layer.blocks.norm() / layer.initial.norm())
        return "collapsed", f"its weights shrank to {share:.1e} of their initial norm"
    if layer.tautological:
        return "tautological", "the output gradients are isotropic, as in a last layer: exponent 1 fits any weights"
    fit = layer.fit_exponent(centered=centered, init_removed=init_removed)
    if centered and fit.rank == 0:
        return "not identifiable", "the centred AGOP is zero: every example has the same gradients"
    return None if fit.identifiable else ("not identifiable", fit.reason)


def structural_null(layer: LayerMeasurement, alignment: Alignment, criteria: Criteria) -> StructuralNull:
    """Draw the structural null of an alignment (see `StructuralNull`)."""
    convention = alignment.convention
    spectra = turned_spectra(layer, convention, criteria)
    mean, sd = _moments([each.alignment(convention.exponent, convention.comparator) for each in spectra])
    residual_mean, residual_sd = _moments([each.residual(convention.exponent) for each in spectra])
    return StructuralNull(
        mean=mean,
        sd=sd,
        residual_mean=residual_mean,
        residual_sd=residual_sd,
        draws=criteria.draws,
        z=(residual_mean - alignment.residual) / residual_sd if residual_sd else math.nan,
    )


def turned_spectra(layer: LayerMeasurement, convention: Convention, criteria: Criteria) -> tuple[Spectrum, ...]:
    """Return the spectra behind a structural null (see `StructuralNull`).

    Args:
        layer: The layer.
        convention: Which gradients and weights; its exponent plays no part.
        criteria: How many rotations, and their seed.

    Returns:
        One spectrum for each rotation.
    """
    generator = torch.Generator().manual_seed(criteria.seed)
    weight = reduce_weight(layer.weights(init_removed=convention.init_removed))
    gram = layer.sums.mean_gram(centered=convention.centered)
    factor = None if convention.centered else layer.sums.mean_factor()
    found = []
    for _ in range(criteria.draws):
        if factor is None:
            turned = rotated_gram(gram, generator)
            spectrum, _ = decompose(weight, gram=turned, gradient_dtype=layer.gradient_dtype)
        else:
            turned = rotated_factor(factor, generator)
            spectrum, _ = decompose(weight, factor=turned, gradient_dtype=layer.gradient_dtype)
        found.append(spectrum)
    return tuple(found)


def _moments(values: list[float]) -> tuple[float, float]:
    """Return mean and standard deviation; nan of scores that do not exist."""
    return (math.nan, math.nan) if any(map(math.isnan, values)) else (fmean(values), stdev(values))


def _weigh(alignment: Alignment, null: StructuralNull, criteria: Criteria) -> tuple[Word, str]:
    found = (
        f"residual {alignment.residual:.3f} at exponent {alignment.convention.exponent:.3g}; "
        f"the structural null has {null.residual_mean:.3f} ± {null.residual_sd:.3f}"
    )
    if not null.z >= criteria.least_z:
        return "no better than null", f"{found}: {null.z:.1f} sd, wanted {criteria.least_z:g}"
    if alignment.residual > criteria.largest_residual:
        return "aligned", f"{found}, {null.z:.1f} sd beyond it, but above {criteria.largest_residual:g}"
    return "holds", f"{found}, {null.z:.1f} sd beyond it"
