"""Tables in which every claim of the chapter is true, or false, by construction."""

import math

import pyarrow as pa

from ansatzlab.laws.kuzborskij2025lowrank.real.design import AS_THEY_ARE, DISJOINT, UNDECAYED, Design, plan
from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.runs import Row
from ansatzlab.sweeps.task import TaskSpec

STEPS = (1000, 2000, 3000)


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false.

    Definition:
        The tasks as they are have the coherence of orthogonal ones here, so that there is something to judge.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    return planted_table(plan(Design(), "digits"), lambda spec: _rows(spec, truth))


def _rows(spec: TaskSpec, truth: bool) -> list[Row]:
    if spec.experiment in (DISJOINT, AS_THEY_ARE):
        return [_merged(spec, truth, snapshot) for snapshot in range(len(STEPS))]
    layers = range(1, int(str(spec.options["depth"])) + 1)
    return [_stationary(spec, truth, snapshot, layer) for snapshot in range(len(STEPS)) for layer in layers]


def _stationary(spec: TaskSpec, truth: bool, snapshot: int, layer: int) -> Row:
    rank = (4.0 if truth else 1.5) if spec.experiment == UNDECAYED else (1.005 if truth else 3.0)
    return {
        "snapshot": snapshot,
        "step": STEPS[snapshot],
        "flow_time": float(STEPS[snapshot]),
        "layer_index": layer,
        "squared_norm": 5.0,
        "stable_rank": rank,
        "euler": 1e-5 if truth else 0.1,
        "spread": 1e-5 if truth else 0.1,
        "neuron_imbalance": 1e-5,
        "rank_product": 2.0,
        "rank_bound": 20.0,
        "cosine": 1.0 if truth else 0.9,
        "averaged_cosine": 1.0 if truth else 0.9,
        "residual": 0.1,
        "collapsed": 0.0,
        "not_balanced_yet": 0.0,
        "least_margin": 1.0,
        "accuracy": 1.0,
    }


def _merged(spec: TaskSpec, truth: bool, snapshot: int) -> Row:
    kept = 1 - float(str(spec.options["weight_decay"])) * float(str(spec.options["learning_rate"]))
    deviation = math.exp(math.log(kept) * STEPS[snapshot]) if truth and spec.experiment == DISJOINT else 1.0
    row: Row = {
        "snapshot": snapshot,
        "step": STEPS[snapshot],
        "layer_index": 1,
        "coherence": 0.0,
        "bound_share": 0.5,
        "foretold_share": 0.5,
        "relative_deviation": deviation,
    }
    for letter in "ab":
        row |= {
            f"own_loss_{letter}": 0.1,
            f"merged_loss_{letter}": 0.1,
            f"own_accuracy_{letter}": 1.0,
            f"merged_accuracy_{letter}": 1.0,
            f"deviation_{letter}": deviation,
            f"relative_deviation_{letter}": deviation,
            f"bound_{letter}": 2 * deviation,
            f"least_margin_{letter}": 3.0,
            f"lost_{letter}": 0.0 if truth else 0.1,
            f"certified_{letter}": 1.0,
        }
    return row
