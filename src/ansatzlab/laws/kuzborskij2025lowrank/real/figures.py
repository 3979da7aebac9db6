"""The chapter's figures."""

from ansatzlab.laws.figure import Exhibit, Figure
from ansatzlab.laws.kuzborskij2025lowrank.merged.figures import accounts
from ansatzlab.laws.kuzborskij2025lowrank.merged.statistics import deviations
from ansatzlab.laws.kuzborskij2025lowrank.real.claims import classes_of, pairs_of
from ansatzlab.laws.kuzborskij2025lowrank.real.design import AS_THEY_ARE, DISJOINT, LINEAR, RELU, UNDECAYED
from ansatzlab.laws.kuzborskij2025lowrank.stationary.figures import ends
from ansatzlab.laws.kuzborskij2025lowrank.stationary.statistics import told
from ansatzlab.laws.reading import finished
from ansatzlab.laws.runs import Run, RunTable, median_curve

NAMES = {AS_THEY_ARE: "as they are", DISJOINT: "on disjoint inputs"}


def figures(table: RunTable) -> tuple[Exhibit, ...]:
    """Draw the table of runs; a figure whose runs are missing is left out.

    Args:
        table: The runs.

    Returns:
        The figures.
    """
    merged = finished(table, (AS_THEY_ARE, DISJOINT), lambda run: f"{pairs_of(run)}, {NAMES[run.experiment]}")
    trained = finished(table, (LINEAR, RELU, UNDECAYED), lambda run: f"{classes_of(run)}: {told(run)}")
    drawn: list[Exhibit] = []
    if merged:
        drawn += [_merged(merged), accounts(merged, "real-accounts", "What merging changed, on real tasks")]
    if trained:
        drawn.append(ends(trained, "real-ends", "Where the trainings on real tasks ended"))
    return tuple(drawn)


def _merged(groups: dict[str, list[Run]]) -> Figure:
    return Figure(
        key="real-merging",
        title="Real tasks merge where their inputs are orthogonal, and only there",
        caption="By how much the sum of two networks' weights changes an output of either, at most, median and range "
        "over seeds. The same examples as they are, and each task on its own half of the inputs.",
        x_label="step",
        y_label="max |f_merged − f_own|",
        curves=tuple(
            median_curve(label, runs[0].column("step"), [deviations(run) for run in runs])
            for label, runs in groups.items()
        ),
        x_log=False,
    )
