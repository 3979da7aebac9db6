"""A live record laid out for the page: its filters, its words, and the data that the page's scripts read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ansatzlab.linalg.exponent import LARGEST, SMALLEST
from ansatzlab.linalg.spectrum import Comparator, Spectrum
from ansatzlab.report.figures.styles import MARKERS, MEASURED_DASHES, PALETTE
from ansatzlab.report.labels import write_label
from ansatzlab.report.live.records import SCORES, Live, Score, Series
from ansatzlab.report.live.triples import Packed, as_base64, numbers_in, pack
from ansatzlab.report.settings import order_of
from ansatzlab.report.verdicts import MISSING

DRAWN_NUMBERS = 600_000
"""With more numbers than this in the draws of the structural null, a page keeps its mean and spread on a grid."""

MANY_VALUES = 60
"""A label of more values than this is not offered as a filter."""

GRID = 121
"""Exponents at which a null that is too large for the page is kept, beside those asked for."""

_STOPS = 961  # positions of the slider, evenly on a logarithmic scale
_FRACTIONS = 8  # 1/1 to 1/8 are exact positions


@dataclass(frozen=True)
class Filter:
    """A label as the page's filters show it.

    Attributes:
        key: The label.
        name: What it is called.
        values: Its values in words, in their order.
        chosen: Whether each is chosen at first.
        codes: For each series the place of its value.
    """

    key: str
    name: str
    values: tuple[str, ...]
    chosen: tuple[bool, ...]
    codes: tuple[int, ...]


@dataclass(frozen=True)
class LiveView:
    """What the template of the live section shows.

    Attributes:
        live: The record that it was made of.
        filters: Labels with several values, but not too many.
        common: Labels in which all series agree, in words.
        notes: What was left out, sampled or rounded.
        scores: The scores by key.
        several: Whether there are several networks.
        grouped: Whether there are labels to compare.
        trained: Whether anything is shown over training.
        clocks: Whether training is told in steps and in flow time, so that one has to be chosen.
        flows_only: Whether some of it is told in flow time only.
        data: What the page's scripts read; JSON.
    """

    live: Live
    filters: tuple[Filter, ...]
    common: tuple[str, ...]
    notes: tuple[str, ...]
    scores: Mapping[Score, str]
    several: bool
    grouped: bool
    trained: bool
    clocks: bool
    flows_only: bool
    data: Mapping[str, object]


def view(live: Live | None) -> LiveView | None:
    """Lay out what a page needs to follow its slider.

    Conventions:
        A label without a second value is no filter, and one of more than `MANY_VALUES` is named in a note.

    Args:
        live: What was read; None where there is nothing to follow.

    Returns:
        The view; None where there is nothing to follow.
    """
    if live is None:
        return None
    labels = {key: _filter(live, key) for key in live.names}
    filters = [each for key, each in labels.items() if key == "layer" or 1 < len(each.values) <= MANY_VALUES]
    common = [f"{each.name} {each.values[0]}" for key, each in labels.items() if key != "layer" and _is_common(each)]
    crowded = [f"{each.name} ({len(each.values)} values)" for each in labels.values() if len(each.values) > MANY_VALUES]
    gridded = numbers_in(draw for each in live.series for draw in each.draws) > DRAWN_NUMBERS
    packed = pack([spectrum for each in live.series for spectrum in _spectra(each, gridded)])
    clocks = {math.isfinite(moment.step) for each in live.series for moment in each.moments}
    notes = list(live.notes)
    if crowded:
        notes.append(f"Not offered as filters: {', '.join(crowded)}.")
    if packed.precision == "single":
        notes.append("The page keeps these numbers in single precision: a residual below 1e-6 is rounding.")
    if gridded:
        notes.append(f"The null is kept at {GRID} exponents and those asked for; between them it is interpolated.")
    return LiveView(
        live=live,
        filters=tuple(filters),
        common=tuple(common),
        notes=tuple(notes),
        scores=SCORES,
        several=len({each.run for each in live.series}) > 1,
        grouped=len(filters) > 1,
        trained=bool(clocks),
        clocks=clocks == {True, False},
        flows_only=False in clocks,
        data=_data(live, filters, packed, gridded=gridded),
    )


def stops(exponents: Sequence[float]) -> list[float]:
    """Return the exponents of the slider's positions: a fine logarithmic scale that hits what people ask for exactly.

    Args:
        exponents: Further exponents that have to be hit, beside 1/1 to 1/8, 2, 3 and 4; those out of range are not.

    Returns:
        The exponents, ascending, from `SMALLEST` to `LARGEST`.

    Example:
        >>> found = stops([0.4])
        >>> [exponent in found for exponent in (1/2, 1/3, 1/4, 1.0, 0.4, 0.05, 4.0)]
        [True, True, True, True, True, True, True]
    """
    scale = np.geomspace(SMALLEST, LARGEST, _STOPS).tolist()
    wanted = [SMALLEST, LARGEST, 2.0, 3.0, *(1 / n for n in range(1, _FRACTIONS + 1)), *exponents]
    exact = {exponent for exponent in wanted if SMALLEST <= exponent <= LARGEST}
    width = math.log(LARGEST / SMALLEST) / (_STOPS - 1) / 2
    return sorted(exact | {each for each in scale if all(abs(math.log(each / other)) > width for other in exact)})


def _filter(live: Live, key: str) -> Filter:
    """Read a label of every series; layers keep the order in which they come."""
    found = dict.fromkeys(each.labels.get(key) for each in live.series)
    values = list(found) if key == "layer" else sorted(found, key=order_of)
    places = {value: place for place, value in enumerate(values)}
    chosen = live.chosen.get(key, tuple(values))
    return Filter(
        key=key,
        name=live.names[key],
        values=tuple(map(write_label, values)),
        chosen=tuple(value in chosen for value in values),
        codes=tuple(places[each.labels.get(key)] for each in live.series),
    )


def _is_common(label: Filter) -> bool:
    return len(label.values) == 1 and label.values != (MISSING,)


def _spectra(series: Series, gridded: bool) -> list[Spectrum]:
    """Return a series' spectra in the order in which the page expects them."""
    start = [] if series.start is None else [series.start]
    draws = [] if gridded else list(series.draws)
    return [series.spectrum, *start, *draws, *(moment.spectrum for moment in series.moments)]


def _data(live: Live, filters: Sequence[Filter], packed: Packed, *, gridded: bool) -> dict[str, object]:
    runs = {run: place for place, run in enumerate(dict.fromkeys(each.run for each in live.series))}
    asked = [exponent for _, exponent in live.presets] + [each.own for each in live.series]
    moments = [moment for each in live.series for moment in each.moments]
    counts = {
        "starts": [int(each.start is not None) for each in live.series],
        "draws": [0 if gridded else len(each.draws) for each in live.series],
        "moments": [len(each.moments) for each in live.series],
    }
    return {
        "labels": [
            {"key": each.key, "name": each.name, "values": each.values, "codes": as_base64(each.codes, "<u2")}
            for each in filters
        ],
        "count": len(live.series),
        "runs": as_base64([runs[each.run] for each in live.series], "<i4"),
        "own": as_base64([each.own for each in live.series], "<f8"),
        "tautological": as_base64([each.tautological for each in live.series], "<i4"),
        **{name: as_base64(column, "<i4") for name, column in counts.items()},
        "places": as_base64(packed.places, "<i4"),
        "steps": as_base64([moment.step for moment in moments], "<f8"),
        "flow_times": as_base64([moment.flow_time for moment in moments], "<f8"),
        "precision": packed.precision,
        "spectra": packed.arrays,
        "null": "structural" if live.structural else "rotation",
        "null_curves": _null_curves(live, asked) if gridded else None,
        "stops": stops([exponent for exponent in asked if not math.isnan(exponent)]),
        "exponents": sorted({exponent for exponent in asked if SMALLEST <= exponent <= LARGEST}),
        "exponent": live.exponent,
        "clock": "step" if any(math.isfinite(moment.step) for moment in moments) else "flow",
        "start_name": live.start,
        "scores": SCORES,
        "looks": {"colours": PALETTE, "dashes": MEASURED_DASHES, "symbols": [plotly for plotly, _ in MARKERS]},
    }


def _null_curves(live: Live, asked: Sequence[float]) -> dict[str, object]:
    """Return mean and standard deviation of the draws for every score on a grid of exponents."""
    grid = sorted({*np.geomspace(SMALLEST, LARGEST, GRID).tolist(), *(a for a in asked if not math.isnan(a))})
    tables: dict[str, str] = {}
    for score in SCORES:
        moments = [_moments([[_read(draw, score, a) for draw in each.draws] for a in grid]) for each in live.series]
        tables[score] = as_base64(np.array(moments).reshape(-1), "<f8")
    return {"grid": grid, "tables": tables}


def _moments(values: Sequence[Sequence[float]]) -> np.ndarray:
    table = np.array(values, dtype=float)
    if table.shape[1] < 2:
        return np.full((len(table), 2), np.nan)
    return np.stack([table.mean(axis=1), table.std(axis=1, ddof=1)], axis=1)


def _read(spectrum: Spectrum, score: Score, exponent: float) -> float:
    if score == "residual":
        return spectrum.residual(exponent)
    comparator: Comparator = score
    return spectrum.alignment(exponent, comparator)
