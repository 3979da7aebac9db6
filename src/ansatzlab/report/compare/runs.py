"""Compare two tables of runs: first what the runs of each were, then the groups of runs that both have."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

import pyarrow as pa

from ansatzlab.errors import InputError
from ansatzlab.laws.runs import Row
from ansatzlab.report.compare.claims import ClaimChange, claim_changes
from ansatzlab.report.compare.differences import Difference, without_nan
from ansatzlab.report.compare.settings import measuring_differences, request_differences, setting_differences
from ansatzlab.report.figures.kinds.grouping import values_of
from ansatzlab.report.figures.kinds.options import DEFAULTS, Options, Score
from ansatzlab.report.figures.kinds.scores import exponent_of, exponent_rule, score_of
from ansatzlab.report.figures.kinds.tracks import SPECTRAL, Track, lacking, tracks_of
from ansatzlab.report.readout import display_name
from ansatzlab.report.settings import (
    REPETITIONS,
    key_of,
    known_settings,
    order_of,
    setting_words,
    telling_settings,
)

SCORES: tuple[Score, ...] = ("alignment", "residual", "exponent")
"""What is compared of every layer: alignment, residual, the exponent that fits best."""

_SHOWN = 6  # of more moments the first and the last are told


@dataclass(frozen=True)
class Spread:
    """A score of several runs.

    Attributes:
        median: The median; nan if no run has one.
        low: The least.
        high: The largest.
        runs: How many runs have one.
    """

    median: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class GroupComparison:
    """Runs of equal settings in both tables, one layer of them.

    Attributes:
        settings: What tells the group from the others.
        layer: The layer.
        first: The scores of the first table's runs, by name.
        second: Those of the second's.
        differences: The differences of runs with the same seed, second less first, by the score's name.
    """

    settings: str
    layer: str
    first: Mapping[Score, Spread]
    second: Mapping[Score, Spread]
    differences: Mapping[Score, Spread]


@dataclass(frozen=True)
class RunsComparison:
    """Two tables of runs beside each other.

    Attributes:
        differences: The settings in which they differ.
        common: The settings that all runs of both share, in words.
        exponent: At which exponent alignment and residual of both are read, and how the alignment is.
        same_runs: How many runs both have.
        groups: The groups that both have.
        only_first: Groups of the first alone.
        only_second: Groups of the second alone.
        claims: The claims of two verifications whose verdict or value differs.
        same_claims: How many do not.
        notes: What was left out, in sentences.
    """

    differences: tuple[Difference, ...]
    common: tuple[str, ...]
    exponent: str
    same_runs: int
    groups: tuple[GroupComparison, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    claims: tuple[ClaimChange, ...]
    same_claims: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the comparison as what JSON can hold; a number that does not exist is None."""
        return {name: without_nan(value) for name, value in asdict(self).items()}


def compare_tables(
    first: pa.Table,
    second: pa.Table,
    *,
    options: Options = DEFAULTS,
    moments: tuple[float | None, float | None] = (None, None),
    findings: tuple[Sequence[Mapping[str, object]], Sequence[Mapping[str, object]]] = ((), ()),
    requests: tuple[Mapping[str, object], Mapping[str, object]] = ({}, {}),
) -> RunsComparison:
    """Compare two tables of runs.

    Conventions:
        Groups are runs of equal settings, but for the seeds and for what differs throughout: a setting of which no run
        of the first has a value that one of the second has. The second's runs are read at the first's exponents.

    Args:
        first: Rows as the store returns them.
        second: Others; may be the same, to compare two moments.
        options: The choices; those that count are ``layers``, ``exponent`` and ``comparator``.
        moments: For each the step, of a flow the flow time, at which it is looked at; None for the last snapshot.
        findings: For each the findings of a verification, if it is one, as its ``verdicts.json`` has them.
        requests: For each what was asked for, as its side file has it.

    Returns:
        The comparison.

    Raises:
        InputError: If one of them has no spectra of finished runs, or none at its moment, or a layer has no exponent.
        UnknownNameError: If a layer is not in one of them.
    """
    sides = [_tracks(*side, options) for side in zip((first, second), moments, strict=True)]
    settings = [_settings(tracks) for tracks, _ in sides]
    names = known_settings((*settings[0].values(), *settings[1].values()))
    values = {
        name: (_values(settings[0], name), _values(settings[1], name)) for name in names if name not in REPETITIONS
    }
    throughout = {name for name, (mine, other) in values.items() if not {*mine} & {*other}}
    matched = [name for name, (mine, other) in values.items() if name not in throughout and len({*mine, *other}) > 1]
    exponents = tuple(exponent_rule(tracks, options) for tracks, _ in sides)
    reading = [Difference("exponent", exponents[0], exponents[1], "reading")] if exponents[0] != exponents[1] else []
    groups, only = _groups([tracks for tracks, _ in sides], matched, options)
    claims, same = claim_changes(*findings) if all(findings) else ((), 0)
    return RunsComparison(
        differences=(
            *reading,
            *measuring_differences(*(tracks for tracks, _ in sides)),
            *request_differences(*requests),
            *setting_differences(values),
        ),
        common=tuple(
            setting_words(name, json.loads(next(iter(mine))))
            for name, (mine, other) in values.items()
            if mine == other and len(mine) == 1 and mine != {key_of(None)}
        ),
        exponent=f"α = {exponents[0]}, {options.comparator}",
        same_runs=len(settings[0].keys() & settings[1].keys()),
        groups=groups,
        only_first=only[0],
        only_second=only[1],
        claims=claims,
        same_claims=same,
        notes=tuple(dict.fromkeys(note for _, notes in sides for note in notes)),
    )


def _tracks(table: pa.Table, moment: float | None, options: Options) -> tuple[list[Track], tuple[str, ...]]:
    """Return the tracks, cut to the row of a moment, and what was left out."""
    if missing := lacking(table, SPECTRAL):
        raise InputError(f"compare: needs {missing}; a table has none; wanted runs whose AGOP was measured.")
    tracks, notes = tracks_of(table, options.layers, columns=SPECTRAL, moments="last" if moment is None else "all")
    if moment is None:
        return tracks, notes
    found = [(track, [row for row in track.rows if _is_at(row, moment)]) for track in tracks]
    kept = [replace(track, rows=(rows[0],)) for track, rows in found if rows]
    if not kept:
        times = sorted({_time(row) for track in tracks for row in track.rows})
        known = ", ".join(f"{time:.6g}" for time in times[:_SHOWN]) + (f" … {times[-1]:.6g}" * (len(times) > _SHOWN))
        raise InputError(f"compare: no run was looked at at {moment:g}; wanted one of {known}; choose another moment.")
    late = len({track.run_id for track in tracks}) - len({track.run_id for track in kept})
    return kept, (*notes, *([f"{late} runs that were not looked at at {moment:g} are left out."] if late else []))


def _time(row: Row) -> float:
    """Return a row's step or, of a flow, its flow time."""
    found = row["flow_time"] if row.get("step") is None else row["step"]
    return float(str(found)) if found is not None else math.nan


def _is_at(row: Row, moment: float) -> bool:
    return math.isclose(_time(row), moment, rel_tol=1e-6)


def _settings(tracks: Sequence[Track]) -> dict[str, Row]:
    return {track.run_id: track.settings for track in tracks}


def _values(settings: Mapping[str, Row], name: str) -> frozenset[str]:
    return frozenset(key_of(row.get(name)) for row in settings.values())


def _groups(
    sides: Sequence[Sequence[Track]], matched: Sequence[str], options: Options
) -> tuple[tuple[GroupComparison, ...], tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the groups that both have, and in words those of one alone."""
    members: list[dict[tuple[tuple[str, ...], str], list[Track]]] = []
    for tracks in sides:
        found: dict[tuple[tuple[str, ...], str], list[Track]] = {}
        for track in sorted(tracks, key=lambda track: [order_of(track.settings.get(name)) for name in matched]):
            found.setdefault((values_of(track.settings, matched), track.layer), []).append(track)
        members.append(found)
    known = [{name: track.settings.get(name) for name in matched} for tracks in sides for track in tracks]
    telling = telling_settings(known)

    def told(track: Track) -> str:
        return ", ".join(setting_words(name, track.settings.get(name)) for name in telling)

    groups = tuple(
        _group(told(mine[0]), mine, members[1][key], options) for key, mine in members[0].items() if key in members[1]
    )
    only = [
        tuple(
            ", ".join(filter(None, (told(tracks[0]), display_name(layer))))
            for (values, layer), tracks in here.items()
            if (values, layer) not in there
        )
        for here, there in (members, reversed(members))
    ]
    return groups, (only[0], only[1])


def _group(settings: str, first: Sequence[Track], second: Sequence[Track], options: Options) -> GroupComparison:
    mine: dict[Score, Spread] = {}
    other: dict[Score, Spread] = {}
    differences: dict[Score, Spread] = {}
    exponent = exponent_of(first[0].last, options)
    for score in SCORES:
        asked = replace(options, score=score, exponent=None if math.isnan(exponent) else exponent)
        one, two = ([(_seed(track), score_of(track.last, asked).value) for track in side] for side in (first, second))
        mine[score], other[score] = _spread(value for _, value in one), _spread(value for _, value in two)
        alone = len(dict(one)) == len(one) and len(dict(two)) == len(two)  # else a seed does not tell which run
        differences[score] = _spread(dict(two)[seed] - value for seed, value in one if alone and seed in dict(two))
    return GroupComparison(settings, first[0].layer, mine, other, differences)


def _seed(track: Track) -> str:
    return "/".join(values_of(track.settings, REPETITIONS))


def _spread(values: Iterable[float]) -> Spread:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return Spread(math.nan, math.nan, math.nan, 0)
    return Spread(median(known), min(known), max(known), len(known))
