"""The figures of nonlinear networks."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby

import numpy as np

from ansatzlab.laws.figure import Curve, Exhibit, Figure, HeatMap, Panel, TextTable
from ansatzlab.laws.runs import Run, RunTable, median_curve
from ansatzlab.laws.tansley2025nfa.nonlinear.claims import BEYOND, HIGH, Layer, by_data, hidden, option
from ansatzlab.laws.tansley2025nfa.nonlinear.design import COMPARED, EXPERIMENTS, PERCEPTRON, SWEPT
from ansatzlab.measurement.verdict import Word

MARKS: dict[Word, str] = {
    "holds": "✓",
    "aligned": "a",
    "no better than null": "0",
    "tautological": "t",
    "not identifiable": "?",
    "collapsed": "c",
    "unsupported": "!",
}

DRAWN = ("relu", "tanh")
"""The activations of perceptrons whose scores are drawn over training."""

HEADER = (
    "data",
    "network",
    "L",
    "training",
    "layer",
    "cos at ½",
    "null",
    "z",
    "before training",
    "cos at 1/(L−l+1)",
    "z",
    "best α",
    "verdict at ½",
)

_READ_MARKS = (
    "✓ holds, a aligned (beyond the null, residual above 0.1), 0 no better than the structural null, c collapsed"
)


def figures(table: RunTable) -> tuple[Exhibit, ...]:
    """Draw what was found of nonlinear networks.

    Args:
        table: The runs.

    Returns:
        The table of layers, heat maps of the perceptrons, and the scores over training; those that there are runs for.
    """
    runs = [run for run in table.runs(*EXPERIMENTS) if not run.failure]
    if not runs:
        return ()
    perceptrons = [run for run in runs if run.experiment == PERCEPTRON]
    shown: list[Exhibit] = [_table(runs)]
    for data in sorted({run.data for run in perceptrons}):
        some = [run for run in perceptrons if run.data == data and not _is_long(run, perceptrons)]
        shown += [each for each in (_by_depth(data, some), _by_training(data, some)) if each.panels]
    shown += [_curves(group) for group in _curve_groups(runs)]
    return tuple(shown)


def training_of(run: Run) -> str:
    """Return how a run was trained, in words."""
    return f"{option(run, 'optimizer')}, λ = {run.weight_decay:g}, {option(run, 'epochs')} epochs"


def _is_long(run: Run, runs: Sequence[Run]) -> bool:
    return int(option(run, "epochs")) > min(int(option(other, "epochs")) for other in runs)


def _table(runs: Sequence[Run]) -> TextTable:
    def key(run: Run) -> tuple[str, str, int, str]:
        return by_data(run), option(run, "activation"), run.depth, training_of(run)

    rows: list[tuple[str, ...]] = []
    for (_, activation, depth, training), found in groupby(sorted(runs, key=key), key=key):
        group = list(found)
        kind = group[0].experiment.removeprefix("nonlinear-")
        for index in range(1, len(group[0].layers) + 1):
            layers = [Layer(run, index) for run in group]
            network = f"{kind}, {activation}"
            rows.append((group[0].data, network, str(depth), training, layers[0].name, *_entries(layers)))
    return TextTable(
        key="nonlinear-layers",
        title="What every layer scores, and what the score is worth",
        caption="At the end of training, medians over seeds: the cosine of WᵀW and AGOP^½; the same with the output "
        "gradients turned at random (structural null, mean ± sd) and by how many of its sd the residual is better (z); "
        "the cosine before training; the cosine and z at the linear network's 1/(L − l + 1); the exponent that fits "
        "best in [0.05, 4] with its profile interval; the verdicts of the seeds.",
        header=HEADER,
        rows=tuple(rows),
    )


def _entries(layers: Sequence[Layer]) -> tuple[str, ...]:
    def median(value: Callable[[Layer], float], digits: int = 3) -> str:
        found = [number for layer in layers if not math.isnan(number := value(layer))]
        return f"{np.median(found):.{digits}f}" if found else "–"

    null = median(lambda layer: layer.end("half_null"))
    spread = median(lambda layer: layer.end("half_null_sd"), 4)
    low = median(lambda layer: layer.end("exponent_low"), 2)
    high = median(lambda layer: layer.end("exponent_high"), 2)
    words = Counter(layer.word for layer in layers)
    return (
        median(lambda layer: layer.end("half_value")),
        null if null == "–" else f"{null} ± {spread}",
        median(lambda layer: layer.end("half_z"), 1),
        median(lambda layer: layer.start("half_value")),
        median(lambda layer: layer.end("law_value")),
        median(lambda layer: layer.end("law_z"), 1),
        f"{median(lambda layer: layer.end('exponent'), 2)} [{low}, {high}]",
        ", ".join(f"{word} {count}/{len(layers)}" for word, count in words.most_common()),
    )


def _by_depth(data: str, runs: Sequence[Run]) -> HeatMap:
    swept = [run for run in runs if option(run, "optimizer") == SWEPT and run.weight_decay]
    panels = [
        _panel(f"L = {depth}", [run for run in swept if run.depth == depth])
        for depth in sorted({run.depth for run in swept})
    ]
    return _heat_map(f"nonlinear-depths-{data}", f"Layers, depths and activations: {data}, {SWEPT} with decay", panels)


def _by_training(data: str, runs: Sequence[Run]) -> HeatMap:
    compared = [run for run in runs if run.depth == COMPARED]
    panels = [
        _panel(training, [run for run in compared if training_of(run) == training])
        for training in sorted({training_of(run) for run in compared})
    ]
    return _heat_map(f"nonlinear-trainings-{data}", f"Optimisers and decays: {data}, L = {COMPARED}", panels)


def _heat_map(key: str, title: str, panels: Sequence[Panel]) -> HeatMap:
    return HeatMap(
        key=key,
        title=title,
        caption="Median residual at ½ over seeds at the end of training, and the most frequent verdict: "
        f"{_READ_MARKS}. Last layers, where the ansatz is a tautology, are left out.",
        row_label="layer",
        column_label="activation",
        value_label="residual at ½",
        panels=tuple(panels),
        log=False,
    )


def _panel(title: str, runs: Sequence[Run]) -> Panel:
    activations = sorted({option(run, "activation") for run in runs})
    depth = max(len(run.layers) for run in runs)
    cells = [
        [[Layer(run, layer) for run in runs if option(run, "activation") == name] for name in activations]
        for layer in range(1, depth)
    ]
    return Panel(
        title=title,
        rows=tuple(str(layer) for layer in range(1, depth)),
        columns=tuple(activations),
        values=tuple(
            tuple(float(np.median([layer.end("half_residual") for layer in cell])) for cell in row) for row in cells
        ),
        marks=tuple(
            tuple(MARKS[Counter(layer.word for layer in cell).most_common(1)[0][0]] for cell in row) for row in cells
        ),
    )


def _curve_groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the families of runs whose scores are drawn over training: one for each kind, data set and training."""

    def key(run: Run) -> tuple[str, str]:
        return by_data(run), f"{option(run, 'activation')}, {training_of(run)}"

    chosen = [
        run
        for run in runs
        if run.experiment != PERCEPTRON
        or (run.depth == COMPARED and option(run, "optimizer") == SWEPT and option(run, "activation") in DRAWN)
    ]
    return [list(group) for _, group in groupby(sorted(chosen, key=key), key=key)]


def _curves(runs: Sequence[Run]) -> Figure:
    first = runs[0]
    steps = first.column("step") + 1
    layers = [layer.index for layer in hidden(first)]
    curves: list[Curve] = []
    for index in layers[:4]:
        name = Layer(first, index).name
        curves.append(median_curve(name, steps, [run.column("half_value", index) for run in runs]))
        curves += _null_curve(name, steps, runs, index)
    network = f"{first.experiment.removeprefix('nonlinear-')}, {option(first, 'activation')}"
    decay = f"{first.weight_decay:g}".replace(".", "_")
    return Figure(
        key=f"nonlinear-curve-{first.data}-{network.replace(', ', '-')}-{decay}-{option(first, 'epochs')}",
        title=f"The score over training, beside its null: {first.data}, {network}, {training_of(first)}",
        caption=f"Cosine of WᵀW and AGOP^½, median and range over seeds, against the step (the start is at 1). "
        f"Dashed: the structural null at the same moments, mean ± {BEYOND:g} sd. Plain reporting calls {HIGH:g} high; "
        "what lies in the dashed band is what the weights alone would score.",
        x_label="step + 1",
        y_label="cosine at ½",
        curves=tuple(curves),
        y_log=False,
    )


def _null_curve(name: str, steps: np.ndarray, runs: Sequence[Run], index: int) -> list[Curve]:
    mean = np.median([run.column("half_null", index) for run in runs], axis=0)
    sd = np.median([run.column("half_null_sd", index) for run in runs], axis=0)
    drawn = np.isfinite(mean) & np.isfinite(sd)
    if not drawn.any():
        return []
    low, high = mean[drawn] - BEYOND * sd[drawn], mean[drawn] + BEYOND * sd[drawn]
    x, y, lowest, highest = (tuple(map(float, values)) for values in (steps[drawn], mean[drawn], low, high))
    return [Curve(f"{name}, null", x, y, lowest, highest, dashed=True)]
