"""What every extension must satisfy: a law, an executor."""

from collections.abc import Sequence
from importlib.resources import files

from ansatzlab.errors import InputError
from ansatzlab.laws.law import Law, controls
from ansatzlab.sweeps.batch import Batch
from ansatzlab.sweeps.executors import Executor
from ansatzlab.sweeps.run import Rows
from ansatzlab.sweeps.spec import RunSpec


def check_law(law: Law) -> None:
    """Raise unless a law keeps the contract of the interface.

    Its planted tables are judged as planted; its claims have distinct keys; both budgets plan distinct runs with at
    least three seeds; an unknown setting is refused by name; figures can be drawn of full and of empty tables; its
    folder has a README that names every claim.

    Args:
        law: The law.

    Raises:
        AssertionError: Saying what is broken.
    """
    for finding in controls(law):
        assert finding.outcome == "HOLDS", f"{law.key}: {finding.condition}: {finding.reason}"
    keys = [claim.key for claim in law.claims]
    assert len(set(keys)) == len(keys), f"{law.key}: claims share a key: {keys}"
    for budget in ("quick", "full"):
        specs = law.plan(budget, "digits", {})
        assert len({spec.run_id for spec in specs}) == len(specs), f"{law.key}: {budget} plans a run twice"
        assert len({spec.seed for spec in specs}) >= 3, f"{law.key}: {budget} has fewer than three seeds"
    refusal = _refusal(law, {"no_such_setting": 1})
    assert "no_such_setting" in refusal, f"{law.key}: an unknown setting is not refused by name: {refusal!r}"
    truth = law.planted(True)
    assert law.figures(truth), f"{law.key}: no figure is drawn of the planted table"
    law.figures(truth.slice(0, 0))
    readme = (files("ansatzlab.laws") / law.key / "README.md").read_text(encoding="utf-8")
    missing = [key for key in keys if key not in readme]
    assert not missing, f"{law.key}: its README does not name the claims {missing}"


def check_executor(executor: Executor, specs: Sequence[RunSpec]) -> None:
    """Raise unless an executor hands every batch back once with the rows that running it gives.

    Args:
        executor: The executor.
        specs: A few specs, distinct.

    Raises:
        AssertionError: Saying what is broken.
    """
    batches = [Batch(tuple(specs[:2])), *(Batch((spec,)) for spec in specs[2:])]
    handed = list(executor(_echo, batches))
    assert len(handed) == len(batches), f"{len(handed)} batches came back of {len(batches)}: each exactly once"
    got = {batch.run_ids: result for batch, result in handed}
    assert got == {batch.run_ids: _echo(batch) for batch in batches}, "an executor must run every batch exactly once"
    assert list(executor(_echo, [])) == [], "an executor must accept no batches"


def _refusal(law: Law, settings: dict[str, object]) -> str:
    try:
        law.plan("quick", "digits", settings)
    except InputError as error:
        return str(error)
    return ""


def _echo(batch: Batch) -> Rows:
    return [{"run_id": spec.run_id, "seed": spec.seed} for spec in batch.specs]
