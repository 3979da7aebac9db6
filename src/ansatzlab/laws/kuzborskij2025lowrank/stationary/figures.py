"""The chapter's figures."""

from collections.abc import Callable
from statistics import median

import numpy as np

from ansatzlab.laws.figure import Curve, Exhibit, Figure, TextTable
from ansatzlab.laws.kuzborskij2025lowrank.reading import decay_of
from ansatzlab.laws.kuzborskij2025lowrank.stationary import statistics
from ansatzlab.laws.kuzborskij2025lowrank.stationary.design import (
    COLLAPSE,
    LINEAR,
    RATE,
    RATE_UNDECAYED,
    RELU,
    SQUARES,
    UNDECAYED,
)
from ansatzlab.laws.kuzborskij2025lowrank.stationary.statistics import told
from ansatzlab.laws.reading import finished
from ansatzlab.laws.runs import Run, RunTable, median_curve

COLUMNS: dict[str, Callable[[Run], float]] = {
    "1 − cos": statistics.misalignment,
    "1 − cos, averaged": lambda run: 1 - statistics.averaged_cosine(run),
    "residual": lambda run: run.last("residual"),
    "spread of ‖W‖²/p": statistics.spread,
    "|2λ‖W‖²/pS − 1|": statistics.euler,
    "neuron imbalance": lambda run: run.last("neuron_imbalance"),
    "‖W₁‖²": lambda run: run.last("squared_norm"),
    "largest stable rank": statistics.rank,
    "product of stable ranks": lambda run: run.last("rank_product"),
    "its bound": lambda run: run.last("rank_bound"),
    "least margin": lambda run: run.last("least_margin"),
}
"""The columns of the table of ends: what they are called and how they are read."""


def figures(table: RunTable) -> tuple[Exhibit, ...]:
    """Draw the table of runs; a figure whose runs are missing is left out.

    Args:
        table: The runs.

    Returns:
        The figures.
    """
    trained = finished(table, (LINEAR, RELU, UNDECAYED, SQUARES, COLLAPSE), told)
    ranks = _strongest(finished(table, (LINEAR, RELU, UNDECAYED), told))
    rates = finished(table, (RATE, RATE_UNDECAYED), told)
    drawn: list[Exhibit] = []
    if ranks:
        drawn.append(_ranks(ranks))
    if rates:
        drawn.append(_rates(rates))
    if trained:
        drawn.append(ends(trained, "lowrank-ends", "Where the trainings ended"))
    return tuple(drawn)


def _strongest(groups: dict[str, list[Run]]) -> dict[str, list[Run]]:
    """Return the groups whose decay and learning rate are the largest of their experiment."""
    largest: dict[str, tuple[float, float]] = {}
    for run in (runs[0] for runs in groups.values()):
        decay, rate = largest.get(run.experiment, (0.0, 0.0))
        largest[run.experiment] = (max(decay, run.weight_decay), max(rate, run.learning_rate))
    return {
        label: runs
        for label, runs in groups.items()
        if largest[runs[0].experiment] == (runs[0].weight_decay, runs[0].learning_rate)
    }


def _ranks(groups: dict[str, list[Run]]) -> Figure:
    curves = []
    for label, runs in groups.items():
        times = runs[0].column("flow_time")[1:]
        per_seed = [
            np.max([run.column("stable_rank", layer)[1:] for layer in range(1, run.depth)], axis=0) for run in runs
        ]
        curves.append(median_curve(label, times, per_seed))
    return Figure(
        key="lowrank-ranks",
        title="Decay lowers stable ranks, to one in linear networks",
        caption="Largest stable rank ‖W‖²/‖W‖₂² of a hidden layer, median and range over seeds. Without decay it "
        "moves little; linear networks go to one; ReLU networks go to a small number that the bound does not tell.",
        x_label="steps times η",
        y_label="largest stable rank of a hidden layer",
        curves=tuple(curves),
    )


def _rates(groups: dict[str, list[Run]]) -> Figure:
    curves, longest = [], 0.0
    for label, runs in groups.items():
        decay = decay_of(runs[0]) or _reference(groups)
        times = 4 * decay * runs[0].column("flow_time")
        curves.append(
            median_curve(label, times, [statistics.imbalances(r)[0] / statistics.imbalances(r)[0][0] for r in runs])
        )
        longest = max(longest, float(times[-1]))
    times = np.linspace(0, longest, 13)
    curves.append(Curve("e^(−4λt)", tuple(map(float, times)), tuple(map(float, np.exp(-times))), dashed=True))
    return Figure(
        key="lowrank-balance",
        title="The imbalance of two layers falls as e^(−4λt)",
        caption="‖W₁‖² − ‖W₂‖² over what it was at the start. The penalty is λ‖θ‖², so torch's weight_decay is 2λ. "
        "Without decay (time in units of the first λ) it stays.",
        x_label="4λt",
        y_label="imbalance, relative to the start",
        curves=tuple(curves),
        x_log=False,
    )


def _reference(groups: dict[str, list[Run]]) -> float:
    """Return the decay in whose units the time of a training without any is drawn."""
    return min((decay_of(runs[0]) for runs in groups.values() if decay_of(runs[0])), default=1.0)


def ends(groups: dict[str, list[Run]], key: str, title: str) -> TextTable:
    """Tell of groups of runs where they ended.

    Args:
        groups: The runs by what is written in front of them.
        key: The table's key.
        title: Its title.

    Returns:
        The table.
    """
    return TextTable(
        key=key,
        title=title,
        caption="Medians over seeds. 1 − cos and the residual ‖∂L/∂θ + 2λθ‖/‖2λθ‖ are of the last gradient; with ReLU "
        "that jumps between the sides of kinks, and only its average balances the decay. p is the degree of a layer, S "
        "= (1/n) Σ m/(1 + e^m). A collapsed network has no cosine.",
        header=("training", *COLUMNS),
        rows=tuple((label, *(_written(runs, read) for read in COLUMNS.values())) for label, runs in groups.items()),
    )


def _written(runs: list[Run], read: Callable[[Run], float]) -> str:
    value = median(read(run) for run in runs)
    if np.isnan(value):
        return "–"
    return f"{value:.3f}" if 1e-2 <= abs(value) < 1000 else f"{value:.1e}" if value else "0"
