"""The chapter's figures."""

from itertools import groupby

import numpy as np

from ansatzlab.laws.figure import Curve, Figure
from ansatzlab.laws.runs import RunTable, median_curve
from ansatzlab.laws.tansley2025nfa.noise.design import INTERPOLATING, LABELS
from ansatzlab.laws.tansley2025nfa.noise.statistics import Floors, floors


def figures(table: RunTable) -> tuple[Figure, ...]:
    """Draw the floors against the learning rate and against the decay; a figure without runs is left out.

    Args:
        table: The runs.

    Returns:
        The figures.
    """
    found = [each for kind in (LABELS, INTERPOLATING) for each in floors(table, kind) if isinstance(each, Floors)]
    groups = [list(group) for _, group in groupby(sorted(found, key=_condition), key=_condition)]
    if not groups:
        return ()
    how = (
        "Mean imbalance of two neighbouring layers relative to their weights, ‖E[D]‖/‖E[W_l W_lᵀ]‖, at the end of "
        "stochastic descent with decay (dots: median and range over seeds). Dashed: foretold from the full-batch "
        "minimum, without training by noise. "
    )
    return (
        Figure(
            key="floor-rate",
            title="The noise floor of balance is proportional to the learning rate",
            caption=how + "Noisy or interpolated data, the floor is halved with η.",
            x_label="learning rate η, at fixed decay",
            y_label="relative floor of the imbalance",
            curves=_curves(groups, "rate"),
        ),
        Figure(
            key="floor-decay",
            title="More decay lowers the floor of noisy data and raises that of interpolated data",
            caption=how + "Label noise keeps single examples' gradients from zero whatever λ: the floor falls as 1/λ. "
            "On data that could be interpolated only the decay does, and the floor grows as λ.",
            x_label="weight decay λ, at fixed learning rate",
            y_label="relative floor of the imbalance",
            curves=_curves(groups, "decay"),
        ),
    )


def _condition(each: Floors) -> str:
    return each.condition


def _curves(groups: list[list[Floors]], varied: str) -> tuple[Curve, ...]:
    curves: list[Curve] = []
    for group in groups:
        places, moving = group[0].along(varied)
        measured = [each.measured[places] / each.scales[places] for each in group]
        foretold = np.median([each.foretold[places] / each.scales[places] for each in group], axis=0)
        curves.append(median_curve(group[0].condition, moving, measured))
        label = f"{group[0].condition}, foretold"
        curves.append(Curve(label, tuple(map(float, moving)), tuple(map(float, foretold)), dashed=True))
    return tuple(curves)
