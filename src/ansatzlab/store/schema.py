"""The columns of the store and the one way from rows to a validated table."""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real

import numpy as np
import pyarrow as pa

from ansatzlab.errors import StoreError

SCHEMA_VERSION = 1
STATUSES = ("finished", "diverged", "failed")
"""How a run can end; of two copies of one run, that with the earlier status counts."""

BASE_SCHEMA = pa.schema(
    [
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("experiment", pa.string(), nullable=False),
        pa.field("spec", pa.string(), nullable=False),  # canonical JSON of the spec
        pa.field("status", pa.string(), nullable=False),  # one of STATUSES
        pa.field("error", pa.string()),
        pa.field("data", pa.string(), nullable=False),
        pa.field("dynamics", pa.string(), nullable=False),
        pa.field("depth", pa.int32(), nullable=False),
        pa.field("seed", pa.int32(), nullable=False),
        pa.field("weight_decay", pa.float64(), nullable=False),
        pa.field("learning_rate", pa.float64()),  # null for a flow
        pa.field("snapshot", pa.int32()),  # null only where a run has no snapshot
        pa.field("step", pa.int64()),
        pa.field("flow_time", pa.float64()),
        pa.field("loss", pa.float64()),
        pa.field("layer", pa.string()),
        pa.field("layer_index", pa.int32()),  # counted from 1
        pa.field("eigenvalues", pa.list_(pa.float64())),
        pa.field("energies", pa.list_(pa.float64())),
        pa.field("sums", pa.list_(pa.float64())),
        pa.field("wall_seconds", pa.float64()),
    ]
)

_KEY = ("run_id", "snapshot", "layer_index", "layer")


def to_table(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """Return rows as a table whose columns, types and order are those of the store.

    Conventions: numbers keep their value, NaN and infinities (of a diverged run) included, and are never rounded to
    fit: a fraction in a column of integers is refused. A truth value is not a number.

    Args:
        rows: One mapping per (run, snapshot, layer). Each has every column of ``BASE_SCHEMA``, with None where the
            column may be null; lists are lists, tuples or one-dimensional arrays. Any further key is an observable: a
            real number, stored as float64, or None or absent where the row has none.

    Returns:
        The columns of ``BASE_SCHEMA`` in their order, then the observables by name; the rows sorted by run_id,
        snapshot, layer_index and layer, nulls last.

    Raises:
        StoreError: If a base column is missing in a row, is null where it may not be or holds a value that its type
            cannot; if an observable is not a number; if a status is unknown; or if two rows have the same run,
            snapshot and layer. The message names the row and the column.

    Example:
        >>> row = dict.fromkeys(BASE_SCHEMA.names) | {
        ...     "run_id": "a", "experiment": "e", "spec": "{}", "status": "finished", "data": "d", "dynamics": "flow",
        ...     "depth": 2, "seed": 0, "weight_decay": 0.1, "snapshot": 0, "imbalance_norm": 0.5}
        >>> to_table([row]).select(["run_id", "depth", "imbalance_norm"]).to_pylist()
        [{'run_id': 'a', 'depth': 2, 'imbalance_norm': 0.5}]
    """
    observables = {name for row in rows for name in row} - set(BASE_SCHEMA.names)
    schema = pa.schema([*BASE_SCHEMA, *(pa.field(name, pa.float64()) for name in sorted(observables))])
    for index, row in enumerate(rows):
        _check_row(index, row, schema)
    _check_unique(rows)
    columns = [_column(field, [row.get(field.name) for row in rows]) for field in schema]
    return in_order(pa.Table.from_arrays(columns, schema=schema))


def unite(tables: Iterable[pa.Table]) -> pa.Table:
    """Return one table of several, their observables united by name.

    Args:
        tables: Tables that pass ``check_schema``, no run in two of them.

    Returns:
        The columns of ``BASE_SCHEMA``, then every observable by name, null where a table lacks it; rows ordered as by
        ``to_table``, whatever the order of the tables; no schema metadata. No tables give no rows.
    """
    united = pa.concat_tables([BASE_SCHEMA.empty_table(), *tables], promote_options="default")
    observables = sorted(set(united.column_names) - set(BASE_SCHEMA.names))
    return in_order(united.select([*BASE_SCHEMA.names, *observables]))


def in_order(table: pa.Table) -> pa.Table:
    """Return a table of the store sorted by run_id, snapshot, layer_index and layer, nulls last.

    Args:
        table: A table with these four columns.

    Returns:
        The same rows, sorted.
    """
    return table.sort_by([(name, "ascending") for name in _KEY])


def check_schema(schema: pa.Schema) -> None:
    """Refuse a schema that is not of the store.

    Args:
        schema: The schema of a file.

    Raises:
        StoreError: If a base column is missing or has another type, or a further column is not float64. The message
            names the column.
    """
    for field in BASE_SCHEMA:
        if field.name not in schema.names or not schema.field(field.name).equals(field):
            raise StoreError(f"the column {field.name!r} is missing or is not {field.type}")
    for field in schema:
        if field.name not in BASE_SCHEMA.names and field.type != pa.float64():
            raise StoreError(f"the column {field.name!r} is {field.type}, an observable is double")


def _check_row(index: int, row: Mapping[str, object], schema: pa.Schema) -> None:
    missing = [name for name in BASE_SCHEMA.names if name not in row]
    if missing:
        raise StoreError(f"row {index}: the column {missing[0]!r} is missing; give every base column, None for null.")
    for name, value in row.items():
        field = schema.field(name)
        if value is None and not field.nullable:
            raise StoreError(f"row {index}: the column {name!r} is None, which only a nullable column may be.")
        if value is not None and not _fits(value, field.type):
            raise StoreError(
                f"row {index}: the column {name!r} got {reprlib.repr(value)} of type {type(value).__name__}, "
                f"wanted {field.type}."
            )
    if row["status"] not in STATUSES:
        raise StoreError(
            f"row {index}: the column 'status' got {row['status']!r}, wanted one of {', '.join(STATUSES)}."
        )


def _check_unique(rows: Sequence[Mapping[str, object]]) -> None:
    seen = set()
    for index, row in enumerate(rows):
        key = tuple(row[name] for name in _KEY)
        if key in seen:
            raise StoreError(f"row {index}: a second row for {dict(zip(_KEY, key, strict=True))}; give one of them.")
        seen.add(key)


def _fits(value: object, kind: pa.DataType) -> bool:
    """Return whether a value has the type of a column; Arrow alone would cut 1.5 to 1 and take True for 1.0."""
    if pa.types.is_string(kind):
        return isinstance(value, str)
    if pa.types.is_list(kind):
        flat = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)
        return flat and all(_fits(item, kind.value_type) for item in value)  # type: ignore[attr-defined]
    number = Integral if pa.types.is_integer(kind) else Real
    return isinstance(value, number) and not isinstance(value, bool)


def _column(field: pa.Field, values: Sequence[object]) -> pa.Array:
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, ValueError, OverflowError) as error:  # too large an integer, text that is not Unicode
        raise StoreError(f"the column {field.name!r} cannot be stored as {field.type}: {error}.") from error
