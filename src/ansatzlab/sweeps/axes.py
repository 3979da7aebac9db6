"""The axes of a grid: their names, what a value may look like, and the settings that are written inside a value."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import get_args

import numpy as np

from ansatzlab.data.registry import SOURCES
from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.models.init import SCHEMES
from ansatzlab.models.mlp import ACTIVATIONS
from ansatzlab.sweeps.spec import Observable
from ansatzlab.training.dynamics import GRADIENT_FLOW, OPTIMIZERS
from ansatzlab.training.objective import LOSSES
from ansatzlab.training.schedule import Schedule

AXES = (
    "experiment",
    "data",
    "model",
    "depth",
    "width",
    "activation",
    "bias",
    "init",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "decay",
    "batch_size",
    "schedule",
    "steps",
    "flow_time",
    "loss",
    "snapshots",
    "observe",
    "probe_examples",
    "seed",
)
"""The axes, the last one changing fastest."""

NUMBERS = frozenset(
    {
        *("depth", "width", "learning_rate", "weight_decay", "batch_size", "steps", "flow_time"),
        *("snapshots", "probe_examples", "seed"),
    }
)
"""The axes whose values are numbers; a learning rate may be a rule as well."""

NAMES: Mapping[str, Collection[str]] = {
    "data": SOURCES,
    "model": ("deep_linear", "mlp"),
    "activation": ACTIVATIONS,
    "init": SCHEMES,
    "optimizer": (GRADIENT_FLOW, *OPTIMIZERS),
    "decay": ("coupled", "decoupled"),
    "schedule": get_args(Schedule),
    "loss": LOSSES,
    "observe": get_args(Observable),
}
"""The axes whose values are names, and which there are."""


@dataclass(frozen=True)
class Section:
    """An axis whose value may be a mapping, with settings of its own.

    Attributes:
        name: The key under which the mapping has the axis's plain value.
        own: Keys that only the mapping has.
        axes: Axes that the mapping may set, too; what it says wins over the axis.
    """

    name: str
    own: tuple[str, ...]
    axes: tuple[str, ...] = ()


SECTIONS: Mapping[str, Section] = {
    "data": Section("name", ("seed", "size", "options")),
    "model": Section("kind", ("hidden",), ("depth", "width", "activation", "bias")),
    "init": Section("scheme", ("scale", "singular_values")),
    "optimizer": Section(
        "name",
        ("options", "tolerance"),
        ("learning_rate", "weight_decay", "decay", "batch_size", "schedule", "steps", "flow_time"),
    ),
}

SETTINGS = (*AXES, *(f"{axis}.{key}" for axis, section in SECTIONS.items() for key in section.own))
"""The axes, and the settings that can only be written inside of a value, as ``axis.key``."""


def plain(value: object) -> object:
    """Return a value with lists for tuples, ranges and arrays, all the way down."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple | range) else value


def canonical(value: object) -> str:
    """Return a text that two values share if and only if they are the same to a run: 1 and 1.0 are, 1 and true are not.

    Example:
        >>> canonical({"b": [1, True], "a": 1.0})
        '{"a": 1.0, "b": [1.0, true]}'
    """
    return json.dumps(_floated(value), sort_keys=True, default=repr)


def _floated(item: object) -> object:
    if isinstance(item, Mapping):
        return {key: _floated(inner) for key, inner in item.items()}
    if isinstance(item, list):
        return [_floated(inner) for inner in item]
    return float(item) if isinstance(item, Real) and not isinstance(item, bool) else item


def flattened(axis: str, value: object, where: str) -> dict[str, object]:
    """Return the settings that an axis's value stands for, by their names in `SETTINGS`.

    Args:
        axis: The axis.
        value: One value of it, as `plain` returns it.
        where: Where it was written, for the message.

    Raises:
        InputError: If a mapping lacks its name or has a key that it cannot have.

    Example:
        >>> flattened("optimizer", {"name": "adam", "learning_rate": 0.1, "options": {"eps": 1e-6}}, "grid")
        {'optimizer': 'adam', 'learning_rate': 0.1, 'optimizer.options': {'eps': 1e-06}}
    """
    if axis not in SECTIONS or not isinstance(value, Mapping):
        return {axis: value}
    section = SECTIONS[axis]
    known = (section.name, *section.own, *section.axes)
    for key in value:
        if key not in known:
            raise UnknownNameError(f"setting of {axis} in {where}", key, known)
    if section.name not in value:
        raise InputError(f"{where}: got {axis} = {value!r}; {section.name} is missing; add it.")
    names: dict[str, str] = {section.name: axis, **{key: f"{axis}.{key}" for key in section.own}}
    return {names.get(str(key), str(key)): item for key, item in value.items()}


def check_setting(name: str, value: object, where: str, written: str) -> None:
    """Refuse a value of the wrong type, or a name that there is not; what numbers are possible the spec knows.

    Args:
        name: The setting, an axis.
        value: Its value; None stands for not set.
        where: Where it was written, for the message.
        written: How its name was written.

    Raises:
        InputError: If it is not right.
    """
    if value is None or name not in AXES:
        return
    got = f"{where}: got {written} = {value!r}; wanted"
    if name in NUMBERS:
        if isinstance(value, bool) or not isinstance(value, Real):
            if name == "learning_rate" and isinstance(value, Mapping):
                return
            only = "; a list is an axis only outside of a mapping" if isinstance(value, list) else ""
            raise InputError(f"{got} a number{only}; change it.")
    elif name == "bias":
        if not isinstance(value, bool):
            raise InputError(f"{got} true or false; change it.")
    else:
        several = name == "observe" and isinstance(value, list)
        for item in value if several and isinstance(value, list) else [value]:
            if not isinstance(item, str):
                raise InputError(f"{got} a name{' or a list of them' if name == 'observe' else ''}; change it.")
            if name in NAMES and item not in NAMES[name] and not (name == "data" and item.endswith(".npz")):
                raise UnknownNameError(f"{written} in {where}", item, NAMES[name])
