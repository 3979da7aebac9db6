"""Tables in which every claim of the law is true, or false, by construction: they test the judging."""

import pyarrow as pa

from ansatzlab.laws.comparison import planted_row
from ansatzlab.laws.radhakrishnan2024nfa.claims import MOVED, MOVED_CENTERED, WHOLE
from ansatzlab.laws.radhakrishnan2024nfa.design import TRAINED
from ansatzlab.laws.runs import Row
from ansatzlab.store.schema import to_table

SEEDS = (0, 1, 2)


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false somewhere.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    return to_table(
        [
            _row(seed, optimizer, snapshot, layer, truth)
            for seed in SEEDS
            for optimizer in ("gd", "adam")
            for snapshot in range(3)
            for layer in (1, 2)
        ]
    )


def _row(seed: int, optimizer: str, snapshot: int, layer: int, truth: bool) -> Row:
    """True: scores rise far beyond their nulls. False: they fall below them."""
    start, step = (0.75, 0.1) if truth else (0.6, -0.1)
    scores = dict.fromkeys(WHOLE, start + step * snapshot)
    if snapshot:
        scores |= {MOVED: 0.9, MOVED_CENTERED: 0.85} if truth else {MOVED: 0.5, MOVED_CENTERED: 0.4}
    nulls = {f"{name}_null": 0.7 for name in scores} | {f"{name}_null_sd": 0.02 for name in scores}
    options = {"activation": "relu", "optimizer": optimizer, "scale": 1.0}
    begun = {"initial-gram_cosine": 0.6} if snapshot else {}
    return planted_row(TRAINED, seed, snapshot, layer, options, depth=2, loss=0.1, **scores, **nulls, **begun)
