"""``ansatz compare``: two folders in, what differs out."""

import json
import sys
from pathlib import Path

import pytest
import torch
import typer
from torch import nn

from ansatzlab import cli
from ansatzlab.cli.compare import compare_command
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.run import measure
from ansatzlab.report.folder import RECORD, ROWS
from ansatzlab.report.readout import read_layers
from ansatzlab.store.parquet import Store
from ansatzlab.sweeps.grid import grid
from ansatzlab.sweeps.sweep import sweep


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """A command line that has the command, whether or not the one that is shipped does."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    app.command("compare")(compare_command)
    monkeypatch.setattr(cli, "app", app)


def ansatz(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ansatz", "compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


def refusal(monkeypatch, capsys, *arguments: object) -> str:
    assert ansatz(monkeypatch, *arguments) == 3
    return " ".join(capsys.readouterr().err.split())


def printed(monkeypatch, capsys, *arguments: object) -> list[str]:
    assert ansatz(monkeypatch, *arguments) == 0
    return capsys.readouterr().out.splitlines()


def write_measurement(folder: Path, *conventions: Convention) -> Path:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    m = measure(model, [torch.randn(30, 6, dtype=torch.float64)])
    folder.mkdir()
    m.save(folder / RECORD)
    rows = [row.to_dict() for row in read_layers(m, dict.fromkeys(m, conventions))]
    (folder / ROWS).write_text(json.dumps({"rows": rows, "provenance": {"data": "[bold]x"}}))
    return folder


def write_sweep(folder: Path, decay: float) -> Path:
    specs = grid(
        data="linnerud",
        depth=[2, 3],
        width=3,
        init="gaussian",
        optimizer={"name": "gd", "steps": 20},
        learning_rate=0.01,
        weight_decay=decay,
        snapshots=3,
        seed=[0, 1],
    )
    sweep(specs, store=Store.open(folder))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("compare")
    return {
        "half": write_measurement(base / "half", Convention(0.5)),
        "one": write_measurement(base / "one", Convention(1.0, "pearson")),
        "light": write_sweep(base / "light", 0.01),
        "heavy": write_sweep(base / "he@vy", 0.5),
    }


def test_the_convention_comes_before_every_number(monkeypatch, capsys, folders):
    lines = printed(monkeypatch, capsys, folders["half"], folders["one"])
    assert lines[:7] == [
        f"1: {folders['half']}",
        f"2: {folders['one']}",
        "convention: exponent: 0.5 in the first, 1 in the second",
        "convention: comparator: cosine in the first, pearson in the second",
        "The convention differs.",
        "Differences are told of the second read as the first was.",
        "Weights and sums are the same: the numbers differ by the convention alone.",
    ]
    assert any("2 as 1" in line for line in lines)


def test_an_exponent_and_a_comparator_are_read_in_both(monkeypatch, capsys, folders):
    asked = ("--exponent", "0.3", "--comparator", "cosine", "--layer", "2")
    lines = printed(monkeypatch, capsys, folders["half"], folders["one"], *asked)
    assert lines[2:5] == [
        "The convention is the same.",
        "Weights and sums are the same, and so are all numbers.",
        "Both are read with: exponent 0.3, cosine.",
    ]
    assert not any(line.strip().startswith("0 ") for line in lines)


def test_two_stores_and_two_moments_of_one(monkeypatch, capsys, folders):
    lines = printed(monkeypatch, capsys, folders["light"], folders["heavy"])
    assert lines[2:4] == [
        "The convention is the same: both are read at α = 1/(L−l+1), cosine.",
        "setting: weight_decay: 0.01 in the first, 0.5 in the second",
    ]
    assert "L = 3, layers.1" in lines
    first = f"{folders['heavy']}@0"
    lines = printed(monkeypatch, capsys, first, folders["heavy"], "--layer", "layers.0")
    assert lines[0] == f"1: {first}"
    assert "4 runs are in both." in lines


def test_json_is_all_that_is_printed(monkeypatch, capsys, folders):
    assert ansatz(monkeypatch, folders["half"], folders["one"], "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["comparable"] is True
    assert found["first"] == str(folders["half"])
    assert [layer["difference"] for layer in found["layers"]] == [0.0] * 3
    assert ansatz(monkeypatch, folders["light"], folders["heavy"], "--json") == 0
    assert json.loads(capsys.readouterr().out)["groups"][0]["differences"]["residual"]["runs"] == 2


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("half", "light", "is a measurement and"),
        ("light", "/nowhere", "/nowhere: there is no such folder"),
        ("light", "light@x", "wanted a number behind the @"),
        ("light", "light@7", "no run was looked at at 7"),
        ("half", "half@3", "a measurement has no steps"),
        ("light", "/", "is not an output folder"),
    ],
)
def test_wrong_usage_is_one_line(monkeypatch, capsys, folders, first, second, told):
    def place(text: str) -> str:
        name, at, moment = text.partition("@")
        return f"{folders.get(name, name)}{at}{moment}"

    assert told in refusal(monkeypatch, capsys, place(first), place(second))


def test_an_unknown_layer_is_refused(monkeypatch, capsys, folders):
    assert "unknown layer '9'" in refusal(monkeypatch, capsys, folders["half"], folders["one"], "--layer", "9")
    assert "unknown layer '9'" in refusal(monkeypatch, capsys, folders["light"], folders["light"], "--layer", "9")
