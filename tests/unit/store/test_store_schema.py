import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from ansatzlab.errors import StoreError
from ansatzlab.store.schema import BASE_SCHEMA, check_schema, to_table, unite


def row(run_id="a", **values):
    base = dict.fromkeys(BASE_SCHEMA.names) | {
        "run_id": run_id,
        "experiment": "e",
        "spec": "{}",
        "status": "finished",
        "data": "d",
        "dynamics": "flow",
        "depth": 2,
        "seed": 0,
        "weight_decay": 0.1,
    }
    return base | values


def test_every_value_comes_back():
    full = row(
        status="diverged",
        error="loss is inf",
        learning_rate=0.5,
        snapshot=3,
        step=2**40,
        flow_time=1.25,
        loss=math.inf,
        layer="blocks.0",
        layer_index=1,
        eigenvalues=[2.0, 1.0],
        energies=[0.5, -0.0],
        wall_seconds=7.5,
        imbalance_norm=1e-300,
    )
    table = to_table([full])
    assert table.to_pylist() == [full]
    assert table.schema.names == [*BASE_SCHEMA.names, "imbalance_norm"]
    assert table.schema.field("imbalance_norm").type == pa.float64()


def test_a_run_without_snapshots_is_one_row_of_nulls():
    failed = row(status="failed", error="ValueError: no")
    assert to_table([failed]).to_pylist() == [failed]


def test_no_rows_are_an_empty_table():
    assert to_table([]).equals(BASE_SCHEMA.empty_table())


def test_nan_is_kept_and_is_not_null():
    table = to_table([row(loss=math.nan, eigenvalues=[math.nan])])
    assert table["loss"].null_count == 0
    assert math.isnan(table["loss"][0].as_py())
    assert math.isnan(table["eigenvalues"][0].as_py()[0])


def test_lists_tuples_and_arrays_give_the_same_column():
    kinds = [[2.0, 1.0], (2.0, 1.0), np.array([2.0, 1.0]), np.array([2.0, 1.0], dtype=np.float32), [2, 1], []]
    table = to_table([row(snapshot=index, eigenvalues=value) for index, value in enumerate(kinds)])
    assert table["eigenvalues"].to_pylist() == [[2.0, 1.0]] * 5 + [[]]


def test_numpy_scalars_are_numbers():
    table = to_table([row(depth=np.int64(3), weight_decay=np.float32(0.5), flow_time=2, extra=np.int32(4))])
    assert table.select(["depth", "weight_decay", "flow_time", "extra"]).to_pylist() == [
        {"depth": 3, "weight_decay": 0.5, "flow_time": 2.0, "extra": 4.0}
    ]


def test_an_observable_may_be_absent_in_some_rows_and_null_in_all():
    table = to_table([row(snapshot=0, z=1), row(snapshot=1, y=None), row(snapshot=2, z=None)])
    assert table.column_names[-2:] == ["y", "z"]
    assert table["z"].to_pylist() == [1.0, None, None]
    assert table["y"].type == pa.float64()
    assert table["y"].null_count == 3


def test_rows_are_sorted_by_run_snapshot_and_layer_with_nulls_last():
    keys = [
        ("a", 0, 1),
        ("a", 0, 2),
        ("a", 2, 1),
        ("a", 10, 1),
        ("a", None, None),
        ("b", 0, 1),
        ("b", 0, None),
    ]
    rows = [row(run_id, snapshot=snapshot, layer_index=layer) for run_id, snapshot, layer in keys]
    for order in (rows, rows[::-1], rows[3:] + rows[:3]):
        table = to_table(order).select(["run_id", "snapshot", "layer_index"])
        assert [tuple(item.values()) for item in table.to_pylist()] == keys


@pytest.mark.parametrize("name", BASE_SCHEMA.names)
def test_a_missing_base_column_is_named(name):
    lacking = row(snapshot=1)
    del lacking[name]
    with pytest.raises(StoreError, match=f"row 1: the column '{name}' is missing; give every base column"):
        to_table([row(snapshot=0), lacking])


@pytest.mark.parametrize(
    "name",
    ["run_id", "experiment", "spec", "status", "data", "dynamics", "depth", "seed", "weight_decay"],
)
def test_null_is_refused_where_a_column_may_not_be_null(name):
    with pytest.raises(StoreError, match=f"row 0: the column '{name}' is None, which only a nullable column may be"):
        to_table([row(**{name: None})])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("run_id", 3, "'run_id' got 3 of type int, wanted string"),
        ("run_id", b"a", "'run_id' got b'a' of type bytes, wanted string"),
        ("depth", 1.5, "'depth' got 1.5 of type float, wanted int32"),
        ("depth", 2.0, "'depth' got 2.0 of type float, wanted int32"),
        ("seed", True, "'seed' got True of type bool, wanted int32"),
        ("step", "3", "'step' got '3' of type str, wanted int64"),
        ("loss", "0.5", "'loss' got '0.5' of type str, wanted double"),
        ("loss", True, "'loss' got True of type bool, wanted double"),
        ("loss", np.True_, r"'loss' got np.True_ of type bool, wanted double"),
        ("loss", torch.tensor(1.0), r"'loss' got tensor\(1.\) of type Tensor, wanted double"),
        ("eigenvalues", 1.0, "'eigenvalues' got 1.0 of type float, wanted list<item: double>"),
        ("eigenvalues", "12", "'eigenvalues' got '12' of type str, wanted list<item: double>"),
        ("eigenvalues", [1.0, None], r"'eigenvalues' got \[1.0, None\] of type list"),
        ("eigenvalues", [True], r"'eigenvalues' got \[True\] of type list"),
        ("energies", np.ones((1, 1)), r"'energies' got array\(\[\[1.\]\]\) of type ndarray"),
        ("energies", np.array(1.0), r"'energies' got array\(1.\) of type ndarray"),
        ("energies", torch.ones(1), r"'energies' got tensor\(\[1.\]\) of type Tensor"),
        ("imbalance_norm", "big", "'imbalance_norm' got 'big' of type str, wanted double"),
        ("imbalance_norm", [1.0], r"'imbalance_norm' got \[1.0\] of type list, wanted double"),
        ("imbalance_norm", False, "'imbalance_norm' got False of type bool, wanted double"),
        ("status", "running", "'status' got 'running', wanted one of finished, diverged, failed"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_row_and_column(name, value, message):
    with pytest.raises(StoreError, match=f"row 1: the column {message}"):
        to_table([row(snapshot=0), row(**{name: value})])


@pytest.mark.parametrize(
    ("name", "value"), [("depth", 2**31), ("seed", -(2**31) - 1), ("step", 2**63), ("error", "\ud800")]
)
def test_a_value_too_large_or_not_unicode_names_its_column(name, value):
    with pytest.raises(StoreError, match=f"the column '{name}' cannot be stored as"):
        to_table([row(**{name: value})])


def test_a_long_value_is_shown_in_part():
    with pytest.raises(StoreError, match=r"got \[None, None, None, None, None, None, \.\.\.\] of type list"):
        to_table([row(eigenvalues=[None] * 1000)])


def test_two_rows_for_one_layer_are_refused():
    rows = [row(snapshot=1, layer_index=1, layer="fc"), row(snapshot=1, layer_index=1, layer="fc", loss=1.0)]
    with pytest.raises(
        StoreError, match=r"row 1: a second row for {'run_id': 'a', 'snapshot': 1, 'layer_index': 1, 'layer': 'fc'}"
    ):
        to_table(rows)


def test_tables_are_united_by_name_with_nulls_in_any_order():
    one = to_table([row("a", x=1.0)]).replace_schema_metadata({"made": "then"})
    two = to_table([row("b", y=2.0)])
    united = unite([one, two])
    assert united.column_names == [*BASE_SCHEMA.names, "x", "y"]
    assert united.select(["run_id", "x", "y"]).to_pylist() == [
        {"run_id": "a", "x": 1.0, "y": None},
        {"run_id": "b", "x": None, "y": 2.0},
    ]
    assert united.schema.metadata is None
    assert unite([two, one]).equals(united, check_metadata=True)


def test_no_tables_unite_to_an_empty_one():
    assert unite([]).equals(BASE_SCHEMA.empty_table())


def test_a_schema_of_the_store_is_accepted():
    check_schema(to_table([row(x=1.0)]).schema)


@pytest.mark.parametrize("name", BASE_SCHEMA.names)
def test_a_schema_that_lacks_a_base_column_is_refused(name):
    schema = pa.schema([field for field in BASE_SCHEMA if field.name != name])
    with pytest.raises(StoreError, match=f"the column '{name}' is missing or is not"):
        check_schema(schema)


def test_a_schema_with_another_type_is_refused():
    index = BASE_SCHEMA.get_field_index("seed")
    with pytest.raises(StoreError, match="the column 'seed' is missing or is not int32"):
        check_schema(BASE_SCHEMA.set(index, pa.field("seed", pa.int64(), nullable=False)))


def test_an_observable_of_another_type_is_refused():
    with pytest.raises(StoreError, match="the column 'x' is string, an observable is double"):
        check_schema(BASE_SCHEMA.append(pa.field("x", pa.string())))
