"""Tables in which every claim of the law is true, or false, by construction: they test the judging."""

from itertools import product

import pyarrow as pa

from ansatzlab.laws.boixadsera2025fact.design import COUPLED, Design, plan
from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.runs import Row

MOMENTS = tuple(product(range(3), (1, 2, 3)))


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false somewhere.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    specs = plan(Design(activations=("relu", "gelu", "identity")), "digits")
    return planted_table(
        specs, lambda spec: [_row(spec.experiment, snapshot, layer, truth) for snapshot, layer in MOMENTS]
    )


def _row(experiment: str, snapshot: int, layer: int, truth: bool) -> Row:
    """True: FACT goes to one with coupled decay and not without. False: the other way round."""
    converged = (experiment == COUPLED) == truth
    left = 10.0 ** (-3 * snapshot) if converged else 1.0
    certificate = 5.0 * left
    score = (0.999 if snapshot else 0.0) if converged else 0.4
    row: Row = {
        "depth": 3,
        "snapshot": snapshot,
        "step": 10**snapshot,
        "layer_index": layer,
        "certificate": certificate,
        "explicit": certificate * (1 if truth else 1.01),
        "fact_mismatch": certificate,
        "stationarity": 2 * certificate,
        "fact_cosine": score if truth or snapshot else 0.9,
        "fact_pearson": score,
        "fact_cosine_null": 0.0 if truth else 0.5,
        "fact_cosine_null_sd": 0.05,
        "fact-psd_cosine": 0.9,
        "fact-psd_cosine_null": 0.8 if truth else 0.1,
        "fact-psd_cosine_null_sd": 0.02,
        "nfa-best_cosine": 0.95,
        "nfa-best_pearson": 0.95,
        "nfa-best_exponent": 0.6,
    }
    return row | {f"nfa_{exponent}_{name}": 0.9 for exponent in ("0.5", "1") for name in ("cosine", "pearson")}
