"""What the report draws of the law."""

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

from ansatzlab.laws.figure import Curve, Exhibit, Figure, TextTable
from ansatzlab.laws.liu2022nesterov.design import GRAM, LIMIT, NARROW, RATES, REAL, RESNET, TWIN
from ansatzlab.laws.liu2022nesterov.presets import PRESETS
from ansatzlab.laws.liu2022nesterov.statistics import Family, described, method_of, points
from ansatzlab.laws.reading import families
from ansatzlab.laws.runs import Run, RunTable, median_curve

NAMES = {
    "gd": "gradient descent",
    "heavy_ball": "heavy ball",
    "polyak": "heavy ball, Polyak's η",
    "nesterov": "Nesterov",
    "lessard": "Nesterov, Lessard et al.",
}
"""What the methods are called."""

DRAWN = ("gd", "heavy_ball", "polyak", "nesterov")
"""The methods whose residuals are drawn."""

SHOWN = 64.0
"""The largest κ of the data whose residuals are drawn."""


def figures(table: RunTable) -> tuple[Exhibit, ...]:
    """Draw the table of runs; a figure whose runs are missing is left out.

    Args:
        table: The runs.

    Returns:
        The figures.
    """
    drawn: list[Exhibit] = []
    if groups := _groups(table, RATES):
        drawn.append(_residuals(next(iter(groups.values()))))
    if groups := _groups(table, RATES, REAL):
        drawn.append(_rates("nesterov-rates", "Deep linear networks", groups))
    if groups := _groups(table, RESNET):
        drawn.append(_rates("nesterov-rates-resnet", "ResNets", groups))
    if groups := _groups(table, RATES, REAL, RESNET, LIMIT, NARROW):
        drawn.append(_methods(groups))
    for experiment, draw in ((GRAM, _distances), (TWIN, _deviations)):
        if runs := [run for run in table.runs(experiment) if not run.failure]:
            drawn.append(draw(runs))
    return tuple(drawn)


def _groups(table: RunTable, *experiments: str) -> dict[str, list[Family]]:
    """Return the families by what they have in common but for the seed, without methods of which a run failed."""
    found: dict[str, list[Family]] = {}
    for (condition, _), family in families(table.runs(*experiments), described).items():
        failed = {method_of(run) for run in family if run.failure}
        if whole := [run for run in family if method_of(run) not in failed]:
            found.setdefault(condition, []).append(whole)
    return found


def _by(family: Family, method: str) -> list[Run]:
    return [run for run in family if method_of(run) == method]


def _residuals(group: list[Family]) -> Figure:
    """Draw the residuals of one network shape at one condition number, of the first seed."""
    family = group[0]
    curves = []
    for method in DRAWN:
        runs = _by(family, method)
        if not runs:
            continue
        run = max((run for run in runs if run.last("data_condition", None) <= SHOWN), key=_kappa, default=runs[0])
        steps, residual, twin = run.network("step"), run.network("residual"), run.network("twin_residual")
        known = ~np.isnan(twin)
        curves += [
            _curve(NAMES[method], steps + 1, residual),
            _curve(f"{NAMES[method]}, linearised", steps[known] + 1, twin[known], dashed=True),
        ]
    shown = max(min(_kappa(run), SHOWN) for run in family)
    return Figure(
        key="nesterov-residuals",
        title="Descents on one network, and what its linearisation foretells",
        caption=f"Residual ‖U − Y‖ relative to the start, {described(family[0])}, κ of the data {shown:g}, seed "
        f"{family[0].seed}. Dashed: the same method on the network's linearisation at its start, which covers the "
        "curve but for Polyak's η, at the edge of stability.",
        x_label="step + 1",
        y_label="relative residual",
        curves=tuple(curves),
    )


def _rates(key: str, networks: str, groups: dict[str, list[Family]]) -> Figure:
    """Draw 1 − ρ against κ(H_0), the median over seeds at each condition number of the data."""
    curves = []
    ends: list[float] = []
    for condition, group in groups.items():
        for method in ("gd", "nesterov"):
            found = [points(family, method, "condition", "contraction") for family in group if _by(family, method)]
            if not found:
                continue
            whole = max(map(len, found))
            found = [each for each in found if len(each) == whole]  # of an interrupted sweep some lack a κ
            kappas = np.median([each[:, 0] for each in found], axis=0)
            curves.append(median_curve(f"{NAMES[method]}: {condition}", kappas, [1 - each[:, 1] for each in found]))
            ends += [float(kappas.min()), float(kappas.max())]
    line = np.geomspace(min(ends), max(ends), 20)
    curves += [_curve("1/κ", line, 1 / line, dashed=True), _curve("1/√κ", line, 1 / np.sqrt(line), dashed=True)]
    return Figure(
        key=key,
        title=f"{networks}: gradient descent's rate falls as 1/κ, Nesterov's as 1/√κ",
        caption="1 − ρ, ρ the contraction of the residual in a step, fitted between 1e-4 and 1e-9 of the start, "
        "against the condition number of H₀: median and range over seeds. Dashed: the slopes −1 and −½.",
        x_label="κ(H₀)",
        y_label="1 − ρ",
        curves=tuple(curves),
    )


def _methods(groups: dict[str, list[Family]]) -> TextTable:
    rows = []
    for condition, group in groups.items():
        for method in PRESETS:
            runs = [_by(family, method) for family in group]
            whole = max(map(len, runs))
            alike = zip(*(each for each in runs if len(each) == whole), strict=True)
            rows += [(condition, NAMES[method], *_cells(each)) for each in alike]
    return TextTable(
        key="nesterov-methods",
        title="Every descent: contraction, steps to 1e-6, distance from the twin",
        caption="Medians over seeds. ρ is fitted, of the network and of its linearised twin, beside what the tuning "
        "gives with H₀ and with the H at the end; the deviation is the largest over the first 6 √κ steps, ‖ΔW‖ the "
        "furthest that a layer went.",
        header=("network", "method", "κ(X)", "κ(H₀)", "1 − ρ", "twin", "tuned", "end", "steps", "deviation", "‖ΔW‖"),
        rows=tuple(rows),
    )


def _cells(runs: Sequence[Run]) -> tuple[str, ...]:
    def cell(name: str, change: float = 0.0) -> str:
        values = [run.last(name, None) for run in runs]
        values = [abs(change - value) for value in values if not math.isnan(value)]
        if not values:
            return "–"
        return f"{median(values):.3g}" if median(values) < 1000 else f"{median(values):.0f}"

    rates = (cell(name, 1.0) for name in ("contraction", "twin_contraction", "tuned_contraction", "end_contraction"))
    before = (cell("data_condition"), cell("condition"))
    return (*before, *rates, *(cell(name) for name in ("steps_to_reach", "largest_deviation", "moved")))


def _distances(runs: list[Run]) -> Figure:
    curves = _over_widths(runs, "distance")
    for depth in sorted({run.depth for run in runs}):
        widths = runs[0].network("width")
        curves.append(_curve(f"1.6 √(L/m), L = {depth}", widths, 1.6 * np.sqrt(depth / widths), dashed=True))
    return Figure(
        key="nesterov-gram",
        title="H₀ tends to (L/c) XᵀX ⊗ I as √(L/m)",
        caption="‖H₀ − H_∞‖/‖H_∞‖ in spectral norms, a mean over networks, against the width: median and range over "
        "seeds.",
        x_label="width m",
        y_label="relative distance",
        curves=tuple(curves),
    )


def _deviations(runs: list[Run]) -> Figure:
    return Figure(
        key="nesterov-twin",
        title="The wider, the closer to the linearised twin",
        caption="Largest ‖ξ_t − ξ_t^linear‖/‖ξ_0‖ of Nesterov's descent over the first 6 √κ steps, and the "
        "furthest that a layer's weights went, relative to the norm of the largest: means over networks, median and "
        "range over seeds.",
        x_label="width m",
        y_label="relative distance",
        curves=(*_over_widths(runs, "deviation"), *_over_widths(runs, "moved", "weight_norm")),
    )


def _over_widths(runs: list[Run], name: str, unit: str = "") -> list[Curve]:
    curves = []
    for depth in sorted({run.depth for run in runs}):
        chosen = [run for run in runs if run.depth == depth]
        values = [run.network(name) / (run.network(unit) if unit else 1.0) for run in chosen]
        curves.append(median_curve(f"{'‖ΔW‖/‖W‖' if unit else name}, L = {depth}", chosen[0].network("width"), values))
    return curves


def _kappa(run: Run) -> float:
    return run.last("data_condition", None)


def _curve(label: str, x: np.ndarray, y: np.ndarray, *, dashed: bool = False) -> Curve:
    return Curve(label, tuple(map(float, x)), tuple(map(float, y)), dashed=dashed)
