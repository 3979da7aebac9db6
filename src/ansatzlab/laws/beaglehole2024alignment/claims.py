"""What is claimed of the centred correlation, and how it is read from a table of runs."""

from collections.abc import Sequence

from ansatzlab.laws.beaglehole2024alignment.design import DESCENT
from ansatzlab.laws.comparison import at, beyond, column, described, largest, least
from ansatzlab.laws.law import Claim, Threshold
from ansatzlab.laws.reading import Absent, Value, each_family, each_run
from ansatzlab.laws.runs import Run

CENTRED = column("c-nfc", "pearson", 1.0)
UNCENTRED = column("nfa", "pearson", 1.0)
LEFT = column("left", "cosine")
ONE_SCALE = "runs are missing: one scale of initial weights"
FIRST = 1
"""The snapshot after the first step; at the start there is no W − W₀."""


def early_lead(run: Run) -> float:
    """Return by how much C-NFC is above UC-NFC after one step, in the hidden layer where it is least."""
    return least(run, lambda layer: at(run, CENTRED, layer, FIRST) - at(run, UNCENTRED, layer, FIRST))


def early(run: Run) -> float:
    """Return C-NFC after one step, the lowest of the hidden layers."""
    return least(run, lambda layer: at(run, CENTRED, layer, FIRST))


def early_left(run: Run) -> float:
    """Return by how many standard deviations of a random rotation the left singular structure is aligned then."""
    return least(run, lambda layer: beyond(run, LEFT, layer, FIRST))


def early_beyond(run: Run) -> float:
    """Return by how many standard deviations it lies above its null then."""
    return least(run, lambda layer: beyond(run, CENTRED, layer, FIRST))


def late_beyond(run: Run) -> float:
    """Return by how many standard deviations it lies above its null at the end."""
    return least(run, lambda layer: beyond(run, CENTRED, layer))


def rise(run: Run) -> float:
    """Return by how much UC-NFC rose, the least of the hidden layers."""
    return least(run, lambda layer: at(run, UNCENTRED, layer) - at(run, UNCENTRED, layer, 0))


def at_start(run: Run) -> float:
    """Return UC-NFC before training, the lowest of the hidden layers."""
    return least(run, lambda layer: at(run, UNCENTRED, layer, 0))


def remaining_gap(family: Sequence[Run]) -> Value:
    """Return how far UC-NFC and C-NFC are apart at the end, from the smallest initial weights."""
    if len(family) < 2:
        return Absent(ONE_SCALE)
    run = family[0]
    return largest(run, lambda layer: abs(at(run, CENTRED, layer) - at(run, UNCENTRED, layer)))


def scale_effect(family: Sequence[Run]) -> Value:
    """Return by how much more UC-NFC rises from the smallest initial weights than from the largest."""
    if len(family) < 2:
        return Absent(ONE_SCALE)
    small, large = family[0], family[-1]
    return least(small, lambda layer: _rise(small, layer) - _rise(large, layer))


def _rise(run: Run, layer: int) -> float:
    return at(run, UNCENTRED, layer) - at(run, UNCENTRED, layer, 0)


def by_smallest(_: Run) -> str:
    """Return the condition of the trainings of one seed, of which that from the smallest initial weights counts."""
    return "smallest initial weights"


def by_extremes(_: Run) -> str:
    """Return the condition of the trainings of one seed, compared from the smallest to the largest initial weights."""
    return "smallest initial weights against largest"


CLAIMS = (
    Claim(
        key="C.early",
        statement="What the first step of descent adds to the weights correlates more with the AGOP formed with it "
        "than the weights do with theirs.",
        statistic="least C-NFC − UC-NFC over hidden layers, after one step",
        threshold=Threshold(low=0.0),
        samples=each_run(DESCENT, early_lead, described),
    ),
    Claim(
        key="C.left",
        statement="Its left singular structure is then aligned with the second moment K of the output gradients.",
        statistic="least (cos((W−W₀)(W−W₀)ᵀ, K) − mean)/sd of a random rotation, over hidden layers, after one step",
        threshold=Threshold(low=3.0),
        samples=each_run(DESCENT, early_left, described),
    ),
    Claim(
        key="C.drives",
        statement="The centred correlation drives the uncentred one: from small initial weights they end up together.",
        statistic="largest |C-NFC − UC-NFC| over hidden layers, end of training, smallest initial weights",
        threshold=Threshold(high=0.1),
        samples=each_family(DESCENT, remaining_gap, by_smallest),
    ),
    Claim(
        key="C.rises",
        statement="During training the uncentred correlation rises.",
        statistic="least rise of UC-NFC over hidden layers",
        threshold=Threshold(low=0.0),
        samples=each_run(DESCENT, rise, described),
    ),
    Claim(
        key="C.scale",
        statement="It rises more from small initial weights, which hide less of what is learnt.",
        statistic="least over hidden layers of the rise of UC-NFC from the smallest weights less that from the largest",
        threshold=Threshold(low=0.0),
        samples=each_family(DESCENT, scale_effect, by_extremes),
    ),
    Claim(
        key="C.high",
        statement="After one step C-NFC is high.",
        statistic="least C-NFC over hidden layers, after one step",
        threshold=Threshold(low=0.8),
        samples=each_run(DESCENT, early, described),
        role="control",
    ),
    Claim(
        key="C.early-null",
        statement="C-NFC shows this alignment: after one step it is beyond what turned output gradients give.",
        statistic="least (C-NFC − null)/sd of the null over hidden layers, after one step",
        threshold=Threshold(low=3.0),
        samples=each_run(DESCENT, early_beyond, described),
        role="control",
    ),
    Claim(
        key="C.start",
        statement="Random weights already score high without being centred.",
        statistic="least UC-NFC over hidden layers, before training",
        threshold=Threshold(low=0.5),
        samples=each_run(DESCENT, at_start, described),
        role="control",
    ),
    Claim(
        key="C.end-null",
        statement="At the end of training C-NFC is still beyond its null.",
        statistic="least (C-NFC − null)/sd of the null over hidden layers, end of training",
        threshold=Threshold(low=3.0),
        samples=each_run(DESCENT, late_beyond, described),
        role="control",
    ),
)
