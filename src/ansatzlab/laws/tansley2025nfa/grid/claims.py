"""What is claimed of the grid, and how it is read out of the table."""

import math
from collections.abc import Callable, Iterable
from statistics import median

import numpy as np

from ansatzlab.laws.law import Claim, Reader, Threshold
from ansatzlab.laws.reading import Absent, Choice, Condition, Statistic, Value, each_family
from ansatzlab.laws.runs import Run
from ansatzlab.laws.tansley2025nfa.grid.design import ADAPTIVE, GRID
from ansatzlab.laws.tansley2025nfa.grid.theory import (
    Prediction,
    decay_clock,
    distance_to_stationary,
    optimizer_of,
    predict,
)
from ansatzlab.laws.tansley2025nfa.linear.statistics import COLLAPSED, law_exponent, remaining_weight
from ansatzlab.linalg.exponent import fit_exponent

ALLOWED = 0.1
"""The largest residual with which the ansatz is said to hold, as in a measurement's verdict."""

BALANCED_START = 1e-9
"""A start whose imbalance is below this share of its weights is balanced."""

Worst = Callable[[Iterable[float]], float]


def residual(run: Run) -> float:
    """Return the scale-free residual at 1/L in the first layer, at the end."""
    return run.spectra()[-1].residual(law_exponent(run.depth))


def exponent_error(run: Run) -> Value:
    """Return ``|α* − 1/L|``, where an exponent can be identified."""
    fit = fit_exponent(run.spectra()[-1])
    if not fit.identifiable:
        return Absent("not identifiable: no exponent in any run", applies=False)
    return abs(fit.value - law_exponent(run.depth))


def beyond_null(run: Run) -> float:
    """Return by how many standard deviations the residual lies below that of turned output gradients."""
    mean, sd = (run.column(name)[-1] for name in ("null_residual", "null_residual_sd"))
    return float((mean - residual(run)) / sd)


def clock_ratio(run: Run) -> float:
    """Return how fast the largest imbalance of the start fell, over ``2λt``."""
    first, last = max(_followed(run))
    return float(np.log(first / last) / decay_clock(run))


def moved(run: Run) -> float:
    """Return ``max_l |log ‖D_l(T)‖/‖D_l(0)‖|``."""
    return max(abs(float(np.log(last / first))) for first, last in _followed(run))


def _followed(run: Run) -> list[tuple[float, float]]:
    """Return ``‖D_l‖`` at start and end of the pairs of layers that start with an imbalance."""
    norms = [run.column("imbalance_norm", layer) for layer in range(1, run.depth)]
    least = BALANCED_START * run.column("weight_norm")[0] ** 2
    return [(float(each[0]), float(each[-1])) for each in norms if each[0] > least]


def starts_unbalanced(run: Run) -> bool:
    """Whether the start has an imbalance that can be followed; taken for granted of a run that did not finish."""
    return bool(run.failure) or bool(_followed(run))


def is_judged(run: Run) -> bool:
    """Whether a run finished with something left to judge: weights, and outputs that depend on them."""
    return not run.failure and remaining_weight(run) >= COLLAPSED and run.spectra()[-1].rank > 0


def predicted(prediction: Prediction) -> Callable[[Run], bool]:
    """Return the choice of runs of which theory says this; one that did not finish belongs everywhere."""
    return lambda run: bool(run.failure) or predict(run) == prediction


def follows_the_clock(run: Run) -> bool:
    """Whether a run's imbalance is to fall as e^{−2λt}, by an amount that steps of finite size do not hide."""
    if optimizer_of(run) in ADAPTIVE or not run.weight_decay or not starts_unbalanced(run):
        return False
    return bool(run.failure) or SHORTEST_CLOCK < decay_clock(run) < LONGEST_CLOCK


SHORTEST_CLOCK, LONGEST_CLOCK = 0.05, 3.0
"""Before the first there is too little to see; after the second, 5 % of the start, steps of finite size and noise add
as much as is left."""


def has_room(run: Run) -> bool:
    """Whether theory predicts the ansatz, and a perfect fit would be well beyond the null.

    The null of a spectrum of two or three modes is so wide that no residual lies 3 sd beyond it.
    """
    if run.failure:
        return True
    mean, sd = (run.column(name)[-1] for name in ("null_residual", "null_residual_sd"))
    return predict(run) == "holds" and bool(mean >= ROOM * sd)


ROOM = 4.0
"""How many standard deviations a perfect fit must lie beyond the null for the null to be asked."""


def _adaptive_without_decay(run: Run) -> bool:
    return optimizer_of(run) in ADAPTIVE and not run.weight_decay and starts_unbalanced(run)


def _coupled(run: Run) -> bool:
    """Whether a run is Adam with coupled decay that reached a stationary point; taken for granted if it failed."""
    return _compared(run, "adam") and (bool(run.failure) or distance_to_stationary(run) <= REACHED)


def _decoupled(run: Run) -> bool:
    return _compared(run, "adamw")


def _compared(run: Run, name: str) -> bool:
    """Whether a run is one of those that compare coupled with decoupled decay."""
    return optimizer_of(run) == name and run.weight_decay == STRONGEST and starts_unbalanced(run)


REACHED = 1e-3
"""A stationary point is reached where ``‖g_l + λW_l‖/(λ‖W_l‖)`` is at most this in every layer."""

STRONGEST = 0.01
"""The decay at which coupled and decoupled decay are compared."""


def read(choice: Choice, statistic: Statistic, worst: Worst, told: Condition) -> Reader:
    """Return the reader of a statistic's worst value over the runs of one seed under each condition."""

    def over(family: Iterable[Run]) -> Value:
        values = [statistic(run) for run in family]
        numbers = [value for value in values if not isinstance(value, Absent) and not math.isnan(value)]
        absent = next((value for value in values if isinstance(value, Absent)), Absent("no value"))
        return worst(numbers) if numbers else absent

    def is_read(run: Run) -> bool:
        return (bool(run.failure) or is_judged(run)) and choice(run)

    found = each_family(GRID, over, told, is_read)
    return lambda table: sorted(found(table), key=lambda sample: (sample.condition, sample.seed))


def by_cell(run: Run) -> str:
    """Return the condition of a cell of the heat map: data, optimiser and decay."""
    return f"{run.data}, {optimizer_of(run)}, λ = {run.weight_decay:g}"


def by_optimizer(run: Run) -> str:
    """Return the condition of a row of the heat map: data and optimiser."""
    return f"{run.data}, {optimizer_of(run)}"


def by_depth(run: Run) -> str:
    """Return the condition of one depth on one data set."""
    return f"{run.data}, L = {run.depth}"


CLAIMS = (
    Claim(
        key="G.holds",
        statement="Where theory predicts the ansatz with 1/L at the end of a training, it is found, whatever the "
        "optimiser, the decay, the start and the depth.",
        statistic="largest residual at α = 1/L over starts and depths",
        threshold=Threshold(high=ALLOWED),
        samples=read(predicted("holds"), residual, max, by_cell),
    ),
    Claim(
        key="G.exponent",
        statement="In the same trainings the exponent that fits best is 1/L.",
        statistic="largest |α* − 1/L| over starts and depths",
        threshold=Threshold(high=0.05),
        samples=read(predicted("holds"), exponent_error, max, by_optimizer),
    ),
    Claim(
        key="G.null",
        statement="In those of them whose null leaves room the ansatz says more than geometry: turned output gradients "
        "fit worse.",
        statistic="least distance of the residual from the structural null, in its standard deviations",
        threshold=Threshold(low=3.0),
        samples=read(has_room, beyond_null, min, by_optimizer),
        role="control",
    ),
    Claim(
        key="G.fails",
        statement="Where theory predicts that imbalance stays, the ansatz with 1/L does not hold at the end.",
        statistic="smallest residual at α = 1/L over starts and depths",
        threshold=Threshold(low=ALLOWED),
        samples=read(predicted("fails"), residual, min, by_cell),
    ),
    Claim(
        key="G.silent",
        statement="Where theory says nothing of the end, this is what is found.",
        statistic="largest residual at α = 1/L over starts and depths",
        threshold=Threshold(high=ALLOWED),
        samples=read(predicted("silent"), residual, max, by_cell),
        role="control",
    ),
    Claim(
        key="G.clock",
        statement="With steps along the gradient the imbalance of the start falls as e^{−2λt}, momentum counted in t.",
        statistic="rate of the largest ‖D_l‖ over 2λt, the run furthest from 1",
        threshold=Threshold(0.9, 1.1),
        samples=read(
            follows_the_clock, clock_ratio, lambda values: max(values, key=lambda v: abs(v - 1)), by_optimizer
        ),
    ),
    Claim(
        key="G.moves",
        statement="Without decay adaptive steps change the imbalance of the start.",
        statistic="largest |log ‖D_l(T)‖/‖D_l(0)‖| over pairs of layers; its median over starts and depths",
        threshold=Threshold(low=0.1),
        samples=read(_adaptive_without_decay, moved, median, by_optimizer),
    ),
    Claim(
        key="G.coupled",
        statement="Adam with coupled decay, its rate falling to zero, ends with the ansatz from unbalanced starts, "
        "where it reaches a stationary point.",
        statistic="largest residual at α = 1/L over starts, λ = 0.01",
        threshold=Threshold(high=1e-3),
        samples=read(_coupled, residual, max, by_depth),
    ),
    Claim(
        key="G.decoupled",
        statement="Adam with decoupled decay (AdamW) does not, from the same starts with the same rates; G.fails "
        "counts it.",
        statistic="smallest residual at α = 1/L over starts, λ = 0.01",
        threshold=Threshold(low=ALLOWED),
        samples=read(_decoupled, residual, min, by_depth),
        role="control",
    ),
)
