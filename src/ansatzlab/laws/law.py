"""What a law is: claims with statistics and thresholds, judged from a table of runs by pure functions.

A law never runs by itself. It *plans* specs, the sweep runs them, the store keeps them, and
`ansatzlab.laws.judge` reads the table, so that judging can be tested with planted tables.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import pyarrow as pa

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.laws.figure import Exhibit
from ansatzlab.laws.runs import RunTable
from ansatzlab.store.schema import unite
from ansatzlab.sweeps.spec import Frozen, Spec

Budget = Literal["quick", "full"]
BUDGETS: tuple[Budget, ...] = ("quick", "full")
Role = Literal["claim", "control", "tautology"]


@dataclass(frozen=True)
class Threshold:
    """The interval in which a claim's statistic must lie; both ends belong to it.

    Attributes:
        low: Its lower end.
        high: Its upper end.
    """

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        """Whether a value lies in the interval; nan never does."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        """Write the interval as a condition: ``≤ 1e-09``, ``≥ 0.1`` or ``in [0.9, 1.1]``."""
        if self.low == -math.inf:
            return f"≤ {self.high:g}"
        return f"≥ {self.low:g}" if self.high == math.inf else f"in [{self.low:g}, {self.high:g}]"


@dataclass(frozen=True)
class Sample:
    """A claim's statistic in one run (or one seed's family of runs).

    Attributes:
        condition: What distinguishes the runs that are judged together, for example ``L = 3``.
        seed: The seed.
        value: The statistic; nan where it has none.
        reason: Why it has none, in words: ``collapsed: …``.
        applies: Whether the claim speaks of this run (see `ansatzlab.laws.reading.Absent`).
    """

    condition: str
    seed: int
    value: float
    reason: str = ""
    applies: bool = True


Reader: TypeAlias = Callable[[RunTable], Sequence[Sample]]
"""Reads a claim's statistic out of a table of runs; `ansatzlab.laws.reading` makes such."""


@dataclass(frozen=True)
class Claim:
    """One checkable statement of a law.

    Attributes:
        key: Its short name, for example ``A.error``.
        statement: What the paper (or our reading of it) says.
        statistic: What is computed, as a formula.
        threshold: Where the statistic must lie.
        samples: Reads the statistic of every run out of the table; a pure function.
        role: A ``claim`` counts towards the outcome; a ``control`` and a ``tautology`` are shown and do not.
    """

    key: str
    statement: str
    statistic: str
    threshold: Threshold
    samples: Reader
    role: Role = "claim"


@dataclass(frozen=True)
class Chapter:
    """A part of a law: its experiments, its claims, its figures.

    Attributes:
        key: Its short name, for example ``linear``; `ansatz verify LAW --only KEY` runs it alone.
        title: What it is about.
        claims: What is judged.
        designs: The settings of its experiments for each budget that has any; their fields are what a user may change.
        plan: The runs that test it: ``(design, data)`` to specs.
        figures: What the report shows, from the table of runs; what the table has no runs for is left out.
        planted: A table in which every claim is true (True) or false (False), to test the judging.
    """

    key: str
    title: str
    claims: tuple[Claim, ...]
    designs: Mapping[Budget, Frozen]
    plan: Callable[..., tuple[Spec, ...]]
    figures: Callable[[RunTable], tuple[Exhibit, ...]]
    planted: Callable[[bool], pa.Table]


@dataclass(frozen=True)
class Law:
    """A published law.

    Attributes:
        key: ``authorYEARword``: folder, id, BibTeX key and test name.
        title: The paper's title.
        authors: Its authors.
        source: Where it appeared.
        url: Where it can be read.
        summary: The law in one sentence.
        chapters: Its parts, in the order of the report.
    """

    key: str
    title: str
    authors: str
    source: str
    url: str
    summary: str
    chapters: tuple[Chapter, ...]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims of all chapters."""
        return tuple(claim for chapter in self.chapters for claim in chapter.claims)

    def settings(self, budget: Budget = "quick") -> dict[str, object]:
        """Return what a user may change about the experiments of a budget, with its values.

        A name that several chapters have is changed in all of them, unless it is written ``chapter.name``; the value
        is that of the first.
        """
        found: dict[str, object] = {}
        for chapter in reversed(self.within(budget).chapters):
            found |= chapter.designs[budget].model_dump(mode="json")
        return found

    def within(self, budget: Budget, only: Collection[str] = ()) -> "Law":
        """Return the law of the chapters that a budget has experiments for, or of those among them that are named.

        Raises:
            UnknownNameError: If a name is no chapter of the law.
            InputError: If the budget has no experiments for a chapter that is named.
        """
        for name in only:
            if name not in (chapter.key for chapter in self.chapters):
                raise UnknownNameError(f"chapter of {self.key}", name, [chapter.key for chapter in self.chapters])
        having = tuple(chapter for chapter in self.chapters if budget in chapter.designs)
        missing = [name for name in only if name not in (chapter.key for chapter in having)]
        if missing:
            raise InputError(
                f"{self.key}: the {budget} budget has no experiments for {', '.join(missing)}; wanted one that has; "
                "use --full."
            )
        return replace(self, chapters=tuple(chapter for chapter in having if not only or chapter.key in only))

    def plan(self, budget: Budget, data: str, settings: Mapping[str, object]) -> tuple[Spec, ...]:
        """Return every run that the claims need within a budget (see `plan_chapters`)."""
        return tuple(spec for specs in self.plan_chapters(budget, data, settings).values() for spec in specs)

    def plan_chapters(self, budget: Budget, data: str, settings: Mapping[str, object]) -> dict[str, tuple[Spec, ...]]:
        """Return every run that the claims need within a budget, by chapter.

        Args:
            budget: The budget.
            data: The data set.
            settings: Changes to the chapters' designs, by name, or of one chapter by ``chapter.name``.

        Returns:
            The specs of each chapter that the budget has experiments for, by its key.

        Raises:
            InputError: If a setting is unknown or has a value it cannot have, or the data are not usable.
        """
        chapters = self.within(budget).chapters
        named = {f"{chapter.key}.{name}" for chapter in chapters for name in type(chapter.designs[budget]).model_fields}
        known = self.settings(budget)
        unknown = next((name for name in settings if name not in known and name not in named), None)
        if unknown is not None:
            raise UnknownNameError(f"setting of {self.key}", unknown, known)
        specs = {}
        for chapter in chapters:
            design = chapter.designs[budget]
            fields = type(design).model_fields
            changed = {name: settings[name] for name in fields if name in settings}
            own = {name: settings[f"{chapter.key}.{name}"] for name in fields if f"{chapter.key}.{name}" in settings}
            wanted = design.parse({**design.model_dump(), **changed, **own}, where=self.key)
            specs[chapter.key] = chapter.plan(wanted, data)
        return specs

    def planted(self, truth: bool) -> pa.Table:
        """Return the chapters' planted tables as one."""
        return unite(chapter.planted(truth) for chapter in self.chapters)
