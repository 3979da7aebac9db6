"""`sweep`: execute specs, keep what they give, and never repeat a finished run."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from ansatzlab.errors import InputError
from ansatzlab.store.parquet import Store
from ansatzlab.sweeps.batch import Batch, plan_batches, run_batch
from ansatzlab.sweeps.executors import Executor, serial
from ansatzlab.sweeps.run import Rows, with_outcome
from ansatzlab.sweeps.spec import Spec


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes:
        done: Runs that need not be run any more, those of earlier calls included.
        total: All runs.
        resumed: Runs that an earlier call had finished.
        failed: Runs of this call that failed.
        diverged: Runs of this call that diverged.
    """

    done: int
    total: int
    resumed: int
    failed: int = 0
    diverged: int = 0


def sweep(
    specs: Sequence[Spec],
    *,
    store: Store,
    executor: Executor = serial,
    batch_size: int = 64,
    progress: Callable[[Progress], None] = lambda _: None,
) -> pa.Table:
    """Run every spec that the store does not hold yet and return the table of all of them.

    Runs that can be trained as one stacked network are (see `ansatzlab.sweeps.batch`); a batch is written as one file.
    A run that diverges or raises is recorded as such, with its message, and the sweep goes on. Runs that *failed* in an
    earlier call are tried again; finished and diverged ones are not.

    Args:
        specs: The runs, at least one; repeated ones count once.
        store: Where finished runs are kept.
        executor: How they are executed.
        batch_size: How many runs are trained as one, at most.
        progress: Told after every batch, and once before the first.

    Returns:
        One row per run, snapshot and layer, sorted; the same whatever was resumed.

    Raises:
        InputError: If there are no specs, or two different ones have the same id.
        StoreError: If a batch cannot be written. What was written before is kept.
        WorkerLostError: If the executor cannot start any worker.
    """
    wanted = _by_id(specs)
    kept = store.table(wanted.keys())
    finished = set(kept.filter(pc.not_equal(kept["status"], "failed"))["run_id"].to_pylist())
    pending = [spec for run_id, spec in wanted.items() if run_id not in finished]
    state = Progress(done=len(finished), total=len(wanted), resumed=len(finished))
    progress(state)
    with closing(executor(run_batch, plan_batches(pending, batch_size))) as results:  # no worker outlives an error here
        for batch, result in results:
            rows = _without_rows(batch, result) if isinstance(result, Exception) else result
            store.write(batch.run_ids, rows)
            statuses = {row["run_id"]: row["status"] for row in rows}.values()
            state = replace(
                state,
                done=state.done + len(batch.specs),
                failed=state.failed + sum(status == "failed" for status in statuses),
                diverged=state.diverged + sum(status == "diverged" for status in statuses),
            )
            progress(state)
    return store.table(wanted.keys())


def _by_id(specs: Sequence[Spec]) -> dict[str, Spec]:
    wanted: dict[str, Spec] = {}
    for spec in specs:
        known = wanted.setdefault(spec.run_id, spec)
        if known is not spec and known.canonical() != spec.canonical():
            raise InputError(
                f"sweep: two different specs have the id {spec.run_id}: {known.canonical()} and {spec.canonical()}; "
                "wanted an id for each, since runs are kept by it; change a setting of one of them."
            )
    if not wanted:
        raise InputError("sweep: got no specs; wanted at least one; check the conditions of the grid.")
    return wanted


def _without_rows(batch: Batch, error: Exception) -> Rows:
    """Return the record of runs whose batch gave no rows."""
    message = f"{type(error).__name__}: {error}"
    return [row for spec in batch.specs for row in with_outcome(spec, [], "failed", message, 0.0)]
