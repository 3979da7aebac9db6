"""What the report draws of the law."""

from collections.abc import Callable
from itertools import groupby

import numpy as np

from ansatzlab.laws.figure import Curve, Figure
from ansatzlab.laws.runs import Run, RunTable, median_curve
from ansatzlab.laws.tansley2025nfa.linear.design import BALANCED_DESCENT, BALANCED_FLOW, DECAY, NO_DECAY
from ansatzlab.laws.tansley2025nfa.linear.statistics import ALLOWED_ERROR, ROUNDING, ansatz_errors, fitted, law_exponent


def figures(table: RunTable) -> tuple[Figure, ...]:
    """Draw the table of runs; a figure whose runs are missing is left out.

    Args:
        table: The runs.

    Returns:
        The figures, in the order of the claims.
    """
    drawn = (_exponents(table), _layers(table), _balanced(table), _decay(table), _no_decay(table), _drift(table))
    return tuple(figure for figure in drawn if figure.curves)


def _exponents(table: RunTable) -> Figure:
    exponents = np.round(np.geomspace(0.06, 1.5, 240), 4)
    exponents = np.unique(np.concatenate([exponents, 1 / np.array([2, 3, 4, 5, 8])]))

    def residuals(run: Run) -> np.ndarray:
        final = run.spectra()[-1]
        return np.array([max(final.residual(float(exponent)), ROUNDING) for exponent in exponents])

    return Figure(
        key="exponent",
        title="Which exponent? One per depth, and it is 1/L",
        caption="How far W₁ᵀW₁ is from the AGOP to the power α (scale-free residual) at the end of balanced gradient "
        "flows. Each depth has one exponent at which the distance drops to rounding: 1/L. The exponents ½ and 1 of the "
        "published recipes do not fit deeper networks.",
        x_label="exponent α",
        y_label="scale-free residual",
        curves=tuple(
            median_curve(condition, exponents, [residuals(run) for run in runs])
            for condition, runs in _by_condition(table, BALANCED_FLOW)
        ),
    )


def _layers(table: RunTable) -> Figure:
    runs = _finished(table, BALANCED_FLOW)
    predicted: list[float] = []
    found: list[float] = []
    for run in runs:
        for layer in range(1, run.depth):
            fit = fitted(run, layer)[-1]
            if fit.identifiable:
                predicted.append(law_exponent(run.depth, layer))
                found.append(fit.value)
    curves: tuple[Curve, ...] = ()
    if predicted:
        xs = sorted(set(predicted))
        groups = [np.array([f for p, f in zip(predicted, found, strict=True) if p == x]) for x in xs]
        curves = (
            Curve(
                "fitted, every hidden layer of every depth",
                tuple(xs),
                tuple(float(np.median(g)) for g in groups),
                tuple(float(g.min()) for g in groups),
                tuple(float(g.max()) for g in groups),
            ),
            Curve("law", (xs[0], xs[-1]), (xs[0], xs[-1]), dashed=True),
        )
    return Figure(
        key="layers",
        title="Every hidden layer has its own exponent",
        caption="The fitted exponent of hidden layer l of L against the law's 1/(L − l + 1), at the end of training. "
        "The last layer, where the ansatz is a tautology, is left out.",
        x_label="predicted exponent 1/(L − l + 1)",
        y_label="fitted exponent α*",
        curves=curves,
    )


def _balanced(table: RunTable) -> Figure:
    def errors(run: Run) -> np.ndarray:
        return ansatz_errors(run).clip(min=ROUNDING)

    curves = [
        _over_time(condition, runs, lambda run: run.column("flow_time"), errors)
        for condition, runs in _by_condition(table, BALANCED_FLOW)
    ]
    if curves:
        ends = (curves[0].x[0], curves[0].x[-1])
        curves.append(Curve("threshold of the claim", ends, (ALLOWED_ERROR, ALLOWED_ERROR), dashed=True))
    return Figure(
        key="balanced",
        title="A balanced start keeps the ansatz exact",
        caption="Relative error ‖W₁ᵀW₁ − AGOP^{1/L}‖ / ‖W₁ᵀW₁‖ along gradient flow from a balanced start, with the "
        "theorem's constant 1. It stays at rounding throughout training.",
        x_label="flow time",
        y_label="relative error",
        curves=tuple(curves),
    )


def _decay(table: RunTable) -> Figure:
    groups = _by_condition(table, DECAY)
    curves = [
        _over_time(condition, runs, lambda run: 2 * run.weight_decay * run.column("flow_time"), ansatz_errors)
        for condition, runs in groups
    ]
    if curves:
        clock = np.linspace(0.0, max(curve.x[-1] for curve in curves), 50)
        theory = np.exp(-clock)
        curves.append(Curve("e^(−2λt)", tuple(map(float, clock)), tuple(map(float, theory)), dashed=True))
    return Figure(
        key="decay",
        title="Weight decay restores the ansatz from any start",
        caption="The same error from an unbalanced (Gaussian) start with weight decay λ, against the clock 2λt on "
        "which the theory's e^{−2λt} is one straight line for every λ.",
        x_label="2λt",
        y_label="relative error",
        curves=tuple(curves),
        x_log=False,
    )


def _no_decay(table: RunTable) -> Figure:
    def residuals(run: Run) -> np.ndarray:
        return np.array([spectrum.residual(law_exponent(run.depth)) for spectrum in run.spectra()])

    return Figure(
        key="no-decay",
        title="Without decay an unbalanced start never gets there",
        caption="Scale-free residual at α = 1/L from the same Gaussian start with λ = 0. The imbalance is conserved, "
        "so the ansatz does not come to hold, however well the network fits.",
        x_label="flow time",
        y_label="residual at α = 1/L",
        curves=tuple(
            _over_time(condition, runs, lambda run: run.column("flow_time"), residuals)
            for condition, runs in _by_condition(table, NO_DECAY)
        ),
        y_log=False,
    )


def _drift(table: RunTable) -> Figure:
    curves: list[Curve] = []
    for condition, runs in _by_condition(table, BALANCED_DESCENT):
        rates = sorted({run.learning_rate for run in runs})
        seeds = sorted({run.seed for run in runs})
        drift = {(run.seed, run.learning_rate): float(np.nanmax(run.column("imbalance_norm"))) for run in runs}
        complete = [seed for seed in seeds if all((seed, rate) in drift for rate in rates)]
        if complete:
            per_seed = [np.array([drift[seed, rate] for rate in rates]) for seed in complete]
            curves.append(median_curve(condition, rates, per_seed))
    if curves:
        first = curves[0]
        line = tuple(first.y[0] * rate / first.x[0] for rate in first.x)
        curves.append(Curve("slope 1", first.x, line, dashed=True))
    return Figure(
        key="drift",
        title="Gradient descent drifts off balance in proportion to its step",
        caption="Largest imbalance ‖D₁‖ on the way from a balanced start by gradient descent over the same flow time, "
        "against the step size η.",
        x_label="learning rate η",
        y_label="max ‖D₁‖",
        curves=tuple(curves),
    )


def _over_time(
    label: str, runs: list[Run], clock: Callable[[Run], np.ndarray], values: Callable[[Run], np.ndarray]
) -> Curve:
    """Draw values against a clock, from the first snapshot after the start: a logarithmic axis has no place for 0."""
    return median_curve(label, clock(runs[0])[1:], [values(run)[1:] for run in runs])


def _finished(table: RunTable, experiment: str) -> list[Run]:
    return [run for run in table.runs(experiment) if not run.failure]


def _by_condition(table: RunTable, experiment: str) -> list[tuple[str, list[Run]]]:
    runs = _finished(table, experiment)
    return [(condition, list(group)) for condition, group in groupby(runs, key=lambda run: run.condition)]
