"""`verify`: a law, its sweep and its report in one call."""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from ansatzlab.atomic import write_atomically
from ansatzlab.errors import StoreError
from ansatzlab.laws.figure import Exhibit
from ansatzlab.laws.judge import Finding, Outcome, controls, judge, overall
from ansatzlab.laws.law import Budget, Law
from ansatzlab.laws.registry import get_law
from ansatzlab.laws.runs import RunTable
from ansatzlab.report.figures.exhibits import Shown, save_exhibit
from ansatzlab.report.live.runs import live_runs
from ansatzlab.report.page import render_page
from ansatzlab.store.parquet import Store
from ansatzlab.store.provenance import provenance
from ansatzlab.store.schema import STATUSES
from ansatzlab.sweeps.executors import Executor, serial
from ansatzlab.sweeps.spec import Frozen
from ansatzlab.sweeps.sweep import Progress, sweep

REQUEST = "verification"
"""The side file of a store that says what was asked for, so that the report can be made again."""


class Request(Frozen):
    """What was asked for, kept beside the runs.

    Attributes:
        law: The law's key.
        budget: The budget.
        data: The data set.
        settings: The changed settings.
        only: The chapters that were asked for; empty for all of them.
        runs: The ids of the planned runs.
        chapters: The same by chapter; empty in folders of earlier versions.
    """

    law: str
    budget: Budget
    data: str
    settings: dict[str, object]
    only: tuple[str, ...] = ()
    runs: tuple[str, ...]
    chapters: Annotated[dict[str, tuple[str, ...]], Field(default_factory=dict)]


@dataclass(frozen=True)
class Report:
    """The outcome of verifying a law.

    Attributes:
        law: The law.
        data: The data set.
        findings: The verdicts, one per claim and condition.
        table: The runs they were read from.
        folder: Where the runs, the verdicts and the figures are.
        page: The HTML report.
        costs: For each chapter how many runs it has and their seconds of computing.
    """

    law: Law
    data: str
    findings: tuple[Finding, ...]
    table: pa.Table
    folder: Path
    page: Path
    costs: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        """The outcome of the whole: FAILS if any counting verdict fails, HOLDS if all hold, else INCONCLUSIVE."""
        return overall(self.findings)

    def to_dict(self) -> dict[str, object]:
        """Return the verdicts as what JSON can hold; a missing number is None."""
        return {
            "law": self.law.key,
            "data": self.data,
            "outcome": self.outcome,
            "findings": [_without_nan(asdict(finding)) for finding in self.findings],
            "chapters": {key: {"runs": runs, "seconds": seconds} for key, (runs, seconds) in self.costs.items()},
            "folder": str(self.folder),
            "page": str(self.page),
        }


def verify(
    law: str,
    *,
    budget: Budget = "quick",
    data: str = "digits",
    out: Path | str | None = None,
    settings: Mapping[str, object] | None = None,
    only: Sequence[str] = (),
    executor: Executor = serial,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Verify a published law: run its experiments, judge its claims, write the report.

    Finished runs are kept in the output folder as they come. Called again with the same arguments, it runs only what is
    missing, so nothing is lost to an interruption.

    Args:
        law: The law's key, for example ``"tansley2025nfa"``.
        budget: ``"quick"`` for minutes, ``"full"`` for the whole.
        data: A data set of `ansatzlab.data.registry`, or the path of an ``.npz`` file with ``inputs`` and ``targets``.
        out: The output folder; by default ``runs/<law>-<data>-<budget>``.
        settings: Changes to the law's experiments, by name (`ansatz laws LAW` lists them).
        only: Chapters of the law, by their keys, if not all that the budget has experiments for.
        executor: How the runs are executed.
        progress: Told after every run.

    Returns:
        The report; its page is ``report.html`` in the output folder.

    Raises:
        InputError: If the law, a chapter, the data or a setting is unknown or not usable.
        StoreError: If the output folder cannot be used.

    Example:
        >>> import tempfile
        >>> settings = {"seeds": 0, "depths": 3, "unbalanced_depths": 2, "flow_time": 2, "descent_time": 1}
        >>> settings |= {"weight_decays": 1}
        >>> with tempfile.TemporaryDirectory() as out:
        ...     report = verify("tansley2025nfa", data="linnerud", out=out, only=["linear"], settings=settings)
        >>> finding = report.findings[0]
        >>> finding.claim, finding.condition, finding.value < 1e-13
        ('A.error', 'L = 3', True)
        >>> finding.outcome, finding.reason    # one seed shows no spread
        ('INCONCLUSIVE', 'seeds with a value: 1; wanted: 3')
    """
    chosen = get_law(law).within(budget, only)
    changed = dict(settings or {})
    planned = chosen.plan_chapters(budget, data, changed)
    specs = [spec for part in planned.values() for spec in part]
    folder = Path(out) if out is not None else Path("runs") / f"{chosen.key}-{Path(data).stem}-{budget}"
    store = Store.open(folder)
    runs = tuple(spec.run_id for spec in specs)
    chapters = {key: tuple(spec.run_id for spec in part) for key, part in planned.items()}
    request = Request(
        law=law, budget=budget, data=data, settings=changed, only=tuple(only), runs=runs, chapters=chapters
    )
    store.write_json(REQUEST, request.model_dump(mode="json"))
    table = sweep(specs, store=store, executor=executor, progress=progress)
    return _write(request, table, store)


def rebuild(folder: Path | str) -> Report:
    """Judge the runs that a folder holds and write its report again, without running anything.

    Args:
        folder: An output folder of `verify`, finished or interrupted.

    Returns:
        The report.

    Raises:
        InputError: If the record of what was asked for is damaged.
        StoreError: If the folder is not one.
    """
    path = Path(folder)
    if not path.is_dir():
        raise StoreError(f"{path}: there is no such folder; wanted one that `ansatz verify` wrote; check the path.")
    if not (path / f"{REQUEST}.json").is_file():
        raise StoreError(f"{path}: is not an output folder of `ansatz verify`; wanted one; check the path.")
    store = Store.open(path)
    kept = store.read_json(REQUEST)
    request = Request.parse(kept if isinstance(kept, dict) else {}, where=f"{path / REQUEST}.json")
    return _write(request, store.table(request.runs), store)


def _write(request: Request, table: pa.Table, store: Store) -> Report:
    law = get_law(request.law).within(request.budget, request.only)
    runs = RunTable(table)
    findings = (*judge(law, runs), *controls(law))
    exhibits = [
        Shown(exhibit, _command(request, store.folder, (chapter.key,)))
        for chapter in law.chapters
        for exhibit in chapter.figures(runs)
    ]
    page = store.folder / "report.html"
    costs = {key: _cost(table, runs) for key, runs in request.chapters.items()}
    report = Report(law, request.data, findings, table, store.folder, page, costs)
    _write_figures([shown.exhibit for shown in exhibits], store.folder / "figures")
    facts = {
        "command": _command(request, store.folder, request.only),
        "data": request.data,
        "runs": _counts(table),
        **provenance(),
    }
    live = live_runs(table, planned=request.runs, score="residual", command=facts["command"])
    write_atomically(page, render_page(law, findings, exhibits, facts, live).encode())
    store.write_json("verdicts", report.to_dict())
    return report


def _write_figures(exhibits: Sequence[Exhibit], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for exhibit in exhibits:
        save_exhibit(exhibit, folder)


def _command(request: Request, folder: Path, chapters: Sequence[str]) -> str:
    only = "".join(f" --only {key}" for key in chapters)
    changes = "".join(f" --set '{name}={json.dumps(value)}'" for name, value in request.settings.items())
    return f"ansatz verify {request.law} --{request.budget} --data {request.data}{only}{changes} --out {folder}"


def _cost(table: pa.Table, run_ids: Collection[str]) -> tuple[int, float]:
    """Return how many of the runs there are, and their seconds of computing."""
    found = table.filter(pc.is_in(table["run_id"], pa.array(run_ids, pa.string())))
    runs = found.group_by("run_id").aggregate([("wall_seconds", "max")])
    return runs.num_rows, pc.sum(runs["wall_seconds_max"]).as_py() or 0.0


def _counts(table: pa.Table) -> str:
    """Say how many runs there are, how many of them did not finish, and what they cost."""
    runs = table.group_by(["run_id", "status"]).aggregate([("wall_seconds", "max")])
    counts = {status: pc.sum(pc.equal(runs["status"], status)).as_py() or 0 for status in STATUSES}
    seconds = pc.sum(runs["wall_seconds_max"]).as_py() or 0.0
    return ", ".join(f"{count} {status}" for status, count in counts.items()) + f"; {seconds:.0f} s of computing"


def _without_nan(values: dict[str, object]) -> dict[str, object]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
