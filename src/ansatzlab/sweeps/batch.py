"""Runs that are executed together: the unit that an executor hands to a worker and the store writes as one file."""

from collections.abc import Sequence
from dataclasses import dataclass

from ansatzlab.sweeps.run import Rows, run, run_stack
from ansatzlab.sweeps.spec import RunSpec, Spec
from ansatzlab.training.dynamics import Optimizer
from ansatzlab.training.stack import FREE, STACKABLE


@dataclass(frozen=True)
class Batch:
    """Runs that are executed together.

    Attributes:
        specs: The runs, distinct; several only if they can be trained as one stacked network.
    """

    specs: tuple[Spec, ...]

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The ids of the runs."""
        return tuple(spec.run_id for spec in self.specs)


def plan_batches(specs: Sequence[Spec], size: int) -> list[Batch]:
    """Return batches that hold every spec once, each of at most ``size`` runs that can be trained as one.

    Args:
        specs: The runs, distinct.
        size: The most runs of a batch, at least 1.

    Returns:
        The batches, in the order of their first runs; runs that cannot be stacked are batches of one.
    """
    groups: dict[str, list[Spec]] = {}
    for spec in specs:
        groups.setdefault(stack_key(spec) or spec.run_id, []).append(spec)
    return [
        Batch(tuple(group[start : start + size])) for group in groups.values() for start in range(0, len(group), size)
    ]


def stack_key(spec: Spec) -> str | None:
    """Return what runs must share to be trained as one stacked network; None if a run is trained by itself.

    Runs of one key differ in their seed, their initial weights, their data's seed, learning rate and weight decay (its
    coupling included), and in what they are for. Executed by themselves are tasks, gradient flows and the optimisers
    that are not in `ansatzlab.training.stack.STACKABLE`.
    """
    if not isinstance(spec, RunSpec):
        return None
    dynamics = spec.dynamics
    if not isinstance(dynamics, Optimizer) or dynamics.name not in STACKABLE:
        return None
    alike = spec.model_copy(
        update={
            "experiment": "",
            "seed": 0,
            "init": type(spec.init)(),
            "data": spec.data.model_copy(update={"seed": 0}),
            "dynamics": dynamics.model_copy(update=FREE),
        }
    )
    return alike.canonical()


def run_batch(batch: Batch) -> Rows:
    """Execute the runs of a batch and return the rows of all of them.

    If anything but divergence stops a stack, its runs are executed one by one, so that only the one at fault fails. The
    others then say in the column ``error`` why they were not stacked, although they finished.
    """
    reason: str | None = None
    if len(batch.specs) > 1:
        try:
            return run_stack([spec for spec in batch.specs if isinstance(spec, RunSpec)])
        except Exception as error:  # whatever it is, the run at fault raises it again by itself, and that is recorded
            reason = f"not stacked: {type(error).__name__}: {error}"
    return [{**row, "error": row["error"] or reason} for spec in batch.specs for row in run(spec)]
