"""What every extension must satisfy: a law, an executor."""

import os
import re
import signal
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc

from ansatzlab.errors import InputError, UnknownNameError, WorkerLostError
from ansatzlab.laws.judge import controls, judge_claim
from ansatzlab.laws.law import BUDGETS, Chapter, Law
from ansatzlab.laws.runs import RunTable
from ansatzlab.sweeps.batch import Batch
from ansatzlab.sweeps.executors import Executor
from ansatzlab.sweeps.run import Rows
from ansatzlab.sweeps.spec import RunSpec


def check_law(law: Law) -> None:
    """Raise unless a law keeps the contract of the interface.

    Its planted tables are judged as planted; its claims, chapters and figures have distinct keys; every budget plans
    distinct runs with at least three seeds, and the full one has every chapter; an unknown setting is refused by name;
    figures can be drawn of full, of empty and of interrupted tables; its folder has READMEs that name every claim.

    Args:
        law: The law.

    Raises:
        AssertionError: Saying what is broken.
    """
    for finding in controls(law):
        assert finding.outcome == "HOLDS", f"{law.key}: {finding.condition}: {finding.reason}"
    for what, keys in _keys(law).items():
        assert len(set(keys)) == len(keys), f"{law.key}: {what} share a key: {keys}"
    for budget in BUDGETS:
        specs = law.plan(budget, "digits", {}) if law.within(budget).chapters else ()
        assert len({spec.run_id for spec in specs}) == len(specs), f"{law.key}: {budget} plans a run twice"
        assert not specs or len({spec.seed for spec in specs}) >= 3, f"{law.key}: {budget} has fewer than three seeds"
    assert law.within("full") == law, f"{law.key}: the full budget lacks a chapter"
    refusal = _refusal(law, {"no_such_setting": 1})
    assert "no_such_setting" in refusal, f"{law.key}: an unknown setting is not refused by name: {refusal!r}"
    for chapter in law.chapters:
        truth = chapter.planted(True)
        assert chapter.figures(RunTable(truth)), (
            f"{law.key}: no figure of the chapter {chapter.key} is drawn of its planted table"
        )
        chapter.figures(RunTable(truth.slice(0, 0)))
        _survives_interruptions(law, chapter, truth)
    readme = "".join(path.read_text(encoding="utf-8") for path in _readmes(law))
    missing = [claim.key for claim in law.claims if not _names(readme, claim.key)]
    assert not missing, f"{law.key}: its READMEs do not name the claims {missing}"


def _keys(law: Law) -> dict[str, list[str]]:
    figures = [figure.key for chapter in law.chapters for figure in chapter.figures(RunTable(chapter.planted(True)))]
    return {
        "claims": [claim.key for claim in law.claims],
        "chapters": [chapter.key for chapter in law.chapters],
        "figures": figures,
    }


def _survives_interruptions(law: Law, chapter: Chapter, truth: pa.Table) -> None:
    """Judge and draw what a sweep that was interrupted leaves: some runs, whichever came first."""
    runs = sorted(set(truth["run_id"].to_pylist()))
    for kept in (runs[::2], runs[1::2], runs[: len(runs) // 4]):
        table = RunTable(truth.filter(pc.is_in(truth["run_id"], pa.array(kept, pa.string()))))
        try:
            chapter.figures(table)
            for claim in chapter.claims:
                judge_claim(claim, table)
        except Exception as error:
            raise AssertionError(f"{law.key}: an interrupted sweep of {chapter.key} cannot be read: {error}") from error


def _names(text: str, key: str) -> bool:
    """Whether a text has a claim's key, and not as a part of another."""
    return re.search(rf"(?<![\w.-]){re.escape(key)}(?![\w-])", text) is not None


def _readmes(law: Law) -> list[Path]:
    folder = Path(str(files("ansatzlab.laws") / law.key))
    return sorted(folder.rglob("README.md"))


def check_executor(executor: Executor, specs: Sequence[RunSpec], *, has_workers: bool = True) -> None:
    """Raise unless an executor keeps what `ansatzlab.sweeps.executors.Executor` promises.

    Args:
        executor: The executor. Its workers see the files of this machine.
        specs: At least three specs, distinct.
        has_workers: Whether it works in other processes, so that one may be killed.

    Raises:
        AssertionError: Saying what is broken.
    """
    assert list(executor(_work, [])) == [], "an executor must accept no batches"
    with TemporaryDirectory() as folder:
        deaths = (f"die once {folder}/died", "die") if has_workers else ()
        odd = [Batch((_told(specs[0], what),)) for what in ("raise", *deaths)]
        batches = [Batch(tuple(specs[:2])), *odd, *(Batch((spec,)) for spec in specs[2:])]
        handed = list(executor(_work, batches))
    got = {batch.run_ids: result for batch, result in handed}
    missing = [batch.specs[0].experiment for batch in batches if batch.run_ids not in got]
    assert not missing, f"every batch must come back exactly once, these did not at all: {missing}"
    assert len(handed) == len(batches), f"every batch must come back exactly once; {len(handed)} did of {len(batches)}"
    for batch in batches:
        _check_result(batch, got[batch.run_ids])
    interrupting = [Batch((_told(specs[0], "interrupt"),))]
    assert _interrupted(executor, interrupting), "an interrupt in the work must pass through the executor"
    results = executor(_work, [Batch((spec,)) for spec in specs])
    next(results)
    results.close()
    assert list(results) == [], "an executor must be able to be closed before its end"


def _check_result(batch: Batch, result: Rows | Exception) -> None:
    told = batch.specs[0].experiment
    if told == "raise":
        error = f"{type(result).__name__}: {result}"
        assert isinstance(result, Exception), f"what the work raises must come back as its batch's result, not {error}"
        assert error == "RuntimeError: UnknownNameError: unknown thing 'x'. Known: y.", (
            f"another error came back: {error}"
        )
    elif told == "die":
        assert isinstance(result, WorkerLostError), f"a batch that kills its workers must be lost, not {result}"
    else:
        why = "must be tried once more" if told.startswith("die once") else "must give its rows"
        assert result == _rows(batch), f"the batch {told!r} {why}: {result}"


def _interrupted(executor: Executor, batches: Sequence[Batch]) -> bool:
    try:
        list(executor(_work, batches))
    except KeyboardInterrupt:
        return True
    return False


def _told(spec: RunSpec, what: str) -> RunSpec:
    return RunSpec.model_validate({**spec.model_dump(), "experiment": what})  # a copy would keep the id


def _work(batch: Batch) -> Rows:
    """Do what the batch's experiment says: raise, interrupt, die; or return rows."""
    match batch.specs[0].experiment.split():
        case ["raise"]:
            raise UnknownNameError("thing", "x", "y")  # it cannot be unpickled
        case ["interrupt"]:
            raise KeyboardInterrupt
        case ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["die", "once", path] if not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return _rows(batch)


def _rows(batch: Batch) -> Rows:
    return [{"run_id": spec.run_id, "seed": spec.seed} for spec in batch.specs]


def _refusal(law: Law, settings: dict[str, object]) -> str:
    try:
        law.plan("full", "digits", settings)
    except InputError as error:
        return str(error)
    return ""
