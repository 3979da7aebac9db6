"""What is claimed of the centred correlation, and how it is read from a table of runs."""

import math
from collections.abc import Sequence

import pyarrow as pa

from ansatzlab.laws.beaglehole2024alignment.design import DESCENT
from ansatzlab.laws.comparison import at, beyond, column, each_run, hidden, largest, least
from ansatzlab.laws.law import Claim, Sample, Threshold
from ansatzlab.laws.runs import Run, runs_of

CENTRED = column("c-nfc", "pearson", 1.0)
UNCENTRED = column("nfa", "pearson", 1.0)
LEFT = column("left", "cosine")
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


def remaining_gap(table: pa.Table) -> list[Sample]:
    """Read how far UC-NFC and C-NFC are apart at the end, from the smallest initial weights only."""
    return [_failed(family) or _sample(family[0], _gap(family[0])) for family in _families(table)]


def scale_effect(table: pa.Table) -> list[Sample]:
    """Read by how much more UC-NFC rises from the smallest initial weights than from the largest."""
    return [
        _failed(family)
        or _sample(
            family[0],
            min(_rise(family[0], layer) - _rise(family[-1], layer) for layer in hidden(family[0])),
            f"weights × {_scale(family[0]):g} against × {_scale(family[-1]):g}",
        )
        for family in _families(table)
        if len(family) > 1
    ]


def _families(table: pa.Table) -> list[list[Run]]:
    """Return the runs of each seed, from the smallest to the largest initial weights."""
    families: dict[int, list[Run]] = {}
    for run in runs_of(table, DESCENT):
        families.setdefault(run.seed, []).append(run)
    return [sorted(family, key=_scale) for family in families.values()]


def _failed(family: Sequence[Run]) -> Sample | None:
    """Return that there is no value if a run of the family did not finish: the others are another comparison."""
    failed = next((run for run in family if run.failure), None)
    if failed is None:
        return None
    return Sample(f"initial weights × {_scale(failed):g}", failed.seed, math.nan, failed.failure)


def _sample(run: Run, value: float, condition: str = "") -> Sample:
    reason = "a score has no value" if math.isnan(value) else ""
    return Sample(condition or f"initial weights × {_scale(run):g}", run.seed, value, reason)


def _gap(run: Run) -> float:
    return largest(run, lambda layer: abs(at(run, CENTRED, layer) - at(run, UNCENTRED, layer)))


def _rise(run: Run, layer: int) -> float:
    return at(run, UNCENTRED, layer) - at(run, UNCENTRED, layer, 0)


def _scale(run: Run) -> float:
    return float(run.spec["options"]["scale"])


_RUNS: Sequence[str] = (DESCENT,)

CLAIMS = (
    Claim(
        key="C.early",
        statement="What the first step of descent adds to the weights correlates more with the AGOP formed with it "
        "than the weights do with theirs.",
        statistic="least C-NFC − UC-NFC over hidden layers, after one step",
        threshold=Threshold(low=0.0),
        samples=each_run(_RUNS, early_lead),
    ),
    Claim(
        key="C.left",
        statement="Its left singular structure is then aligned with the second moment K of the output gradients.",
        statistic="least (cos((W−W₀)(W−W₀)ᵀ, K) − mean)/sd of a random rotation, over hidden layers, after one step",
        threshold=Threshold(low=3.0),
        samples=each_run(_RUNS, early_left),
    ),
    Claim(
        key="C.drives",
        statement="The centred correlation drives the uncentred one: from small initial weights they end up together.",
        statistic="largest |C-NFC − UC-NFC| over hidden layers, end of training, smallest initial weights",
        threshold=Threshold(high=0.1),
        samples=remaining_gap,
    ),
    Claim(
        key="C.rises",
        statement="During training the uncentred correlation rises.",
        statistic="least rise of UC-NFC over hidden layers",
        threshold=Threshold(low=0.0),
        samples=each_run(_RUNS, rise),
    ),
    Claim(
        key="C.scale",
        statement="It rises more from small initial weights, which hide less of what is learnt.",
        statistic="least over hidden layers of the rise of UC-NFC from the smallest weights less that from the largest",
        threshold=Threshold(low=0.0),
        samples=scale_effect,
    ),
    Claim(
        key="C.high",
        statement="After one step C-NFC is high.",
        statistic="least C-NFC over hidden layers, after one step",
        threshold=Threshold(low=0.8),
        samples=each_run(_RUNS, early),
        role="control",
    ),
    Claim(
        key="C.early-null",
        statement="C-NFC shows this alignment: after one step it is beyond what turned output gradients give.",
        statistic="least (C-NFC − null)/sd of the null over hidden layers, after one step",
        threshold=Threshold(low=3.0),
        samples=each_run(_RUNS, early_beyond),
        role="control",
    ),
    Claim(
        key="C.start",
        statement="Random weights already score high without being centred.",
        statistic="least UC-NFC over hidden layers, before training",
        threshold=Threshold(low=0.5),
        samples=each_run(_RUNS, at_start),
        role="control",
    ),
    Claim(
        key="C.end-null",
        statement="At the end of training C-NFC is still beyond its null.",
        statistic="least (C-NFC − null)/sd of the null over hidden layers, end of training",
        threshold=Threshold(low=3.0),
        samples=each_run(_RUNS, late_beyond),
        role="control",
    ),
)
