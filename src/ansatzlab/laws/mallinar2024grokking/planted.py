"""Tables in which every claim on grokking is true, or false, by construction."""

import pyarrow as pa

from ansatzlab.laws.mallinar2024grokking.design import PUBLISHED, Design, plan
from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.runs import Row
from ansatzlab.sweeps.task import TaskSpec

ACCURACIES = ((0.0, 0.02, 0.02), (10.0, 0.995, 0.05), (100.0, 1.0, 1.0))
"""Epoch, and the shares of right answers on the training pairs and on the others, as a network groks."""


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    return planted_table(plan(Design(), "modular"), lambda spec: _rows(spec, truth))


def _rows(spec: TaskSpec, truth: bool) -> list[Row]:
    """True: it groks and scores 0.02 above what is published. False: 0.1 below, and training lowers the score."""
    base = PUBLISHED[str(spec.options["operation"])] + (0.02 if truth else -0.1)
    rows: list[Row] = []
    for snapshot, (epoch, accuracy, test) in enumerate(ACCURACIES):
        gained = 0.01 * snapshot if truth else -0.01 * snapshot
        rows.append(
            {
                "snapshot": snapshot,
                "step": int(epoch * 58),
                "flow_time": epoch * 0.058,
                "layer_index": 1,
                "epoch": epoch,
                "accuracy": accuracy,
                "test_accuracy": test if truth else 0.5,
                "pearson_value": base + gained,
                "pearson_residual": 0.2,
                "pearson_null": base,
                "pearson_null_sd": 0.001,
                "pearson_z": 20.0 if truth else 1.0,
                "off_value": 0.9 + gained,
                "off_null": 0.8,
                "off_null_sd": 0.01,
            }
        )
    return rows
