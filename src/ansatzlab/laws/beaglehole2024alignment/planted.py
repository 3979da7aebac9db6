"""Tables in which every claim of the law is true, or false, by construction: they test the judging."""

from itertools import product

import pyarrow as pa

from ansatzlab.laws.beaglehole2024alignment.claims import CENTRED, LEFT, UNCENTRED
from ansatzlab.laws.beaglehole2024alignment.design import Design, plan
from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.runs import Row

MOMENTS = tuple(product(range(3), (1, 2)))


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false somewhere.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    specs = plan(Design(hidden=(48,)), "digits")
    return planted_table(
        specs, lambda spec: [_row(spec.options["scale"] != 1, snapshot, layer, truth) for snapshot, layer in MOMENTS]
    )


def _row(small: bool, snapshot: int, layer: int, truth: bool) -> Row:
    """True: C-NFC is high at once and UC-NFC rises to it, more so from small weights. False: the other way round."""
    gain = (0.3 if small else 0.1) * (snapshot / 2) * (1 if truth else -1)
    uncentred = (0.6 if truth else 0.45) + gain
    centred = 0.9 if truth else 0.3 * snapshot / 2
    scores = {UNCENTRED: uncentred, **({CENTRED: centred, LEFT: centred} if snapshot else {})}
    nulls = {f"{name}_null": 0.5 for name in scores} | {f"{name}_null_sd": 0.05 for name in scores}
    return {"depth": 2, "snapshot": snapshot, "step": 10**snapshot, "layer_index": layer, **scores, **nulls}
