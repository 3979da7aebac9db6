"""Planted tables: what the store would hold if a law's runs had come out as its author says."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import pyarrow as pa

from ansatzlab.store.schema import to_table
from ansatzlab.sweeps.run import Rows, with_outcome
from ansatzlab.sweeps.spec import Spec

PlannedSpec = TypeVar("PlannedSpec", bound=Spec)


def planted_table(
    specs: Iterable[PlannedSpec], rows_of: Callable[[PlannedSpec], Iterable[Mapping[str, object]]]
) -> pa.Table:
    """Return the table of runs that all finished with given rows.

    Args:
        specs: The runs, as the law plans them.
        rows_of: What was observed in a run: one mapping per snapshot and layer (``layer_index`` from 1), or per
            snapshot for numbers of the whole network. A layer without a name is called by its number.

    Returns:
        The rows, as the store returns them.
    """
    return to_table([row for spec in specs for row in _finished(spec, rows_of(spec))])


def _finished(spec: Spec, rows: Iterable[Mapping[str, object]]) -> Rows:
    return with_outcome(spec, [_named(row) for row in rows], "finished", None, 0.0)


def _named(row: Mapping[str, object]) -> dict[str, object]:
    index = row.get("layer_index")
    named = {"layer": f"layers.{index - 1}"} if isinstance(index, int) else {}
    return {"loss": 0.1, **named, **row}
