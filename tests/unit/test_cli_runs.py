import csv
import json
import math
import sys
import warnings
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from ansatzlab import cli
from ansatzlab.cli.listing import COLUMNS, RESULTS, TOLD, exponent_of, list_runs, telling_columns
from ansatzlab.cli.runs import choose_rows
from ansatzlab.errors import UnknownNameError
from ansatzlab.laws.registry import get_law
from ansatzlab.laws.runs import Row, spectrum_of
from ansatzlab.laws.tansley2025nfa.nonlinear.design import TRANSFORMER_OPTIONS
from ansatzlab.report.settings import SETTINGS, settings_of
from ansatzlab.store.parquet import Store
from ansatzlab.store.schema import BASE_SCHEMA, to_table
from ansatzlab.sweeps.grid import grid
from ansatzlab.sweeps.spec import RunSpec
from ansatzlab.sweeps.sweep import sweep
from ansatzlab.sweeps.task import TaskSpec
from ansatzlab.training.dynamics import OPTIMIZERS, named_dynamics

FLOW = {"name": "gradient_flow", "flow_time": 1, "steps": None, "learning_rate": None}
SPECS = (
    *grid(
        experiment="listed",
        data="linnerud",
        depth=[2, 3],
        width=3,
        init=["balanced", "gaussian"],
        optimizer=["gd", {"name": "adam", "learning_rate": 0.01}, FLOW],
        learning_rate={"kind": "sharpness", "fraction": 0.5},
        steps=5,
        weight_decay=0.01,
        snapshots=3,
    ),
    *grid(
        experiment="listed",
        data="linnerud",
        depth=2,
        width=3,
        init="gaussian",
        optimizer={"name": "gd", "learning_rate": 1000, "steps": 500},
    ),
    RunSpec.model_validate({**grid(data="linnerud", depth=2, width=3, optimizer=FLOW)[0].model_dump(), "loss": "none"}),
)
"""Twelve runs that finish, one that diverges and one that fails."""


def ansatz(monkeypatch, *arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["ansatz", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "out"
    sweep(SPECS, store=Store.open(path))
    return path


def listed(monkeypatch, capsys, *arguments: str) -> list[dict[str, object]]:
    assert ansatz(monkeypatch, "runs", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


# --- the listing -------------------------------------------------------------------------------------------------


def test_every_run_is_one_line_with_what_it_was_and_what_came_of_it(monkeypatch, capsys, folder):
    rows = listed(monkeypatch, capsys, str(folder))
    assert sorted(row["run_id"] for row in rows) == sorted(spec.run_id for spec in SPECS)
    by_id = {row["run_id"]: row for row in rows}
    table = Store.open(folder).table().to_pylist()
    for spec in SPECS[:12]:
        row = by_id[spec.run_id]
        assert tuple(row) == COLUMNS
        assert (row["depth"], row["init"], row["width"]) == (spec.model.depth, spec.init.scheme, 3)
        (end,) = (r for r in table if (r["run_id"], r["snapshot"], r["layer_index"]) == (spec.run_id, 2, 1))
        assert row["loss"] == end["loss"]
        assert row["alignment"] == spectrum_of(end).alignment(1 / spec.model.depth)
        assert row["learning_rate"] == end["learning_rate"]
        assert (row["status"], row["error"]) == ("finished", None)
    assert {row["optimizer"] for row in rows} == {"gd", "adam", "gradient_flow"}
    assert [row["status"] for row in rows].count("diverged") == 1
    (failed,) = (row for row in rows if row["status"] == "failed")
    assert failed["loss"] is None
    assert failed["alignment"] is None
    assert "unknown loss 'none'" in failed["error"]


def test_the_table_tells_once_what_all_runs_agree_in(monkeypatch, capsys, folder):
    assert ansatz(monkeypatch, "runs", str(folder), "--where", "experiment=listed", "--status", "finished") == 0
    first, head, *lines, counts = capsys.readouterr().out.splitlines()
    assert first == "all: experiment listed, data linnerud, model deep_linear, width 3, weight_decay 0.01, seed 0"
    assert head.split() == ["run_id", "depth", "init", "optimizer", "learning_rate", "loss", "alignment", "status"]
    assert counts == "12 of 14 runs: 12 finished, 0 diverged, 0 failed"
    assert len(lines) == 12
    assert all(line.count("finished") == 1 for line in lines)


def test_settings_without_which_runs_would_look_the_same_are_shown():
    def row(**changes: object) -> Row:
        return {**settings_of(SPECS[0].model_dump(mode="json")), "run_id": "a", **changes}

    assert telling_columns([row(), row(seed=1)]) == ["run_id", *TOLD, *RESULTS]
    columns = telling_columns([row(), row(optimizer="adam", steps=7), row(**{"init.scale": 2.0}), row(steps=9)])
    assert [name for name in columns if name not in TOLD] == ["run_id", "init.scale", "steps", *RESULTS]
    assert "steps" not in telling_columns([row(), row(optimizer="adam", steps=7)]), "the optimiser says it"


def test_the_order_is_that_of_the_settings(monkeypatch, capsys, folder):
    rows = listed(monkeypatch, capsys, str(folder), "--where", "experiment=listed", "--status", "finished")
    key = [(row["depth"], row["init"], row["optimizer"]) for row in rows]
    assert key == sorted(key)


def test_all_columns_and_chosen_ones(monkeypatch, capsys, folder):
    assert ansatz(monkeypatch, "runs", str(folder), "--columns", "all") == 0
    assert tuple(capsys.readouterr().out.splitlines()[0].split()) == COLUMNS
    assert ansatz(monkeypatch, "runs", str(folder), "--columns", "data, loss") == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["data", "loss"]


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        (("--where", "optimizer=adam"), lambda row: row["optimizer"] == "adam"),
        (
            ("--where", "optimizer=adam,gd", "--where", "depth=3.0"),
            lambda row: row["optimizer"] != "gradient_flow" and row["depth"] == 3,
        ),
        (("--where", "weight_decay=1e-2"), lambda row: row["weight_decay"] == 0.01),
        (("--where", "learning_rate=none"), lambda row: row["learning_rate"] is None),
        (("--where", "bias=False", "--where", "init=balanced"), lambda row: row["init"] == "balanced"),
        (("--where", "depth=two"), lambda _: False),
        (("--status", "failed", "--status", "diverged"), lambda row: row["status"] != "finished"),
    ],
    ids=range(7),
)
def test_filters_keep_what_they_say(monkeypatch, capsys, folder, options, holds):
    every = listed(monkeypatch, capsys, str(folder))
    assert listed(monkeypatch, capsys, str(folder), *options) == [row for row in every if holds(row)]


def test_nothing_found_is_told(monkeypatch, capsys, folder):
    assert ansatz(monkeypatch, "runs", str(folder), "--where", "depth=9") == 0
    assert capsys.readouterr().out == "0 of 14 runs: 0 finished, 0 diverged, 0 failed\n"


def test_a_long_error_is_shortened_to_one_line_in_the_table(monkeypatch, capsys, folder):
    assert ansatz(monkeypatch, "runs", str(folder), "--status", "diverged", "--columns", "error") == 0
    _, line, _ = capsys.readouterr().out.splitlines()
    assert line.startswith("train: the loss or a weight stopped being finite at step")
    assert line.rstrip().endswith("…")
    assert len(line) <= 60


def test_planned_runs_that_are_missing_are_counted(monkeypatch, capsys, tmp_path):
    store = Store.open(tmp_path / "out")
    sweep(SPECS[:2], store=store)
    store.write_json("sweep", {"runs": [spec.run_id for spec in SPECS[:5]]})
    assert ansatz(monkeypatch, "runs", str(store.folder)) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told == "2 runs: 2 finished, 0 diverged, 0 failed; 3 planned runs are missing"


def test_an_empty_store_has_no_runs(monkeypatch, capsys, tmp_path):
    Store.open(tmp_path / "out")
    assert ansatz(monkeypatch, "runs", str(tmp_path / "out")) == 0
    assert capsys.readouterr().out == "0 runs: 0 finished, 0 diverged, 0 failed\n"


def test_a_folder_of_verify_is_listed_too(monkeypatch, capsys, tmp_path):
    settings = {"seeds": 0, "depths": 2, "unbalanced_depths": 2, "width": 4, "flow_time": 1, "descent_time": 1}
    specs = get_law("tansley2025nfa").plan("quick", "linnerud", settings)
    store = Store.open(tmp_path / "out")
    sweep(specs[:2], store=store)
    store.write_json("verification", {"runs": [spec.run_id for spec in specs]})
    flow, descent = listed(monkeypatch, capsys, str(store.folder))[::-1]
    assert (flow["experiment"], flow["optimizer"], flow["depth"]) == ("balanced-flow", "gradient_flow", 2)
    assert flow["alignment"] == pytest.approx(1, abs=1e-12)
    assert (descent["experiment"], descent["optimizer"]) == ("balanced-descent", "gd")
    assert descent["alignment"] is None, "it observes the balance only"
    assert ansatz(monkeypatch, "runs", str(store.folder)) == 0
    assert f"; {len(specs) - 2} planned runs are missing" in capsys.readouterr().out


def test_a_damaged_file_is_told_and_the_others_are_listed(monkeypatch, capsys, tmp_path):
    store = Store.open(tmp_path / "out")
    sweep(SPECS[2:4], store=store, batch_size=1)
    first, _ = sorted((store.folder / "runs").iterdir())
    first.write_bytes(first.read_bytes()[:100])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ansatz(monkeypatch, "runs", str(store.folder)) == 0
    shown = capsys.readouterr()
    (told,) = shown.err.splitlines()
    assert told.startswith(f"damaged: {first}: damaged, skipped")
    assert shown.out.splitlines()[-1] == "1 runs: 1 finished, 0 diverged, 0 failed"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("{missing}",), "there is no such folder; wanted one that `ansatz sweep` wrote"),
        (("{other}",), "is not an output folder (no store.json)"),
        (("{folder}", "--where", "optimzer=adam"), "unknown column of --where 'optimzer'; did you mean 'optimizer'?"),
        (("{folder}", "--where", "optimizer"), "--where optimizer: wanted NAME=VALUE"),
        (("{folder}", "--status", "fail"), "unknown status 'fail'; did you mean 'failed'?"),
        (("{folder}", "--columns", "depht"), "unknown column 'depht'; did you mean 'depth'?"),
        (("{folder}", "--columns", ","), "--columns: got ','; wanted names"),
        (("{folder}", "--last"), "--last: is for --csv"),
        (
            ("{folder}", "--csv", "{missing}/a.csv"),
            "cannot be written (No such file or directory); choose another file",
        ),
    ],
)
def test_bad_input_is_one_line(monkeypatch, capsys, tmp_path, folder, options, told):
    places = {"missing": tmp_path / "missing", "other": tmp_path / "other", "folder": folder}
    places["other"].mkdir()
    assert ansatz(monkeypatch, "runs", *(option.format(**places) for option in options)) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.strip().splitlines()
    assert line.startswith("error: ")
    assert told in line
    assert not places["missing"].exists()


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> Path:
    """Runs that are functions: with and without a depth, of a network whose layers do not form a chain, and failed."""
    compared = {"data": "linnerud", "size": 12, "hidden": [5, 4], "optimizer": "adam", "learning_rate": 0.01}
    trained = "ansatzlab.laws.boixadsera2025fact.training:train_and_compare"
    transformer = {**TRANSFORMER_OPTIONS, "size": 8, "epochs": 1, "batch_size": 4, "probe": 2, "width": 4, "draws": 2}
    path = tmp_path_factory.mktemp("tasks") / "out"
    sweep(
        [
            TaskSpec(
                experiment="compared",
                task=trained,
                options={**compared, "steps": 5, "snapshots": 2, "draws": 2, "scale": 0.5},
                seed=3,
            ),
            TaskSpec(
                experiment="blocks",
                task="ansatzlab.laws.tansley2025nfa.nonlinear.training:train_transformer",
                options={**transformer, "snapshots": 2},
            ),
            TaskSpec(
                experiment="zoo",
                task="ansatzlab.laws.tansley2025nfa.counterexamples.tasks:measure_family",
                options={"family": "cancellation"},
            ),
            TaskSpec(experiment="broken", task=trained, options={**compared, "loss": "hinge"}),
        ],
        store=Store.open(path),
    )
    return path


def test_a_task_is_listed_by_what_its_options_say(monkeypatch, capsys, tasks):
    rows = {row["experiment"]: row for row in listed(monkeypatch, capsys, str(tasks))}
    assert [row["status"] for row in rows.values()].count("finished") == 3
    known = {name: value for name, value in rows["compared"].items() if name in SETTINGS and value is not None}
    assert known == {
        "experiment": "compared",
        "data": "linnerud",
        "data.size": 12,
        "depth": 3,
        "width": "5-4",
        "init.scale": 0.5,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "steps": 5,
        "seed": 3,
    }
    assert rows["broken"]["loss_function"] == "hinge"
    assert {name for name in SETTINGS if rows["zoo"][name] is not None} == {"experiment", "seed"}
    assert (rows["blocks"]["depth"], rows["blocks"]["width"], rows["blocks"]["activation"]) == (2, 4, "gelu")
    found = listed(monkeypatch, capsys, str(tasks), "--where", "data=linnerud", "--where", "optimizer=adam")
    assert {row["experiment"] for row in found} == {"compared", "broken"}


def test_options_that_are_called_like_a_column_of_the_listing_are_not_taken_for_it():
    options = {"status": "well", "alignment": 7, "run_id": "x", "step": -1, "momentum": 0.9}
    spec = json.dumps({"task": "recording", "options": options, "seed": 0})
    row = {**dict.fromkeys(BASE_SCHEMA.names), "run_id": "a", "experiment": "e", "spec": spec, "status": "finished"}
    row |= {"data": "", "dynamics": "", "depth": 0, "seed": 0, "weight_decay": 0.0, "step": 3}
    (found,) = list_runs(to_table([row]))
    assert [found[name] for name in ("run_id", "status", "step", "alignment")] == ["a", "finished", 3, None]
    assert settings_of(json.loads(spec))["momentum"] == 0.9
    assert choose_rows([found], ["momentum=0.90"]) == [found]
    assert choose_rows([found], ["momentum=0.5"]) == []
    with pytest.raises(UnknownNameError, match=r"momentun.*did you mean 'momentum'"):
        choose_rows([found], ["momentun=0.9"])


def test_a_layer_beyond_the_depth_has_no_exponent(monkeypatch, tmp_path, tasks):
    path = tmp_path / "tasks.csv"
    assert ansatz(monkeypatch, "runs", str(tasks), "--csv", str(path)) == 0
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["experiment"] == "blocks"]
    assert max(int(row["layer_index"]) for row in rows) > 3
    places = ((2, 1), (2, 2), (2, 3), (2, 4), (0, 1), (2, 0), (None, 1))
    found = [exponent_of({"depth": depth, "layer_index": layer}) for depth, layer in places]
    assert found == pytest.approx([0.5, 1.0, *[math.nan] * 5], nan_ok=True)
    assert exponent_of({"depth": 0, "layer_index": 1, "recorded_exponent": 0.25}) == 0.25
    assert exponent_of({"depth": 2, "layer_index": 1, "recorded_exponent": 0.25}) == 0.5


# --- CSV ---------------------------------------------------------------------------------------------------------


def test_csv_has_a_row_for_each_run_snapshot_and_layer(monkeypatch, capsys, tmp_path, folder):
    path = tmp_path / "runs.csv"
    assert ansatz(monkeypatch, "runs", str(folder), "--csv", str(path), "--where", "experiment=listed") == 0
    assert f"written: {path}" in capsys.readouterr().out
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table = [row for row in Store.open(folder).table().to_pylist() if row["experiment"] == "listed"]
    assert len(rows) == len(table)
    by_key = {(row["run_id"], row["snapshot"], row["layer_index"]): row for row in rows}
    assert len(by_key) == len(rows)
    for row in table:
        got = by_key[row["run_id"], str(row["snapshot"]), str(row["layer_index"])]
        assert float(got["loss"]) == row["loss"], "every digit"
        assert float(got["weight_norm"]) == row["weight_norm"]
        exponent = 1 / (row["depth"] - row["layer_index"] + 1)
        assert float(got["exponent"]) == exponent
        assert math.isclose(float(got["alignment"]), spectrum_of(row).alignment(exponent), rel_tol=1e-12)
    assert not {"eigenvalues", "energies", "sums", "spec"} & set(rows[0])
    assert {"gd", "adam", "gradient_flow"} == {row["optimizer"] for row in rows}


def test_csv_of_the_last_snapshots_and_of_a_run_without_any(monkeypatch, tmp_path, folder):
    path = tmp_path / "runs.csv"
    options = ("--csv", str(path), "--last", "--status", "finished", "--status", "failed")
    assert ansatz(monkeypatch, "runs", str(folder), *options) == 0
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["snapshot"] for row in rows if row["status"] == "finished"} == {"2"}
    assert sum(row["status"] == "finished" for row in rows) == 6 * 2 + 6 * 3
    (failed,) = (row for row in rows if row["status"] == "failed")
    assert (failed["snapshot"], failed["alignment"], failed["exponent"]) == ("", "", "")


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OPTIMIZERS, "gradient_flow"])
def test_an_optimizer_is_listed_by_the_name_that_a_grid_gives_it(name):
    settings = {"flow_time": 1} if name == "gradient_flow" else {"learning_rate": 0.1, "steps": 3}
    spec = SPECS[0].model_copy(update={"dynamics": named_dynamics(name, **settings)})
    assert settings_of(spec.model_dump(mode="json"))["optimizer"] == name


def test_settings_of_uneven_widths_and_of_other_versions_are_read_as_far_as_they_go():
    found = settings_of({"model": {"kind": "mlp", "hidden": [5, 3], "activation": "tanh"}, "new": 1})
    assert (found["depth"], found["width"], found["activation"], found["data"]) == (3, "5-3", "tanh", None)


# --- the folder as it stands -------------------------------------------------------------------------------------


def test_the_folder_is_read_as_it_stands_by_pyarrow_dataset(folder):
    files = ds.dataset(folder / "runs", format="parquet")
    table = files.to_table(columns=["run_id", "status"])
    assert set(table["run_id"].to_pylist()) == {spec.run_id for spec in SPECS}
    whole = Store.open(folder).table()
    assert files.count_rows() == whole.num_rows
    assert set(BASE_SCHEMA.names) <= set(files.schema.names)


@pytest.mark.parametrize("reader", ["pandas", "polars", "duckdb"])
def test_the_folder_is_read_as_it_stands_by_other_libraries(folder, reader):
    library = pytest.importorskip(reader)
    files = (folder / "runs").glob("*.parquet")
    if reader == "pandas":
        count = len(library.concat(map(library.read_parquet, files)))
    elif reader == "polars":
        count = library.concat(map(library.read_parquet, files), how="diagonal").height
    else:
        query = f"SELECT * FROM read_parquet('{folder}/runs/*.parquet', union_by_name = true)"
        count = len(library.sql(query).fetchall())
    assert count == Store.open(folder).table().num_rows


def test_list_runs_takes_the_last_snapshot_of_the_first_layer(folder):
    (row,) = list_runs(Store.open(folder).table([SPECS[0].run_id]))
    assert row["step"] == 5
