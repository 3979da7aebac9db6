"""What the laws share that look at networks which `train_and_compare` trained: reading its columns."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from ansatzlab.laws.figure import Curve
from ansatzlab.laws.runs import Run, median_curve

TASK = "ansatzlab.laws.boixadsera2025fact.training:train_and_compare"
"""The task's name in a spec."""

EXPONENTS = (0.5, 1.0)
"""The exponents of the ansatz that are looked at beside the best one."""


def column(rival: str, statistic: str, exponent: float | None = None) -> str:
    """Return the name of the column that holds a rival's statistic, ``nfa_0.5_cosine`` for example."""
    return "_".join([rival, *([] if exponent is None else [f"{exponent:g}"]), statistic])


def hidden(run: Run) -> range:
    """Return the layers, counted from 1, but for the last, where the ansatz with exponent 1 is a tautology."""
    return range(1, run.depth)


def at(run: Run, name: str, layer: int, snapshot: int = -1) -> float:
    """Return a column of one layer at a snapshot, by default the last."""
    return float(run.column(name, layer)[snapshot])


def beyond(run: Run, name: str, layer: int, snapshot: int = -1) -> float:
    """Return by how many of its standard deviations a score lies above its null; nan where the null has no spread."""
    spread = at(run, f"{name}_null_sd", layer, snapshot)
    return (at(run, name, layer, snapshot) - at(run, f"{name}_null", layer, snapshot)) / spread if spread else math.nan


def least(run: Run, statistic: Callable[[int], float]) -> float:
    """Return the smallest value over the hidden layers; nan if one has none."""
    values = [statistic(layer) for layer in hidden(run)]
    return math.nan if any(math.isnan(value) for value in values) else min(values)


def largest(run: Run, statistic: Callable[[int], float]) -> float:
    """Return the largest value over the hidden layers; nan if one has none."""
    return -least(run, lambda layer: -statistic(layer))


def over_steps(label: str, runs: Sequence[Run], names: Sequence[str], *, smallest: bool = True) -> Curve:
    """Return a curve over the steps but for the start, which a logarithmic axis has no place for.

    Args:
        label: Its label.
        runs: The same training with different seeds.
        names: Columns, of which the best in each layer counts.
        smallest: Whether the smallest over the hidden layers is drawn, or the largest.

    Returns:
        The median over seeds, with its spread.
    """

    def drawn(run: Run) -> np.ndarray:
        layers = [np.max([run.column(name, layer)[1:] for name in names], axis=0) for layer in hidden(run)]
        reduced: np.ndarray = np.min(layers, axis=0) if smallest else np.max(layers, axis=0)
        return reduced

    return median_curve(label, runs[0].column("step")[1:], [drawn(run) for run in runs])


def described(run: Run) -> str:
    """Say what a run was: its activation, optimiser, decay and the scale of its initial weights."""
    decay = f" with λ = {run.weight_decay:g}" if run.weight_decay else ""
    scale = run.options.get("scale", 1.0)
    start = f", initial weights × {scale:g}" if scale != 1.0 else ""
    return f"{run.options['activation']}, {run.options['optimizer']}{decay}{start}"
