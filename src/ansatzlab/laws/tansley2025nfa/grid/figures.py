"""The grid's figures."""

from collections.abc import Sequence

import numpy as np

from ansatzlab.laws.figure import Curve, Exhibit, Figure, HeatMap, Panel
from ansatzlab.laws.runs import Run, RunTable
from ansatzlab.laws.tansley2025nfa.grid.claims import ALLOWED, is_judged, residual
from ansatzlab.laws.tansley2025nfa.grid.design import GRID, OPTIMIZERS, STARTS
from ansatzlab.laws.tansley2025nfa.grid.theory import Prediction, measured_imbalance, optimizer_of, predict

MARKS: dict[Prediction, str] = {"holds": "✓", "fails": "✗", "silent": "·"}

SMALLEST = 1e-12
"""A residual below this is rounding of a root and is drawn as this."""

DARKEST = 1e-4
"""A residual up to this has the darkest colour, so that the others can be told apart."""

BINS = np.geomspace(1e-12, 10, 40)


def figures(table: RunTable) -> tuple[Exhibit, ...]:
    """Draw the grid: one heat map a data set, and what explains it.

    Args:
        table: The runs.

    Returns:
        The figures; none where there are no runs.
    """
    runs = [run for run in table.runs(GRID) if is_judged(run)]
    maps = [_map(data, [run for run in runs if run.data == data]) for data in sorted({run.data for run in runs})]
    return (*maps, _mechanism(runs)) if runs else ()


def _map(data: str, runs: Sequence[Run]) -> HeatMap:
    names = [name for name in OPTIMIZERS if any(optimizer_of(run) == name for run in runs)]
    decays = sorted({run.weight_decay for run in runs})
    panels = []
    for start in [each for each in STARTS if any(_start(run) == each for run in runs)]:
        cells = [
            [
                [run for run in runs if (_start(run), optimizer_of(run), run.weight_decay) == (start, name, decay)]
                for decay in decays
            ]
            for name in names
        ]
        panels.append(
            Panel(
                title=f"start: {start}",
                rows=tuple(names),
                columns=tuple(f"{decay:g}" for decay in decays),
                values=tuple(tuple(_colour(cell) for cell in row) for row in cells),
                marks=tuple(tuple(_mark(cell) for cell in row) for row in cells),
            )
        )
    return HeatMap(
        key=f"grid-{data}",
        title=f"Where the ansatz holds, and where theory says so: {data}",
        caption="Median residual of W₁ᵀW₁ against AGOP^{1/L} at the end of training, over depths and seeds; it "
        f"holds where that is at most {ALLOWED:g}, and is darkest from {DARKEST:g} down. Before the number, what "
        "theory predicts without the AGOP: ✓ it holds, ✗ it does not, · nothing; two marks where depths or seeds "
        "differ. Decay is coupled but for adamw. An empty cell has collapsed.",
        row_label="optimiser",
        column_label="weight decay λ",
        value_label="residual at 1/L",
        panels=tuple(panels),
    )


def _start(run: Run) -> str:
    init = {"scheme": run.spec["init"]["scheme"], "scale": run.spec["init"]["scale"]}
    return next(name for name, spec in STARTS.items() if {"scheme": spec.scheme, "scale": spec.scale} == init)


def _colour(cell: Sequence[Run]) -> float:
    return max(_median(cell), DARKEST) if cell else float("nan")


def _median(cell: Sequence[Run]) -> float:
    return float(np.median([residual(run) for run in cell]))


def _mark(cell: Sequence[Run]) -> str:
    found = {predict(run) for run in cell}
    told = "".join(mark for prediction, mark in MARKS.items() if prediction in found)
    return f"{told} {_median(cell):.1g}" if cell else ""


def _mechanism(runs: Sequence[Run]) -> Figure:
    curves = []
    for name in OPTIMIZERS:
        points = [(measured_imbalance(run), max(residual(run), SMALLEST)) for run in runs if optimizer_of(run) == name]
        binned: dict[int, list[tuple[float, float]]] = {}
        for point in points:
            binned.setdefault(int(np.digitize(point[0], BINS)), []).append(point)
        if points:
            groups = [np.array(binned[place]) for place in sorted(binned)]
            curves.append(
                Curve(
                    label=name,
                    x=tuple(float(np.median(group[:, 0])) for group in groups),
                    y=tuple(float(np.median(group[:, 1])) for group in groups),
                    low=tuple(float(group[:, 1].min()) for group in groups),
                    high=tuple(float(group[:, 1].max()) for group in groups),
                )
            )
    ends = (SMALLEST, 1.0)
    curves.append(Curve("residual = imbalance", ends, ends, dashed=True))
    return Figure(
        key="mechanism",
        title="One mechanism: the ansatz fails by as much as the network is out of balance",
        caption="Residual at 1/L against the largest relative imbalance ‖D_l‖/‖W_lW_lᵀ‖ at the end of training, all "
        "trainings of the grid in narrow classes of imbalance: median, least and largest. What the optimiser does to "
        "the imbalance is all that it does to the ansatz.",
        x_label="relative imbalance at the end",
        y_label="residual at 1/L",
        curves=tuple(curves),
    )
