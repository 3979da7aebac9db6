"""What the report draws of the law."""

from ansatzlab.laws.beaglehole2024alignment.claims import CENTRED, UNCENTRED
from ansatzlab.laws.beaglehole2024alignment.design import DESCENT
from ansatzlab.laws.comparison import described, over_steps
from ansatzlab.laws.figure import Exhibit, Figure
from ansatzlab.laws.reading import finished
from ansatzlab.laws.runs import RunTable

LABELS = {
    "C-NFC": CENTRED,
    "its null": f"{CENTRED}_null",
    "UC-NFC": UNCENTRED,
}


def figures(table: RunTable) -> tuple[Exhibit, ...]:
    """Draw the table of runs; a figure whose runs are missing is left out.

    Args:
        table: The runs.

    Returns:
        The figures, one for each scale of the initial weights.
    """
    groups = finished(table, (DESCENT,), described)
    return tuple(
        Figure(
            key=f"alignment-{index}",
            title=f"What is learnt, and all of the weights, against the AGOP: {label}",
            caption="Pearson correlation of WᵀW with WᵀKW (UC-NFC), of the same with W − W₀ for W (C-NFC), and of the "
            "latter with K turned at random (its null), in the hidden layer where each is lowest.",
            x_label="step",
            y_label="Pearson correlation, lowest hidden layer",
            curves=tuple(over_steps(name, runs, [place]) for name, place in LABELS.items()),
            y_log=False,
        )
        for index, (label, runs) in enumerate(groups.items())
    )
