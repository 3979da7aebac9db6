"""The figure of layers beside their nulls and their start."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from ansatzlab.laws.runs import Row, spectrum_of
from ansatzlab.linalg.null import haar_null
from ansatzlab.report.figures.dots import DotPlot, Dots
from ansatzlab.report.figures.kinds.grouping import Group, grouped, sentences
from ansatzlab.report.figures.kinds.options import DEFAULTS, Options
from ansatzlab.report.figures.kinds.scores import Scored, exponent_of, score_of, score_words
from ansatzlab.report.figures.kinds.tracks import SPECTRAL, Track, at_the_end, lacking, refuse_lacking, tracks_of
from ansatzlab.report.figures.styles import PALETTE
from ansatzlab.report.readout import display_name

NULL = {"alignment": ("null_alignment", "null_alignment_sd"), "residual": ("null_residual", "null_residual_sd")}
"""The columns of the structural null's mean and standard deviation, at the exponent that the table has for a row."""

ERROR = {"alignment": "alignment_error", "residual": "residual_error"}
"""The columns of standard errors, likewise."""

STRUCTURAL, HAAR = "structural null, ± 2 sd", "random rotations, ± 2 sd"

MOST = len(PALETTE)
"""More groups of runs than this share a colour."""

_WIDE = 10.0  # from this ratio of the largest to the smallest value on, their axis is logarithmic


def layers(table: pa.Table, *, options: Options = DEFAULTS) -> DotPlot:
    """Draw the layers' scores at the last snapshot beside their nulls and, where it was kept, the start.

    Conventions:
        In grey, over all runs: the structural null (the same weights with randomly rotated output gradients) where the
        table has it for the score that is drawn, else for a cosine the Haar null (the AGOP randomly rotated); and the
        first snapshot. Bars are two standard deviations of a null, two standard errors of a measurement, the interval
        of a fitted exponent; of several runs the least and the largest, of a null the outermost ends.

    Args:
        table: Rows as the store returns them, or of `ansatzlab.report.figures.kinds.measured.measured_table`.
        options: The choices, all of which but the clock count.

    Returns:
        The dot plot: a row a layer.

    Raises:
        InputError: If the table has no spectra of finished runs, there are more groups of runs than can be told apart,
            or a layer has no exponent.
    """
    refuse_lacking("layers", lacking(table, SPECTRAL))
    tracks, notes = tracks_of(table, options.layers, columns=SPECTRAL, moments="ends")
    selection = grouped(tracks, options, notes, layered=False, most=MOST)
    names = list(dict.fromkeys(track.layer for track in sorted(tracks, key=_place)))
    words = score_words(tracks, options)
    series = [
        _dots(group.label or words, group.tracks, names, lambda track: _with_error(track.last, options))
        for group in selection.groups
    ]
    null = _null(tracks, names, options)
    if null is not None:
        series.append(null)
    if any(len(track.rows) > 1 for track in tracks):
        series.append(_dots("start", tracks, names, lambda track: score_of(track.rows[0], options), reference=True))
    grey = [dots.label for dots in series if dots.reference]
    values = [value for dots in series for value in dots.values if math.isfinite(value) and value > 0]
    return DotPlot(
        key="layers",
        title=f"{words[:1].upper()}{words[1:]}, by layer",
        caption=sentences(
            f"{words[:1].upper()}{words[1:]}, by layer{at_the_end(tracks)}.",
            f"Grey: {' and '.join(grey)}." * bool(grey),
            *_bars(series, selection.groups, options),
            selection=selection,
        ),
        value_label=words,
        rows=tuple(map(display_name, names)),
        series=tuple(series),
        log=options.score != "alignment" and bool(values) and max(values) > _WIDE * min(values),
    )


def _place(track: Track) -> float:
    place = track.rows[0].get("layer_index")
    return float(place) if isinstance(place, int) else math.inf


def _bars(series: Sequence[Dots], groups: Sequence[Group], options: Options) -> tuple[str, ...]:
    """Say what the bars are, in sentences."""
    several = [_is_several(group.tracks) for group in groups]
    alone = any(dots.low for dots, pooled in zip(series, several, strict=False) if not pooled)
    one = "the interval of the fit" if options.score == "exponent" else "two standard errors"
    null = any(dots.label in (STRUCTURAL, HAAR) for dots in series)
    return (
        "Median over runs; bars reach from the least to the largest." * any(several),
        (f"Where a dot is one run, its bar is {one}." if any(several) else f"Bars: {one}.") * alone,
        "Of a null they are the median over runs, and bars to the outermost ends."
        * (null and _is_several([track for group in groups for track in group.tracks])),
    )


def _is_several(tracks: Sequence[Track]) -> bool:
    return len({track.run_id for track in tracks}) > 1


def _with_error(row: Row, options: Options) -> Scored:
    """Return a row's score with two standard errors to both sides, if the table has them for what is drawn."""
    scored = score_of(row, options)
    error = row.get(ERROR.get(options.score, ""))
    if not _is_own(row, options) or not isinstance(error, float):
        return scored
    return Scored(scored.value, scored.value - 2 * error, scored.value + 2 * error)


def _is_own(row: Row, options: Options) -> bool:
    """Whether a row is read as what else the table has of it: its null and its error."""
    own = exponent_of(row, Options()) == exponent_of(row, options)
    return own and options.comparator == (row.get("comparator") or "cosine")


def _null(tracks: Sequence[Track], names: Sequence[str], options: Options) -> Dots | None:
    mean_name, sd_name = NULL.get(options.score, ("", ""))
    kept = any(track.last.get(mean_name) is not None for track in tracks)

    def structural(track: Track) -> Scored:
        mean, sd = float(track.column(mean_name)[-1]), float(track.column(sd_name)[-1])
        return Scored(mean, mean - 2 * sd, mean + 2 * sd)

    def haar(track: Track) -> Scored:
        null = haar_null(spectrum_of(track.last), exponent_of(track.last, options))
        return Scored(null.mean, max(null.mean - 2 * null.sd, 0.0), null.mean + 2 * null.sd)

    if kept and all(_is_own(track.last, options) for track in tracks):
        return _dots(STRUCTURAL, tracks, names, structural, reference=True, outermost=True)
    if options.score == "alignment" and options.comparator == "cosine":
        return _dots(HAAR, tracks, names, haar, reference=True, outermost=True)
    return None


def _dots(
    label: str,
    tracks: Sequence[Track],
    names: Sequence[str],
    read: Callable[[Track], Scored],
    *,
    reference: bool = False,
    outermost: bool = False,
) -> Dots:
    """Return a dot for each layer: of one run with its interval, of several the median, the least and the largest.

    If ``outermost``, the bars reach to the outermost ends of the intervals of several, too.
    """
    places, values, ends = [], [], []
    whole = outermost or not _is_several(tracks)
    for place, name in enumerate(names):
        found = [scored for track in tracks if track.layer == name and math.isfinite((scored := read(track)).value)]
        if found:
            lows = [each.low if whole and not math.isnan(each.low) else each.value for each in found]
            highs = [each.high if whole and not math.isnan(each.high) else each.value for each in found]
            places.append(place)
            values.append(float(np.median([each.value for each in found])))
            ends.append((min(lows), max(highs)))
    spread = any(low < high for low, high in ends)
    return Dots(
        label,
        tuple(places),
        tuple(values),
        tuple(low for low, _ in ends) if spread else (),
        tuple(high for _, high in ends) if spread else (),
        reference,
    )
