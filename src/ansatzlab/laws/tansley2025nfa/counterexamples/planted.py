"""Tables in which every claim of the chapter is true, or false, by construction: they test the judging."""

import numpy as np
import pyarrow as pa

from ansatzlab.counterexamples.rare_firing import supremum
from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.runs import Row
from ansatzlab.laws.tansley2025nfa.counterexamples.claims import RANK, interference_cosine
from ansatzlab.laws.tansley2025nfa.counterexamples.design import JITTERED, SEARCH, Design, plan
from ansatzlab.laws.tansley2025nfa.linear.planted import spectrum_columns
from ansatzlab.sweeps.task import TaskSpec

EIGENVALUES = np.array([16.0, 4.0, 1.0])


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false somewhere.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    return planted_table(plan(Design(), "digits"), lambda spec: _rows(spec, truth))


def _rows(spec: TaskSpec, truth: bool) -> list[Row]:
    snapshots = (0, 1) if spec.experiment == SEARCH else (0,)
    return [{**_scores(spec, truth, snapshot), "snapshot": snapshot} for snapshot in snapshots]


def _scores(spec: TaskSpec, truth: bool, snapshot: int) -> Row:
    """True: the networks fit and do not align, as the closed forms say. False: neither."""
    options, found = spec.options, spec.experiment == SEARCH
    row: Row = {
        "layer_index": 1,
        "loss": 1e-12 if truth else 1e-2,
        "largest_residual": 1e-8 if truth else 1.0,
        "gram_error": 1e-9 if truth else 1.0,
        "imbalance": 0.0 if truth else 1.0,
        "residual_half": 0.9 if truth else 0.01,
        "cosine_half": 0.4,
        "cosine_one": 0.3,
        "best_cosine": 0.1 if truth else 0.95,
        "floor": 0.1 if truth else 0.95,
        "null_z": -5.0 if truth else 5.0,
        "size": 0.1,
        **spectrum_columns(EIGENVALUES, EIGENVALUES[::-1].copy() if truth else EIGENVALUES),
    }
    if found:
        row["accuracy"] = 0.99 if truth else 0.5
        row["held_out_accuracy"] = 0.98 if truth or not snapshot else 0.5
        row["best_cosine"] = 0.95 if not snapshot else row["best_cosine"]
    if spec.experiment == JITTERED:
        row["best_cosine"] = 0.99 if truth else 0.1
    m, R = options.get("m"), options.get("R")
    if isinstance(m, int) and truth:
        row |= {"cosine_half": interference_cosine(0.5, m), "cosine_one": interference_cosine(1.0, m)}
    if isinstance(R, float) and truth:
        row["floor"] = supremum(R, RANK)
    return row
