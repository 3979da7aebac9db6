"""What is written down of a layer: scores beside their nulls, as numbers."""

import math
from typing import get_args

from ansatzlab.linalg.spectrum import Comparator
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.verdict import Criteria, Word, judge

WORDS: tuple[Word, ...] = get_args(Word)
"""The verdicts; a table holds their places in this order, as numbers."""

Row = dict[str, object]


def score(layer: LayerMeasurement, name: str, exponent: float, comparator: Comparator = "cosine") -> Row:
    """Return a layer's alignment and residual at an exponent.

    Args:
        layer: The layer.
        name: What the columns' names start with.
        exponent: The exponent.
        comparator: How the matrices are compared.

    Returns:
        The columns ``{name}_value`` and ``{name}_residual``; without those that are not finite.
    """
    spectrum = layer.spectrum()
    return finite(
        {
            f"{name}_value": spectrum.alignment(exponent, comparator),
            f"{name}_residual": spectrum.residual(exponent),
        }
    )


def judged(layer: LayerMeasurement, name: str, exponent: float, draws: int, comparator: Comparator = "cosine") -> Row:
    """Return a layer's verdict at an exponent, with the nulls that it rests on.

    Args:
        layer: The layer.
        name: What the columns' names start with.
        exponent: The exponent.
        draws: Rotations of the structural null.
        comparator: How the matrices are compared.

    Returns:
        The columns ``{name}_verdict`` (a place in `WORDS`); of the structural null ``_null``, ``_null_sd``,
        ``_null_residual``, ``_null_residual_sd`` and ``_z``; of the Haar null ``_haar`` and ``_haar_z``; without those
        that there are not.
    """
    verdict = judge(layer, Convention(exponent, comparator), Criteria(draws=draws))
    found: dict[str, float] = {"verdict": float(WORDS.index(verdict.word))}
    if verdict.null is not None:
        null = verdict.null
        found |= {"null": null.mean, "null_sd": null.sd, "z": null.z}
        found |= {"null_residual": null.residual_mean, "null_residual_sd": null.residual_sd}
    if verdict.haar is not None:
        found |= {"haar": verdict.haar.mean, "haar_z": verdict.haar.z}
    return finite({f"{name}_{key}": value for key, value in found.items()})


def best_exponent(layer: LayerMeasurement) -> Row:
    """Return the best exponent, its interval, its residual and the cosine at α → 0; nothing where there is none."""
    fit = layer.fit_exponent()
    return finite(
        {
            "exponent": fit.value,
            "exponent_low": fit.low,
            "exponent_high": fit.high,
            "exponent_residual": fit.residual,
            "exponent_floor": fit.floor,
        }
    )


def finite(columns: dict[str, float]) -> Row:
    """Return the columns that are numbers."""
    return {name: value for name, value in columns.items() if math.isfinite(value)}
