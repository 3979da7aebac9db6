"""Tables in which every claim of the law is true, or false, by construction: they test the judging."""

import pyarrow as pa

from ansatzlab.laws.boixadsera2025fact.design import COUPLED, DECOUPLED
from ansatzlab.laws.comparison import planted_row
from ansatzlab.laws.runs import Row
from ansatzlab.store.schema import to_table

SEEDS = (0, 1, 2)
DEPTH = 3


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false somewhere.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    runs = [*((COUPLED, name, "adam") for name in ("relu", "gelu", "identity")), (DECOUPLED, "relu", "adamw")]
    return to_table(
        [
            _row(experiment, seed, snapshot, layer, activation, optimizer, truth)
            for experiment, activation, optimizer in runs
            for seed in SEEDS
            for snapshot in range(3)
            for layer in range(1, DEPTH + 1)
        ]
    )


def _row(experiment: str, seed: int, snapshot: int, layer: int, activation: str, optimizer: str, truth: bool) -> Row:
    """True: FACT goes to one with coupled decay and not without. False: the other way round."""
    converged = (experiment == COUPLED) == truth
    left = 10.0 ** (-3 * snapshot) if converged else 1.0
    certificate = 5.0 * left
    score = (0.999 if snapshot else 0.0) if converged else 0.4
    options = {"activation": activation, "optimizer": optimizer, "weight_decay": 0.01}
    return planted_row(
        experiment,
        seed,
        snapshot,
        layer,
        options,
        depth=DEPTH,
        loss=0.1,
        certificate=certificate,
        explicit=certificate * (1 if truth else 1.01),
        fact_mismatch=certificate,
        stationarity=2 * certificate,
        fact_cosine=score if truth or snapshot else 0.9,
        fact_pearson=score,
        fact_cosine_null=0.0 if truth else 0.5,
        fact_cosine_null_sd=0.05,
        **{"fact-psd_cosine": 0.9, "fact-psd_cosine_null": 0.8 if truth else 0.1, "fact-psd_cosine_null_sd": 0.02},
        **{f"nfa_{exponent}_{name}": 0.9 for exponent in ("0.5", "1") for name in ("cosine", "pearson")},
        **{"nfa-best_cosine": 0.95, "nfa-best_pearson": 0.95, "nfa-best_exponent": 0.6},
    )
