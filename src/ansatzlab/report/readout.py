"""What is read out of a measurement for people: one row per layer and convention."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.verdict import Word, judge
from ansatzlab.report.verdicts import MISSING

VERDICTS = get_args(Word)
"""The words of a verdict, in the order in which they are counted."""


@dataclass(frozen=True)
class Readout:
    """One layer, or one head or gate of it, under one convention.

    Attributes:
        layer: The layer's name.
        part: The part's name; empty for the whole layer.
        kind: The layer's kind.
        outputs: Outputs of the layer.
        inputs: Inputs that each of them sees.
        examples: How many examples were measured.
        convention: How the alignment was read.
        value: The alignment.
        error: Its standard error; nan where there is none.
        residual: The scale-free residual at the same exponent.
        residual_error: Its standard error.
        rank: The numerical rank of the AGOP.
        null_mean: The mean alignment of the structural null; nan without one.
        null_sd: Its standard deviation.
        null_residual_mean: The mean residual of the structural null.
        null_residual_sd: Its standard deviation.
        null_z: How many of these the residual lies below that mean.
        haar_mean: The mean cosine with a randomly rotated power of the AGOP, in closed form; nan without one.
        haar_sd: Its standard deviation.
        start: The initial network's alignment; nan if it was not given.
        best_exponent: The exponent that fits best; nan where not identifiable.
        best_error: Its standard error from sampling examples; nan where there is none.
        best_low: Lower end of the interval that says how sharply the layer picks an exponent.
        best_high: Upper end.
        best_residual: The scale-free residual there.
        not_identifiable: Why no exponent can be told; empty where one can.
        tautological: Whether exponent 1 fits this layer whatever its weights.
        verdict: The verdict, one of `VERDICTS`.
        reason: Why, in words.
    """

    layer: str
    part: str
    kind: str
    outputs: int
    inputs: int
    examples: int
    convention: Convention
    value: float
    error: float
    residual: float
    residual_error: float
    rank: int
    null_mean: float
    null_sd: float
    null_residual_mean: float
    null_residual_sd: float
    null_z: float
    haar_mean: float
    haar_sd: float
    start: float
    best_exponent: float
    best_error: float
    best_low: float
    best_high: float
    best_residual: float
    not_identifiable: str
    tautological: bool
    verdict: Word
    reason: str

    def to_dict(self) -> dict[str, object]:
        """Return the row as what JSON can hold; a missing number is None."""
        values = {**asdict(self), **asdict(self.convention)}
        del values["convention"]
        return {name: _json(value) for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Readout":
        """Return the row that `to_dict` wrote.

        Raises:
            KeyError: If something is missing.
        """
        told = {each.name: values[each.name] for each in fields(Convention)}
        names = [each.name for each in fields(cls) if each.name != "convention"]
        found: dict[str, Any] = {name: math.nan if values[name] is None else values[name] for name in names}
        return cls(convention=Convention(**told), **found)


def read_layers(
    measurement: Measurement, plan: Mapping[str, Sequence[Convention]], *, parts: bool = False
) -> tuple[Readout, ...]:
    """Read every layer under the conventions that are planned for it.

    Args:
        measurement: The measurement.
        plan: The conventions of each layer, by name.
        parts: Whether heads and gates are read too, each under its layer's conventions.

    Returns:
        One row per layer and convention, in the measurement's order, a layer's parts behind it.

    Raises:
        InputError: If a convention takes W₀ out and the measurement has none.

    Cost:
        One decomposition for each row, and the verdict's null.
    """
    rows = []
    for name, layer in measurement.items():
        for convention in plan[name]:
            rows.append(_read(layer, convention, name))
            if parts:
                rows += [_read(part, convention, name, key) for key, part in layer.parts.items()]
    return tuple(rows)


def _read(layer: LayerMeasurement, convention: Convention, name: str, part: str = "") -> Readout:
    verdict = judge(layer, convention)
    alignment, null = verdict.alignment, verdict.null
    fit = None
    if alignment is not None:  # gradients too coarse to be read pick no exponent either
        fit = layer.fit_exponent(centered=convention.centered, init_removed=convention.init_removed)
    return Readout(
        layer=name,
        part=part,
        kind=layer.kind,
        outputs=layer.shape[0],
        inputs=layer.shape[1],
        examples=layer.sums.examples,
        convention=convention,
        value=_number(alignment, "value"),
        error=_number(alignment, "error"),
        residual=_number(alignment, "residual"),
        residual_error=_number(alignment, "residual_error"),
        rank=0 if alignment is None else alignment.rank,
        null_mean=_number(null, "mean"),
        null_sd=_number(null, "sd"),
        null_residual_mean=_number(null, "residual_mean"),
        null_residual_sd=_number(null, "residual_sd"),
        null_z=_number(null, "z"),
        haar_mean=_number(verdict.haar, "mean"),
        haar_sd=_number(verdict.haar, "sd"),
        start=_number(verdict.start, "value"),
        best_exponent=_number(fit, "value"),
        best_error=_number(fit, "error"),
        best_low=_number(fit, "low"),
        best_high=_number(fit, "high"),
        best_residual=_number(fit, "residual"),
        not_identifiable=verdict.reason if fit is None else fit.reason,
        tautological=layer.tautological,
        verdict=verdict.word,
        reason=verdict.reason,
    )


def _number(record: object | None, name: str) -> float:
    return math.nan if record is None else float(getattr(record, name))


def describe_convention(convention: Convention) -> str:
    """Say a convention in words.

    Example:
        >>> describe_convention(Convention(0.5, centered=True))
        'exponent 0.5, cosine, mean gradient taken out'
    """
    words = [f"exponent {convention.exponent:.6g}", convention.comparator]
    words += ["mean gradient taken out"] * convention.centered + ["W − W₀ for W"] * convention.init_removed
    return ", ".join(words)


def conventions_of(rows: Iterable[Readout]) -> tuple[Convention, ...]:
    """Return the conventions that occur, in the order in which they first do."""
    return tuple(dict.fromkeys(row.convention for row in rows))


def differences(convention: Convention, among: Sequence[Convention]) -> str:
    """Say in a few letters what tells a convention from the others of a table; empty if there is no other.

    Example:
        >>> both = (Convention(1.0), Convention(1.0, centered=True))
        >>> [differences(convention, both) for convention in both]
        ['not centred', 'centred']
    """
    words = {
        "exponent": f"α {convention.exponent:.4g}",
        "comparator": convention.comparator,
        "centered": "centred" if convention.centered else "not centred",
        "init_removed": "W − W₀" if convention.init_removed else "W",
    }
    varied = [name for name in words if len({getattr(other, name) for other in among}) > 1]
    return ", ".join(words[name] for name in varied)


def display_name(layer: str) -> str:
    """Return a layer's name as it is shown; the network itself has none in ``named_modules()``."""
    return layer or "(the network itself)"


def group_skipped(skipped: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the skipped modules by their reason."""
    groups: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        groups.setdefault(reason, []).append(name)
    return groups


def format_estimate(value: float, error: float) -> str:
    """Write a number of size about 1 with its standard error.

    Example:
        >>> format_estimate(0.91532, 0.0021), format_estimate(0.5, float("nan")), format_estimate(0.5, 1e-9)
        ('0.915 ± 0.002', '0.500', '0.500 ± 1e-09')
    """
    return format_score(value) + ("" if math.isnan(error) or math.isnan(value) else f" ± {format_score(error)}")


def format_score(value: float) -> str:
    """Write a number of size about 1; where that would hide how small it is, with an exponent."""
    if math.isnan(value):
        return MISSING
    return f"{value:.3f}" if value == 0 or abs(value) >= 5e-4 else f"{value:.0e}"


def format_best(row: Readout) -> str:
    """Write the best exponent with its standard error, and the interval that says how sharply the layer picks it."""
    if math.isnan(row.best_exponent):
        return MISSING
    return f"{format_estimate(row.best_exponent, row.best_error)} [{row.best_low:.2f}, {row.best_high:.2f}]"


def _json(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
