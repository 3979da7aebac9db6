"""Tables in which every claim on nonlinear networks is true, or false, by construction."""

import pyarrow as pa

from ansatzlab.laws.planting import planted_table
from ansatzlab.laws.tansley2025nfa.nonlinear.design import PERCEPTRON, TRANSFORMER, Design, plan
from ansatzlab.laws.tansley2025nfa.nonlinear.reading import WORDS, Row
from ansatzlab.sweeps.spec import Spec
from ansatzlab.sweeps.task import TaskSpec

HOLDS, CHANCE = (float(WORDS.index(word)) for word in ("holds", "no better than null"))
TAUTOLOGICAL = float(WORDS.index("tautological"))

DESIGN = Design(
    nonlinear_mnist=False,
    nonlinear_depths=(3,),
    nonlinear_activations=("relu", "tanh"),
    nonlinear_optimizers=("adam",),
    nonlinear_long=0,
)


def planted(truth: bool) -> pa.Table:
    """Build a table in which every claim is true, or one in which every claim is false somewhere.

    Args:
        truth: Which of the two.

    Returns:
        The table, with three seeds.
    """
    specs = [spec for spec in plan(DESIGN, "digits") if spec.experiment in (PERCEPTRON, TRANSFORMER)]
    return planted_table(specs, lambda spec: _rows(spec, truth))


def _rows(spec: TaskSpec, truth: bool) -> list[Row]:
    rows: list[Row] = []
    for snapshot in range(2):
        shared: Row = {"snapshot": snapshot, "step": 100 * snapshot, "flow_time": 0.1 * snapshot}
        for layer in range(1, 4):
            rows.append(
                {
                    **shared,
                    "layer_index": layer,
                    "accuracy": 0.95 if truth else 0.4,
                    "weight_norm": 1.0,
                    **_read(spec, layer, truth, end=snapshot == 1),
                }
            )
    return rows


def _read(spec: Spec, layer: int, truth: bool, *, end: bool) -> Row:
    """True: a perfect fit that only the null at 1/(L − l + 1) reaches too. False: low scores that training lowers."""
    score = 0.99 if truth else 0.3
    half = score if end else (0.9 if truth else 0.4)
    residual = 0.05 if truth else 0.95
    found: Row = {"half_value": half, "half_residual": residual}
    if layer == 3:
        found |= {"half_verdict": TAUTOLOGICAL}
    else:
        null = {"half_null": 0.8, "half_null_sd": 0.01, "half_null_residual": 0.5, "half_null_residual_sd": 0.01}
        found |= {"half_verdict": HOLDS if truth else CHANCE, "half_z": 5.0 if truth else 0.0, **null}
    if end:
        best = 1 / (3 - layer + 1)
        found |= {"exponent": best if truth else best + 0.5, "exponent_low": best, "exponent_high": best + 0.5}
    if spec.experiment == PERCEPTRON:
        found |= {"law_value": score, "law_residual": (0.0 if layer == 3 else 0.05) if truth else 0.9}
        found |= {"law_verdict": CHANCE, "law_z": 0.0} if end and layer < 3 else {}
    return found
