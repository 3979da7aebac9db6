"""Tables in which every claim of the chapter is true, or false, by construction."""

from collections.abc import Iterator

import pyarrow as pa

from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.runs import Row
from ansatzlab.laws.tansley2025nfa.noise.design import LABELS, Design, plan
from ansatzlab.sweeps.task import TaskSpec


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
    return planted_table(plan(Design(), "low_rank_linear"), lambda spec: _rows(spec, truth))


def _rows(spec: TaskSpec, truth: bool) -> Iterator[Row]:
    for layer in range(1, int(str(spec.options["depth"]))):
        for place, (rate, decay) in enumerate(Design().points):
            floor = 0.04 * rate / decay if spec.experiment == LABELS else rate * decay
            yield {
                "snapshot": place,
                "layer_index": layer,
                "step_size": rate,
                "decay": decay,
                "floor": floor if truth else 0.1,
                "floor_foretold": floor if truth else 0.05,
                "floor_predicted": floor if truth else 0.05,
                "floor_error": 0.01 if truth else 0.5,
                "weight_scale": 1.0,
            }
