"""What a layer is given at a snapshot: alignment, residual, best exponent; and the words for them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from ansatzlab.errors import InputError
from ansatzlab.laws.runs import Row, spectrum_of
from ansatzlab.linalg.exponent import fit_exponent
from ansatzlab.linalg.spectrum import Comparator
from ansatzlab.report.figures.kinds.options import Options
from ansatzlab.report.figures.kinds.tracks import Track

COMPARED: dict[Comparator, str] = {
    "cosine": "cosine",
    "pearson": "Pearson correlation",
    "traceless": "traceless cosine",
}

OWN = ("exponent", "recorded_exponent")
"""The columns of rows that bring their own exponent, as those of a measurement and of a recording do."""

LAW = "1/(L−l+1)"


@dataclass(frozen=True)
class Scored:
    """A score and, where it has one, an interval.

    Attributes:
        value: The score; nan where there is none.
        low: Lower end; nan where there is no interval.
        high: Upper end.
    """

    value: float
    low: float = math.nan
    high: float = math.nan


def exponent_of(row: Row, options: Options) -> float:
    """Return the exponent that a row is read at: what was asked for, the row's own, or the layer law's; else nan."""
    if options.exponent is not None:
        return options.exponent
    own = own_exponent(row)
    return law_exponent(row) if own is None else own


def law_exponent(row: Row) -> float:
    """Return the layer law's exponent, by the depth and the place of the layer; nan where they do not say it."""
    depth, place = row.get("depth"), row.get("layer_index")
    if isinstance(depth, int) and isinstance(place, int) and 1 <= place <= depth:
        return 1 / (depth - place + 1)
    return math.nan


def own_exponent(row: Row) -> float | None:
    """Return the exponent that a row brings; None if there is none."""
    return next((value for name in OWN if isinstance(value := row.get(name), float)), None)


def score_of(row: Row, options: Options) -> Scored:
    """Read what the options ask for out of a row's spectrum.

    Raises:
        InputError: If that needs an exponent and the row has none.
    """
    spectrum = spectrum_of(row)
    if options.score == "exponent":
        fit = fit_exponent(spectrum)
        return Scored(fit.value, fit.low, fit.high)
    exponent = exponent_of(row, options)
    if math.isnan(exponent):
        raise InputError(
            f"layer {row.get('layer')!r}: is layer {row.get('layer_index')} of {row.get('depth')}, which has no "
            f"exponent {LAW}; wanted one to read it at; give an exponent (--exponent)."
        )
    if options.score == "residual":
        return Scored(spectrum.residual(exponent))
    return Scored(spectrum.alignment(exponent, options.comparator))


def score_words(tracks: Iterable[Track], options: Options) -> str:
    """Say what the options ask for, with the exponent: ``residual at α = 0.5``."""
    if options.score == "exponent":
        return "best exponent α"
    name = "residual" if options.score == "residual" else "alignment"
    extra = (
        "" if options.score == "residual" or options.comparator == "cosine" else f" ({COMPARED[options.comparator]})"
    )
    return f"{name}{extra} at α = {exponent_words(tracks, options)}"


def exponent_words(tracks: Iterable[Track], options: Options) -> str:
    """Say at which exponent tracks are read: a number if it is the same for all, else the rule."""
    rows = [track.last for track in tracks]
    found = {exponent_of(row, options) for row in rows}
    if len(found) == 1:
        return f"{found.pop():.4g}"
    return "each layer's own" if any(own_exponent(row) is not None for row in rows) else LAW


def exponent_rule(tracks: Iterable[Track], options: Options) -> str:
    """Say by what rule tracks are read: a number that was asked for or that rows bring, else the layer law."""
    if options.exponent is not None:
        return f"{options.exponent:.4g}"
    brought = sorted({own for track in tracks if (own := own_exponent(track.last)) is not None})
    return ", ".join(f"{own:.4g}" for own in brought) or LAW
