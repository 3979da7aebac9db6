"""What a run was, as a grid names it: read from its spec as JSON has it."""

import json
from collections.abc import Iterable, Mapping, Sequence

from ansatzlab.laws.runs import Row
from ansatzlab.training.dynamics import GRADIENT_FLOW

SETTINGS = (
    "experiment",
    "data",
    "data.size",
    "data.seed",
    "model",
    "depth",
    "width",
    "activation",
    "bias",
    "init",
    "init.scale",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "decay",
    "batch_size",
    "schedule",
    "steps",
    "flow_time",
    "loss_function",
    "seed",
)
"""What a run was, as a grid names it; but ``loss`` is the number that came of it, and its name ``loss_function``."""

REPETITIONS = ("seed", "data.seed")
"""Settings that differ between repetitions of one training."""

_FIRST = ("experiment", "data", "model", "optimizer", "depth", "width", "init", "weight_decay", "learning_rate")
_LETTERS = {"depth": "L = {}", "weight_decay": "λ = {}", "learning_rate": "η = {}"}
_WORDS = ("experiment", "data", "model", "activation", "init", "optimizer", "dynamics", "schedule", "decay", "run_id")

_OPTIONS = {"data.size": "size", "init": "scheme", "init.scale": "scale", "loss_function": "loss"}
"""What a task's options call a setting, where that is not its name."""

_BEHIND = frozenset({*SETTINGS, *_OPTIONS.values(), "hidden", "digest"})
"""A task's options that say a setting, or stand behind one."""

COLUMNS = ("dynamics", "run_id")
"""What else than its settings is told of a run beside them."""


def settings_of(spec: Mapping[str, object]) -> Row:
    """Return what a run was, by `SETTINGS`, from its spec as JSON has it; None where a setting does not apply.

    Of a `TaskSpec` it is what its options say; those that are none of `SETTINGS` are settings, too.
    """
    if "task" in spec:
        return _settings_of_task(spec)
    data, model, init, dynamics = (_section(spec, name) for name in ("data", "model", "init", "dynamics"))
    widths = _widths(model)
    flow = dynamics.get("kind") == "flow"
    found: Row = {
        **{name: dynamics.get(name) for name in SETTINGS if name in dynamics},
        "experiment": spec.get("experiment"),
        "data": data.get("name"),
        "data.size": data.get("size"),
        "data.seed": data.get("seed"),
        "model": model.get("kind"),
        "depth": len(widths) + 1,
        "width": _width(widths),
        "activation": model.get("activation") if model.get("kind") == "mlp" else None,
        "bias": model.get("bias"),
        "init": init.get("scheme"),
        "init.scale": init.get("scale"),
        "optimizer": GRADIENT_FLOW if flow else _optimizer(dynamics),
        "loss_function": spec.get("loss"),
        "seed": spec.get("seed"),
    }
    rule = found.get("learning_rate")
    if isinstance(rule, Mapping):
        found["learning_rate"] = f"{rule.get('fraction')} of {rule.get('kind')}"
    return {name: found.get(name) for name in SETTINGS}


def _settings_of_task(spec: Mapping[str, object]) -> Row:
    options = _section(spec, "options")
    widths = _widths(options)
    found: Row = {name: options.get(_OPTIONS.get(name, name)) for name in SETTINGS}
    if widths:
        found |= {"depth": len(widths) + 1, "width": _width(widths)}
    others = {name: value for name, value in options.items() if name not in _BEHIND}
    return found | {"experiment": spec.get("experiment"), "seed": spec.get("seed")} | others


def _widths(section: Mapping[str, object]) -> list[str]:
    hidden = section.get("hidden")
    return list(map(str, hidden)) if isinstance(hidden, list) else []


def _width(widths: Sequence[str]) -> int | str | None:
    """Return the hidden layers' width if they have the same, else all widths in one text."""
    return int(widths[0]) if len(set(widths)) == 1 else "-".join(widths) or None


def _section(spec: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = spec.get(name)
    return section if isinstance(section, Mapping) else {}


def _optimizer(dynamics: Mapping[str, object]) -> str:
    """Return the field's name of an optimiser of torch with its options."""
    options = _section(dynamics, "options")
    if dynamics.get("name") != "SGD":
        return str(dynamics.get("name")).lower()
    if options.get("momentum"):
        return "nesterov" if options.get("nesterov") else "heavy_ball"
    return "gd" if dynamics.get("batch_size") is None else "sgd"


def key_of(value: object) -> str:
    """Return a setting's value as a text: equal for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


def order_of(value: object) -> tuple[int, float, str]:
    """Return a key that sorts settings' values: missing ones first, then numbers, then texts."""
    if value is None:
        return 0, 0.0, ""
    return (1, float(value), "") if isinstance(value, int | float) else (2, 0.0, str(value))


def known_settings(settings: Iterable[Row]) -> tuple[str, ...]:
    """Return the names of the settings that runs have: `SETTINGS`, and further ones of tasks by name.

    Example:
        >>> known_settings([{"optimizer": "gd", "run_id": "a"}, {"momentum": 0.9}])[-2:]
        ('seed', 'momentum')
    """
    return (*SETTINGS, *sorted({name for row in settings for name in row} - {*SETTINGS, *COLUMNS}))


def varied_settings(settings: Iterable[Row]) -> dict[str, int]:
    """Return the settings in which runs differ, other than as repetitions, with how many values each has."""
    known = list(settings)
    names = [name for name in known_settings(known) if name not in REPETITIONS]
    counts = {name: len({key_of(row.get(name)) for row in known}) for name in names}
    return {name: count for name, count in counts.items() if count > 1}


def telling_settings(settings: Iterable[Row]) -> tuple[str, ...]:
    """Return as few settings as tell runs apart that differ in more than repetitions, the most telling first.

    Example:
        >>> telling_settings([{"optimizer": "gd", "steps": 5}, {"optimizer": "adam", "steps": 9}])
        ('optimizer',)
    """
    known = list(settings)
    told: tuple[str, ...] = ()

    def kinds(names: Sequence[str]) -> int:
        return len({tuple(key_of(row.get(name)) for name in names) for row in known})

    order = (*_FIRST, *known_settings(known))
    for name in sorted(varied_settings(known), key=order.index):
        if kinds((*told, name)) > kinds(told):
            told = (*told, name)
    return told


def setting_words(name: str, value: object) -> str:
    """Say a setting in a few letters.

    Example:
        >>> [setting_words(*setting) for setting in (("optimizer", "adam"), ("depth", 3), ("steps", None))]
        ['adam', 'L = 3', 'no steps']
    """
    if value is None:
        return f"no {name}"
    shown = f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    return _LETTERS[name].format(shown) if name in _LETTERS else shown if name in _WORDS else f"{name} {shown}"
