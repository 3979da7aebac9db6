"""Tables in which every claim of the law is true, or false, by construction: they test the judging."""

import math

import pyarrow as pa

from ansatzlab.laws.liu2022nesterov.design import DESIGNS, GRAM, TWIN, plan
from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.runs import Row
from ansatzlab.sweeps.task import TaskSpec

TRUE_RATES = {"gd": (0.9, -1.0), "heavy_ball": (0.9, -0.65), "polyak": (1.9, -0.5), "nesterov": (0.9, -0.52)}
"""``1 − ρ`` as a factor and a power of κ, by method."""

STEPS = {"gd": 11.0, "heavy_ball": 8.0, "polyak": 6.0, "nesterov": 4.0, "lessard": 3.5}
"""Steps to 1e-6 over κ (gradient descent) or over its root (the others), where the claims are true."""


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false somewhere.

    Definition:
        True: contractions are powers of κ, H_0 lies ``1.6 √(L/m)`` from its limit, the deviation from the twin falls as
        1/m. False: contractions and counts do not depend on κ, nor anything on the width.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    return planted_table(plan(DESIGNS["full"], "digits"), lambda spec: _rows(spec, truth))


def _rows(spec: TaskSpec, truth: bool) -> list[Row]:
    widths = spec.options.get("widths")
    if isinstance(widths, list):
        return [
            {"snapshot": place, "width": width, **_at_width(spec, float(str(width)), truth)}
            for place, width in enumerate(widths)
        ]
    shares = (1.0, 1e-3, 1e-9)
    rows: list[Row] = [
        {"snapshot": place, "step": 10**place, "residual": share, "twin_residual": share}
        for place, share in enumerate(shares)
    ]
    rows[-1] |= _summary(spec, truth)
    return rows


def _summary(spec: TaskSpec, truth: bool) -> Row:
    options = spec.options
    depth = float(str(options["depth"]))
    method, kappa = str(options["optimizer"]), float(str(options.get("condition", options.get("directions"))))
    factor, power = TRUE_RATES.get(method, TRUE_RATES["nesterov"])
    contraction = 1 - factor * kappa**power if truth else 0.9
    steps = STEPS[method] * (kappa if method == "gd" else kappa**0.5)
    return {
        "condition": kappa,
        "data_condition": kappa,
        "contraction": contraction,
        "twin_contraction": contraction,
        "end_contraction": contraction if truth else 0.5,
        "steps_to_reach": steps if truth else 100.0,
        "largest_deviation": 0.01,
        "moved": 1.5 if truth else 10.0,
        "spectral_norm": (1 / depth if truth else depth) / math.sqrt(float(str(options["width"]))),
        "gram_error": 1e-16 if truth else 0.1,
        "left": 0.8 if truth else 0.9,
        "floor": 0.8,
    }


def _at_width(spec: TaskSpec, width: float, truth: bool) -> Row:
    depth = float(str(spec.options["depth"]))
    if spec.experiment == GRAM:
        distance = 1.6 * (depth / width) ** 0.5 if truth else 5.0
        return {"distance": distance, "distance_frobenius": distance}
    if spec.experiment == TWIN:
        return {
            "deviation": 2 / width if truth else 0.1,
            "moved": 1.5 if truth else width,
            "weight_norm": width,
        }
    return {"trained": float(width > 30) if truth else 0.5, "diverged": 0.0}
