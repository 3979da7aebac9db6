"""What the report draws of the law."""

from statistics import median

from ansatzlab.laws.comparison import at, described, hidden, over_steps
from ansatzlab.laws.figure import Exhibit, Figure, TextTable
from ansatzlab.laws.radhakrishnan2024nfa.claims import MOVED, MOVED_CENTERED, WHOLE
from ansatzlab.laws.radhakrishnan2024nfa.design import TRAINED
from ansatzlab.laws.reading import finished
from ansatzlab.laws.runs import Run, RunTable

COLUMNS = {
    "AGOP^½": (WHOLE[0], True),
    "AGOP": (WHOLE[1], True),
    "W − W₀, AGOP": (MOVED, False),
    "W − W₀, centred": (MOVED_CENTERED, False),
}
"""Each score: where it is, and whether it exists before training."""


def figures(table: RunTable) -> tuple[Exhibit, ...]:
    """Draw the table of runs; a figure whose runs are missing is left out.

    Args:
        table: The runs.

    Returns:
        The figures.
    """
    groups = finished(table, (TRAINED,), described)
    if not groups:
        return ()
    curves = [
        over_steps(f"{name}: {label}", runs, [place])
        for label, runs in groups.items()
        for name, place in (("score", WHOLE[1]), ("null", f"{WHOLE[1]}_null"))
    ]
    figure = Figure(
        key="nfa-training",
        title="The ansatz in training, beside its structural null",
        caption="Cosine of WᵀW with the AGOP in the hidden layer where it is lowest, and with the output gradients "
        "turned at random.",
        x_label="step",
        y_label="cosine, lowest hidden layer",
        curves=tuple(curves),
        y_log=False,
    )
    return figure, _scores(groups)


def _scores(groups: dict[str, list[Run]]) -> TextTable:
    rows = []
    for label, runs in groups.items():
        for layer in hidden(runs[0]):
            cells = [
                " / ".join(
                    (
                        _median(runs, place, layer, 0) if before else "–",
                        _median(runs, place, layer, -1),
                        _median(runs, f"{place}_null", layer, -1),
                    )
                )
                for place, before in COLUMNS.values()
            ]
            rows.append((label, str(layer), *cells, _median(runs, "initial-gram_cosine", layer, -1)))
    return TextTable(
        key="nfa-scores",
        title="Before training, after it, and the null",
        caption="Cosines, medians over seeds: before training / after / the null after. The last column compares "
        "(W − W₀)ᵀ(W − W₀) with W₀ᵀW₀.",
        header=("training", "layer", *COLUMNS, "initial Gram"),
        rows=tuple(rows),
    )


def _median(runs: list[Run], name: str, layer: int, snapshot: int) -> str:
    return f"{median(at(run, name, layer, snapshot) for run in runs):.3f}"
