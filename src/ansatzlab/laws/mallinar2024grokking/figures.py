"""The figures of grokking."""

from collections.abc import Callable, Sequence

import numpy as np

from ansatzlab.laws.figure import Curve, Exhibit, Figure, TextTable
from ansatzlab.laws.mallinar2024grokking.claims import condition, operation_of, prime_of, published
from ansatzlab.laws.mallinar2024grokking.design import GROKKING
from ansatzlab.laws.reading import at_end, at_start, finished
from ansatzlab.laws.runs import Run, RunTable, median_curve

BAND = 3.0
"""How many standard deviations of the null its band is wide."""

NULL = ("null", "null_sd")
"""What the columns of a null end with."""

HEADER = (
    "operation",
    "p",
    "published",
    "ours, end",
    "ours, start",
    "null, end",
    "z, end",
    "off the diagonal, end",
    "start",
    "null, end",
    "right on other pairs",
)


def figures(table: RunTable) -> tuple[Exhibit, ...]:
    """Draw how the networks grok and what their correlations with the AGOP do meanwhile.

    Args:
        table: The runs.

    Returns:
        A table, and a figure for each operation and modulus; none where there are no runs.
    """
    groups = list(finished(table, (GROKKING,), condition).values())
    return (_table(groups), *(_figure(group) for group in groups)) if groups else ()


def _table(groups: Sequence[Sequence[Run]]) -> TextTable:
    return TextTable(
        key="grokking-correlations",
        title="Published correlations beside what the weights alone would score",
        caption="Pearson's correlation of WᵀW and AGOP^½ in the first layer, medians over seeds: at the end of "
        "training, before training, and at the end with output gradients turned at random (structural null, mean); by "
        "how many of the null's standard deviations the residual is better (z); the same with both diagonals set to "
        "zero.",
        header=HEADER,
        rows=tuple(_row(group) for group in groups),
    )


def _row(group: Sequence[Run]) -> tuple[str, ...]:
    def median(statistic: Callable[[Run], float], digits: int = 3) -> str:
        value = float(np.median([statistic(run) for run in group]))
        return f"{value:.{digits}f}" if np.isfinite(value) else "–"

    return (
        operation_of(group[0]),
        str(prime_of(group[0])),
        median(published),
        median(at_end("pearson_value")),
        median(at_start("pearson_value")),
        median(at_end("pearson_null")),
        median(at_end("pearson_z"), 1),
        median(at_end("off_value")),
        median(at_start("off_value")),
        median(at_end("off_null")),
        median(at_end("test_accuracy")),
    )


def _figure(group: Sequence[Run]) -> Figure:
    epochs = group[0].column("epoch")
    measured = np.isfinite(group[0].column("pearson_value"))
    curves = [
        _curve("right on training pairs", epochs[1:], group, "accuracy", slice(1, None)),
        _curve("right on other pairs", epochs[1:], group, "test_accuracy", slice(1, None)),
    ]
    later = np.flatnonzero(measured)[1:]  # a logarithmic axis has no place for the start
    for name, what in (("pearson", "correlation"), ("off", "correlation off the diagonal")):
        curves.append(_curve(what, epochs[later], group, f"{name}_value", later))
        mean, sd = (np.median([run.column(f"{name}_{each}")[later] for run in group], axis=0) for each in NULL)
        x, y, low, high = (_floats(v) for v in (epochs[later], mean, mean - BAND * sd, mean + BAND * sd))
        curves.append(Curve(f"{what}, null", x, y, low, high, dashed=True))
    value = published(group[0])
    if np.isfinite(value):
        curves.append(Curve("published", (float(epochs[1]), float(epochs[-1])), (value, value), dashed=True))
    return Figure(
        key=f"grokking-{operation_of(group[0])}-{prime_of(group[0])}",
        title=f"Grokking x {operation_of(group[0])} y modulo {prime_of(group[0])}",
        caption="Shares of right answers, and Pearson's correlation of WᵀW and AGOP^½ in the first layer, median and "
        f"range over seeds. Dashed: with output gradients turned at random, mean ± {BAND:g} sd. Where the share on the "
        "other pairs rises the network groks; a correlation that is as high on the left says nothing of it.",
        x_label="epoch",
        y_label="share, correlation",
        curves=tuple(curves),
        y_log=False,
    )


def _curve(label: str, x: np.ndarray, group: Sequence[Run], name: str, places: slice | np.ndarray) -> Curve:
    return median_curve(label, x, [run.column(name)[places] for run in group])


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
