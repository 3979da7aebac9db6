"""In what two sides of runs differ before any number is looked at: how they were measured, what was asked, settings."""

import json
from collections.abc import Iterable, Mapping, Sequence

from ansatzlab.report.compare.differences import Difference
from ansatzlab.report.figures.kinds.tracks import Track
from ansatzlab.report.settings import key_of, order_of

ASKED = ("law", "budget", "settings", "only")
"""What of the request of a verification is compared."""

_SHOWN = 6  # of more values of a setting the first and the last are told


def setting_differences(values: Mapping[str, tuple[frozenset[str], frozenset[str]]]) -> list[Difference]:
    """Return the settings of which the two sides do not have the same values."""
    return [
        Difference(name, _words(mine), _words(other), "network")
        for name, (mine, other) in values.items()
        if mine != other
    ]


def measuring_differences(first: Sequence[Track], second: Sequence[Track]) -> list[Difference]:
    """Return in what two sides differ that says how the AGOP was measured, from the runs' specs and their rows."""
    told: list[dict[str, set[str]]] = []
    for tracks in (first, second):
        found: dict[str, set[str]] = {}
        for text, counted in {(str(track.last["spec"]), track.last.get("examples")) for track in tracks}:
            spec = json.loads(text)
            examples = round(counted) if isinstance(counted, float) else spec.get("probe_examples")
            for name, value in {**_flat(spec.get("recorder")), "examples": examples}.items():
                if value is not None:
                    found.setdefault(name, set()).add(key_of(value))
        told.append(found)
    names = dict.fromkeys((*told[0], *told[1]))
    sides = [(name, told[0].get(name, {"null"}), told[1].get(name, {"null"})) for name in names]
    return [Difference(name, _words(mine), _words(other), "measuring") for name, mine, other in sides if mine != other]


def request_differences(first: Mapping[str, object], second: Mapping[str, object]) -> list[Difference]:
    """Return in what two verifications differ that was asked for."""
    if not ("law" in first and "law" in second):
        return []
    pairs = [(name, first.get(name), second.get(name)) for name in ASKED]
    return [
        Difference(name, _words([key_of(mine)]), _words([key_of(other)]), "network")
        for name, mine, other in pairs
        if mine != other
    ]


def _words(values: Iterable[str]) -> str:
    known = sorted((json.loads(value) for value in values), key=order_of)
    shown = ["none" if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in known]
    return ", ".join(shown) if len(shown) <= _SHOWN else f"{shown[0]} … {shown[-1]}"


def _flat(recorder: object, prefix: str = "") -> dict[str, object]:
    """Return how a recorder measured, by names with dots; when it did, and how it read, does not matter here."""
    found: dict[str, object] = {}
    for name, value in recorder.items() if isinstance(recorder, Mapping) else ():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.") if name not in ("schedule", "convention") else {}
        else:
            found[f"{prefix}{name}"] = value
    return found
