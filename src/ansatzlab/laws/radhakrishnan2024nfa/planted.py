"""Tables in which every claim of the law is true, or false, by construction: they test the judging."""

from itertools import product

import pyarrow as pa

from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.radhakrishnan2024nfa.claims import MOVED, MOVED_CENTERED, WHOLE
from ansatzlab.laws.radhakrishnan2024nfa.design import Design, plan
from ansatzlab.laws.runs import Row


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false somewhere.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    moments = tuple(product(range(3), (1, 2)))
    specs = plan(Design(hidden=(48,), scales=(1.0,)), "digits")
    return planted_table(specs, lambda _: [_row(snapshot, layer, truth) for snapshot, layer in moments])


def _row(snapshot: int, layer: int, truth: bool) -> Row:
    """True: scores rise far beyond their nulls. False: they fall below them."""
    start, step = (0.75, 0.1) if truth else (0.6, -0.1)
    scores = dict.fromkeys(WHOLE, start + step * snapshot)
    if snapshot:
        scores |= {MOVED: 0.9, MOVED_CENTERED: 0.85} if truth else {MOVED: 0.5, MOVED_CENTERED: 0.4}
    nulls = {f"{name}_null": 0.7 for name in scores} | {f"{name}_null_sd": 0.02 for name in scores}
    begun = {"initial-gram_cosine": 0.6} if snapshot else {}
    return {"depth": 2, "snapshot": snapshot, "step": 10**snapshot, "layer_index": layer, **scores, **nulls, **begun}
