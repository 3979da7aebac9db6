"""Render the runs of a store, of a sweep or of a recorded training, as one HTML file that needs nothing else."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import pyarrow as pa
import pyarrow.compute as pc

from ansatzlab.laws.runs import Row
from ansatzlab.report.labels import NAMED_BY, Label, labels_of, name_of, write_label
from ansatzlab.report.live.runs import live_runs
from ansatzlab.report.settings import REPETITIONS, order_of
from ansatzlab.report.templates import render
from ansatzlab.report.verdicts import MISSING, format_spread, format_value
from ansatzlab.store.schema import STATUSES

GROUPS = 60
"""No more groups of runs than this are told apart in the table."""

MESSAGES = 20
"""No more different messages than this are shown."""

RECORDING = "recording"
"""The task of a recorded training's runs."""

_SHOWN_RUNS = 3  # ids beside a message
_LONGEST = 2000  # characters of a message
_ORDER = ("experiment", "data", "depth", "optimizer", "weight_decay", "init", "init.scale", "learning_rate")


@dataclass(frozen=True)
class Heading:
    """What a page of runs is about.

    Attributes:
        title: The heading.
        says: What is shown, in a sentence.
        asked_title: What the list of settings is called.
        asked: Settings by name, as JSON has them; may be empty.
        planned: The runs' ids in the order in which they were planned; empty if that is not known.
        command: The command that makes the runs again; empty if there is none.
        exponent: The exponent at which the live section opens; None for each layer's own, where it has one.
    """

    title: str
    says: str
    asked_title: str
    asked: Mapping[str, object]
    planned: tuple[str, ...] = ()
    command: str = ""
    exponent: float | None = None


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        run_id: The run.
        labels: What it was.
        status: How it ended.
        error: Why, if it did not finish.
        loss: The loss at its last snapshot; None if there is none.
        moments: Of a recording, which has failures at single moments: how many were to be measured; else 0.
        measured: How many of them were.
        failures: What failed in them, each with the moment's name.
    """

    run_id: str
    labels: Mapping[str, Label]
    status: str
    error: str
    loss: float | None
    moments: int = 0
    measured: int = 0
    failures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Trouble:
    """Runs, or moments of recordings, that did not finish for one reason.

    Attributes:
        status: How they ended.
        message: Why.
        runs: How many.
        examples: Some of their names.
    """

    status: str
    message: str
    runs: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """The runs by their settings.

    Attributes:
        title: What they are told apart by.
        note: What they are not told apart by; empty if by everything.
        header: The columns' names.
        rows: The groups.
        settings: How many of the columns, the first, are settings; the others are numbers.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    settings: int


def render_runs(table: pa.Table, heading: Heading, facts: Mapping[str, str]) -> str:
    """Render how the runs ended, the live section, the runs by their settings, what failed and the provenance.

    Conventions:
        Runs are shown in groups, never one by one, and large stores are sampled for the live section, which says so.
        Everything that comes from the records is escaped, and a content security policy in the page forbids it to load
        anything.

    Args:
        table: Rows as the store returns them.
        heading: What the page is about.
        facts: Provenance, name to value, in the order to be shown.

    Returns:
        A whole HTML document, to be written as UTF-8.

    Cost:
        About 5 MB, and up to 4 MB more for thousands of runs.
    """
    ended = ends(table)
    return render(
        "sweep.html",
        shown=[],
        facts=facts,
        live=live_runs(table, planned=heading.planned, exponent=heading.exponent, command=heading.command),
        heading=heading,
        asked={name: _as_text(value) for name, value in heading.asked.items()},
        tally=tally_runs(ended),
        missing=len(set(heading.planned) - {run.run_id for run in ended}),
        failed=sum(run.status == "failed" for run in ended),
        summary=summarise(ended),
        recorded=any(run.moments for run in ended),
        troubles=troubles(ended)[:MESSAGES],
        further=max(0, len(troubles(ended)) - MESSAGES),
    )


def ends(table: pa.Table) -> tuple[Ended, ...]:
    """Return how every run of a store ended, by id.

    Args:
        table: Rows as the store returns them, sorted.
    """
    last = {run_id: place for place, run_id in enumerate(table["run_id"].to_pylist())}
    columns = ["run_id", "status", "error", "loss", *NAMED_BY]
    rows = table.select(columns).take(pa.array(list(last.values()), pa.int64())).to_pylist()
    return tuple(_recorded(_ended(row), table) if _is_recording(row) else _ended(row) for row in rows)


def tally_runs(ended: Sequence[Ended]) -> str:
    """Say how many runs there are and how they ended.

    Example:
        >>> tally_runs([])
        'no runs'
    """
    counts = Counter(run.status for run in ended)
    if not ended:
        return "no runs"
    told = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES if counts[status])
    runs = f"{len(ended):,} run{'' if len(ended) == 1 else 's'}: {told}"
    moments, measured = sum(run.moments for run in ended), sum(run.measured for run in ended)
    if not moments:
        return runs
    failed = f", {moments - measured:,} failed" if measured < moments else ""
    return f"{runs}; {measured:,} of {moments:,} moments measured{failed}"


def summarise(ended: Sequence[Ended]) -> Summary:
    """Put the runs into no more than `GROUPS` groups, by the settings that are asked for first.

    Args:
        ended: The runs.

    Returns:
        The groups, with how their runs ended and the median and range of the loss.
    """
    names = dict.fromkeys(name for run in ended for name in run.labels)
    varying = [name for name in names if len({run.labels.get(name) for run in ended}) > 1]
    order = [name for name in _ORDER if name in varying]
    order += [name for name in varying if name not in order and name not in REPETITIONS]
    by: list[str] = []
    for name in order:  # a setting that says nothing new is left out; the first that says too much is the end
        before, after = (len({_key(run, names) for run in ended}) for names in (by, [*by, name]))
        if after > GROUPS:
            break
        by += [name] * (after > before)
    groups: dict[tuple[Label, ...], list[Ended]] = {}
    for run in ended:
        groups.setdefault(_key(run, by), []).append(run)
    left = [name_of(name) for name in varying if len({_key(run, [*by, name]) for run in ended}) > len(groups)]
    return Summary(
        title=f"Runs by {', '.join(map(name_of, by))}" if by else "Runs",
        note=f"Together in a row: runs that differ in {', '.join(left)} only." if left else "",
        header=(*map(name_of, by), "runs", *STATUSES, "loss: median", "loss: smallest to largest"),
        rows=tuple(_row(key, groups[key]) for key in sorted(groups, key=lambda key: [order_of(part) for part in key])),
        settings=len(by),
    )


def troubles(ended: Sequence[Ended]) -> tuple[Trouble, ...]:
    """Return why runs did not finish and moments were not measured, the most frequent reason first."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for run in ended:
        for moment, message in run.failures:
            reasons.setdefault(("failed", message[:_LONGEST]), []).append(f"{run.run_id}, {moment}")
        if run.status != "finished" and not run.failures:
            reasons.setdefault((run.status, run.error[:_LONGEST]), []).append(run.run_id)
    found = [Trouble(*reason, len(runs), tuple(runs[:_SHOWN_RUNS])) for reason, runs in reasons.items()]
    return tuple(sorted(found, key=lambda trouble: (-trouble.runs, trouble.status, trouble.message)))


def _ended(row: Row) -> Ended:
    loss = row["loss"]
    return Ended(
        run_id=str(row["run_id"]),
        labels=labels_of(row),
        status=str(row["status"]),
        error=str(row["error"] or ""),
        loss=loss if isinstance(loss, float) else None,
    )


def _is_recording(row: Row) -> bool:
    spec = json.loads(str(row["spec"]))
    return isinstance(spec, dict) and spec.get("task") == RECORDING


def _recorded(run: Ended, table: pa.Table) -> Ended:
    """Return how a recording ended: it finished if a moment was measured, whatever failed at others."""
    rows = table.filter(pc.equal(table["run_id"], run.run_id)).select(["snapshot", "step", "layer", "status", "error"])
    moments, measured = set(), set()
    failures = []
    for row in rows.to_pylist():
        moments.add(row["snapshot"])
        if row["status"] == "finished":
            measured.add(row["snapshot"])
        else:
            layer = "" if row["layer"] is None else f"layer {row['layer']}: "
            failures.append((f"step {row['step']}", f"{layer}{row['error'] or ''}"))
    ended = ("finished", "") if measured else (run.status, run.error)
    return replace(
        run, status=ended[0], error=ended[1], moments=len(moments), measured=len(measured), failures=tuple(failures)
    )


def _key(run: Ended, names: Sequence[str]) -> tuple[Label, ...]:
    return tuple(run.labels.get(name) for name in names)


def _row(key: tuple[Label, ...], runs: Sequence[Ended]) -> tuple[str, ...]:
    counts = Counter(run.status for run in runs)
    losses = [run.loss for run in runs if run.loss is not None and run.status == "finished"]
    middle, spread = MISSING, MISSING
    if losses:
        middle, spread = format_value(median(losses)), format_spread(min(losses), max(losses))
    return (*map(write_label, key), str(len(runs)), *(str(counts[status]) for status in STATUSES), middle, spread)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
