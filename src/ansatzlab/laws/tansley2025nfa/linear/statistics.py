"""What each claim reads out of the table of runs; pure functions, one statistic each."""

import math
from collections.abc import Sequence

import numpy as np

from ansatzlab.laws.law import Reader, Sample
from ansatzlab.laws.reading import Absent, Choice, Statistic, Value, each_run
from ansatzlab.laws.runs import Run, RunTable
from ansatzlab.laws.tansley2025nfa.linear.design import (
    BALANCED_FLOW,
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


def law_exponent(depth: int, layer: int = 1) -> float:
    """Return ``1/(L − l + 1)``, the exponent of layer l (counted from 1) in a linear network of depth L."""
    return 1 / (depth - layer + 1)


def largest_error(run: Run) -> float:
    """Return ``max_t ‖M₁ − G₁^{1/L}‖/‖M₁‖``."""
    return max(spectrum.relative_error(law_exponent(run.depth)) for spectrum in run.spectra())


def exponent_error(run: Run, layer: int = 1) -> Value:
    """Return ``max_t |α* − 1/(L−l+1)|`` of a layer, where the exponent is identifiable."""
    fits = fitted(run, layer)
    errors = [abs(fit.value - law_exponent(run.depth, layer)) for fit in fits if fit.identifiable]
    return max(errors) if errors else _unidentifiable(fits[-1])


def hidden_exponents(table: RunTable) -> list[Sample]:
    """Read ``max_t |α* − 1/(L−l+1)|`` in every hidden layer behind the first along every balanced flow."""

    def in_layer(layer: int) -> Reader:
        return each_run(
            BALANCED_FLOW,
            lambda run: exponent_error(run, layer),
            lambda run: f"{run.condition}, layer {layer}",
            lambda run: layer < run.depth,
        )

    deepest = max((run.depth for run in table.runs(BALANCED_FLOW)), default=0)
    return [sample for layer in range(2, deepest) for sample in in_layer(layer)(table)]


def last_layer_residual(run: Run) -> float:
    """Return the largest residual at exponent 1 in the last layer: zero whatever the weights."""
    return max(spectrum.residual(1.0) for spectrum in run.spectra(run.depth))


def at_least(depth: int) -> Choice:
    """Return the choice of the runs this deep or deeper."""
    return lambda run: run.depth >= depth


def wrong_residual(exponent: float) -> Statistic:
    """Return the statistic that is the residual at a wrong exponent, at the end."""

    def statistic(run: Run) -> Value:
        return unidentifiable(run) or run.spectra()[-1].residual(exponent)

    return statistic


def wrong_decades(exponent: float) -> Statistic:
    """Return the statistic of how many decades worse a wrong exponent fits than 1/L, at the end."""

    def statistic(run: Run) -> Value:
        final = run.spectra()[-1]
        wrong, right = (max(final.residual(a), ROUNDING) for a in (exponent, law_exponent(run.depth)))
        return unidentifiable(run) or math.log10(wrong / right)

    return statistic


def drift_slope(family: Sequence[Run]) -> Value:
    """Return the log–log slope of ``max_t ‖D₁‖`` against the step size η over the descents of one depth and seed."""
    if len(family) < 3:
        return Absent(f"{len(family)} step sizes, 3 are wanted")
    drift = [np.nanmax(run.column("imbalance_norm")) for run in family]
    return float(np.polyfit(np.log([run.learning_rate for run in family]), np.log(drift), 1)[0])


def imbalance_rate(run: Run) -> Value:
    """Return the decay rate of ``‖D_l‖`` over 2λ, of the pair of layers whose rate is furthest from 1."""
    if gone := collapsed(run):
        return gone
    rates = [_rate(run, run.column("imbalance_norm", layer), _window(run)) for layer in range(1, run.depth)]
    return max(rates, key=lambda rate: abs(rate - 1))


def ansatz_rate(run: Run) -> Value:
    """Return the decay rate of the relative error ``‖M₁ − G₁^{1/L}‖/‖M₁‖`` over 2λ."""
    return collapsed(run) or unsettled(run) or _rate(run, ansatz_errors(run), _settled_window(run))


def ansatz_decades(run: Run) -> Value:
    """Return by how many powers of ten the relative error ``‖M₁ − G₁^{1/L}‖/‖M₁‖`` falls."""
    errors = ansatz_errors(run)
    return collapsed(run) or unsettled(run) or float(np.log10(errors[0] / errors[-1]))


def conservation(run: Run) -> float:
    """Return ``max_t |‖D_l(t)‖/‖D_l(0)‖ − 1|`` of all pairs of layers."""
    norms = np.stack([run.column("imbalance_norm", layer) for layer in range(1, run.depth)])
    return float(np.abs(norms / norms[:, :1] - 1).max())


def violation(run: Run) -> float:
    """Return the scale-free residual at 1/L at the end."""
    return run.spectra()[-1].residual(law_exponent(run.depth))


def discrete_law(run: Run) -> float:
    """Return the largest error of the predicted imbalance over all steps and pairs of layers."""
    return max(float(np.nanmax(run.column("discrete_balance_error", layer))) for layer in range(1, run.depth))


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


def collapsed(run: Run) -> Absent | None:
    """Say that a network collapsed, if it did."""
    gone = remaining_weight(run) < COLLAPSED
    return Absent(f"collapsed: every weight matrix fell below {COLLAPSED:g} of its initial norm") if gone else None


def unidentifiable(run: Run) -> Absent | None:
    """Say why the first layer's exponent cannot be identified at the end, if it cannot."""
    fit = fit_exponent(run.spectra()[-1])
    return None if fit.identifiable else _unidentifiable(fit)


def _unidentifiable(fit: ExponentFit) -> Absent:
    return Absent(f"not identifiable: {fit.reason}", applies=False)


def unsettled(run: Run) -> Absent | None:
    """Say how many eigenvalues of G₁^{1/L} neither stay nor die freely while the rate is fitted, if any.

    The rate is 2λ where the eigenvalues stay bounded below, and where they die as e^{−2λt} themselves. One that the
    decay is only just killing is in neither regime, and the theory names no rate.
    """
    clock, inside = _clock(run), _settled_window(run)
    if inside.sum() < FEWEST:
        return Absent(f"outside the regime: {inside.sum()} snapshots lie in the window of the fit, {FEWEST} are wanted")
    spectra = run.spectra()
    first, last = (spectra[index].eigenvalues.numpy() for index in np.flatnonzero(inside)[[0, -1]])
    rates = np.log(first / last) * law_exponent(run.depth) / np.ptp(clock[inside])
    moving = int(((rates > SETTLED) & (rates < 1 - SETTLED)).sum())
    told = f"outside the regime: {moving} of {len(rates)} eigenvalues are still on the way to zero"
    return Absent(told) if moving else None


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
