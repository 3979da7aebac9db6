"""Render a measurement as one HTML file that needs nothing else: verdicts, figures, what layers look at."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from ansatzlab.laws.figure import Curve, Figure
from ansatzlab.linalg.exponent import LARGEST, SMALLEST
from ansatzlab.linalg.spectrum import Spectrum
from ansatzlab.measurement.result import Measurement
from ansatzlab.report.figures.exhibits import Shown
from ansatzlab.report.live.measurement import live_measurement
from ansatzlab.report.looks.records import Look
from ansatzlab.report.readout import (
    VERDICTS,
    Readout,
    conventions_of,
    describe_convention,
    differences,
    display_name,
    format_best,
    format_estimate,
    format_score,
    group_skipped,
)
from ansatzlab.report.templates import render

MARKS = dict(zip(VERDICTS, "✓≈✗=?↓–", strict=True))
"""One mark a verdict; it always stands beside the word."""

MARKED_LAYERS = 4
"""With more layers than this, marks of null and start cannot be told apart on the curves."""

LIVE = frozenset({"layers", "alignment", "residual"})
"""The figures in whose place the page has live ones; they are files only."""

_EXPONENTS = 61
_EIGENVALUES = 200  # of a longer spectrum so many are drawn, evenly spaced on the logarithmic axis


def render_measurement(
    measurement: Measurement,
    rows: Sequence[Readout],
    figures: Sequence[Figure],
    looks: Sequence[Look],
    facts: Mapping[str, str],
    *,
    title: str,
) -> str:
    """Render the verdicts, the live section, the figures, what layers look at and the provenance of a measurement.

    Conventions: the figures of `LIVE` are left to the live section, which follows the exponent. Everything that comes
    from the records is escaped, and a content security policy in the page forbids it to load anything.

    Args:
        measurement: The measurement, for what was skipped and what its outputs are.
        rows: Its rows.
        figures: What to draw; see `measurement_figures`.
        looks: What layers look at; may be empty.
        facts: Provenance, name to value, in the order to be shown.
        title: The network's name, for the heading.

    Returns:
        A whole HTML document, to be written as UTF-8.

    Raises:
        InputError: If a figure's curve has columns of different lengths or only one of low and high.

    Cost:
        About 5 MB, nearly all of it Plotly; for each rotation of the null one decomposition a layer.
    """
    among = conventions_of(rows)
    live = live_measurement(measurement, rows)
    return render(
        "measurement.html",
        shown=[Shown(figure) for figure in figures if live is None or figure.key not in LIVE],
        live=live,
        facts=facts,
        title=title,
        rows=rows,
        tally=tally_verdicts(rows),
        outputs=measurement.outputs,
        examples=max((row.examples for row in rows), default=0),
        skipped=group_skipped(measurement.skipped),
        conventions=[describe_convention(convention) for convention in among],
        told={convention: differences(convention, among) for convention in among},
        MARKS=MARKS,
        words={word: f"verdict-{number}" for number, word in enumerate(VERDICTS)},
        has_null=any(not math.isnan(row.null_mean) for row in rows),
        has_start=any(not math.isnan(row.start) for row in rows),
        looks=looks,
        display_name=display_name,
        estimate=format_estimate,
        score=format_score,
        best=format_best,
    )


def tally_verdicts(rows: Sequence[Readout]) -> str:
    """Count the verdicts in words, in the order of `VERDICTS`.

    Example:
        >>> tally_verdicts([])
        'nothing was measured'
    """
    counts = Counter(row.verdict for row in rows)
    return ", ".join(f"{counts[word]} {word}" for word in VERDICTS if counts[word]) or "nothing was measured"


def measurement_figures(measurement: Measurement, rows: Sequence[Readout]) -> tuple[Figure, ...]:
    """Draw a measurement: scores by layer, alignment and residual against the exponent, spectra.

    Conventions:
        Whole layers only, without those whose gradients are too coarse to be read. The curves against the exponent, and
        the spectra, use the first convention of each layer (mean gradient, initial weights), and the cosine whatever
        its comparator.

    Args:
        measurement: The measurement.
        rows: Its rows.

    Returns:
        Four figures; three for a single layer, which needs no figure by layer.

    Cost:
        One decomposition a layer.
    """
    whole = [row for row in rows if not row.part and not math.isnan(row.residual)]
    firsts = {row.layer: row for row in reversed(whole)}
    chosen = {name: firsts[name] for name in measurement if name in firsts}
    spectra = {
        name: measurement[name].spectrum(centered=row.convention.centered, init_removed=row.convention.init_removed)
        for name, row in chosen.items()
    }
    by_layer = (_by_layer(measurement, whole),) if len(chosen) > 1 else ()
    return (*by_layer, _alignments(spectra, chosen), _residuals(spectra, chosen), _eigenvalues(spectra))


def _by_layer(measurement: Measurement, rows: Sequence[Readout]) -> Figure:
    places = {name: float(place) for place, name in enumerate(measurement, start=1)}
    series: dict[int, list[Readout]] = {}
    seen: Counter[str] = Counter()
    for row in rows:
        series.setdefault(seen[row.layer], []).append(row)
        seen[row.layer] += 1
    among = conventions_of(rows)
    curves = []
    for members in series.values():
        conventions = conventions_of(members)
        told = differences(conventions[0], among) if len(conventions) == 1 else "each layer's own exponent"
        tag = f" ({told})" if told else ""
        x = tuple(places[row.layer] for row in members)
        curves.append(_banded(f"alignment{tag}", x, [(row.value, 2 * row.error) for row in members], dashed=False))
        if any(not math.isnan(row.null_mean) for row in members):
            null = [(row.null_mean, 2 * row.null_sd) for row in members]
            curves.append(_banded(f"structural null{tag}", x, null, dashed=True))
        if any(not math.isnan(row.start) for row in members):
            curves.append(Curve(f"before training{tag}", x, tuple(row.start for row in members), dashed=True))
    names = "; ".join(f"{place:.0f} {display_name(name)}" for name, place in places.items())
    return Figure(
        key="layers",
        title="Alignment of every layer, beside its null",
        caption="A score says something only above its null: the same weights with randomly rotated output gradients. "
        f"Bands are two standard errors, for the null two standard deviations. Layers: {names}.",
        x_label="layer",
        y_label="alignment",
        curves=tuple(curves),
        x_log=False,
        y_log=False,
    )


def _banded(label: str, x: tuple[float, ...], values: Sequence[tuple[float, float]], *, dashed: bool) -> Curve:
    y = tuple(value for value, _ in values)
    if all(math.isnan(half) for _, half in values):
        return Curve(label, x, y, dashed=dashed)
    low = tuple(value - (0.0 if math.isnan(half) else half) for value, half in values)
    high = tuple(value + (0.0 if math.isnan(half) else half) for value, half in values)
    return Curve(label, x, y, low, high, dashed)


def _grid(rows: Mapping[str, Readout]) -> tuple[float, ...]:
    asked = {row.convention.exponent for row in rows.values() if row.convention.exponent > 0}
    return tuple(sorted({*np.geomspace(SMALLEST, LARGEST, _EXPONENTS).tolist(), *asked}))


def _alignments(spectra: Mapping[str, Spectrum], rows: Mapping[str, Readout]) -> Figure:
    grid = _grid(rows)
    curves = [
        Curve(display_name(name), grid, tuple(spectrum.alignment(exponent) for exponent in grid))
        for name, spectrum in spectra.items()
    ]
    marked = len(spectra) <= MARKED_LAYERS and all(row.convention.comparator == "cosine" for row in rows.values())
    for name, row in rows.items() if marked else ():
        place = (row.convention.exponent,)
        if not math.isnan(row.null_mean):
            null = [(row.null_mean, 2 * row.null_sd)]
            curves.append(_banded(f"{display_name(name)}: structural null", place, null, dashed=True))
        if not math.isnan(row.start):
            curves.append(Curve(f"{display_name(name)}: before training", place, (row.start,), dashed=True))
    marks = " Grey marks stand at the exponent that was asked for." if marked else ""
    return Figure(
        key="alignment",
        title="Alignment against the exponent",
        caption="The cosine of WᵀW and the AGOP to a power. A curve that is flat near its top does not tell exponents "
        f"apart, and one that starts high at the left owes that to a flat spectrum.{marks}",
        x_label="exponent α of the AGOP",
        y_label="cosine of WᵀW and AGOPᵅ",
        curves=tuple(curves),
        y_log=False,
    )


def _residuals(spectra: Mapping[str, Spectrum], rows: Mapping[str, Readout]) -> Figure:
    grid = _grid(rows)
    return Figure(
        key="residual",
        title="Residual against the exponent",
        caption="The smallest ‖WᵀW − c AGOPᵅ‖ / ‖WᵀW‖ over c. The law WᵀW ∝ AGOPᵅ predicts a sharp "
        "minimum near zero at its exponent; a cosine near one can hide a residual of a tenth and more.",
        x_label="exponent α of the AGOP",
        y_label="scale-free residual",
        curves=tuple(
            Curve(display_name(name), grid, tuple(spectrum.residual(exponent) for exponent in grid))
            for name, spectrum in spectra.items()
        ),
    )


def _eigenvalues(spectra: Mapping[str, Spectrum]) -> Figure:
    curves = []
    for name, spectrum in spectra.items():
        values = (spectrum.eigenvalues / spectrum.eigenvalues[:1]).tolist()
        ranks = list(range(1, len(values) + 1))
        if len(values) > _EIGENVALUES:
            ranks = sorted({round(float(rank)) for rank in np.geomspace(1, len(values), _EIGENVALUES)})
        x = tuple(float(rank) for rank in ranks)
        curves.append(Curve(display_name(name), x, tuple(values[rank - 1] for rank in ranks)))
    return Figure(
        key="spectra",
        title="Spectra of the AGOP",
        caption="Eigenvalues above rounding, relative to the largest. Only a spectrum that falls over decades can tell "
        "one exponent from another.",
        x_label="rank of the eigenvalue",
        y_label="λ / λ₁",
        curves=tuple(curves),
    )
