"""What the report draws of the law."""

from statistics import median

import numpy as np

from ansatzlab.laws.boixadsera2025fact.design import COUPLED, DECOUPLED
from ansatzlab.laws.comparison import at, described, over_steps
from ansatzlab.laws.figure import Exhibit, Figure, TextTable
from ansatzlab.laws.reading import finished
from ansatzlab.laws.runs import Run, RunTable

COLUMNS = {
    "FACT": "fact_cosine",
    "FACT, null": "fact_cosine_null",
    "FACT, positive": "fact-psd_cosine",
    "its null": "fact-psd_cosine_null",
    "backward": "fact-backward_cosine",
    "NFA ½": "nfa_0.5_cosine",
    "its null ": "nfa_0.5_cosine_null",
    "NFA 1": "nfa_1_cosine",
    "NFA best": "nfa-best_cosine",
    "α*": "nfa-best_exponent",
    "C-NFC": "c-nfc_1_cosine",
    "eNFA 1": "enfa_1_cosine",
    "commutator": "commutator_mismatch",
    "input Gram": "gram_cosine",
    "‖M−F‖/‖M‖": "fact_mismatch",
}
"""The columns of the table of rivals: what they are called and where they are."""


def figures(table: RunTable) -> tuple[Exhibit, ...]:
    """Draw the table of runs; a figure whose runs are missing is left out.

    Args:
        table: The runs.

    Returns:
        The figures.
    """
    groups = finished(table, (COUPLED, DECOUPLED), described)
    return (_scores(groups), _mismatches(groups), _rivals(groups)) if groups else ()


def _scores(groups: dict[str, list[Run]]) -> Figure:
    curves = []
    for label, runs in groups.items():
        if label.startswith("relu"):
            curves += [
                over_steps(f"FACT: {label}", runs, ["fact_cosine"]),
                over_steps(f"best ansatz: {label}", runs, ["nfa_0.5_cosine", "nfa_1_cosine", "nfa-best_cosine"]),
            ]
    return Figure(
        key="fact-scores",
        title="FACT is reached at convergence, and only with coupled decay",
        caption="Cosine of WᵀW with FACT, and with the best power of the AGOP, in the hidden layer where it is lowest. "
        "The ansatz scores high from the first step on; FACT starts below zero and reaches one with coupled decay.",
        x_label="step",
        y_label="cosine, lowest hidden layer",
        curves=tuple(curves),
        y_log=False,
    )


def _mismatches(groups: dict[str, list[Run]]) -> Figure:
    return Figure(
        key="fact-mismatch",
        title="What FACT misses is the gradient of the penalised loss",
        caption="‖WᵀW − F‖/‖WᵀW‖, which equals ‖Wᵀ(λW + ∂loss/∂W)‖/(λ‖WᵀW‖) to rounding, in the hidden layer where it "
        "is largest. It goes to rounding where the loss is smooth, stays at the kinks of ReLU, and near one with "
        "decoupled decay.",
        x_label="step",
        y_label="relative mismatch",
        curves=tuple(over_steps(label, runs, ["fact_mismatch"], smallest=False) for label, runs in groups.items()),
    )


def _rivals(groups: dict[str, list[Run]]) -> TextTable:
    rows = []
    for label, runs in groups.items():
        for layer in range(1, runs[0].depth + 1):
            for when, snapshot in (("start", 0), ("end", -1)):
                values = {name: [at(run, place, layer, snapshot) for run in runs] for name, place in COLUMNS.items()}
                rows.append((label, str(layer), when, *(_written(found) for found in values.values())))
    return TextTable(
        key="fact-rivals",
        title="The ansatz and its rivals, on the same examples",
        caption="Cosines, medians over seeds; commutator and mismatch are 0 where exact. A null is the same score when "
        "the gradients at the layer's outputs are turned at random. In the last layer NFA 1 is a tautology.",
        header=("training", "layer", "when", *COLUMNS),
        rows=tuple(rows),
    )


def _written(values: list[float]) -> str:
    value = median(values)
    if np.isnan(value):
        return "–"
    return f"{value:.3f}" if 1e-3 <= abs(value) < 100 or value == 0 else f"{value:.1e}"
