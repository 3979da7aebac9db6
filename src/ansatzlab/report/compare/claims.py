"""Which verdicts of two verifications differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Findings = Sequence[Mapping[str, object]]
"""The findings of a verification, as its ``verdicts.json`` has them."""


@dataclass(frozen=True)
class ClaimChange:
    """A claim of a verification under one condition.

    Attributes:
        claim: Its key.
        condition: The condition.
        first: The first's verdict; empty where it has none.
        second: The second's.
        first_value: The first's value; nan where it has none.
        second_value: The second's.
    """

    claim: str
    condition: str
    first: str
    second: str
    first_value: float
    second_value: float


def claim_changes(first: Findings, second: Findings) -> tuple[tuple[ClaimChange, ...], int]:
    """Compare findings of one claim under one condition.

    Args:
        first: The findings of a verification.
        second: Those of another.

    Returns:
        Those whose verdicts differ, or of which one has none, in the order of the first; and how many do not differ.

    Example:
        >>> row = {"claim": "A.error", "condition": "L = 2", "outcome": "HOLDS", "value": 1e-14}
        >>> claim_changes([row], [row | {"outcome": "FAILS", "value": 0.5}])[0][0].second
        'FAILS'
    """
    known = [{(str(row.get("claim")), str(row.get("condition"))): row for row in rows} for rows in (first, second)]
    changes = []
    for claim, condition in dict.fromkeys((*known[0], *known[1])):
        one, other = (rows.get((claim, condition), {}) for rows in known)
        told = str(one.get("outcome", "")), str(other.get("outcome", ""))
        values = _number(one.get("value")), _number(other.get("value"))
        changes.append(ClaimChange(claim, condition, told[0], told[1], values[0], values[1]))
    differing = tuple(change for change in changes if change.first != change.second)
    return differing, len(changes) - len(differing)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
