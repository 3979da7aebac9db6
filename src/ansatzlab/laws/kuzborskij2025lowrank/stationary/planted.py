"""Tables in which every claim of the chapter is true, or false, by construction."""

import math

import pyarrow as pa

from ansatzlab.laws.kuzborskij2025lowrank.stationary.design import (
    COLLAPSE,
    RATE,
    RATE_UNDECAYED,
    RELU,
    SQUARES,
    UNDECAYED,
    Design,
    plan,
)
from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.runs import Row
from ansatzlab.sweeps.task import TaskSpec

TIMES = (0.0, 10.0, 20.0, 30.0)
"""Of the runs whose imbalance is followed; others are a thousand times as long."""


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    return planted_table(plan(Design(), "signs"), lambda spec: _rows(spec, truth))


def _rows(spec: TaskSpec, truth: bool) -> list[Row]:
    depth = int(str(spec.options["depth"]))
    return [
        _row(spec, truth, snapshot, layer, depth) for snapshot in range(len(TIMES)) for layer in range(1, depth + 1)
    ]


def _row(spec: TaskSpec, truth: bool, snapshot: int, layer: int, depth: int) -> Row:
    """True: imbalances fall at 4λ, norms agree, ranks are low with decay. False: the other way round."""
    decay, relu = float(str(spec.options["weight_decay"])) / 2, spec.experiment == RELU
    gone = spec.experiment == COLLAPSE and truth
    rank = (4.0 if truth else 1.5) if spec.experiment == UNDECAYED else (1.005 if truth else 3.0)
    followed = spec.experiment in (RATE, RATE_UNDECAYED)
    return {
        "snapshot": snapshot,
        "step": 10**snapshot,
        "flow_time": TIMES[snapshot] if followed else 1000 * TIMES[snapshot],
        "layer_index": layer,
        "squared_norm": _squared_norm(spec, truth, snapshot, layer, depth, decay),
        "stable_rank": rank,
        "degree": 1.0,
        "euler": 1e-5 if truth else 0.1,
        "spread": 1e-5 if truth else 0.1,
        "neuron_imbalance": 1e-5,
        "rank_product": 2.0,
        "rank_bound": 20.0 if truth else 1.0,
        "cosine": math.nan if gone else (0.97 if relu else 1.0) if truth else (1.0 if relu else 0.97),
        "residual": 0.1,
        "pull": 0.1,
        "collapsed": float(gone),
        "not_balanced_yet": 0.0,
        "least_margin": 1.0,
        "accuracy": 1.0,
        "averaged_cosine": 0.9999 if truth else 0.9,
    }


def _squared_norm(spec: TaskSpec, truth: bool, snapshot: int, layer: int, depth: int, decay: float) -> float:
    if spec.experiment == SQUARES:
        return (2.0 if truth else 1.0) if layer == 1 else 1.0
    rate = 4 * decay if truth else 2 * decay + 0.01 * (spec.experiment != RATE)
    return 5.0 + (depth - layer) * math.exp(-rate * TIMES[snapshot])
