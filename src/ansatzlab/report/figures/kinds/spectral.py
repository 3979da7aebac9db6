"""Figures of spectra at the end of training: scores against the exponent, eigenvalues."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from ansatzlab.laws.figure import Curve, Figure
from ansatzlab.laws.runs import spectrum_of
from ansatzlab.linalg.exponent import LARGEST, SMALLEST
from ansatzlab.linalg.null import haar_null
from ansatzlab.linalg.spectrum import Spectrum
from ansatzlab.report.figures.kinds.grouping import MOST, Group, Selection, banded, counted, reduced, select, sentences
from ansatzlab.report.figures.kinds.options import DEFAULTS, Options
from ansatzlab.report.figures.kinds.scores import COMPARED, exponent_of
from ansatzlab.report.figures.kinds.tracks import SPECTRAL, at_the_end, lacking, refuse_lacking

EXPONENTS = 121
"""How many exponents a curve is drawn at, beside those that layers are read at."""

WEIGHTS = "weight_eigenvalues"
"""The column of the eigenvalues of WᵀW, which a measurement has and a store has not."""

_LONG = 50  # ranks from which on their axis is logarithmic


def alignment(table: pa.Table, *, options: Options = DEFAULTS) -> Figure:
    """Draw the alignment of WᵀW with the AGOP to a power against the exponent, at the last snapshot.

    Conventions:
        One curve a layer and group of runs. For the cosine the grey band is what random rotations of the AGOP would
        score (the Haar null): mean and two standard deviations, over all layers.

    Args:
        table: Rows as the store returns them, or of `ansatzlab.report.figures.kinds.measured.measured_table`.
        options: The choices; those that count are ``by``, ``layers``, ``comparator`` and ``exponent``, at which a point
            is drawn in any case.

    Returns:
        The figure.

    Raises:
        InputError: If the table has no spectra of finished runs, or there are more curves than can be told apart.
    """
    refuse_lacking("alignment", lacking(table, SPECTRAL))
    selection = select(table, options, columns=SPECTRAL, moments="last")
    grid, spectra = _grid(selection, options), _spectra(selection)
    curves = _curves(selection, grid, lambda spectrum, a: spectrum.alignment(a, options.comparator), spectra)
    cosine = options.comparator == "cosine"
    name = COMPARED[options.comparator]
    return Figure(
        key="alignment",
        title="Alignment against the exponent",
        caption=sentences(
            f"The {name} of WᵀW and the AGOP to a power{at_the_end(selection.tracks)}.",
            "Grey: what randomly rotated AGOPs would score, mean and two standard deviations over all layers." * cosine,
            "A curve that is flat near its top does not tell exponents apart.",
            counted(selection.groups),
            selection=selection,
        ),
        x_label="exponent α of the AGOP",
        y_label=f"{name} of WᵀW and AGOPᵅ",
        curves=(*curves, *([_null_band(grid, spectra)] if cosine else [])),
        y_log=False,
    )


def residual(table: pa.Table, *, options: Options = DEFAULTS) -> Figure:
    """Draw the scale-free residual of WᵀW against the AGOP to a power over the exponent, at the last snapshot.

    Args:
        table: As `alignment` has it.
        options: The choices; those that count are ``by``, ``layers`` and ``exponent``.

    Returns:
        The figure.

    Raises:
        InputError: As `alignment` has it.
    """
    refuse_lacking("residual", lacking(table, SPECTRAL))
    selection = select(table, options, columns=SPECTRAL, moments="last")
    curves = _curves(selection, _grid(selection, options), Spectrum.residual, _spectra(selection))
    return Figure(
        key="residual",
        title="Residual against the exponent",
        caption=sentences(
            f"The smallest ‖WᵀW − c AGOPᵅ‖ / ‖WᵀW‖ over c{at_the_end(selection.tracks)}.",
            "The law WᵀW ∝ AGOPᵅ predicts a sharp minimum near zero at its exponent.",
            counted(selection.groups),
            selection=selection,
        ),
        x_label="exponent α of the AGOP",
        y_label="scale-free residual",
        curves=curves,
    )


def spectrum(table: pa.Table, *, options: Options = DEFAULTS) -> Figure:
    """Draw the eigenvalues of the AGOP and of the weight Gram matrix at the last snapshot, relative to the largest.

    Conventions:
        A store has no eigenvalues of WᵀW but its energies vᵀWᵀWv along the AGOP's eigenvectors v, in the order of the
        AGOP's eigenvalues: the same where the two matrices share their eigenvectors, and drawn instead.

    Args:
        table: As `alignment` has it.
        options: The choices; those that count are ``by`` and ``layers``.

    Returns:
        The figure: two curves a layer and group of runs.

    Raises:
        InputError: As `alignment` has it.
    """
    refuse_lacking("spectrum", lacking(table, SPECTRAL))
    selection = select(table, options, columns=SPECTRAL, moments="last", most=MOST // 2)
    own = WEIGHTS in table.column_names
    curves: list[Curve] = []
    for group in selection.groups:
        curves.append(_ranked(f"{group.label}, AGOP", group, "eigenvalues"))
        curves.append(_ranked(f"{group.label}, WᵀW", group, WEIGHTS if own else "energies"))
    what = "the eigenvalues of WᵀW" if own else "the energies of WᵀW along the AGOP's eigenvectors"
    return Figure(
        key="spectrum",
        title="Spectra of the AGOP and of the weights",
        caption=sentences(
            f"Eigenvalues of the AGOP above rounding, and {what}{at_the_end(selection.tracks)}, each relative to the "
            "largest. Under WᵀW ∝ AGOPᵅ the logarithms of the two are proportional.",
            counted(selection.groups),
            selection=selection,
        ),
        x_label="rank of the eigenvalue",
        y_label="relative to the largest",
        curves=tuple(curves),
        x_log=max((len(curve.x) for curve in curves), default=0) > _LONG,
    )


def _grid(selection: Selection, options: Options) -> np.ndarray:
    asked = {exponent_of(track.last, options) for track in selection.tracks}
    return np.unique([*np.geomspace(SMALLEST, LARGEST, EXPONENTS), *(each for each in asked if not math.isnan(each))])


def _spectra(selection: Selection) -> list[list[Spectrum]]:
    return [[spectrum_of(track.last) for track in group.tracks] for group in selection.groups]


def _curves(
    selection: Selection,
    grid: np.ndarray,
    read: Callable[[Spectrum, float], float],
    spectra: Sequence[Sequence[Spectrum]],
) -> tuple[Curve, ...]:
    return tuple(
        banded(group.label, grid, [np.array([read(spectrum, float(a)) for a in grid]) for spectrum in members])
        for group, members in zip(selection.groups, spectra, strict=True)
    )


def _null_band(grid: np.ndarray, spectra: Sequence[Sequence[Spectrum]]) -> Curve:
    """Return the Haar null over all layers: the median of the means, from the lowest to the highest end.

    No cosine of positive matrices is below 0, so the band is not either.
    """
    nulls = [[haar_null(spectrum, float(a)) for a in grid] for members in spectra for spectrum in members]
    means = [np.array([null.mean for null in each]) for each in nulls]
    spreads = [np.array([2 * null.sd for null in each]) for each in nulls]
    pairs = list(zip(means, spreads, strict=True))
    return Curve(
        label="random rotations, ± 2 sd",
        x=tuple(grid.tolist()),
        y=reduced(means, np.median),
        low=reduced([np.maximum(mean - spread, 0.0) for mean, spread in pairs], np.min),
        high=reduced([mean + spread for mean, spread in pairs], np.max),
        dashed=True,
    )


def _ranked(label: str, group: Group, column: str) -> Curve:
    """Return a list column of a group's last rows against the rank, each list relative to its largest entry."""
    lists = [np.array(track.last[column], dtype=float) for track in group.tracks]
    longest = max(map(len, lists))
    padded = [np.pad(values / values.max(), (0, longest - len(values)), constant_values=np.nan) for values in lists]
    return banded(label, np.arange(1, longest + 1), padded)
