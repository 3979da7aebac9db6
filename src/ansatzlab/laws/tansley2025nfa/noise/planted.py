"""Tables in which every claim of the chapter is true, or false, by construction."""

import pyarrow as pa

from ansatzlab.laws.runs import Row
from ansatzlab.laws.tansley2025nfa.noise.design import INTERPOLATING, LABELS, Design
from ansatzlab.store.schema import BASE_SCHEMA, to_table

SEEDS = (0, 1, 2)


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false.

    Definition:
        True: floors ``0.04 η/λ`` with label noise, ``ηλ`` without, predicted to 1 %. False: they depend neither on η
        nor on λ, and the predictions are half of them.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    return to_table(
        [
            _row(experiment, seed, depth, layer, place, truth)
            for experiment in (LABELS, INTERPOLATING)
            for seed in SEEDS
            for depth in (2, 3)
            for layer in range(1, depth)
            for place in range(len(Design().points))
        ]
    )


def _row(experiment: str, seed: int, depth: int, layer: int, place: int, truth: bool) -> Row:
    rate, decay = Design().points[place]
    floor = 0.04 * rate / decay if experiment == LABELS else rate * decay
    return {
        **dict.fromkeys(BASE_SCHEMA.names),
        "run_id": f"planted-{experiment}-{depth}-{seed}",
        "experiment": experiment,
        "spec": "{}",
        "status": "finished",
        "data": "planted",
        "dynamics": "planted",
        "depth": depth,
        "seed": seed,
        "weight_decay": 0.0,
        "snapshot": place,
        "layer": f"layers.{layer - 1}",
        "layer_index": layer,
        "step_size": rate,
        "decay": decay,
        "floor": floor if truth else 0.1,
        "floor_foretold": floor if truth else 0.05,
        "floor_predicted": floor if truth else 0.05,
        "floor_error": 0.01 if truth else 0.5,
        "weight_scale": 1.0,
    }
