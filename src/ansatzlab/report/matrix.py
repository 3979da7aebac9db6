"""All laws at a glance: every claim with its regime, its statistic, and what the last verification of it found."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansatzlab.laws.law import Chapter, Claim, Law, Role

VERDICTS = "verdicts.json"
"""The file of a verification that holds its findings."""

NOT_RUN = "not run"


@dataclass(frozen=True)
class Entry:
    """One claim of one law.

    Attributes:
        law: The law's key.
        chapter: The chapter's key.
        claim: The claim's key.
        regime: Under which circumstances it is tested: the chapter's title.
        statement: What it says.
        statistic: What is computed.
        threshold: Where that must lie, as a condition.
        role: Whether it counts.
        verdict: HOLDS, FAILS or INCONCLUSIVE over all conditions of the last verification; else *not run*.
        holding: Under how many conditions it holds.
        conditions: Under how many it was judged.
        runs: How many runs its chapter took; None if it was not run.
        seconds: What they cost, in seconds of computing; None likewise.
        folder: Where the verification is; empty if there is none.
    """

    law: str
    chapter: str
    claim: str
    regime: str
    statement: str
    statistic: str
    threshold: str
    role: Role
    verdict: str = NOT_RUN
    holding: int = 0
    conditions: int = 0
    runs: int | None = None
    seconds: float | None = None
    folder: str = ""


def find_verifications(root: Path) -> dict[str, dict[str, Any]]:
    """Return what verifications below a folder found: for each law the newest one, as its JSON has it.

    Conventions:
        Folders in the root are looked at, not deeper ones. A file that cannot be read counts as not there.

    Args:
        root: The folder; need not exist.

    Returns:
        By the law's key.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(root.glob(f"*/{VERDICTS}"), key=lambda path: path.stat().st_mtime):
        try:
            record = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(record, dict) and isinstance(record.get("chapters"), dict):
            found[str(record.get("law"))] = record
    return found


def matrix(laws: Sequence[Law], verifications: Mapping[str, Mapping[str, Any]]) -> tuple[Entry, ...]:
    """Return every claim of some laws, with what was found of it.

    Args:
        laws: The laws.
        verifications: What `find_verifications` found; may be empty.

    Returns:
        The entries, in the order of the laws, their chapters and claims.

    Example:
        >>> from ansatzlab.laws.registry import get_law
        >>> first = matrix([get_law("tansley2025nfa")], {})[0]
        >>> first.chapter, first.claim, first.threshold, first.verdict
        ('linear', 'A.error', '≤ 1e-09', 'not run')
    """
    return tuple(
        _entry(law, chapter, claim, verifications.get(law.key, {}))
        for law in laws
        for chapter in law.chapters
        for claim in chapter.claims
    )


def _entry(law: Law, chapter: Chapter, claim: Claim, record: Mapping[str, Any]) -> Entry:
    told = Entry(
        law=law.key,
        chapter=chapter.key,
        claim=claim.key,
        regime=chapter.title,
        statement=claim.statement,
        statistic=claim.statistic,
        threshold=str(claim.threshold),
        role=claim.role,
    )
    run = record.get("chapters", {}).get(chapter.key)
    outcomes = list(_outcomes(claim, record))
    if run is None or not outcomes:
        return told
    worst = next((word for word in ("FAILS", "INCONCLUSIVE") if word in outcomes), "HOLDS")
    return replace(
        told,
        verdict=worst,
        holding=outcomes.count("HOLDS"),
        conditions=len(outcomes),
        runs=run["runs"],
        seconds=run["seconds"],
        folder=str(record.get("folder", "")),
    )


def _outcomes(claim: Claim, record: Mapping[str, Any]) -> Iterator[str]:
    for finding in record.get("findings", []):
        if (finding["claim"], finding["statement"]) == (claim.key, claim.statement):
            yield finding["outcome"]
