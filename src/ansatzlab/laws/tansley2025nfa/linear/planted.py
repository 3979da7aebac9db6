"""Tables in which every claim of the law is true, or false, by construction: they test the judging."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ansatzlab.laws.tansley2025nfa.linear.design import (
    BALANCED_DESCENT,
    BALANCED_FLOW,
    COLLAPSE,
    DECAY,
    NO_DECAY,
    STOCHASTIC,
)
from ansatzlab.laws.tansley2025nfa.linear.statistics import law_exponent
from ansatzlab.store.schema import BASE_SCHEMA, to_table

SEEDS = (0, 1, 2)
DEPTHS = (2, 3, 4)
EIGENVALUES = np.array([16.0, 4.0, 1.0])
DECAY_RATE = 0.1

Row = dict[str, object]


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false somewhere.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    rows: list[Row] = []
    for seed in SEEDS:
        for depth in DEPTHS:
            rows += _balanced_flow(depth, seed, truth)
            rows += _decay(depth, seed, truth)
            rows += _no_decay(depth, seed, truth)
            rows += _collapse(depth, seed, truth)
            rows += _stochastic(depth, seed, truth)
            for rate in (0.1, 0.05, 0.025):
                rows += _descent(depth, seed, rate, truth)
    return to_table(rows)


def _balanced_flow(depth: int, seed: int, truth: bool) -> Iterator[Row]:
    """True: M = G^{1/(L−l+1)}. False: M = G at depth 2 and M = G^{1/2} below, the very exponents said not to fit."""
    wrong = 1.0 if depth == 2 else 0.5
    for snapshot in range(2):
        for layer in range(1, depth + 1):
            exponent = law_exponent(depth, layer) if truth else wrong + 0.1 * (layer > 1)
            columns = spectrum_columns(EIGENVALUES, EIGENVALUES**exponent)
            yield _row(BALANCED_FLOW, depth, seed, snapshot, layer, **columns)


def _decay(depth: int, seed: int, truth: bool) -> Iterator[Row]:
    """True: D and the error fall as e^{−2λt}. False: at half that rate."""
    for snapshot, clock in enumerate(np.linspace(0.0, 16.0, 17)):
        shrunk = np.exp(-clock if truth else -clock / 2)
        energies = EIGENVALUES ** law_exponent(depth) * (1 + 0.5 * shrunk)
        for layer in range(1, depth + 1):
            yield _row(
                DECAY,
                depth,
                seed,
                snapshot,
                layer,
                weight_decay=DECAY_RATE,
                flow_time=clock / (2 * DECAY_RATE),
                imbalance_norm=shrunk if layer < depth else None,
                weight_norm=1.0,
                **spectrum_columns(EIGENVALUES, energies),
            )


def _no_decay(depth: int, seed: int, truth: bool) -> Iterator[Row]:
    """True: D stays and the ansatz fails. False: D falls and the ansatz holds."""
    for snapshot in range(2):
        for layer in range(1, depth + 1):
            exponent = law_exponent(depth) * (3 if truth else 1)
            norm = 1.0 if truth else 1.0 / (1 + snapshot)
            columns = spectrum_columns(EIGENVALUES, EIGENVALUES**exponent)
            norms = {"imbalance_norm": norm if layer < depth else None, "weight_norm": 1.0}
            yield _row(NO_DECAY, depth, seed, snapshot, layer, **columns, **norms)


def _collapse(depth: int, seed: int, truth: bool) -> Iterator[Row]:
    """True: the weights fall to 1e-5 of their norm. False: to a half."""
    for snapshot in range(2):
        for layer in range(1, depth + 1):
            norm = (1e-5 if truth else 0.5) ** snapshot
            yield _row(COLLAPSE, depth, seed, snapshot, layer, weight_decay=1.0, weight_norm=norm)


def _stochastic(depth: int, seed: int, truth: bool) -> Iterator[Row]:
    for layer in range(1, depth + 1):
        error = 1e-15 if truth else 1e-6
        yield _row(STOCHASTIC, depth, seed, 0, layer, discrete_balance_error=error if layer < depth else None)


def _descent(depth: int, seed: int, rate: float, truth: bool) -> Iterator[Row]:
    """True: the drift is proportional to η. False: to η²."""
    for layer in range(1, depth + 1):
        drift = rate if truth else rate**2
        norm = drift if layer < depth else None
        yield _row(BALANCED_DESCENT, depth, seed, 0, layer, learning_rate=rate, imbalance_norm=norm)


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


def _row(experiment: str, depth: int, seed: int, snapshot: int, layer: int, **columns: object) -> Row:
    rate = columns.get("learning_rate")
    return {
        **dict.fromkeys(BASE_SCHEMA.names),
        "run_id": f"planted-{experiment}-{depth}-{seed}-{rate}",
        "experiment": experiment,
        "spec": "{}",
        "status": "finished",
        "data": "planted",
        "dynamics": "planted",
        "depth": depth,
        "seed": seed,
        "weight_decay": 0.0,
        "snapshot": snapshot,
        "layer": f"layers.{layer - 1}",
        "layer_index": layer,
        **columns,
    }
