"""What runs are told apart and filtered by on a page: their settings, read from a row of the store."""

import json
from collections.abc import Mapping

from ansatzlab.report.settings import SETTINGS, settings_of
from ansatzlab.report.verdicts import MISSING

Label = str | int | float | bool | None

NAMED_BY = ["spec", "experiment", "data", "dynamics", "depth", "seed", "weight_decay", "learning_rate"]
"""The columns of the store that say what a run was."""

_NAMES = {
    "depth": "depth L",
    "optimizer": "optimiser",
    "weight_decay": "decay λ",
    "learning_rate": "learning rate η",
    "init": "initial weights",
    "init.scale": "their scale",
    "decay": "coupling of the decay",
    "loss_function": "loss",
}


def labels_of(row: Mapping[str, object]) -> dict[str, Label]:
    """Return a run's settings: those of its spec and, where that is silent, those of the store's columns.

    Args:
        row: A row of the run, with the columns `NAMED_BY`.

    Returns:
        The settings of `ansatzlab.report.settings`, and of a task its other options; what is no text, number or truth
        value is told as JSON.
    """
    spec = json.loads(str(row["spec"]))
    spec = spec if isinstance(spec, dict) else {}
    found = dict(settings_of(spec))
    if "task" not in spec and "dynamics" not in spec:
        found["optimizer"] = None
    columns = {**row, "optimizer": row["dynamics"]}
    found |= {name: columns.get(name) for name in SETTINGS if found[name] is None}
    found |= {"depth": row["depth"] or None, "weight_decay": row["weight_decay"]}
    return {name: _label(value) for name, value in found.items()}


def name_of(setting: str) -> str:
    """Return what people call a setting."""
    return _NAMES.get(setting, setting.replace("_", " "))


def write_label(value: Label) -> str:
    """Write a setting's value.

    Example:
        >>> [write_label(value) for value in (0.001, 3, "adam", True, None)]
        ['0.001', '3', 'adam', 'yes', '–']
    """
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _label(value: object) -> Label:
    return value if isinstance(value, str | int | float) or value is None else json.dumps(value, ensure_ascii=False)
