"""Compare two measurements: first what differs in how they were made and read, then layer by layer what was found."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from ansatzlab.errors import InputError
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.verdict import judge
from ansatzlab.report.compare.contrast import Contrast, contrast, difference_error
from ansatzlab.report.compare.differences import Difference, Part, Side, differences_of, without_nan
from ansatzlab.report.readout import display_name


@dataclass(frozen=True)
class Reading:
    """A layer under one convention.

    Attributes:
        value: The alignment; nan where the layer cannot be read.
        error: Its standard error; nan where there is none.
        residual: The scale-free residual.
        best_exponent: The exponent that fits best; nan where not identifiable.
        best_error: Its standard error.
        verdict: The verdict in words.
    """

    value: float
    error: float
    residual: float
    best_exponent: float
    best_error: float
    verdict: str


@dataclass(frozen=True)
class LayerComparison:
    """One layer in both measurements.

    Attributes:
        layer: Its name.
        convention: How the first is read.
        other: How the second was read.
        first: The first, under its convention.
        second: The second, under its own.
        reread: The second under the first's convention; None if it cannot be read so.
        reason: Why not; else empty.
        difference: The alignment of ``reread`` less that of ``first``.
        error: The standard error of the difference; nan where one of the two has none.
        paired: Whether the error takes both to be of the same examples.
        contrast: How far apart weights and AGOPs are.
    """

    layer: str
    convention: Convention
    other: Convention
    first: Reading
    second: Reading
    reread: Reading | None
    reason: str
    difference: float
    error: float
    paired: bool
    contrast: Contrast


@dataclass(frozen=True)
class Comparison:
    """Two measurements beside each other.

    Attributes:
        differences: What differs in how they were read, of what they are, and in what was measured.
        comparable: Whether the numbers of ``first`` and ``reread`` may be compared.
        verdict: The same in sentences.
        layers: The layers that both have, one for each pair of conventions.
        only_first: Layers of the first alone.
        only_second: Layers of the second alone.
    """

    differences: tuple[Difference, ...]
    comparable: bool
    verdict: tuple[str, ...]
    layers: tuple[LayerComparison, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the comparison as what JSON can hold; a number that does not exist is None."""
        return {name: without_nan(value) for name, value in asdict(self).items()}


def compare_measurements(
    first: Measurement,
    second: Measurement,
    *,
    conventions: tuple[Mapping[str, Sequence[Convention]], Mapping[str, Sequence[Convention]]] = ({}, {}),
    facts: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> Comparison:
    """Compare two measurements.

    Conventions:
        A layer is compared under each convention that it was read under in both; if there is none, the second is read
        anew under the first's, which its sums allow, so that a difference of conventions is not taken for one of
        networks.

    Args:
        first: The first measurement.
        second: The second.
        conventions: For each of the two how its layers are read, by name; exponent ½ and the cosine where nothing is
            said.
        facts: For each of the two its provenance, as `ansatz measure` keeps it.

    Returns:
        The comparison.

    Raises:
        InputError: If they have no layer in common, or the first cannot be read as is asked for.

    Cost:
        For each layer two decompositions and the draws of its verdicts' nulls.

    Example:
        >>> import torch, ansatzlab
        >>> m = ansatzlab.measure(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)), [torch.eye(3)])
        >>> half, one = ({name: [Convention(exponent)] for name in m} for exponent in (0.5, 1.0))
        >>> found = compare_measurements(m, m, conventions=(half, one))
        >>> [(each.what, each.first, each.second) for each in found.differences]
        [('exponent', '0.5', '1')]
        >>> found.layers[0].difference
        0.0
    """
    sides = Side(first, conventions[0], facts[0]), Side(second, conventions[1], facts[1])
    shared = [name for name in first if name in second]
    if not shared:
        raise InputError(
            f"compare: the measurements have no layer in common: {', '.join(first)} and {', '.join(second)}; wanted "
            "measurements of the same network, or of two with the same names."
        )
    differences = differences_of(*sides, shared)
    same_examples = facts[0].get("data") == facts[1].get("data")
    layers = tuple(
        _layer(first[name], second[name], mine, other, same_examples=same_examples)
        for name in shared
        for mine, other in _pairs(sides[0].of(name), sides[1].of(name))
    )
    comparable, verdict = _weigh(differences, layers)
    return Comparison(
        differences=differences,
        comparable=comparable,
        verdict=verdict,
        layers=layers,
        only_first=tuple(name for name in first if name not in second),
        only_second=tuple(name for name in second if name not in first),
    )


def _pairs(first: Sequence[Convention], second: Sequence[Convention]) -> list[tuple[Convention, Convention]]:
    shared = [convention for convention in first if convention in second]
    return [(convention, convention) for convention in shared] or [(first[0], second[0])]


def _layer(
    first: LayerMeasurement, second: LayerMeasurement, mine: Convention, other: Convention, *, same_examples: bool
) -> LayerComparison:
    reread, reason = None, ""
    difference = error = math.nan
    paired = False
    one, own = _read(first, mine), _read(second, other)
    try:
        reread = own if mine == other else _read(second, mine)
    except InputError as refused:
        reason = str(refused)
    found = contrast(first, second)
    if reread is not None:
        difference = reread.value - one.value
        if not math.isnan(difference):
            error, paired = difference_error(first, second, mine, same_examples=same_examples)
    return LayerComparison(
        layer=first.name,
        convention=mine,
        other=other,
        first=one,
        second=own,
        reread=reread,
        reason=reason,
        difference=difference,
        error=error,
        paired=paired,
        contrast=found,
    )


def _read(layer: LayerMeasurement, convention: Convention) -> Reading:
    verdict = judge(layer, convention)
    if verdict.alignment is None:  # gradients too coarse to be read
        return Reading(math.nan, math.nan, math.nan, math.nan, math.nan, verdict.word)
    fit = layer.fit_exponent(centered=convention.centered, init_removed=convention.init_removed)
    found = verdict.alignment
    return Reading(found.value, found.error, found.residual, fit.value, fit.error, verdict.word)


def _weigh(differences: Sequence[Difference], layers: Sequence[LayerComparison]) -> tuple[bool, tuple[str, ...]]:
    """Say whether the numbers may be compared, and to what a difference is owed."""
    parts: dict[Part, list[str]] = {}
    for each in differences:
        parts.setdefault(each.part, []).append(each.what)
    same = all(layer.contrast.same_sums for layer in layers)
    told = ["The convention differs." if "reading" in parts else "The convention is the same."]
    refused = [layer for layer in layers if layer.reread is None]
    if "gradients" in parts:
        told.append(f"The AGOPs are of other gradients ({', '.join(parts['gradients'])}): do not compare the numbers.")
    if "reading" in parts:
        told.append("Differences are told of the second read as the first was.")
        if same and not refused:
            told.append("Weights and sums are the same: the numbers differ by the convention alone.")
    for layer in refused:
        told.append(f"Layer {display_name(layer.layer)} of the second cannot be read as the first was: {layer.reason}")
    if same and "reading" not in parts:
        told.append("Weights and sums are the same, and so are all numbers.")
    elif not same and all(layer.contrast.same_weights for layer in layers):
        told.append("The weights are the same: the numbers differ by what was measured alone.")
    if not same and "measuring" in parts:
        told.append(
            f"They were not measured alike ({', '.join(parts['measuring'])}): only what exceeds the errors counts."
        )
    return "gradients" not in parts and not refused, tuple(told)
