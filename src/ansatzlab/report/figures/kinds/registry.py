"""The kinds of figures by name, what each needs, and which a table can feed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.laws.figure import Figure, HeatMap
from ansatzlab.report.figures.dots import DotPlot
from ansatzlab.report.figures.kinds.claims import COLUMNS as FINDINGS
from ansatzlab.report.figures.kinds.claims import verdicts
from ansatzlab.report.figures.kinds.courses import exponent, imbalance, lacking_course, loss, training
from ansatzlab.report.figures.kinds.layers import layers
from ansatzlab.report.figures.kinds.maps import lacking_settings, settings_map
from ansatzlab.report.figures.kinds.options import DEFAULTS, Options
from ansatzlab.report.figures.kinds.spectral import alignment, residual, spectrum
from ansatzlab.report.figures.kinds.tracks import SPECTRAL, lacking

Drawn = Figure | HeatMap | DotPlot


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes:
        key: Its name.
        draw: From a table, and keyword ``options``, to the figure.
        lacks: What a table lacks for it, in words; empty if nothing.
        says: What it shows, in a line.
    """

    key: str
    draw: Callable[..., Drawn]
    lacks: Callable[[pa.Table], str]
    says: str


_spectra = partial(lacking, columns=SPECTRAL)
_findings = partial(lacking, columns=FINDINGS)

KINDS: Mapping[str, Kind] = {
    kind.key: kind
    for kind in (
        Kind(
            "alignment", alignment, _spectra, "alignment against the exponent, at the end; random rotations beside it"
        ),
        Kind("residual", residual, _spectra, "residual against the exponent, at the end"),
        Kind("spectrum", spectrum, _spectra, "eigenvalues of the AGOP and of the weights, at the end"),
        Kind("layers", layers, _spectra, "a score by layer, at the end, beside its null and its start"),
        Kind("training", training, partial(lacking_course, columns=SPECTRAL), "a score over training"),
        Kind("exponent", exponent, partial(lacking_course, columns=SPECTRAL), "the best exponent over training"),
        Kind("imbalance", imbalance, partial(lacking_course, columns=("imbalance_norm",)), "‖D‖ over training"),
        Kind("loss", loss, partial(lacking_course, columns=("loss",)), "the loss over training"),
        Kind("map", settings_map, lacking_settings, "a score over two settings of a sweep"),
        Kind("verdicts", verdicts, _findings, "the claims of a verification beside their thresholds"),
    )
}
"""Every kind of figure; each function can be used by itself."""


def possible(table: pa.Table) -> tuple[Kind, ...]:
    """Return the kinds that a table can feed."""
    return tuple(kind for kind in KINDS.values() if not kind.lacks(table))


def draw(key: str, table: pa.Table, *, options: Options = DEFAULTS) -> Drawn:
    """Draw a kind of figure by its name.

    Args:
        key: A name of `KINDS`.
        table: Rows as the store returns them, a measurement's table, or for ``verdicts`` a table of findings.
        options: The choices.

    Returns:
        The figure.

    Raises:
        UnknownNameError: If there is no such kind.
        InputError: If the table cannot feed it; the message says what is missing, and which kinds it can.
    """
    if key not in KINDS:
        raise UnknownNameError("figure", key, KINDS)
    if missing := KINDS[key].lacks(table):
        others = ", ".join(kind.key for kind in possible(table)) or "none"
        raise InputError(f"figure {key!r}: needs {missing}; the table has none; of it can be drawn: {others}.")
    return KINDS[key].draw(table, options=options)
