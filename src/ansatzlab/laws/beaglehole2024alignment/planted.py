"""Tables in which every claim of the law is true, or false, by construction: they test the judging."""

import pyarrow as pa

from ansatzlab.laws.beaglehole2024alignment.claims import CENTRED, LEFT, UNCENTRED
from ansatzlab.laws.beaglehole2024alignment.design import DESCENT
from ansatzlab.laws.comparison import planted_row
from ansatzlab.laws.runs import Row
from ansatzlab.store.schema import to_table

SEEDS = (0, 1, 2)
SCALES = (0.2, 1.0)


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false somewhere.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    return to_table(
        [
            _row(seed, scale, snapshot, layer, truth)
            for seed in SEEDS
            for scale in SCALES
            for snapshot in range(3)
            for layer in (1, 2)
        ]
    )


def _row(seed: int, scale: float, snapshot: int, layer: int, truth: bool) -> Row:
    """True: C-NFC is high at once and UC-NFC rises to it, more so from small weights. False: the other way round."""
    gain = (0.3 if scale < 1 else 0.1) * (snapshot / 2) * (1 if truth else -1)
    uncentred = (0.6 if truth else 0.45) + gain
    centred = 0.9 if truth else 0.3 * snapshot / 2
    scores = {UNCENTRED: uncentred, **({CENTRED: centred, LEFT: centred} if snapshot else {})}
    nulls = {f"{name}_null": 0.5 for name in scores} | {f"{name}_null_sd": 0.05 for name in scores}
    options = {"activation": "relu", "optimizer": "gd", "scale": scale}
    return planted_row(DESCENT, seed, snapshot, layer, options, depth=2, loss=0.1, **scores, **nulls)
