"""What each claim reads out of the table of runs; pure functions, one statistic each."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ansatzlab.laws.law import Reader, Sample
from ansatzlab.laws.runs import Run, RunTable
from ansatzlab.laws.tansley2025nfa.noise.design import INTERPOLATING, LABELS

NAMES = {LABELS: "label noise", INTERPOLATING: "interpolating"}


@dataclass(frozen=True)
class Floors:
    """The floors of one pair of layers in one run, one entry per rate and decay.

    Attributes:
        condition: The data, the depth and the pair.
        seed: The seed.
        rates: The learning rates η.
        decays: The decays λ.
        measured: ‖E[D]‖.
        foretold: The same from the full-batch minimum.
        errors: How far E[D] is from its prediction by the gradients that were met, relative to ‖E[D]‖.
        scales: ‖E[W_l W_lᵀ]‖.
    """

    condition: str
    seed: int
    rates: np.ndarray
    decays: np.ndarray
    measured: np.ndarray
    foretold: np.ndarray
    errors: np.ndarray
    scales: np.ndarray

    def along(self, varied: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the places of the points that differ in a rate (or a decay) alone, and that rate, ascending.

        The other number is the one that most points have.
        """
        moving, fixed = (self.rates, self.decays) if varied == "rate" else (self.decays, self.rates)
        values, counts = np.unique(fixed, return_counts=True)
        places = np.flatnonzero(fixed == values[counts.argmax()])
        places = places[np.argsort(moving[places])]
        return places, moving[places]


def floors(table: RunTable, experiment: str) -> Iterator[Floors | Sample]:
    """Yield the floors of every pair of layers; of a run that did not finish, a sample that says so."""
    for run in table.runs(experiment):
        name = f"{NAMES[experiment]}, L = {run.depth}"
        if run.failure:
            yield Sample(name, run.seed, math.nan, run.failure)
            continue
        for layer in range(1, run.depth):
            yield _floors(run, layer, f"{name}, layers {layer} and {layer + 1}")


def predicted(table: RunTable) -> list[Sample]:
    """Read the largest relative error, over rates and decays, of the floor predicted from the gradients met."""
    return _samples(table, (LABELS, INTERPOLATING), lambda each: float(each.errors.max()))


def foretold(table: RunTable) -> list[Sample]:
    """Read measured over foretold floor at the smallest rate."""

    def statistic(each: Floors) -> float:
        place = each.along("rate")[0][0]
        return float(each.measured[place] / each.foretold[place])

    return _samples(table, (LABELS, INTERPOLATING), statistic)


def halving(table: RunTable) -> list[Sample]:
    """Read what is left of the floor when the rate is halved at a fixed decay, the ratio furthest from ½."""

    def statistic(each: Floors) -> float:
        places, rates = each.along("rate")
        halved = [
            float(each.measured[low] / each.measured[high])
            for low, rate in zip(places, rates, strict=True)
            for high, twice in zip(places, rates, strict=True)
            if math.isclose(2 * rate, twice, rel_tol=1e-3)
        ]
        return max(halved, key=lambda ratio: abs(ratio - 0.5), default=math.nan)

    return _samples(table, (LABELS, INTERPOLATING), statistic, missing="no rate is half of another")


def slope(varied: str, *experiments: str) -> Reader:
    """Return the reader of the log–log slope of the floor in the rate or in the decay."""

    def statistic(each: Floors) -> float:
        places, moving = each.along(varied)
        return float(np.polyfit(np.log(moving), np.log(each.measured[places]), 1)[0])

    return lambda table: _samples(table, experiments, statistic)


def _samples(
    table: RunTable, experiments: tuple[str, ...], statistic: Callable[[Floors], float], missing: str = ""
) -> list[Sample]:
    samples = []
    for experiment in experiments:
        for each in floors(table, experiment):
            if isinstance(each, Floors):
                value = statistic(each)
                each = Sample(each.condition, each.seed, value, missing if math.isnan(value) else "")
            samples.append(each)
    return samples


def _floors(run: Run, layer: int, condition: str) -> Floors:
    def column(name: str) -> np.ndarray:
        return run.column(name, layer)

    return Floors(
        condition=condition,
        seed=run.seed,
        rates=column("step_size"),
        decays=column("decay"),
        measured=column("floor"),
        foretold=column("floor_foretold"),
        errors=column("floor_error"),
        scales=column("weight_scale"),
    )
