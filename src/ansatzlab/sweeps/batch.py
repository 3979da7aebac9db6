"""Runs that are executed together: the unit that an executor hands to a worker and the store writes as one file."""

from collections.abc import Sequence
from dataclasses import dataclass

from ansatzlab.sweeps.run import Rows, run
from ansatzlab.sweeps.spec import RunSpec


@dataclass(frozen=True)
class Batch:
    """Runs that are executed together.

    Attributes:
        specs: The runs, distinct.
    """

    specs: tuple[RunSpec, ...]

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The ids of the runs."""
        return tuple(spec.run_id for spec in self.specs)


def plan_batches(specs: Sequence[RunSpec], size: int) -> list[Batch]:  # noqa: ARG001 - stacking comes next
    """Return batches that hold every spec once, each of at most ``size`` runs that can be trained as one."""
    return [Batch((spec,)) for spec in specs]


def run_batch(batch: Batch) -> Rows:
    """Execute the runs of a batch and return the rows of all of them."""
    return [row for spec in batch.specs for row in run(spec)]
