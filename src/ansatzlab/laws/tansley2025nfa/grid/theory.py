"""What theory says of a training without reading its AGOP: whether the ansatz will hold, fail, or nothing.

The ansatz with 1/L holds where the network is balanced, so what is predicted is the imbalance at the end, relative to
the weights there: from the law of its decay where steps follow the gradient, from a bound at a stationary point where
they are adaptive and the decay is part of the loss.
"""

import math
from typing import Literal

import numpy as np

from ansatzlab.laws.runs import Run
from ansatzlab.laws.tansley2025nfa.grid.design import ADAPTIVE

Prediction = Literal["holds", "fails", "silent"]

BALANCED, UNBALANCED = 0.05, 0.25
"""A relative imbalance up to the first should not be seen in the residual; from the second on it should. Between them
the law says that there is some, and not whether it is more than the residual allows."""


def optimizer_of(run: Run) -> str:
    """Return the field's name of a run's optimiser."""
    dynamics = run.spec["dynamics"]
    if dynamics["name"] != "SGD":
        return str(dynamics["name"]).lower()
    if dynamics["options"]:
        return "heavy_ball"
    return "gd" if dynamics["batch_size"] is None else "sgd"


def predict(run: Run) -> Prediction:
    """Say what theory predicts of the ansatz with 1/L in the first layer at the end of a training.

    Definition:
        Steps along the gradient, with or without momentum: the imbalance is ``e^{−2λt}`` of the start's
        (`expected_imbalance`); the ansatz holds up to a relative imbalance of 0.05 and fails from 0.25 on. Adaptive
        steps with coupled decay: it holds where the end is so nearly stationary that no more than 0.05 of imbalance is
        possible (`certified_imbalance`); theory is silent elsewhere. Adaptive steps with decoupled decay: it fails, as
        nothing drives the imbalance to zero. Adaptive steps without decay: silent.

    Args:
        run: A run of the grid.

    Returns:
        The prediction.

    Source:
        Derived in docs/devdocs/balance.md.
    """
    name = optimizer_of(run)
    if name not in ADAPTIVE:
        expected = expected_imbalance(run)
        return "holds" if expected <= BALANCED else "fails" if expected >= UNBALANCED else "silent"
    if not run.weight_decay:
        return "silent"
    if run.spec["dynamics"]["decay"] == "decoupled":
        return "fails"
    return "holds" if certified_imbalance(run) <= BALANCED else "silent"


def decay_clock(run: Run) -> float:
    """Return ``2λt``, t the flow time; with momentum β each step goes on for 1/(1 − β) of them."""
    momentum = float(run.spec["dynamics"]["options"].get("momentum", 0.0))
    return float(2 * run.weight_decay * run.column("flow_time")[-1] / (1 - momentum))


def expected_imbalance(run: Run) -> float:
    """Return ``max_l e^{−2λt} ‖D_l(0)‖ / ‖W_l W_lᵀ‖``, the weights those of the end."""
    kept = math.exp(-decay_clock(run))
    return max(kept * float(run.column("imbalance_norm", layer)[0]) / size for layer, size in _sizes(run))


def measured_imbalance(run: Run) -> float:
    """Return ``max_l ‖D_l‖ / ‖W_l W_lᵀ‖`` at the end."""
    return max(float(run.column("imbalance_norm", layer)[-1]) / size for layer, size in _sizes(run))


def distance_to_stationary(run: Run) -> float:
    """Return ``max_l ‖g_l + λW_l‖/(λ‖W_l‖)`` at the end."""
    return max(float(run.column("stationarity", layer)[-1]) for layer in range(1, run.depth + 1))


def certified_imbalance(run: Run) -> float:
    """Return a bound on ``max_l ‖D_l‖ / ‖W_l W_lᵀ‖`` at the end, from how nearly stationary the penalised loss is.

    Definition:
        With ``r_l = g_l + λW_l`` and ``s = max ‖r_l‖/(λ‖W_l‖)``: ``λD_l = W_{l+1}ᵀr_{l+1} − r_l W_lᵀ``, hence
        ``‖D_l‖ ≤ s (‖W_{l+1}‖² + ‖W_l‖²)``.
    """
    norms = [run.column("weight_norm", layer)[-1] ** 2 for layer in range(1, run.depth + 1)]
    bounds = [distance_to_stationary(run) * (norms[layer] + norms[layer - 1]) / size for layer, size in _sizes(run)]
    return float(np.max(bounds))


def _sizes(run: Run) -> list[tuple[int, float]]:
    """Return ``‖W_l W_lᵀ‖`` at the end of every layer but the last."""
    return [(layer, run.spectra(layer)[-1].weight_gram_norm) for layer in range(1, run.depth)]
