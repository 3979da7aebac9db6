"""Tables in which every claim of the chapter is true, or false, by construction."""

import math

import pyarrow as pa

from ansatzlab.laws.kuzborskij2025lowrank.merged.design import ALL_LAYERS, LINEAR, TWINS, UNDECAYED, Design, plan
from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.runs import Row
from ansatzlab.sweeps.task import TaskSpec

STEPS = (1000, 2000, 3000)


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    return planted_table(plan(Design(scales=(1.0, 8.0)), "mixed"), lambda spec: _rows(spec, truth))


def _rows(spec: TaskSpec, truth: bool) -> list[Row]:
    return [_row(spec, truth, snapshot) for snapshot in range(len(STEPS))]


def _row(spec: TaskSpec, truth: bool, snapshot: int) -> Row:
    """True: deviations fall as κ^t and grow as ε. False: they do neither, and controls are no worse than the rest."""
    deviation = _deviation(spec, truth, snapshot)
    share = 0.5 if truth else 1.5
    loses = spec.options.get("mixing") == 1 or (spec.experiment == UNDECAYED and spec.options["scale"] != 1)
    row: Row = {
        "snapshot": snapshot,
        "step": STEPS[snapshot],
        "flow_time": float(STEPS[snapshot]),
        "layer_index": 1,
        "overlap": 0.1 if truth else 0.95,
        "strength_ratio": 1.0,
        "coherence": float(str(spec.options.get("mixing", 0.0))),
        "bound_share": share,
        "foretold_share": share,
        "span_error": 1e-12 if truth else 0.1,
        "relative_deviation": deviation,
        "foretold_error": 0.001 if truth else 0.1,
    }
    for letter in "ab":
        row |= {
            f"own_loss_{letter}": 0.1,
            f"merged_loss_{letter}": 0.1,
            f"own_accuracy_{letter}": 1.0,
            f"merged_accuracy_{letter}": 1.0,
            f"deviation_{letter}": deviation,
            f"relative_deviation_{letter}": deviation,
            f"bound_{letter}": deviation / share,
            f"least_margin_{letter}": 3.0,
            f"lost_{letter}": 0.1 if truth and loses else 0.0,
            f"certified_{letter}": 1.0,
        }
    return row


def _deviation(spec: TaskSpec, truth: bool, snapshot: int) -> float:
    if spec.experiment in (LINEAR, TWINS):
        return (0.101 if truth else 0.2) * (1 if spec.experiment == LINEAR else 3 if truth else 0.5)
    mixing = float(str(spec.options.get("mixing", 0.0)))
    if mixing:
        return mixing if truth else 1e-3 / mixing
    if not truth or spec.experiment in (UNDECAYED, ALL_LAYERS):
        return 1.0
    kept = 1 - float(str(spec.options["weight_decay"])) * float(str(spec.options["learning_rate"]))
    return math.exp(math.log(kept) * STEPS[snapshot])
