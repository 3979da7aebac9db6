"""Tracks grouped by what tells their runs apart, and the words for it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.laws.figure import Curve
from ansatzlab.laws.runs import Row
from ansatzlab.report.figures.kinds.options import Options
from ansatzlab.report.figures.kinds.tracks import Moments, Track, tracks_of
from ansatzlab.report.readout import display_name
from ansatzlab.report.settings import (
    COLUMNS,
    key_of,
    known_settings,
    order_of,
    setting_words,
    telling_settings,
    varied_settings,
)

MOST = 12
"""More curves than this are a thicket in one column, and their legend is longer than the figure."""


@dataclass(frozen=True)
class Group:
    """The tracks of one curve.

    Attributes:
        label: What tells them from those of other curves; empty if nothing does.
        tracks: The tracks, one a run; at least one.
    """

    label: str
    tracks: tuple[Track, ...]


@dataclass(frozen=True)
class Selection:
    """What a figure draws.

    Attributes:
        groups: The groups; at least one.
        notes: What was left out or pooled, in sentences.
    """

    groups: tuple[Group, ...]
    notes: tuple[str, ...]

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All tracks."""
        return tuple(track for group in self.groups for track in group.tracks)


def select(
    table: pa.Table,
    options: Options,
    *,
    columns: Sequence[str],
    moments: Moments = "all",
    layered: bool = True,
    most: int = MOST,
) -> Selection:
    """Choose and group what a figure draws.

    Args:
        table: Rows as the store returns them.
        options: The choices.
        columns: The columns that a row must have.
        moments: Which snapshots of each run.
        layered: Whether layers are told apart.
        most: The most groups.

    Returns:
        The groups (see `grouped`) of the tracks (see `ansatzlab.report.figures.kinds.tracks.tracks_of`).

    Raises:
        InputError: If nothing is left, or there are more groups than can be told apart.
        UnknownNameError: If a layer is not there, or a setting of ``by``.
    """
    tracks, notes = tracks_of(table, options.layers, columns=columns, moments=moments, layered=layered)
    return grouped(tracks, options, notes, layered=layered, most=most)


def grouped(
    tracks: Sequence[Track], options: Options, notes: Sequence[str] = (), *, layered: bool = True, most: int = MOST
) -> Selection:
    """Group tracks by their settings and, if layers are told apart, by layer.

    Conventions:
        Without ``by`` the runs are told apart by all settings that they differ in; where that gives too many groups, by
        the first of these as long as it does not, and the rest is pooled.

    Args:
        tracks: The tracks.
        options: The choices.
        notes: What was left out already, in sentences.
        layered: Whether layers are told apart.
        most: The most groups.

    Returns:
        The groups in the order of their settings, and of the layers within.

    Raises:
        InputError: If there are more groups than that.
        UnknownNameError: If runs have no setting that ``by`` names.
    """
    by = told_apart_by(tracks, options)
    members = _members(tracks, by, layered=layered)
    while not options.by and len(members) > most and by:
        by = by[:-1]
        members = _members(tracks, by, layered=layered)
    layers = len({track.layer for track in tracks})
    if len(members) > most:
        runs = {track.run_id: track.settings for track in tracks}
        differ = [f"{name} ({count})" for name, count in varied_settings(runs.values()).items()]
        raise InputError(
            f"the figure: got {len(members)} curves; wanted at most {most}; there are several of "
            f"{', '.join([*differ, f'layer ({layers})'])}: choose some of the runs or layers, or what the curves are "
            "told apart by (--where, --layer, --by)."
        )
    many = layers > 1
    groups = tuple(Group(_label(each[0], by, layered=layered, many=many), tuple(each)) for each in members)
    return Selection(groups, (*pooled(group.tracks for group in groups), *notes))


def told_apart_by(tracks: Sequence[Track], options: Options) -> tuple[str, ...]:
    """Return the settings that were asked for, or else those that tell the runs apart.

    Raises:
        UnknownNameError: If runs have no such setting.
    """
    known = (*known_settings(track.settings for track in tracks), *COLUMNS)
    for name in options.by:
        if name not in known:
            raise UnknownNameError("setting of by", name, known)
    return options.by or telling_settings(track.settings for track in tracks)


def _members(tracks: Sequence[Track], by: Sequence[str], *, layered: bool) -> list[list[Track]]:
    places = {track.layer: track.rows[0].get("layer_index") for track in reversed(tracks)}
    members: dict[tuple[str, ...], list[Track]] = {}
    for track in sorted(tracks, key=lambda track: _place(track, by, places)):
        key = (*values_of(track.settings, by), track.layer if layered else "")
        members.setdefault(key, []).append(track)
    return list(members.values())


def pooled(groups: Iterable[Sequence[Track]]) -> tuple[str, ...]:
    """Say, in a sentence or none, in which settings runs differ that are shown as one."""
    found = {name for tracks in groups for name in telling_settings(track.settings for track in tracks)}
    names = [name for name in known_settings([dict.fromkeys(found)]) if name in found]
    return (f"Pooled are runs that differ in {', '.join(names)}.",) if names else ()


def _place(track: Track, by: Sequence[str], places: Mapping[str, object]) -> list[tuple[int, float, str]]:
    values = [*(track.settings.get(name) for name in by), places[track.layer], track.layer]
    return [order_of(value) for value in values]


def _label(track: Track, by: Sequence[str], *, layered: bool, many: bool) -> str:
    told = [setting_words(name, track.settings.get(name)) for name in by]
    return ", ".join([*told, display_name(track.layer)] if layered and (many or not told) else told)


def counted(groups: Sequence[Group]) -> str:
    """Say how many runs a curve stands for; empty if it is one."""
    counts = {len(group.tracks) for group in groups}
    if counts == {1}:
        return ""
    told = f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    return f"Median over {told} runs; the band reaches from the least to the largest."


def reduced(per_run: Sequence[np.ndarray], reduce: Callable[[np.ndarray], float]) -> tuple[float, ...]:
    """Reduce the runs' values at each place, leaving out those that are not finite; nan where none is."""
    columns = np.stack(per_run).T
    return tuple(
        float(reduce(column[np.isfinite(column)])) if np.isfinite(column).any() else np.nan for column in columns
    )


def banded(label: str, x: np.ndarray, per_run: Sequence[np.ndarray]) -> Curve:
    """Return the median over runs, from the least to the largest; of a single run without a band."""
    places = tuple(float(place) for place in x)
    middle = reduced(per_run, np.median)
    if len(per_run) == 1:
        return Curve(label, places, middle)
    return Curve(label, places, middle, reduced(per_run, np.min), reduced(per_run, np.max))


def sentences(*parts: str, selection: Selection | None = None) -> str:
    """Join the parts of a caption that are not empty."""
    return " ".join(filter(None, (*parts, *(selection.notes if selection else ()))))


def values_of(settings: Row, names: Sequence[str]) -> tuple[str, ...]:
    """Return settings as texts that can be compared."""
    return tuple(key_of(settings.get(name)) for name in names)


def sorted_values(tracks: Iterable[Track], name: str) -> list[object]:
    """Return the values that a setting has, each once: missing ones first, then numbers, then texts."""
    found = {key_of(track.settings.get(name)): track.settings.get(name) for track in tracks}
    return sorted(found.values(), key=order_of)
