"""Figures over training: scores, best exponents, imbalance, loss."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from ansatzlab.errors import InputError
from ansatzlab.laws.figure import Curve, Figure
from ansatzlab.report.figures.kinds.grouping import Group, Selection, banded, counted, select, sentences
from ansatzlab.report.figures.kinds.options import DEFAULTS, Clock, Options
from ansatzlab.report.figures.kinds.scores import LAW, Scored, law_exponent, score_of, score_words
from ansatzlab.report.figures.kinds.tracks import SPECTRAL, Track, lacking, refuse_lacking

CLOCKS: dict[Clock, str] = {"step": "step", "flow_time": "flow time", "snapshot": "snapshot"}

LINEAR = "deep_linear"
"""The model of which theory knows the exponent."""

Read = Callable[[Track], Sequence[Scored]]
"""From a track to a value for each of its rows."""

_FIT = "Where a curve is one run, the band is the interval of the fit."

_WIDE = 30.0  # from this ratio of the last moment to the first after the start on, the clock is logarithmic


def lacking_course(table: pa.Table, columns: Sequence[str]) -> str:
    """Say what a table lacks to draw columns over training; empty if nothing."""
    if found := lacking(table, columns):
        return found
    several = len(set(table["snapshot"].drop_null().to_pylist())) > 1
    return "" if several else "a second snapshot"


def training(table: pa.Table, *, options: Options = DEFAULTS) -> Figure:
    """Draw a score of the layers over training.

    Args:
        table: Rows as the store returns them.
        options: The choices, all of which count.

    Returns:
        The figure: one curve a layer and group of runs.

    Raises:
        InputError: If the table has no spectra of finished runs at several snapshots, the clock was not kept, there are
            more curves than can be told apart, a layer has no exponent, or the runs of a curve have no moment in
            common.

    Cost:
        O(r) a row; with the score ``exponent`` about 2 ms a row.
    """
    refuse_lacking("training", lacking_course(table, SPECTRAL))
    selection = select(table, options, columns=SPECTRAL)
    words = score_words(selection.tracks, options)
    told = {
        "alignment": "The alignment of WᵀW and the AGOP to a power, over training.",
        "residual": "The smallest ‖WᵀW − c AGOPᵅ‖ / ‖WᵀW‖ over c, over training.",
        "exponent": "The exponent α whose AGOPᵅ is closest to WᵀW, over training.",
    }
    fitted = options.score == "exponent" and _has_single(selection)
    figure = _figure("training", words, (told[options.score], _FIT * fitted), options.score != "alignment")
    return _over_clock(figure, selection, options, lambda track: [score_of(row, options) for row in track.rows])


def exponent(table: pa.Table, *, options: Options = DEFAULTS) -> Figure:
    """Draw the exponent that fits best over training.

    Conventions:
        Of a single run the band is the interval of the fit: how sharply the layer picks its exponent. Where the network
        is deep linear, grey lines show the layer law's exponents.

    Args:
        table: Rows as the store returns them.
        options: The choices; those that count are ``by``, ``layers`` and ``clock``.

    Returns:
        The figure; where an exponent is not identifiable the curve has a gap.

    Raises:
        InputError: As `training` has it.

    Cost:
        About 2 ms a row.
    """
    refuse_lacking("exponent", lacking_course(table, SPECTRAL))
    selection = select(table, options, columns=SPECTRAL)
    fits = replace(options, score="exponent")
    laws = (law_exponent(track.last) for track in selection.tracks if track.settings.get("model") == LINEAR)
    linear = set(filter(math.isfinite, laws))
    told = (
        "The exponent α whose AGOPᵅ is closest to WᵀW, over training.",
        _FIT * _has_single(selection),
        f"Grey: the layer law's {LAW}." * bool(linear),
    )
    figure = _figure("exponent", "best exponent α", told, True)
    drawn = _over_clock(figure, selection, options, lambda track: [score_of(row, fits) for row in track.rows])
    places = [x for curve in drawn.curves for x in curve.x]
    ends = (min(places), max(places))
    if not linear:
        return drawn
    x = tuple(place for _ in linear for place in (*ends, math.nan))  # gaps between the lines of one curve
    y = tuple(place for value in sorted(linear) for place in (value, value, math.nan))
    return replace(drawn, curves=(*drawn.curves, Curve(f"law {LAW}", x, y, dashed=True)))


def imbalance(table: pa.Table, *, options: Options = DEFAULTS) -> Figure:
    """Draw how far neighbouring layers are out of balance over training.

    Args:
        table: Rows as the store returns them, with the observable ``imbalance_norm``.
        options: The choices; those that count are ``by``, ``layers`` and ``clock``.

    Returns:
        The figure: a curve for the lower layer of each pair and group of runs.

    Raises:
        InputError: As `training` has it, of the imbalance.
    """
    refuse_lacking("imbalance", lacking_course(table, ("imbalance_norm",)))
    selection = select(table, options, columns=("imbalance_norm",))
    told = ("The imbalance ‖D‖, D = VᵀV − WWᵀ with V the weights of the next layer, over training.",)
    figure = _figure("imbalance", "imbalance ‖D‖", told, True)
    return _over_clock(figure, selection, options, lambda track: list(map(Scored, track.column("imbalance_norm"))))


def loss(table: pa.Table, *, options: Options = DEFAULTS) -> Figure:
    """Draw the loss over training.

    Args:
        table: Rows as the store returns them.
        options: The choices; those that count are ``by`` and ``clock``.

    Returns:
        The figure: a curve for each group of runs.

    Raises:
        InputError: As `training` has it, of the loss.
    """
    refuse_lacking("loss", lacking_course(table, ("loss",)))
    selection = select(table, options, columns=("loss",), layered=False)
    told = (
        "The loss on all examples, without the penalty, over training."
        if all("task" not in json.loads(str(track.last["spec"])) for track in selection.tracks)
        else "The loss that was recorded, over training."
    )
    figure = _figure("loss", "loss", (told,), True)
    return _over_clock(figure, selection, options, lambda track: list(map(Scored, track.column("loss"))))


def _has_single(selection: Selection) -> bool:
    return any(len(group.tracks) == 1 for group in selection.groups)


def _figure(key: str, label: str, told: Sequence[str], log: bool) -> Figure:
    """Return a figure without curves."""
    title = f"{label[:1].upper()}{label[1:]} over training"
    return Figure(key, title, sentences(*told), x_label="", y_label=label, curves=(), y_log=log)


def _over_clock(figure: Figure, selection: Selection, options: Options, read: Read) -> Figure:
    """Return the figure with a curve for each group, and a caption that says what they are."""
    clock = _clock(selection, options)
    moments = np.concatenate([track.column(clock) for track in selection.tracks])
    later = moments[moments > 0]
    log = clock != "snapshot" and later.size > 0 and float(later.max() / later.min()) > _WIDE
    started = log and bool((moments <= 0).any())
    curves = [_curve(group, group.label or figure.y_label, clock, read, log=log) for group in selection.groups]
    return replace(
        figure,
        caption=sentences(
            figure.caption,
            "The start, for which a logarithmic axis has no place, is left out." * started,
            counted(selection.groups),
            "Runs that were looked at at different times are interpolated between their snapshots, and do not count "
            "beyond them." * any(not _is_shared(group, clock) for group in selection.groups),
            selection=selection,
        ),
        x_label=CLOCKS[clock],
        curves=tuple(curves),
        x_log=log,
    )


def _clock(selection: Selection, options: Options) -> Clock:
    """Return the clock that was asked for, or the first that every run has.

    Raises:
        InputError: If a run lacks the one that was asked for.
    """

    def lacks(clock: Clock) -> list[str]:
        return [track.run_id for track in selection.tracks if np.isnan(track.column(clock)).any()]

    kept = [clock for clock in CLOCKS if not lacks(clock)]
    asked = options.clock
    if asked is not None and asked not in kept:
        raise InputError(
            f"clock: run {lacks(asked)[0]} has no {asked}; wanted a clock that every run has; choose "
            f"{' or '.join(kept)}, or other runs."
        )
    return asked or kept[0]


def _is_shared(group: Group, clock: Clock) -> bool:
    first = group.tracks[0].column(clock)
    return all(np.array_equal(first, track.column(clock)) for track in group.tracks)


def _curve(group: Group, label: str, clock: Clock, read: Read, *, log: bool) -> Curve:
    """Return the curve of a group: at each moment the median over the runs that were looked at before and after it.

    Raises:
        InputError: If no moment is within the trainings of all of them.
    """
    times = [track.column(clock) for track in group.tracks]
    found = [read(track) for track in group.tracks]
    values = [np.array([each.value for each in scored]) for scored in found]
    grid = times[0]
    if not _is_shared(group, clock):
        late, early = max(time.min() for time in times), min(time.max() for time in times)
        if late > early:
            raise InputError(
                f"the figure: of the {len(times)} runs of curve {label!r} one ends at {CLOCKS[clock]} {early:g} and "
                f"another begins at {late:g}; wanted runs with a moment in common; tell them apart or choose some of "
                "them (--by, --where)."
            )
        grid = np.unique(np.concatenate(times))
        pairs = zip(times, values, strict=True)
        values = [np.interp(grid, time, value, left=math.nan, right=math.nan) for time, value in pairs]
    kept = grid > 0 if log else np.ones(len(grid), dtype=bool)
    curve = banded(label, grid[kept], [value[kept] for value in values])
    if len(found) > 1 or all(math.isnan(each.low) for each in found[0]):
        return curve
    ends = np.array([(each.low, each.high) for each in found[0]])[kept]
    return replace(curve, low=tuple(ends[:, 0].tolist()), high=tuple(ends[:, 1].tolist()))
