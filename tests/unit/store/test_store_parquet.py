import errno
import inspect
import json
import os
import random
import re
import subprocess
import sys
import time
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ansatzlab
from ansatzlab.errors import DamagedFileWarning, StoreError
from ansatzlab.store.parquet import Store
from ansatzlab.store.provenance import provenance
from ansatzlab.store.schema import BASE_SCHEMA


def make_rows(run_id, snapshots=2, layers=2, **values):
    base = dict.fromkeys(BASE_SCHEMA.names) | {
        "run_id": run_id,
        "experiment": "e",
        "spec": '{"depth":2}',
        "status": "finished",
        "data": "d",
        "dynamics": "flow",
        "depth": layers,
        "seed": 0,
        "weight_decay": 0.1,
    }
    return [
        base
        | {
            "snapshot": snapshot,
            "flow_time": snapshot / 4,
            "layer": f"layers.{layer}",
            "layer_index": layer,
            "eigenvalues": [snapshot + 0.5, layer / 3],
            "energies": [1.0, float(layer)],
        }
        | values
        for snapshot in range(snapshots)
        for layer in range(1, layers + 1)
    ]


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "out")


def run_file(store, name):
    return store.folder / "runs" / name


def files(store):
    return sorted(file.name for file in (store.folder / "runs").iterdir())


def damage_a_page(path):
    """Flip one bit of the last byte of a column."""
    content = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(0).column(BASE_SCHEMA.get_field_index("flow_time"))
    content[column.dictionary_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)


# --- writing and reading -----------------------------------------------------------------------------------------


def test_every_row_comes_back(store):
    rows = make_rows("a", imbalance_norm=0.25)
    store.write(["a"], rows)
    assert store.table().to_pylist() == rows
    assert store.table().schema.equals(BASE_SCHEMA.append(pa.field("imbalance_norm", pa.float64())))
    assert store.finished() == {"a"}
    assert files(store) == ["a.parquet"]


def test_an_empty_store_has_the_base_columns_and_no_runs(store):
    assert store.table().equals(BASE_SCHEMA.empty_table())
    assert store.finished() == frozenset()


def test_a_reopened_store_has_its_runs(store):
    store.write(["a"], make_rows("a"))
    again = Store.open(store.folder)
    assert again == store
    assert again.finished() == {"a"}
    assert again.table().equals(store.table())


def test_a_failed_run_counts_as_one_that_need_not_be_run_again(store):
    failed = make_rows("f", snapshots=1, layers=1, status="failed", error="ValueError: no")[0]
    failed |= dict.fromkeys(["snapshot", "flow_time", "layer", "layer_index", "eigenvalues", "energies"])
    store.write(["f"], [failed])
    assert store.finished() == {"f"}
    assert store.table().to_pylist() == [failed]


def test_a_batch_is_one_file_whose_name_does_not_depend_on_the_order(store):
    a, b = make_rows("a"), make_rows("b")
    store.write(["b", "a"], b + a)
    first = files(store)
    store.write(["a", "b"], a + b)
    assert files(store) == first
    assert re.fullmatch(r"batch@[0-9a-f]{32}\.parquet", first[0])
    assert store.finished() == {"a", "b"}
    assert store.table().to_pylist() == a + b
    store.write(["a", "c"], a + make_rows("c"))
    assert len(files(store)) == 2


def test_observables_of_different_files_are_united_by_name(store):
    store.write(["a"], make_rows("a", snapshots=1, layers=1, x=1.0))
    store.write(["b"], make_rows("b", snapshots=1, layers=1, w=2.0))
    store.write(["c"], make_rows("c", snapshots=1, layers=1))
    table = store.table()
    assert table.column_names == [*BASE_SCHEMA.names, "w", "x"]
    assert table["x"].to_pylist() == [1.0, None, None]
    assert table["w"].to_pylist() == [None, 2.0, None]


def test_the_table_does_not_depend_on_the_order_of_writing(tmp_path):
    runs = {
        run_id: make_rows(run_id, snapshots=11, **{f"seen_{run_id[0]}": 1.0}) for run_id in ("b2", "a10", "a9", "c")
    }
    tables = []
    for index, order in enumerate([list(runs), list(runs)[::-1], ["c", "a9", "b2", "a10"]]):
        store = Store.open(tmp_path / str(index))
        for run_id in order:
            store.write([run_id], random.Random(index).sample(runs[run_id], len(runs[run_id])))
        tables.append(store.table())
    batch = Store.open(tmp_path / "batch")
    batch.write(list(runs), [row for rows in runs.values() for row in rows])
    assert tables[0].equals(tables[1], check_metadata=True)
    assert tables[0].equals(tables[2], check_metadata=True)
    assert batch.table().equals(tables[0])
    keys = [(row["run_id"], row["snapshot"], row["layer_index"]) for row in tables[0].to_pylist()]
    assert keys == sorted(keys)
    assert len(keys) == 4 * 22


def test_the_bytes_depend_on_the_rows_and_the_provenance_alone(store, monkeypatch):
    monkeypatch.setattr("ansatzlab.store.parquet.provenance", lambda: {"utc_time": "then"})
    rows = make_rows("a", y=1.0, x=2.0)
    store.write(["a"], rows)
    first = run_file(store, "a.parquet").read_bytes()
    store.write(["a"], [dict(reversed(row.items())) for row in reversed(rows)])
    assert run_file(store, "a.parquet").read_bytes() == first
    monkeypatch.setattr("ansatzlab.store.parquet.provenance", lambda: {"utc_time": "now"})
    store.write(["a"], rows)
    assert run_file(store, "a.parquet").read_bytes() != first


def test_the_footer_holds_the_run_ids_and_the_provenance(store):
    store.write(["b", "a"], make_rows("a") + make_rows("b"))
    metadata = pq.read_schema(run_file(store, files(store)[0])).metadata
    assert json.loads(metadata[b"ansatzlab_run_ids"]) == ["a", "b"]
    written, now = json.loads(metadata[b"ansatzlab"]), provenance()
    assert written.keys() == now.keys()
    assert written | {"utc_time": ""} == now | {"utc_time": ""}


def test_writing_a_run_again_replaces_only_its_file(store):
    store.write(["a"], make_rows("a", loss=1.0))
    store.write(["b"], make_rows("b", loss=1.0))
    other = run_file(store, "b.parquet").stat()
    store.write(["a"], make_rows("a", loss=2.0))
    assert files(store) == ["a.parquet", "b.parquet"]
    assert store.table(["a"])["loss"].to_pylist() == [2.0] * 4
    again = run_file(store, "b.parquet").stat()
    assert (again.st_ino, again.st_mtime_ns) == (other.st_ino, other.st_mtime_ns)


def test_only_the_wanted_runs_are_read(store):
    store.write(["a", "b"], make_rows("a") + make_rows("b"))
    store.write(["c"], make_rows("c"))
    assert store.table(["b", "not there"]).to_pylist() == make_rows("b")
    assert store.table({"a", "c"}).to_pylist() == make_rows("a") + make_rows("c")
    assert store.table([]).num_rows == 0


def test_only_footers_are_read_for_the_ids_and_no_pages_of_unwanted_runs(store):
    store.write(["a"], make_rows("a"))
    store.write(["c"], make_rows("c"))
    damage_a_page(run_file(store, "a.parquet"))
    assert store.finished() == {"a", "c"}  # a DamagedFileWarning is an error here
    assert store.table(["c"]).to_pylist() == make_rows("c")


@pytest.mark.parametrize("names", [("1", "2", "3"), ("2", "3", "1"), ("3", "1", "2"), ("3", "2", "1")])
def test_of_a_run_in_several_files_the_best_copy_counts_whatever_their_order(store, names):
    copies = {
        "failed": (["b"], make_rows("b", snapshots=1, layers=1, status="failed", loss=1.0)),
        "diverged": (["b", "y"], make_rows("b", status="diverged", loss=2.0) + make_rows("y", loss=2.0)),
        "finished": (["b", "z"], make_rows("b", loss=3.0) + make_rows("z", status="failed", loss=3.0)),
    }
    for name, (status, (run_ids, rows)) in zip(names, copies.items(), strict=True):
        before = set(files(store))
        store.write(run_ids, rows)
        (written,) = set(files(store)) - before
        run_file(store, written).rename(run_file(store, f"{name}-{status}.parquet"))
        assert store.table(["b"]).to_pylist() == [row for row in rows if row["run_id"] == "b"]
    table = store.table()
    assert table.num_rows == 12
    assert dict(zip(table["run_id"].to_pylist(), table["loss"].to_pylist(), strict=True)) == {
        "b": 3.0,
        "y": 2.0,
        "z": 3.0,
    }
    run_file(store, f"{names[2]}-finished.parquet").write_bytes(b"PAR1")
    with pytest.warns(DamagedFileWarning, match=r"-finished\.parquet: damaged"):
        assert set(store.table(["b"])["status"].to_pylist()) == {"diverged"}


def test_of_equal_copies_the_first_by_name_counts(store):
    store.write(["b"], make_rows("b", loss=1.0))
    store.write(["b", "z"], make_rows("b", loss=2.0) + make_rows("z", loss=2.0))
    batch = files(store)[1]
    assert batch.startswith("batch@")
    table = store.table()
    assert dict(zip(table["run_id"].to_pylist(), table["loss"].to_pylist(), strict=True)) == {"b": 1.0, "z": 2.0}
    assert table.num_rows == 8
    run_file(store, batch).rename(run_file(store, "a-first.parquet"))
    assert set(store.table()["loss"].to_pylist()) == {2.0}
    assert store.table().num_rows == 8
    assert store.finished() == {"b", "z"}


@pytest.mark.parametrize(
    ("run_ids", "message"),
    [
        ([], r"the run ids \[\] are none or not distinct"),
        (["a", "a"], r"the run ids \['a', 'a'\] are none or not distinct"),
        (["../a"], "the run id '../a' cannot name a file"),
        ([".a"], "the run id '.a' cannot name a file"),
        (["a\n"], r"the run id 'a\\n' cannot name a file"),
        ([""], "the run id '' cannot name a file"),
        (["a" * 201], "the run id 'a+' cannot name a file"),
        (["batch@0"], "the run id 'batch@0' cannot name a file"),
        (["b"], r"out: the run ids are \['b'\], those of the rows \['a'\]"),
        (["a", "b"], r"out: the run ids are \['a', 'b'\], those of the rows \['a'\]"),
    ],
)
def test_unusable_run_ids_are_refused_and_nothing_is_written(store, run_ids, message):
    with pytest.raises(StoreError, match=message):
        store.write(run_ids, make_rows("a"))
    assert files(store) == []


def test_the_longest_run_id_can_be_written(store):
    store.write(["a" * 200], make_rows("a" * 200))
    assert store.finished() == {"a" * 200}


def test_a_row_that_does_not_fit_the_schema_is_refused_and_nothing_is_written(store):
    with pytest.raises(StoreError, match=r"row 0: the column 'seed' got 0.5"):
        store.write(["a"], make_rows("a", seed=0.5))
    assert files(store) == []


def test_a_file_that_cannot_be_written_is_an_error(store):
    run_file(store, "a.parquet").mkdir()
    with pytest.raises(StoreError, match=r"a.parquet: cannot be written \(Is a directory\)"):
        store.write(["a"], make_rows("a"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_with_what_to_do_and_leaves_the_old_result(store, monkeypatch, number):
    store.write(["a"], make_rows("a", loss=1.0))

    def full(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    message = (
        rf"a.parquet: cannot be written \({os.strerror(number)}\); free space and start again: finished runs are kept"
    )
    with pytest.raises(StoreError, match=message):
        store.write(["a"], make_rows("a", loss=2.0))
    assert files(store) == ["a.parquet"]
    assert store.table()["loss"].to_pylist() == [1.0] * 4


# --- damage ------------------------------------------------------------------------------------------------------


def test_a_truncated_file_is_never_readable(store):
    store.write(["b"], make_rows("b"))
    store.write(["a"], make_rows("a"))
    path = run_file(store, "a.parquet")
    content = path.read_bytes()
    ends = range(len(content) - 1, len(content) - 600, -1)  # all of the tail, where the footer's length stands
    cuts = {0, 1, 4, 8, 12, *range(0, len(content), 97), *ends}
    assert len(cuts) > 600
    for cut in cuts:
        path.write_bytes(content[:cut])
        with pytest.warns(DamagedFileWarning, match=r"a\.parquet: damaged, skipped as if its runs had not finished"):
            assert store.finished() == {"b"}
        if cut % 8 == 0:
            with pytest.warns(DamagedFileWarning, match=r"a\.parquet: damaged"):
                assert store.table().to_pylist() == make_rows("b")
    path.write_bytes(content)
    assert store.finished() == {"a", "b"}


def test_a_damaged_page_is_found_by_its_checksum(store):
    store.write(["a"], make_rows("a"))
    store.write(["b"], make_rows("b"))
    damage_a_page(run_file(store, "a.parquet"))
    with pytest.warns(DamagedFileWarning, match=r"a\.parquet: damaged"):
        assert store.table().to_pylist() == make_rows("b")


def test_the_second_copy_counts_where_the_first_is_damaged(store):
    store.write(["b"], make_rows("b", loss=1.0))
    store.write(["b", "z"], make_rows("b", loss=2.0) + make_rows("z", loss=2.0))
    run_file(store, "b.parquet").write_bytes(b"PAR1")
    with pytest.warns(DamagedFileWarning, match=r"b\.parquet: damaged"):
        assert store.table(["b"])["loss"].to_pylist() == [2.0] * 4


def test_a_parquet_file_that_is_not_of_the_store_is_skipped(store):
    pq.write_table(pa.table({"x": [1]}), run_file(store, "foreign.parquet"))
    with pytest.warns(DamagedFileWarning, match=r"foreign\.parquet: .*'run_id' is missing"):
        assert store.finished() == frozenset()
    pq.write_table(BASE_SCHEMA.empty_table(), run_file(store, "foreign.parquet"))
    with pytest.warns(DamagedFileWarning, match=r"foreign\.parquet: .*its footer has no run ids"):
        assert store.table().num_rows == 0


def test_a_file_with_a_status_of_elsewhere_is_skipped(store):
    store.write(["a"], make_rows("a"))
    store.write(["b"], make_rows("b"))
    path = run_file(store, "a.parquet")
    table = pq.read_table(path)
    index = table.column_names.index("status")
    pq.write_table(table.set_column(index, table.schema.field("status"), pa.array(["halfway"] * 4)), path)
    with pytest.warns(DamagedFileWarning, match=r"a\.parquet: .*its status is halfway, wanted one of finished"):
        assert store.table().to_pylist() == make_rows("b")


def test_a_file_that_vanishes_while_reading_is_skipped(store):
    run_file(store, "gone.parquet").symlink_to("nowhere")
    with pytest.warns(DamagedFileWarning, match=r"gone\.parquet: .*FileNotFoundError"):
        assert store.finished() == frozenset()


def test_a_leftover_temporary_is_ignored(store):
    store.write(["a"], make_rows("a"))
    whole = run_file(store, "a.parquet").read_bytes()
    run_file(store, f".writing.elsewhere.{os.getpid()}.00ff.tmp").write_bytes(whole)
    run_file(store, "a.parquet").unlink()
    assert store.finished() == frozenset()
    assert store.table().num_rows == 0


# --- several processes -------------------------------------------------------------------------------------------

# The package's own __init__ is stepped over: it would import torch, which takes seconds in each process.
WRITER = f"""
import itertools, os, sys, time, types
sys.modules["ansatzlab"] = types.ModuleType("ansatzlab")
sys.modules["ansatzlab"].__path__ = {list(ansatzlab.__path__)!r}
from ansatzlab.store.parquet import Store
from ansatzlab.store.schema import BASE_SCHEMA
{inspect.getsource(make_rows)}
folder, own = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
"""
FOREVER = """
store = Store.open(folder)
for turn in itertools.count():
    store.write(["a"], make_rows("a", 40, 40, loss=float(turn)))
"""
HANG = """
def hang(_):
    print("written", flush=True)
    time.sleep(60)
store = Store.open(folder)
os.fsync = hang
store.write(["a"], make_rows("a", loss=2.0))
"""
OPEN_MANY = """
for turn in range(100):
    Store.open(f"{folder}/{turn}")
"""
FILL = """
store = Store.open(folder)
for turn in range(40):
    store.write([f"{own}{turn}"], make_rows(f"{own}{turn}"))
    store.write(["shared"], make_rows("shared", loss=1.0 if own == "x" else 2.0))
    Store.open(folder)
"""


@contextmanager
def writers(code, folder, names):
    """Processes that start the code at the same moment, killed at the end if they are not done."""
    with ExitStack() as stack:
        processes = []
        for name in names:
            command = [sys.executable, "-c", WRITER + code, str(folder), name]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        yield processes


def test_a_writer_killed_at_any_moment_leaves_no_readable_half_file(tmp_path):
    delays = random.Random(0)
    folder = tmp_path / "out"
    for _ in range(6):
        with writers(FOREVER, folder, "a") as (process,):
            until = time.monotonic() + 30
            while not (folder / "runs" / "a.parquet").exists():
                assert time.monotonic() < until
            time.sleep(delays.uniform(0, 0.2))
            process.kill()
        store = Store.open(folder)  # a DamagedFileWarning is an error here
        assert files(store) == ["a.parquet"]
        assert store.finished() == {"a"}
        table = store.table()
        assert table.num_rows == 1600
        assert len(set(table["loss"].to_pylist())) == 1


def test_a_writer_killed_in_the_middle_of_writing_leaves_the_old_result(store):
    store.write(["a"], make_rows("a", loss=1.0))
    with writers(HANG, store.folder, "a") as (process,):
        assert process.stdout.readline() == "written\n"
        Store.open(store.folder)
        assert len(files(store)) == 2  # its writer lives, so its temporary stays
        process.kill()
    assert store.table()["loss"].to_pylist() == [1.0] * 4
    assert len(files(store)) == 2
    Store.open(store.folder)
    assert files(store) == ["a.parquet"]


def test_two_processes_can_fill_one_store_while_a_third_reads(store):
    with writers(FILL, store.folder, "xy") as (one, two):
        seen = frozenset()
        reads = 0
        while one.poll() is None or two.poll() is None:
            now = store.finished()
            assert now >= seen
            assert store.table(["shared"])["loss"].to_pylist() in ([], [1.0] * 4, [2.0] * 4)
            seen = now
            reads += 1
    assert (one.returncode, two.returncode) == (0, 0)
    assert reads > 1
    runs = {f"{own}{turn}" for own in "xy" for turn in range(40)} | {"shared"}
    assert store.finished() == runs
    assert store.table().num_rows == 4 * 81
    assert files(store) == sorted(f"{run_id}.parquet" for run_id in runs)


def test_two_processes_can_make_one_store(tmp_path):
    with writers(OPEN_MANY, tmp_path, "xy") as processes:
        for process in processes:
            assert process.wait(30) == 0
    assert all((tmp_path / str(turn) / "store.json").exists() for turn in range(100))


# --- opening -----------------------------------------------------------------------------------------------------


def test_opening_makes_the_folder_and_its_marker(tmp_path):
    store = Store.open(str(tmp_path / "deep" / "out"))
    assert store.folder == tmp_path / "deep" / "out"
    assert json.loads((store.folder / "store.json").read_bytes()) == {"format": "ansatzlab-store", "schema_version": 1}


def test_an_empty_folder_becomes_a_store(tmp_path):
    assert Store.open(tmp_path).finished() == frozenset()
    assert (tmp_path / "store.json").exists()


def test_a_folder_in_which_another_process_writes_the_marker_becomes_a_store(tmp_path):
    temporary = tmp_path / f".writing.elsewhere.{os.getpid()}.00ff.tmp"
    temporary.touch()
    Store.open(tmp_path)
    assert (tmp_path / "store.json").exists()
    assert temporary.exists()


def test_a_store_that_another_process_makes_at_the_same_moment_is_opened(tmp_path, monkeypatch):
    iterdir = Path.iterdir

    def just_made(folder):
        if not (folder / "runs").exists() and folder.name == "out":
            (folder / "store.json").write_text('{"format": "ansatzlab-store", "schema_version": 1}')
            (folder / "runs").mkdir()
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", just_made)
    assert Store.open(tmp_path / "out").finished() == frozenset()


def test_another_version_is_refused(tmp_path):
    (tmp_path / "store.json").write_text('{"format": "ansatzlab-store", "schema_version": 0}')
    with pytest.raises(
        StoreError,
        match=f"^{re.escape(str(tmp_path))}: made by store schema 0, this ansatzlab reads 1; "
        "choose another --out or use the version that made it.$",
    ):
        Store.open(tmp_path)


@pytest.mark.parametrize("content", ['{"format": "other", "schema_version": 1}', "[]", "{}"])
def test_another_marker_is_refused(tmp_path, content):
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(StoreError, match=r"its store.json is not that of an ansatzlab store"):
        Store.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"format": "ansatz', b"\xff\xfe\xff"])
def test_a_damaged_marker_is_refused(tmp_path, content):
    (tmp_path / "store.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"its store.json is damaged \("):
        Store.open(tmp_path)


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(
        StoreError, match=r"is not empty and not a store \(no store.json\); choose an empty or new --out"
    ):
        Store.open(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("dear")
    with pytest.raises(StoreError, match=r"out: is a file, wanted a folder; choose another --out"):
        Store.open(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "dear"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "plain").touch()
    with pytest.raises(StoreError, match=r"out: cannot be used as a store \(Not a directory\); choose another --out"):
        Store.open(tmp_path / "plain" / "out")


@pytest.mark.parametrize("name", ["out", "runs"])
def test_a_folder_that_cannot_be_written_is_refused(store, monkeypatch, name):
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and path.name != name)
    with pytest.raises(StoreError, match=f"{name}: cannot be written; make it writable or choose another --out"):
        Store.open(store.folder)


# --- side files --------------------------------------------------------------------------------------------------


def test_a_side_file_comes_back_and_is_sorted(store):
    value = {"b": [1, 2.5, None], "a": {"ü": True}}
    store.write_json("verdicts", value)
    assert store.read_json("verdicts") == value
    text = (store.folder / "verdicts.json").read_text()
    assert text == json.dumps(value, indent=2, sort_keys=True) + "\n"
    assert text.index('"a"') < text.index('"b"')


def test_a_side_file_that_cannot_be_replaced_keeps_its_value(store, monkeypatch):
    store.write_json("verdicts", 1)

    def broken(_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StoreError, match=r"verdicts.json: cannot be written \(Input/output error\)"):
        store.write_json("verdicts", 2)
    assert store.read_json("verdicts") == 1


@pytest.mark.parametrize("value", [float("nan"), {"x": float("inf")}, {1, 2}, {1: 0, "1": 0}])
def test_a_value_that_is_not_json_is_refused(store, value):
    with pytest.raises(StoreError, match=r"verdicts.json: the value is not JSON \(.*give finite numbers"):
        store.write_json("verdicts", value)
    assert not (store.folder / "verdicts.json").exists()


@pytest.mark.parametrize("name", ["store", "../x", "a.json", "", "runs/a", ".a", "a\n"])
def test_an_unusable_name_of_a_side_file_is_refused(store, name):
    with pytest.raises(StoreError, match=f"{re.escape(repr(name))} cannot name a side file"):
        store.write_json(name, {})
    with pytest.raises(StoreError, match=f"{re.escape(repr(name))} cannot name a side file"):
        store.read_json(name)


def test_a_missing_or_damaged_side_file_is_refused(store):
    with pytest.raises(StoreError, match=r"none.json: cannot be read \(.*No such file.*write it again"):
        store.read_json("none")
    (store.folder / "cut.json").write_text('{"a": ')
    with pytest.raises(StoreError, match=r"cut.json: cannot be read \(Expecting value"):
        store.read_json("cut")


def test_reading_gives_no_warning_where_nothing_is_damaged(store):
    store.write(["a"], make_rows("a"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store.finished()
        store.table()
    assert caught == []
