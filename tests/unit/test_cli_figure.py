"""``ansatz figure``: folders in, files out."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from shutil import copytree

import pytest
import torch
import typer
from torch import nn

from ansatzlab import cli
from ansatzlab.cli.figure import figure_command
from ansatzlab.laws.judge import judge
from ansatzlab.laws.registry import get_law
from ansatzlab.laws.runs import RunTable
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Signs
from ansatzlab.report.compare.differences import without_nan
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
    app.command("figure")(figure_command)
    monkeypatch.setattr(cli, "app", app)


def ansatz(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ansatz", "figure", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


def refusal(monkeypatch, capsys, *arguments: object) -> str:
    assert ansatz(monkeypatch, *arguments) == 3
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("figure") / "sweep"
    specs = grid(
        data="linnerud",
        depth=[2, 3],
        width=3,
        init="gaussian",
        optimizer=[{"name": "gd", "steps": 20}, {"name": "adam", "steps": 20}],
        learning_rate=0.01,
        snapshots=3,
    )
    sweep(specs, store=Store.open(folder))
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """A folder as ``ansatz measure`` leaves it, read by Pearson at two exponents."""
    folder = tmp_path_factory.mktemp("figure") / "measure"
    folder.mkdir()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    m = measure(model, [torch.randn(30, 6, dtype=torch.float64)])
    rows = read_layers(m, dict.fromkeys(m, (Convention(0.7, "pearson"), Convention(1.0, "pearson"))))
    m.save(folder / RECORD)
    record = {"rows": [row.to_dict() for row in rows], "provenance": {"data": "x"}}
    (folder / ROWS).write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def verified(tmp_path_factory) -> Path:
    """A folder as ``ansatz verify`` leaves it, of a planted table."""
    folder = tmp_path_factory.mktemp("figure") / "verify"
    law = get_law("tansley2025nfa").within("quick", ("linear",))
    table = law.planted(True)
    runs = sorted(set(table["run_id"].to_pylist()))
    store = Store.open(folder)
    store.write(runs, table.to_pylist())
    request = {"law": law.key, "budget": "quick", "data": "digits", "settings": {}, "only": ["linear"], "runs": runs}
    store.write_json("verification", request)
    store.write_json("verdicts", {"findings": [without_nan(asdict(each)) for each in judge(law, RunTable(table))]})
    return folder


def test_a_figure_is_written_into_the_folder_and_its_caption_is_printed(monkeypatch, capsys, swept):
    assert ansatz(monkeypatch, "residual", swept) == 0
    out = capsys.readouterr().out
    assert out.startswith("caption: The smallest ‖WᵀW − c AGOPᵅ‖")
    assert out.endswith(f"written: {swept / 'figures' / 'residual.pdf'}\n")
    assert (swept / "figures" / "residual.pdf").read_bytes().startswith(b"%PDF")


def test_several_formats_widths_and_a_title(monkeypatch, swept, tmp_path):
    arguments = ("loss", swept, "--out", tmp_path / "new" / "a.svg", "--format", "pdf,svg", "--format", "png")
    assert ansatz(monkeypatch, *arguments, "--columns", 2, "--title") == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.pdf", "a.png", "a.svg"]
    svg = (tmp_path / "new" / "a.svg").read_text()
    assert 'width="486pt"' in svg
    assert "Loss over training</text>" in svg
    assert ansatz(monkeypatch, "loss", swept, "--out", tmp_path / "b.svg", "--width", 3.5) == 0
    assert 'width="252pt"' in (tmp_path / "b.svg").read_text()
    assert "Loss over training" not in (tmp_path / "b.svg").read_text()


def test_runs_layers_and_curves_are_chosen(monkeypatch, swept, tmp_path):
    out = tmp_path / "a.svg"
    chosen = ("--where", "optimizer=adam", "--where", "depth=3", "--by", "depth", "--layer", "layers.1")
    assert ansatz(monkeypatch, "training", swept, "--out", out, *chosen, "--score", "residual", "--exponent", 0.4) == 0
    svg = out.read_text()
    assert "residual at α = 0.4</text>" in svg
    assert "L = 3</text>" in svg
    assert "L = 2" not in svg
    assert ansatz(monkeypatch, "loss", swept, "--out", out, "--over", "flow_time", "--by", "optimizer,depth") == 0
    assert "flow time</text>" in out.read_text()
    assert "adam, L = 3</text>" in out.read_text()


def test_a_measurement_is_drawn_as_it_was_read(monkeypatch, measured, tmp_path):
    out = tmp_path / "a.svg"
    assert ansatz(monkeypatch, "layers", measured, "--out", out) == 0
    assert "alignment (Pearson correlation) at α = 0.7</text>" in out.read_text()
    assert "structural null, ± 2 sd</text>" in out.read_text()
    assert ansatz(monkeypatch, "layers", measured, "--out", out, "--exponent", 0.3, "--comparator", "cosine") == 0
    assert "alignment at α = 0.3</text>" in out.read_text()
    assert "structural null, ± 2 sd</text>" in out.read_text()  # drawn anew


def test_the_laws_own_figures_are_drawn_by_their_names(monkeypatch, capsys, verified, tmp_path):
    out = tmp_path / "a.svg"
    assert ansatz(monkeypatch, "decay", verified, "--out", out) == 0
    assert "2λt</text>" in out.read_text()
    assert ansatz(monkeypatch, "linear.exponent", verified, "--out", out) == 0
    assert "Each depth has one exponent" in capsys.readouterr().out
    assert ansatz(monkeypatch, "exponent", verified, "--out", out, "--by", "depth", "--layer", "layers.0") == 0
    assert "best exponent α</text>" in out.read_text()  # the kind, not the law's figure of that name
    assert ansatz(monkeypatch, "verdicts", verified, "--out", out) == 0
    assert "A.error</text>" in out.read_text()
    assert "is the law's own" in refusal(monkeypatch, capsys, "decay", verified, "--exponent", 0.5)


def test_what_can_be_drawn_is_listed(monkeypatch, capsys, measured, swept, verified):
    assert ansatz(monkeypatch, measured) == 0
    out = capsys.readouterr().out
    assert "not of this folder: training, exponent, imbalance, loss, map, verdicts" in out
    assert ansatz(monkeypatch, "anything", swept, "--list") == 0
    out = capsys.readouterr().out
    assert "a score over two settings" in out
    assert "not of this folder: verdicts" in out
    assert ansatz(monkeypatch, verified) == 0
    assert "linear.no-decay" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("training",), "figure training: DIR is missing; wanted what to draw it of: ansatz figure training DIR."),
        (("bogus", "{empty}"), "unknown figure 'bogus'. Known: alignment, exponent, imbalance"),
        (("aligment", "{swept}"), "unknown figure 'aligment'; did you mean 'alignment'"),
        (("training", "{measured}"), "needs a second snapshot; the table has none; of it can be drawn: alignment"),
        (("verdicts", "{swept}"), "figure 'verdicts': needs values in claim"),
        (("verdicts", "{swept}", "--where", "depth=2"), "verdicts are of all runs"),
        (("loss", "{swept}", "--where", "optimizer=lbfgs"), "no run is like that"),
        (("loss", "{swept}", "--where", "colour=red"), "unknown column of --where 'colour'"),
        (("loss", "{swept}", "--by", "colour"), "unknown setting of by 'colour'"),
        (("layers", "{measured}", "--where", "optimizer=gd"), "a measurement has no runs"),
        (("layers", "{measured}", "--layer", "9"), "unknown layer '9'"),
        (("loss", "{swept}", "--columns", "1", "--width", "3"), "wanted one of them"),
        (("loss", "{swept}", "--width", "1"), "width: got 1 inches; wanted 2 to 20"),
        (("loss", "{swept}", "--format", "eps"), "unknown --format 'eps'"),
        (("loss", "{swept}", "--out", "a.eps"), "unknown format of --out a.eps 'eps'"),
        (("loss", "/nowhere"), "/nowhere: there is no such folder"),
        (("loss", "/"), "is not an output folder"),
        (("alignment", "{swept}", "--exponent", "-1"), "exponent: got -1.0"),
    ],
)
def test_wrong_usage_is_one_line(monkeypatch, capsys, swept, measured, tmp_path, arguments, told):
    places = {"swept": swept, "measured": measured, "empty": Store.open(tmp_path / "empty").folder}
    assert told in refusal(monkeypatch, capsys, *(each.format(**places) for each in arguments))


def test_a_folder_that_cannot_be_listed_is_one_line_and_one_without_readable_layers_has_nothing(
    monkeypatch, capsys, verified, tmp_path
):
    broken = copytree(verified, tmp_path / "verify")
    (broken / "verification.json").write_text(json.dumps({"law": "tansley2025nfa"}))
    assert "verification.json" in refusal(monkeypatch, capsys, broken)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(900, 900), nn.Tanh(), nn.Linear(900, 900)).bfloat16()
    coarse = measure(network, [torch.randn(2, 900, dtype=torch.bfloat16)], seeds=Signs(1), check="never")
    folder = tmp_path / "coarse"
    folder.mkdir()
    coarse.save(folder / RECORD)
    rows = [row.to_dict() for row in read_layers(coarse, dict.fromkeys(coarse, (Convention(0.5),)))]
    (folder / ROWS).write_text(json.dumps({"rows": rows, "provenance": {}}))
    assert ansatz(monkeypatch, folder) == 0
    out = capsys.readouterr().out
    assert "not of this folder: alignment, residual, spectrum, layers, training" in out
    assert "draw one" not in out
    assert "no layer has a spectrum that can be read" in refusal(monkeypatch, capsys, "layers", folder)


@pytest.mark.parametrize(
    "content",
    ['{"findings": null}', '{"findings": [1]}', '{"findings": [{"value": "x"}, {"value": 1.0}]}', "[1]", "{}"],
)
def test_damaged_findings_are_one_line(monkeypatch, capsys, verified, tmp_path, content):
    broken = copytree(verified, tmp_path / "verify")
    (broken / "verdicts.json").write_text(content)
    assert f"{broken / 'verdicts.json'}: has no list of findings" in refusal(monkeypatch, capsys, broken)


def test_a_damaged_folder_and_a_file_in_the_way_are_one_line(monkeypatch, capsys, measured, swept, tmp_path):
    broken = tmp_path / "measure"
    broken.mkdir()
    (broken / RECORD).write_bytes((measured / RECORD).read_bytes())
    for content in ("{", "{}", '{"rows": [{}], "provenance": {}}', '{"rows": 3, "provenance": {}}'):
        (broken / ROWS).write_text(content)
        assert "cannot be read" in refusal(monkeypatch, capsys, "layers", broken)
    (tmp_path / "file").write_text("")
    assert "cannot be made" in refusal(monkeypatch, capsys, "loss", swept, "--out", tmp_path / "file" / "a.pdf")
