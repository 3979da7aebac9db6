"""A point of a grid, and the spec of the run that it stands for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from ansatzlab.errors import InputError
from ansatzlab.sweeps.axes import SECTIONS, canonical, check_setting, flattened
from ansatzlab.sweeps.spec import DataSpec, InitSpec, ModelSpec, RunSpec, refusal
from ansatzlab.training.dynamics import GRADIENT_FLOW, GradientFlow, Optimizer, SharpnessRate, named_dynamics

FLOW_SETTINGS = ("weight_decay", "flow_time", "optimizer.tolerance")
OPTIMIZER_SETTINGS = (
    *("learning_rate", "weight_decay", "decay", "batch_size", "schedule", "steps"),
    "optimizer.options",
)
RUN_SETTINGS = ("experiment", "loss", "seed", "snapshots", "observe", "probe_examples")


@dataclass(frozen=True)
class Point:
    """One combination of the axes' values.

    Attributes:
        where: The grid, for messages.
        settings: The settings that are set, by their names in `ansatzlab.sweeps.axes.SETTINGS`.
        written: How the name of each was written.
    """

    where: str
    settings: Mapping[str, object]
    written: Mapping[str, str]

    @cached_property
    def told(self) -> dict[str, str]:
        """The settings as canonical text, to be compared."""
        return {name: canonical(value) for name, value in self.settings.items()}

    def some(self, names: Iterator[str] | tuple[str, ...]) -> dict[str, object]:
        """Return those of these settings that are set, by the last part of their names."""
        return {name.rpartition(".")[2]: self.settings[name] for name in names if name in self.settings}


def point_of(values: Mapping[str, object], where: str) -> Point:
    """Return the point of one value for each axis; what a mapping says wins over an axis, and null unsets.

    Args:
        values: The values by axis, as `ansatzlab.sweeps.axes.plain` returns them.
        where: The grid, for messages.

    Raises:
        InputError: If a value has the wrong type, a name is unknown, or a mapping has an unknown key.
    """
    settings: dict[str, object] = {}
    written: dict[str, str] = {}
    for axis in sorted(values, key=lambda name: name in SECTIONS):
        for name, value in flattened(axis, values[axis], where).items():
            own = name == axis or "." in name
            written[name] = name if own else f"{axis}.{name}"
            if own and axis in SECTIONS and isinstance(values[axis], Mapping) and name == axis:
                written[name] = f"{axis}.{SECTIONS[axis].name}"
            check_setting(name, value, where, written[name])
            settings[name] = value
    return Point(where, {name: value for name, value in settings.items() if value is not None}, written)


def spec_of(point: Point, data: DataSpec) -> RunSpec:
    """Return the spec of a point.

    Args:
        point: The point.
        data: Its data.

    Raises:
        InputError: If a setting is missing, does not apply to the others or has a value that it cannot have.
    """
    values = {
        "data": data,
        "model": _model(point),
        "init": InitSpec.parse(_named(point, "init", "scheme"), f"{point.where}: init"),
        "dynamics": _dynamics(point),
        "experiment": "sweep",
        **point.some(RUN_SETTINGS),
    }
    if isinstance(values.get("observe"), str):
        values["observe"] = [values["observe"]]
    return RunSpec.parse(values, point.where)


def data_of(point: Point) -> DataSpec:
    """Return the data of a point; of a file, with its content's hash.

    Raises:
        InputError: If there are none, a setting is not right, or the file cannot be read.
    """
    if "data" not in point.settings:
        raise InputError(f"{point.where}: data is missing; wanted a data set, for example data: digits; add it.")
    try:
        digest = DataSpec.of(str(point.settings["data"])).digest
    except InputError as error:
        raise InputError(f"{point.where}: data: {error}") from error
    return DataSpec.parse({**_named(point, "data", "name"), "digest": digest}, f"{point.where}: data")


def _named(point: Point, axis: str, name: str) -> dict[str, object]:
    """Return the settings of a section as its spec has them."""
    found = point.some(tuple(f"{axis}.{key}" for key in SECTIONS[axis].own))
    return {**found, name: point.settings[axis]} if axis in point.settings else found


def _model(point: Point) -> ModelSpec:
    values = {"kind": point.settings.get("model", "deep_linear"), **point.some(("bias", "model.hidden"))}
    if "hidden" in values:
        _refuse_foreign(point, ("depth", "width"), "a model with hidden widths of its own")
    else:
        depth, width = (_count(point, name) for name in ("depth", "width"))
        values["hidden"] = (width,) * (depth - 1)
    if values["kind"] == "deep_linear":
        _refuse_foreign(point, ("activation",), "a deep_linear model")
    return ModelSpec.parse({**values, **point.some(("activation",))}, f"{point.where}: model")


def _count(point: Point, name: str) -> int:
    value = point.settings.get(name)
    if value is None:
        raise InputError(
            f"{point.where}: {name} is missing; wanted depth and width, or model: {{kind: …, hidden: […]}}; add it."
        )
    if not isinstance(value, int | float) or not float(value).is_integer() or value < 1:
        raise InputError(
            f"{point.where}: got {point.written[name]} = {value!r}; wanted an integer of at least 1; change it."
        )
    return int(value)


def _dynamics(point: Point) -> GradientFlow | Optimizer:
    name = point.settings.get("optimizer")
    if name is None:
        raise InputError(f"{point.where}: optimizer is missing; wanted one, for example optimizer: adam; add it.")
    mine, other = (FLOW_SETTINGS, OPTIMIZER_SETTINGS) if name == GRADIENT_FLOW else (OPTIMIZER_SETTINGS, FLOW_SETTINGS)
    _refuse_foreign(point, tuple(key for key in other if key not in mine), f"optimizer {name}")
    settings = point.some(mine)
    where = f"{point.where}: {name}"
    rule = settings.get("learning_rate")
    if isinstance(rule, Mapping):
        known = SharpnessRate.model_fields
        unknown = [key for key in rule if key not in known]
        if unknown:
            raise InputError(
                f"{point.where}: got {point.written['learning_rate']} = {rule!r} with {', '.join(unknown)}; wanted "
                f"only {', '.join(known)}; leave out the others."
            )
    try:
        return named_dynamics(str(name), **settings)
    except ValidationError as error:
        raise refusal(error, settings, where, settings, point.written) from error


def _refuse_foreign(point: Point, names: tuple[str, ...], what: str) -> None:
    """Refuse settings that mean nothing to the others, instead of leaving them unused in silence."""
    for name in names:
        if name in point.settings:
            section = next(axis for axis, section in SECTIONS.items() if name in section.axes or name.startswith(axis))
            raise InputError(
                f"{point.where}: got {point.written[name]} = {point.settings[name]!r} for {what}, to which it does not "
                f"apply; write it inside the {section} that it is for, or {name.rpartition('.')[2]}: null inside this "
                "one, or skip the combination."
            )
