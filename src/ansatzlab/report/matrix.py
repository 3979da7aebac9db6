"""All laws at a glance: every claim with its regime, its statistic, and what the last verification of it found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from ansatzlab.laws.law import Chapter, Claim, Law, Role

VERDICTS, REQUEST = "verdicts.json", "verification.json"
"""The files of a verification that hold its findings, and what was asked for."""

NOT_RUN = "not run"
CHANGED = "not run (changed)"
"""What is said of a claim that was judged, but by another statement, statistic or threshold than it has now."""


@dataclass(frozen=True)
class Verification:
    """What a verification found of one chapter of a law.

    Attributes:
        folder: Where it is.
        data: The data set that was asked for.
        budget: The budget.
        runs: How many runs the chapter took.
        seconds: What they cost, in seconds of computing.
        findings: For every claim and condition, of all chapters: the claim's key, statement, statistic and threshold,
            and the verdict.
    """

    folder: str
    data: str
    budget: str
    runs: int
    seconds: float
    findings: tuple[tuple[tuple[str, ...], str], ...]


Verifications: TypeAlias = Mapping[tuple[str, str], Verification]
"""By the keys of a law and a chapter."""


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
        verdict: HOLDS, FAILS or INCONCLUSIVE over all conditions of the chapter's last verification; else *not run*, or
            *not run (changed)* where that judged a claim of this key that was not the same.
        holding: Under how many conditions it holds.
        conditions: Under how many it was judged.
        runs: How many runs its chapter took; None if it was not run.
        seconds: What they cost, in seconds of computing; None likewise.
        data: The data set that was asked for; empty likewise.
        budget: The budget; empty likewise.
        folder: Where the verification is; empty likewise.
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
    data: str = ""
    budget: str = ""
    folder: str = ""


def find_verifications(root: Path) -> tuple[Verifications, tuple[str, ...]]:
    """Return what verifications below a folder found: of each chapter of each law the newest.

    Conventions:
        Folders in the root are looked at, not deeper ones. A file that is not a verification's counts as not there.

    Args:
        root: The folder; need not exist.

    Returns:
        The verifications; and what was skipped, one line a file.
    """
    found: dict[tuple[str, str], Verification] = {}
    skipped = []
    for path in sorted(root.glob(f"*/{VERDICTS}"), key=lambda path: path.stat().st_mtime):
        try:
            found |= _read(path)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            skipped.append(
                f"{path}: is not what `ansatz verify` writes ({type(error).__name__}: {error}); if an older version "
                f"wrote it, `ansatz report {path.parent}` writes it again."
            )
    return found, tuple(skipped)


def _read(path: Path) -> dict[tuple[str, str], Verification]:
    record, request = (json.loads(file.read_bytes()) for file in (path, path.with_name(REQUEST)))
    findings = tuple(
        (tuple(str(row[name]) for name in ("claim", "statement", "statistic", "threshold")), str(row["outcome"]))
        for row in record["findings"]
    )
    return {
        (str(record["law"]), key): Verification(
            folder=str(path.parent),
            data=str(record["data"]),
            budget=str(request["budget"]),
            runs=int(cost["runs"]),
            seconds=float(cost["seconds"]),
            findings=findings,
        )
        for key, cost in record["chapters"].items()
    }


def matrix(laws: Sequence[Law], verifications: Verifications) -> tuple[Entry, ...]:
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
        _entry(law, chapter, claim, verifications.get((law.key, chapter.key)))
        for law in laws
        for chapter in law.chapters
        for claim in chapter.claims
    )


def _entry(law: Law, chapter: Chapter, claim: Claim, found: Verification | None) -> Entry:
    definition = (claim.key, claim.statement, claim.statistic, str(claim.threshold))
    told = Entry(law.key, chapter.key, claim.key, chapter.title, *definition[1:], role=claim.role)
    if found is None:
        return told
    outcomes = [outcome for judged, outcome in found.findings if judged == definition]
    known = any(judged[0] == claim.key for judged, _ in found.findings)
    return replace(
        told,
        verdict=_worst(outcomes) if outcomes else CHANGED if known else NOT_RUN,
        holding=outcomes.count("HOLDS"),
        conditions=len(outcomes),
        runs=found.runs,
        seconds=found.seconds,
        data=found.data,
        budget=found.budget,
        folder=found.folder,
    )


def _worst(outcomes: Sequence[str]) -> str:
    return next((word for word in ("FAILS", "INCONCLUSIVE") if word in outcomes), "HOLDS")
