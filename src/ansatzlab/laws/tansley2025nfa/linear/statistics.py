"""What each claim reads out of the table of runs; pure functions, one statistic each."""

import math
from collections.abc import Callable, Iterable
from itertools import groupby

import numpy as np
import pyarrow as pa

from ansatzlab.laws.law import Sample
from ansatzlab.laws.runs import Run, runs_of
from ansatzlab.laws.tansley2025nfa.linear.design import (
    BALANCED_DESCENT,
    BALANCED_FLOW,
    COLLAPSE,
    DECAY,
    NO_DECAY,
    STOCHASTIC,
)
from ansatzlab.linalg.exponent import ExponentFit, fit_exponent

COLLAPSED = 1e-3
"""A network is collapsed when every weight matrix has fallen below this fraction of its initial norm."""

ALLOWED_ERROR = 1e-9
"""The largest relative error at which an exact law is said to hold."""

ROUNDING = 1e-16
"""A residual below this is rounding and is read, and drawn, as this."""

FEWEST = 4
"""A rate is fitted through no fewer snapshots than this."""

SETTLED = 0.05
"""An eigenvalue whose rate, over 2λ, is within this of 0 or of 1 stays bounded below, or dies freely."""

WINDOW = (6.0, 14.0)
"""Rates are fitted where 2λt lies in here: after the transient, before small modes fall below the rank cut."""


Reader = Callable[[pa.Table], list[Sample]]


def law_exponent(depth: int, layer: int = 1) -> float:
    """Return ``1/(L − l + 1)``, the exponent of layer l (counted from 1) in a linear network of depth L."""
    return 1 / (depth - layer + 1)


def balanced_error(table: pa.Table) -> list[Sample]:
    """Read ``max_t ‖M₁ − G₁^{1/L}‖/‖M₁‖`` along every balanced flow."""

    def statistic(run: Run) -> float:
        return max(spectrum.relative_error(law_exponent(run.depth)) for spectrum in run.spectra())

    return [_sample(run, statistic) for run in runs_of(table, BALANCED_FLOW)]


def balanced_exponent(table: pa.Table) -> list[Sample]:
    """Read ``max_t |α* − 1/L|`` along every balanced flow, where the exponent is identifiable."""
    return [_exponent_sample(run, 1, run.condition) for run in runs_of(table, BALANCED_FLOW)]


def hidden_exponents(table: pa.Table) -> list[Sample]:
    """Read ``max_t |α* − 1/(L−l+1)|`` in every hidden layer behind the first along every balanced flow."""
    return [
        _exponent_sample(run, layer, f"{run.condition}, layer {layer}")
        for run in runs_of(table, BALANCED_FLOW)
        for layer in range(2, run.depth)
    ]


def last_layer_residual(table: pa.Table) -> list[Sample]:
    """Read the largest residual at exponent 1 in the last layer of every balanced flow: zero whatever the weights."""

    def statistic(run: Run) -> float:
        return max(spectrum.residual(1.0) for spectrum in run.spectra(run.depth))

    return [_sample(run, statistic) for run in runs_of(table, BALANCED_FLOW)]


def wrong_residual(exponent: float, shallowest: int) -> Reader:
    """Return the reader of the residual at a wrong exponent, at the end of every balanced flow this deep or deeper."""

    def statistic(run: Run) -> float:
        return run.spectra()[-1].residual(exponent)

    return lambda table: _deep_samples(table, shallowest, statistic)


def wrong_decades(exponent: float, shallowest: int) -> Reader:
    """Return the reader of how many decades worse a wrong exponent fits than 1/L, at the end of those flows."""

    def statistic(run: Run) -> float:
        final = run.spectra()[-1]
        wrong, right = (max(final.residual(a), ROUNDING) for a in (exponent, law_exponent(run.depth)))
        return math.log10(wrong / right)

    return lambda table: _deep_samples(table, shallowest, statistic)


def drift_slope(table: pa.Table) -> list[Sample]:
    """Read the log–log slope of ``max_t ‖D₁‖`` against the step size η over the balanced descents of one seed."""
    samples = []
    for (depth, seed), group in _grouped(runs_of(table, BALANCED_DESCENT), lambda run: (run.depth, run.seed)):
        runs = [run for run in group if not run.failure]
        if len(runs) < 3:
            samples.append(Sample(f"L = {depth}", seed, math.nan, f"{len(runs)} step sizes finished, 3 are wanted"))
            continue
        drift = [np.nanmax(run.column("imbalance_norm")) for run in runs]
        slope = np.polyfit(np.log([run.learning_rate for run in runs]), np.log(drift), 1)[0]
        samples.append(Sample(f"L = {depth}", seed, float(slope)))
    return samples


def imbalance_rate(table: pa.Table) -> list[Sample]:
    """Read the decay rate of ``‖D_l‖`` over 2λ, of the pair of layers whose rate is furthest from 1."""

    def statistic(run: Run) -> float:
        rates = [_rate(run, run.column("imbalance_norm", layer), _window(run)) for layer in range(1, run.depth)]
        return max(rates, key=lambda rate: abs(rate - 1))

    return [_sample(run, statistic, collapsed) for run in runs_of(table, DECAY)]


def ansatz_rate(table: pa.Table) -> list[Sample]:
    """Read the decay rate of the relative error ``‖M₁ − G₁^{1/L}‖/‖M₁‖`` over 2λ."""
    return [
        _sample(run, lambda r: _rate(r, ansatz_errors(r), _settled_window(r)), collapsed, unsettled)
        for run in runs_of(table, DECAY)
    ]


def ansatz_decades(table: pa.Table) -> list[Sample]:
    """Read by how many powers of ten the relative error ``‖M₁ − G₁^{1/L}‖/‖M₁‖`` falls."""

    def statistic(run: Run) -> float:
        errors = ansatz_errors(run)
        return float(np.log10(errors[0] / errors[-1]))

    return [_sample(run, statistic, collapsed, unsettled) for run in runs_of(table, DECAY)]


def conservation(table: pa.Table) -> list[Sample]:
    """Read ``max_t |‖D_l(t)‖/‖D_l(0)‖ − 1|`` of all pairs of layers without decay."""

    def statistic(run: Run) -> float:
        norms = np.stack([run.column("imbalance_norm", layer) for layer in range(1, run.depth)])
        return float(np.abs(norms / norms[:, :1] - 1).max())

    return [_sample(run, statistic) for run in runs_of(table, NO_DECAY)]


def violation(table: pa.Table) -> list[Sample]:
    """Read the scale-free residual at 1/L at the end of every unbalanced flow without decay."""
    return [_sample(run, lambda r: r.spectra()[-1].residual(law_exponent(r.depth))) for run in runs_of(table, NO_DECAY)]


def collapse(table: pa.Table) -> list[Sample]:
    """Read the largest ratio of a layer's final to its initial weight norm under far too much decay."""
    return [_sample(run, remaining_weight) for run in runs_of(table, COLLAPSE)]


def discrete_law(table: pa.Table) -> list[Sample]:
    """Read the largest error of the predicted imbalance over all steps and pairs of layers."""

    def statistic(run: Run) -> float:
        return max(float(np.nanmax(run.column("discrete_balance_error", layer))) for layer in range(1, run.depth))

    return [_sample(run, statistic) for run in runs_of(table, STOCHASTIC)]


def remaining_weight(run: Run) -> float:
    """Return the largest ratio over layers of the final to the initial weight norm."""
    norms = np.stack([run.column("weight_norm", layer) for layer in range(1, run.depth + 1)])
    return float((norms[:, -1] / norms[:, 0]).max())


def ansatz_errors(run: Run) -> np.ndarray:
    """Return ``‖M₁ − G₁^{1/L}‖/‖M₁‖`` at every snapshot."""
    return np.array([spectrum.relative_error(law_exponent(run.depth)) for spectrum in run.spectra()])


def fitted(run: Run, layer: int) -> list[ExponentFit]:
    """Return the fitted exponent of a layer at every snapshot."""
    return [fit_exponent(spectrum) for spectrum in run.spectra(layer)]


def collapsed(run: Run) -> str:
    """Say that a network collapsed, if it did."""
    gone = remaining_weight(run) < COLLAPSED
    return f"collapsed: every weight matrix fell below {COLLAPSED:g} of its initial norm" if gone else ""


def unidentifiable(run: Run) -> str:
    """Say why the first layer's exponent cannot be identified at the end, if it cannot."""
    fit = fit_exponent(run.spectra()[-1])
    return "" if fit.identifiable else f"not identifiable: {fit.reason}"


def unsettled(run: Run) -> str:
    """Say how many eigenvalues of G₁^{1/L} neither stay nor die freely while the rate is fitted, if any.

    The rate is 2λ where the eigenvalues stay bounded below, and where they die as e^{−2λt} themselves. One that the
    decay is only just killing is in neither regime, and the theory names no rate.
    """
    clock, inside = _clock(run), _settled_window(run)
    if inside.sum() < FEWEST:
        return f"outside the regime: {inside.sum()} snapshots lie in the window of the fit, {FEWEST} are wanted"
    spectra = run.spectra()
    first, last = (spectra[index].eigenvalues.numpy() for index in np.flatnonzero(inside)[[0, -1]])
    rates = np.log(first / last) * law_exponent(run.depth) / np.ptp(clock[inside])
    moving = int(((rates > SETTLED) & (rates < 1 - SETTLED)).sum())
    return f"outside the regime: {moving} of {len(rates)} eigenvalues are still on the way to zero" if moving else ""


def _sample(run: Run, statistic: Callable[[Run], float], *obstacles: Callable[[Run], str]) -> Sample:
    """Evaluate a statistic on a run, unless the run failed or an obstacle says why it has no answer."""
    reason = run.failure or next((told for obstacle in obstacles if (told := obstacle(run))), "")
    return Sample(run.condition, run.seed, math.nan if reason else statistic(run), reason)


def _deep_samples(table: pa.Table, shallowest: int, statistic: Callable[[Run], float]) -> list[Sample]:
    deep = [run for run in runs_of(table, BALANCED_FLOW) if run.depth >= shallowest]
    return [_sample(run, statistic, unidentifiable) for run in deep]


def _exponent_sample(run: Run, layer: int, condition: str) -> Sample:
    if run.failure:
        return Sample(condition, run.seed, math.nan, run.failure)
    fits = fitted(run, layer)
    errors = [abs(fit.value - law_exponent(run.depth, layer)) for fit in fits if fit.identifiable]
    if not errors:
        return Sample(condition, run.seed, math.nan, f"not identifiable: {fits[-1].reason}")
    return Sample(condition, run.seed, max(errors))


def _rate(run: Run, values: np.ndarray, inside: np.ndarray) -> float:
    """Fit ``log values`` against time at some snapshots and return minus the slope over 2λ."""
    return float(-np.polyfit(_clock(run)[inside], np.log(values[inside]), 1)[0])


def _clock(run: Run) -> np.ndarray:
    """Return 2λt at every snapshot."""
    return 2 * run.weight_decay * run.column("flow_time")


def _window(run: Run) -> np.ndarray:
    """Return which snapshots lie in `WINDOW`."""
    clock = _clock(run)
    return (clock >= WINDOW[0]) & (clock <= WINDOW[1])


def _settled_window(run: Run) -> np.ndarray:
    """Return which snapshots lie in `WINDOW` before the AGOP's numerical rank falls.

    What a root makes of an eigenvalue that is cut jumps.
    """
    inside = _window(run)
    ranks = np.array([spectrum.rank for spectrum in run.spectra()])
    settled: np.ndarray = inside & (ranks == ranks[inside][:1].sum())
    return settled


def _grouped(runs: list[Run], key: Callable[[Run], tuple[int, int]]) -> Iterable[tuple[tuple[int, int], list[Run]]]:
    return ((name, list(group)) for name, group in groupby(sorted(runs, key=key), key=key))
