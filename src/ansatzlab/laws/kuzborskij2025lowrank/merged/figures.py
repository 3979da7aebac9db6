"""The chapter's figures."""

from statistics import median

import numpy as np

from ansatzlab.laws.figure import Curve, Exhibit, Figure, TextTable
from ansatzlab.laws.kuzborskij2025lowrank.merged import statistics
from ansatzlab.laws.kuzborskij2025lowrank.merged.design import (
    ALL_LAYERS,
    LINEAR,
    MIXED,
    ORTHOGONAL,
    TWINS,
    UNDECAYED,
)
from ansatzlab.laws.kuzborskij2025lowrank.merged.statistics import described, linear_told
from ansatzlab.laws.kuzborskij2025lowrank.reading import decay_of
from ansatzlab.laws.reading import finished
from ansatzlab.laws.runs import Run, RunTable, median_curve

STARTS = {LINEAR: "independent starts", TWINS: "same start"}

HEADER = (
    "networks",
    "coherence",
    "deviation",
    "its bound",
    "least margin",
    "certified",
    "own loss",
    "merged loss",
    "own accuracy",
    "merged accuracy",
)


def figures(table: RunTable) -> tuple[Exhibit, ...]:
    """Draw the table of runs; a figure whose runs are missing is left out.

    Args:
        table: The runs.

    Returns:
        The figures.
    """
    drawn: list[Exhibit] = []
    times = finished(table, (ORTHOGONAL, UNDECAYED, MIXED, ALL_LAYERS), _told)
    if times:
        drawn.append(_forgetting(times))
    linear = finished(table, (LINEAR, TWINS), lambda run: f"K = {run.depth}, {STARTS[run.experiment]}")
    if linear:
        drawn.append(_overlaps(linear))
    ends = times | finished(table, (LINEAR, TWINS), lambda run: f"{linear_told(run)}, {STARTS[run.experiment]}")
    return (*drawn, accounts(ends, "merging-accounts", "What merging changed")) if ends else tuple(drawn)


def _told(run: Run) -> str:
    return described(run) + (", all layers trained" if run.experiment == ALL_LAYERS else "")


def _forgetting(groups: dict[str, list[Run]]) -> Figure:
    curves = [
        median_curve(label, runs[0].column("step"), [statistics.deviations(run) for run in runs])
        for label, runs in groups.items()
    ]
    exact = [runs for runs in groups.values() if runs[0].experiment == ORTHOGONAL]
    if exact:
        run = exact[0][0]
        steps = run.column("step")
        kept = (1 - 2 * run.learning_rate * decay_of(run)) ** (steps - steps[0])
        begun = median(float(statistics.deviations(each)[0]) for each in exact[0])
        curves.append(Curve("(1 − 2ηλ)^t", tuple(map(float, steps)), tuple(map(float, begun * kept)), dashed=True))
    return Figure(
        key="merging-forgetting",
        title="Decay makes networks mergeable at the rate at which it forgets the start",
        caption="By how much the sum of two networks' weights changes an output of either, at most, median and range "
        "over seeds. On orthogonal inputs and with a shared readout it falls as (1 − 2ηλ)^t; on others it stops in "
        "proportion to ε; without decay, and with trained readouts, it stays.",
        x_label="step",
        y_label="max |f_merged − f_own|",
        curves=tuple(curves),
        x_log=False,
    )


def _overlaps(groups: dict[str, list[Run]]) -> Figure:
    curves = []
    widths: list[int] = []
    for label, runs in groups.items():
        widths = sorted({int(str(run.options["width"])) for run in runs})
        seeds = sorted({run.seed for run in runs})
        per_seed = [np.array([_of(runs, seed, width) for width in widths], dtype=float) for seed in seeds]
        curves.append(median_curve(label, widths, per_seed))
    expected = tuple(width**-0.5 for width in widths)
    curves.append(Curve("1/√width", tuple(map(float, widths)), expected, dashed=True))
    return Figure(
        key="merging-overlap",
        title="Deep linear networks merge up to the overlap of their hidden directions",
        caption="The largest relative change of an output, median and range over seeds. With two layers it is the "
        "overlap of two directions, 1/√width for independent starts in root mean square; networks of one start share "
        "more.",
        x_label="width",
        y_label="max |f_merged − f_own| / max |f_own|",
        curves=tuple(curves),
    )


def _of(runs: list[Run], seed: int, width: int) -> float:
    found = [run.last("relative_deviation") for run in runs if run.seed == seed and run.options["width"] == width]
    return found[0] if found else float("nan")


def accounts(groups: dict[str, list[Run]], key: str, title: str) -> TextTable:
    """Tell of groups of runs what merging did at the end.

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
        caption="At the end, medians over seeds; of the two tasks the one that fares worse. The coherence is the "
        "largest cosine of inputs of the two tasks. Certified: the share of examples whose margin is larger than the "
        "bound on their deviation, so that their answer cannot be lost.",
        header=HEADER,
        rows=tuple((label, *_account(runs)) for label, runs in groups.items()),
    )


def _account(runs: list[Run]) -> tuple[str, ...]:
    def worse(name: str, smallest: bool) -> float:
        pick = min if smallest else max
        return median(pick(run.last(f"{name}_{letter}") for letter in "ab") for run in runs)

    return (
        f"{median(run.last('coherence') for run in runs):.3f}",
        f"{worse('deviation', False):.3g}",
        f"{worse('bound', False):.3g}",
        f"{worse('least_margin', True):.3g}",
        f"{worse('certified', True):.2f}",
        f"{worse('own_loss', False):.3g}",
        f"{worse('merged_loss', False):.3g}",
        f"{worse('own_accuracy', True):.3f}",
        f"{worse('merged_accuracy', True):.3f}",
    )
