"""Grids in which every claim is true, or false, by construction: they test the judging."""

import numpy as np
import pyarrow as pa

from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.runs import Row
from ansatzlab.laws.tansley2025nfa.grid.design import STARTS, Design, plan
from ansatzlab.laws.tansley2025nfa.linear.planted import spectrum_columns
from ansatzlab.laws.tansley2025nfa.linear.statistics import law_exponent
from ansatzlab.sweeps.spec import RunSpec
from ansatzlab.training.dynamics import Optimizer

EIGENVALUES = np.array([16.0, 4.0, 1.0])
FLOW_TIME = 140.0
"""How long a planted training flowed, momentum counted."""


def planted(truth: bool) -> pa.Table:
    """Build a grid in which every claim is true, or one in which every claim is false somewhere.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    design = Design(
        grid_depths=(3,), grid_decays=(0.0, 0.01), grid_starts=("balanced", "gaussian"), grid_synthetic=False
    )
    return planted_table(plan(design, "digits"), lambda spec: _rows(spec, truth))


def _rows(spec: RunSpec, truth: bool) -> list[Row]:
    dynamics = spec.dynamics
    assert isinstance(dynamics, Optimizer), "the grid has optimisers"
    adaptive, decay = dynamics.name != "SGD", dynamics.weight_decay
    coupled = decay > 0 and dynamics.decay == "coupled"
    balanced_start = spec.init == STARTS["balanced"]
    holds = coupled or (balanced_start if not adaptive else not decay)  # as theory says; silent is taken for yes
    time = FLOW_TIME / (10 if dynamics.options else 1)
    rows: list[Row] = []
    for snapshot in range(2):
        norm = (1e-15 if balanced_start else 2.2) * (_kept(dynamics, truth) if snapshot else 1.0)
        for layer in range(1, 4):
            exponent = law_exponent(3, layer) * (1 if holds == truth else 2)
            rows.append(
                {
                    "snapshot": snapshot,
                    "layer_index": layer,
                    "flow_time": snapshot * time,
                    "weight_norm": 2.0,
                    "imbalance_norm": norm if layer < 3 else None,
                    "stationarity": 1e-8 if coupled else None,
                    "null_residual": 0.5 if truth else 0.22,
                    "null_residual_sd": 0.05,
                    **spectrum_columns(EIGENVALUES, EIGENVALUES**exponent),
                }
            )
    return rows


def _kept(dynamics: Optimizer, truth: bool) -> float:
    """Return what is left of the imbalance of the start: as theory says, or not."""
    clock = 2 * dynamics.weight_decay * FLOW_TIME
    if dynamics.name == "SGD":
        return float(np.exp(-clock if truth else -clock / 2))
    if dynamics.weight_decay and dynamics.decay == "coupled":
        return 1e-8
    return 4.0 if truth else 1.01
