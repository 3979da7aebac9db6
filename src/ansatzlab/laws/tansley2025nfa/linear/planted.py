"""Tables in which every claim of the law is true, or false, by construction: they test the judging."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.runs import Row
from ansatzlab.laws.tansley2025nfa.linear.design import (
    BALANCED_DESCENT,
    BALANCED_FLOW,
    COLLAPSE,
    DECAY,
    NO_DECAY,
    STOCHASTIC,
    Design,
    plan,
)
from ansatzlab.laws.tansley2025nfa.linear.statistics import law_exponent
from ansatzlab.sweeps.spec import RunSpec

EIGENVALUES = np.array([16.0, 4.0, 1.0])
DESIGN = Design(depths=(2, 3, 4), weight_decays=(0.1,), learning_rates=(0.1, 0.05, 0.025))


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false somewhere.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    plants = {
        BALANCED_FLOW: _balanced_flow,
        BALANCED_DESCENT: _descent,
        DECAY: _decay,
        NO_DECAY: _no_decay,
        COLLAPSE: _collapse,
        STOCHASTIC: _stochastic,
    }
    return planted_table(plan(DESIGN, "digits"), lambda spec: plants[spec.experiment](spec, truth))


def _balanced_flow(spec: RunSpec, truth: bool) -> Iterator[Row]:
    """True: M = G^{1/(L−l+1)}. False: M = G at depth 2 and M = G^{1/2} below, the very exponents said not to fit."""
    depth = spec.model.depth
    wrong = 1.0 if depth == 2 else 0.5
    for snapshot in range(2):
        for layer in range(1, depth + 1):
            exponent = law_exponent(depth, layer) if truth else wrong + 0.1 * (layer > 1)
            columns = spectrum_columns(EIGENVALUES, EIGENVALUES**exponent)
            yield {"snapshot": snapshot, "layer_index": layer, **columns}


def _decay(spec: RunSpec, truth: bool) -> Iterator[Row]:
    """True: D and the error fall as e^{−2λt}. False: at half that rate."""
    depth = spec.model.depth
    for snapshot, clock in enumerate(np.linspace(0.0, 16.0, 17)):
        shrunk = np.exp(-clock if truth else -clock / 2)
        energies = EIGENVALUES ** law_exponent(depth) * (1 + 0.5 * shrunk)
        for layer in range(1, depth + 1):
            yield {
                "snapshot": snapshot,
                "layer_index": layer,
                "flow_time": clock / (2 * spec.dynamics.weight_decay),
                "imbalance_norm": shrunk if layer < depth else None,
                "weight_norm": 1.0,
                **spectrum_columns(EIGENVALUES, energies),
            }


def _no_decay(spec: RunSpec, truth: bool) -> Iterator[Row]:
    """True: D stays and the ansatz fails. False: D falls and the ansatz holds."""
    depth = spec.model.depth
    for snapshot in range(2):
        for layer in range(1, depth + 1):
            exponent = law_exponent(depth) * (3 if truth else 1)
            norm = 1.0 if truth else 1.0 / (1 + snapshot)
            columns = spectrum_columns(EIGENVALUES, EIGENVALUES**exponent)
            norms = {"imbalance_norm": norm if layer < depth else None, "weight_norm": 1.0}
            yield {"snapshot": snapshot, "layer_index": layer, **columns, **norms}


def _collapse(spec: RunSpec, truth: bool) -> Iterator[Row]:
    """True: the weights fall to 1e-5 of their norm. False: to a half."""
    depth = spec.model.depth
    for snapshot in range(2):
        for layer in range(1, depth + 1):
            norm = (1e-5 if truth else 0.5) ** snapshot
            yield {"snapshot": snapshot, "layer_index": layer, "weight_norm": norm}


def _stochastic(spec: RunSpec, truth: bool) -> Iterator[Row]:
    depth = spec.model.depth
    for layer in range(1, depth + 1):
        error = 1e-15 if truth else 1e-6
        yield {"snapshot": 0, "layer_index": layer, "discrete_balance_error": error if layer < depth else None}


def _descent(spec: RunSpec, truth: bool) -> Iterator[Row]:
    """True: the drift is proportional to η. False: to η²."""
    depth, rate = spec.model.depth, spec.dynamics.learning_rate
    assert isinstance(rate, float), "planned as a number"
    for layer in range(1, depth + 1):
        drift = rate if truth else rate**2
        yield {"snapshot": 0, "layer_index": layer, "imbalance_norm": drift if layer < depth else None}


def spectrum_columns(eigenvalues: np.ndarray, energies: np.ndarray) -> Row:
    """Return the columns of a spectrum without anything off the AGOP's range."""
    return {
        "eigenvalues": eigenvalues.tolist(),
        "energies": energies.tolist(),
        "sums": [0.0] * len(eigenvalues),
        "off_energy": 0.0,
        "trace": float(energies.sum()),
        "total": 0.0,
        "dimension": float(len(eigenvalues)),
        "cut": 0.0,
    }
