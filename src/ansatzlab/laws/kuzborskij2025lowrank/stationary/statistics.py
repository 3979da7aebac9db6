"""What each claim reads out of a run; one statistic each."""

from itertools import pairwise

import numpy as np

from ansatzlab.laws.kuzborskij2025lowrank.reading import at_stationary_point, decay_of, largest
from ansatzlab.laws.reading import Value
from ansatzlab.laws.runs import Run

COMPARED_RATE = 0.1
"""The learning rate at which an averaged gradient is judged: a larger one leaves larger jumps to average."""


NAMES = {"identity": "linear", "relu": "ReLU", "relu_squared": "squared ReLU"}
"""What the activations are called in reports."""


def told(run: Run) -> str:
    """Say what a run was."""
    decay = f", λ = {decay_of(run):g}" if run.weight_decay else ", no decay"
    return f"{NAMES[str(run.options['activation'])]}, K = {run.depth}{decay}, η = {run.learning_rate:g}"


def of_depth(run: Run) -> str:
    """Say how deep a network was, and its decay."""
    return told(run).rpartition(",")[0]


def layers(run: Run) -> range:
    """Return the layers, counted from 1."""
    return range(1, run.depth + 1)


def misalignment(run: Run) -> float:
    """Return ``1 − cos(θ, −∂L/∂θ)`` at the end; what rounding leaves below zero is zero."""
    return float(np.maximum(1 - run.last("cosine"), 0.0))


def averaged_cosine(run: Run) -> float:
    """Return the cosine with the gradient averaged over the last steps."""
    return run.last("averaged_cosine")


def has_average(run: Run) -> bool:
    """Whether a run's gradients were averaged at a learning rate that is small enough."""
    return bool(run.learning_rate <= COMPARED_RATE) and bool(run.options["average"])


def euler(run: Run) -> float:
    """Return the largest relative difference of ``2λ‖W_k‖²/p_k`` from S over layers."""
    return largest(abs(run.last("euler", layer)) for layer in layers(run))


def spread(run: Run) -> float:
    """Return the relative spread of ``‖W_k‖²/p_k`` over layers."""
    return run.last("spread")


def rank(run: Run) -> float:
    """Return the largest stable rank."""
    return largest(run.last("stable_rank", layer) for layer in layers(run))


def rank_ratio(decayed: Run, undecayed: Run) -> float:
    """Return the largest ratio of a hidden layer's stable ranks with and without decay."""
    return largest(
        decayed.last("stable_rank", layer) / undecayed.last("stable_rank", layer) for layer in range(1, decayed.depth)
    )


def rank_excess(run: Run) -> float:
    """Return the largest product of stable ranks over its bound, over all snapshots."""
    return float(np.nanmax(run.column("rank_product") / run.column("rank_bound")))


def imbalances(run: Run) -> list[np.ndarray]:
    """Return ``‖W_k‖² − ‖W_{k+1}‖²`` over the snapshots, for every pair of layers."""
    norms = [run.column("squared_norm", layer) for layer in layers(run)]
    return [one - other for one, other in pairwise(norms)]


def rate(run: Run) -> float:
    """Return the fitted rate at which an imbalance falls over 4λ, of the pair whose rate is furthest from it."""
    times = run.column("flow_time")
    rates = [-np.polyfit(times, np.log(np.abs(each)), 1)[0] / (4 * decay_of(run)) for each in imbalances(run)]
    return float(max(rates, key=lambda found: abs(found - 1)))


def remaining(run: Run) -> float:
    """Return what is left of an imbalance at the end, of the pair where it is furthest from one."""
    return float(max((each[-1] / each[0] for each in imbalances(run)), key=lambda left: abs(left - 1)))


def square_ratio(run: Run) -> float:
    """Return ``‖W_1‖²/‖W_2‖²``."""
    return run.last("squared_norm", 1) / run.last("squared_norm", 2)


def collapsed(run: Run) -> Value:
    """Return 1 if the network was reported as collapsed at the end, and no cosine given; else 0."""
    if run.last("collapsed") == 1:
        return float(np.isnan(run.last("cosine")))
    return at_stationary_point(lambda _: 0.0)(run)
