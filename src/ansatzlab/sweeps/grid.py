"""`grid`: the specs of a sweep as the product of axes."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.sweeps.axes import AXES, SECTIONS, SETTINGS, canonical, flattened, plain
from ansatzlab.sweeps.point import Point, data_of, point_of, spec_of
from ansatzlab.sweeps.rehearsal import rehearse
from ansatzlab.sweeps.spec import DataSpec, RunSpec

RULES = ("zip", "skip", "only")
"""What a grid's file may hold besides the axes."""

Pattern = Mapping[str, object]
"""Settings and the value, or the list of values, that each has to have."""

Condition = Callable[[Mapping[str, object]], bool]

Group = tuple[tuple[str, ...], list[tuple[object, ...]]]
"""Axes that advance together, and their values."""

UNSET = canonical(None)


def grid(
    *,
    zip: Sequence[Sequence[str]] = (),
    skip: Sequence[Pattern] = (),
    only: Sequence[Pattern] = (),
    where: Condition | None = None,
    **axes: object,
) -> tuple[RunSpec, ...]:
    """Return the specs of a sweep: the product of axes.

    Conventions:
        A list (tuple, range, array) is an axis, anything else is one value for all runs; ``observe`` alone is a list as
        one value. A value of ``data``, ``model``, ``init`` and ``optimizer`` is a name, or a mapping of it and its
        settings; what the mapping sets wins over the axis of that name, and None there unsets it. A setting that means
        nothing to the rest of a combination, such as ``learning_rate`` to a gradient flow, is refused and never left
        unused in silence. Combinations that become the same in every setting by such mappings are one run; values given
        twice, or two ways to write one run, are refused. The order is that of `ansatzlab.sweeps.axes.AXES`, the last
        changing fastest, however the axes were written.

    Args:
        zip: Axes that advance together, for example ``[["optimizer", "learning_rate"]]``; equally many values each.
        skip: Patterns, setting to value or list of values; combinations that match one are left out.
        only: Patterns; combinations that match none are left out.
        where: Of the settings of a combination, by name, None where not set, whether it is kept.
        axes: The axes: ``data``, ``optimizer``, ``depth`` and ``width`` at least (or a ``model`` with ``hidden``
            widths); see docs/sweep.md for each.

    Returns:
        The specs, distinct. Their data were loaded, their networks, starts and optimisers made, once for each
        kind, so that what cannot work is refused here.

    Raises:
        InputError: If anything is unknown, of the wrong type or value, not applicable or not installed; if a pattern
            matches nothing; if no combination is left. The message names the setting.

    Cost:
        Tens of microseconds a run, and the loading of each data set.

    Example:
        >>> adam = {"name": "adam", "learning_rate": 0.01, "steps": 100}
        >>> specs = grid(
        ...     data="linnerud", depth=[2, 3], width=4, seed=range(5), weight_decay=[0, 0.1],
        ...     optimizer=[adam, {"name": "gradient_flow", "flow_time": 5}],
        ...     skip=[{"optimizer": "adam", "weight_decay": 0.1}])
        >>> len(specs), specs[0].dynamics.name, specs[-1].dynamics.kind
        (30, 'Adam', 'flow')
    """
    return expand({**axes, "zip": zip, "skip": skip, "only": only}, "grid", where)


def expand(written: Mapping[str, object], where: str, condition: Condition | None = None) -> tuple[RunSpec, ...]:
    """Return the specs of a grid as a person wrote it (see `grid`).

    Args:
        written: The axes, and ``zip``, ``skip`` and ``only``.
        where: Where it was written, for messages.
        condition: Which combinations are kept.

    Raises:
        InputError: As `grid` does.
    """
    given = {name: plain(value) for name, value in written.items()}
    for name in given:
        if name not in (*AXES, *RULES):
            raise UnknownNameError(f"axis of {where}", name, (*AXES, *RULES))
    groups = _groups({name: _values(name, given[name], where) for name in AXES if name in given}, given, where)
    points = [
        point_of(
            dict(
                pair
                for (names, _), values in zip(groups, chosen, strict=True)
                for pair in zip(names, values, strict=True)
            ),
            where,
        )
        for chosen in product(*(values for _, values in groups))
    ]
    _refuse_unused(given, points, where)
    kept = _conditioned(points, given, where)
    if condition is not None:
        kept = [point for point in kept if condition({**dict.fromkeys(SETTINGS), **point.settings})]
    if not kept:
        raise InputError(
            f"{where}: none of {len(points)} combinations is left; wanted at least one; check skip, only and where."
        )
    specs = _specs(kept, where)
    rehearse(specs, where)
    return specs


def _values(name: str, value: object, where: str) -> list[object]:
    """Return the values of an axis."""
    values = value if isinstance(value, list) and name != "observe" else [value]
    if not values:
        raise InputError(f"{where}: got {name} = []; wanted at least one value; add one or leave {name} out.")
    return values


def _groups(axes: Mapping[str, list[object]], given: Mapping[str, object], where: str) -> list[Group]:
    """Return the axes in their order, those that advance together in one group, at the place of the first of them."""
    zips = _zips(axes, given, where)
    groups: list[Group] = []
    for name in axes:
        names = next((names for names in zips if name in names), (name,))
        if name == min(names, key=AXES.index):
            groups.append((names, list(zip(*(axes[each] for each in names), strict=True))))
    for names, values in groups:
        seen: set[str] = set()
        for chosen in values:
            text = canonical([flattened(name, value, where) for name, value in zip(names, chosen, strict=True)])
            if text in seen:
                told = chosen[0] if len(chosen) == 1 else chosen
                raise InputError(f"{where}: got {', '.join(names)} = {told!r} twice; wanted each once; leave one out.")
            seen.add(text)
    return groups


def _zips(axes: Mapping[str, list[object]], given: Mapping[str, object], where: str) -> list[tuple[str, ...]]:
    zips = given.get("zip", [])
    if not isinstance(zips, list) or not all(
        isinstance(names, list) and len(names) > 1 and all(isinstance(name, str) for name in names) for names in zips
    ):
        raise InputError(f"{where}: got zip = {zips!r}; wanted a list of lists of two or more axes; change it.")
    used: list[str] = []
    for names in zips:
        for name in names:
            if name not in AXES:
                raise UnknownNameError(f"axis of zip in {where}", name, AXES)
            if name not in axes or not isinstance(given[name], list):
                raise InputError(f"{where}: got {name} in zip without a list of values; wanted one; add it.")
            if name in used:
                raise InputError(f"{where}: got {name} in zip twice; wanted it once; leave one out.")
            used.append(name)
        counts = {name: len(axes[name]) for name in names}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise InputError(f"{where}: zip: {told} values; wanted equally many; add or leave out some.")
    return [tuple(names) for names in zips]


def _refuse_unused(given: Mapping[str, object], points: Sequence[Point], where: str) -> None:
    """Refuse an axis that some mapping wins over in every combination."""
    for name in given:
        if name in {*AXES} - {*SECTIONS} and all(point.written[name] != name for point in points):
            raise InputError(
                f"{where}: got {name} = {given[name]!r}, which {points[0].written[name]} wins over in every "
                "combination; wanted it in one place; leave one out."
            )


def _conditioned(points: Sequence[Point], given: Mapping[str, object], where: str) -> list[Point]:
    """Return the points that some pattern of ``only``, if there are any, and none of ``skip`` matches."""
    matched: dict[str, list[set[int]]] = {}
    for rule in ("skip", "only"):
        matched[rule] = []
        for pattern in _patterns(given, rule, where):
            told = _alternatives(pattern, where)
            found = {index for index, point in enumerate(points) if _matches(point, told)}
            if not found:
                raise InputError(
                    f"{where}: {rule}: {pattern!r} matches none of {len(points)} combinations; wanted one that matches "
                    "some; correct it or leave it out."
                )
            matched[rule].append(found)
    kept = set(range(len(points))) if not matched["only"] else set().union(*matched["only"])
    return [points[index] for index in sorted(kept.difference(*matched["skip"]))]


def _patterns(given: Mapping[str, object], rule: str, where: str) -> list[dict[str, object]]:
    patterns = given.get(rule, [])
    if not isinstance(patterns, list) or not all(isinstance(pattern, dict) and pattern for pattern in patterns):
        raise InputError(
            f"{where}: got {rule} = {patterns!r}; wanted a list of mappings from settings to values; change it."
        )
    for pattern in patterns:
        for name in pattern:
            if name not in SETTINGS:
                raise UnknownNameError(f"setting of {rule} in {where}", name, SETTINGS)
    return patterns


def _alternatives(pattern: Mapping[str, object], where: str) -> list[list[dict[str, str]]]:
    """Return, for each setting of a pattern, what each of its values asks for, as canonical text."""
    return [
        [
            {key: canonical(item) for key, item in flattened(name, value, where).items()}
            for value in (values if isinstance(values, list) else [values])
        ]
        for name, values in pattern.items()
    ]


def _matches(point: Point, alternatives: Sequence[Sequence[Mapping[str, str]]]) -> bool:
    return all(
        any(all(point.told.get(key, UNSET) == item for key, item in wanted.items()) for wanted in values)
        for values in alternatives
    )


def _specs(points: Sequence[Point], where: str) -> tuple[RunSpec, ...]:
    """Return the specs of points; points that are the same in every setting are one run."""
    data: dict[str, DataSpec] = {}
    found: dict[str, tuple[Point, RunSpec]] = {}
    for point in points:
        key = canonical({name: value for name, value in point.settings.items() if name.partition(".")[0] == "data"})
        if key not in data:
            data[key] = data_of(point)
        spec = spec_of(point, data[key])
        other, _ = found.setdefault(spec.run_id, (point, spec))
        if other.told != point.told:
            differing = {name for name in SETTINGS if other.told.get(name) != point.told.get(name)}
            told = " and ".join(
                str({name: each.settings.get(name) for name in sorted(differing)}) for each in (other, point)
            )
            raise InputError(f"{where}: {told} are the same run; wanted each run once; leave one out.")
    return tuple(spec for _, spec in found.values())
