"""From a measurement to what its page follows live: every layer, its structural null, its start."""

import math
from collections.abc import Sequence

from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.verdict import Criteria, turned_spectra
from ansatzlab.report.live.records import Live, Series
from ansatzlab.report.readout import Readout, display_name

_NAMES = {"layer": "layer", "kind": "kind", "gradient": "gradients", "weights": "weights"}


def live_measurement(measurement: Measurement, rows: Sequence[Readout]) -> Live | None:
    """Read what a page follows live out of a measurement.

    Conventions:
        One series for each layer (or part) and each choice of mean gradient and initial weights among the rows. Its own
        exponent is the first that was asked for; where that is the same for all and every layer was measured, it is
        1/(L − l + 1) by the layers' order. The null's rotations are drawn again with the seed of the verdict, so
        that at that exponent they give the verdict's null. Rows that could not be read are left out.

    Args:
        measurement: The measurement.
        rows: Its rows.

    Returns:
        The record; None if no layer could be read.

    Cost:
        One decomposition for each rotation of each layer, as the verdicts'.
    """
    firsts: dict[tuple[str, str, bool, bool], Readout] = {}
    for row in rows:
        if row.verdict != "unsupported":
            told = row.convention
            firsts.setdefault((row.layer, row.part, told.centered, told.init_removed), row)
    if not firsts:
        return None
    asked = sorted({row.convention.exponent for row in rows})
    score = next(iter(firsts.values())).convention.comparator
    alone = len(asked) == 1
    chained = alone and not any(reason == "not selected" for reason in measurement.skipped.values())
    return Live(
        series=tuple(_series(measurement, row, chained=chained) for row in firsts.values()),
        names=_NAMES,
        presets=_presets(measurement, asked),
        own="1/(L − l + 1), if the layers form a chain" if chained else "" if alone else "as asked for each layer",
        exponent=asked[0] if alone else None,
        score=score,
        compare_by="layer",
        chosen={},
        structural=any(not math.isnan(row.null_mean) for row in firsts.values()),
        start="before training",
        notes=(),
    )


def _series(measurement: Measurement, row: Readout, *, chained: bool) -> Series:
    whole, convention = measurement[row.layer], row.convention
    layer = whole.parts[row.part] if row.part else whole
    centered, init_removed = convention.centered, convention.init_removed
    start = layer.start if layer.start is not None and not init_removed else None
    return Series(
        run="",
        labels={
            "layer": f"{display_name(row.layer)} › {row.part}" if row.part else display_name(row.layer),
            "kind": row.kind,
            "gradient": "mean taken out" if centered else "as they are",
            "weights": "W − W₀" if init_removed else "W",
        },
        own=1 / (len(measurement) - list(measurement).index(row.layer)) if chained else convention.exponent,
        tautological=row.tautological,
        spectrum=layer.spectrum(centered=centered, init_removed=init_removed),
        start=None if start is None else start.spectrum(centered=centered),
        draws=() if math.isnan(row.null_mean) else turned_spectra(layer, convention, Criteria()),
    )


def _presets(measurement: Measurement, asked: Sequence[float]) -> tuple[tuple[str, float], ...]:
    """Return ½, 1, 1/L and what was asked for; L counts the layers that were not selected, too."""
    depth = len(measurement) + sum(reason == "not selected" for reason in measurement.skipped.values())
    named = {1.0: "1", 0.5: "1/2"}
    if depth > 2:
        named[1 / depth] = f"1/L = 1/{depth}"
    for exponent in asked:
        named.setdefault(exponent, f"{exponent:.4g}")
    return tuple((named[exponent], exponent) for exponent in sorted(named))
