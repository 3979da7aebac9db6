import json
import sys

import pytest
import torch
import typer
from torch import nn

from ansatzlab.cli.report import EXIT_CODES, report_command
from ansatzlab.cli.sweep import sweep_command
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.run import measure
from ansatzlab.report.folder import write_folder
from ansatzlab.report.readout import read_layers
from ansatzlab.store.parquet import Store
from ansatzlab.verification import REQUEST

GRID = "data: linnerud\ndepth: [2, 3]\nwidth: 3\noptimizer: {name: gd, learning_rate: 0.1}\nsteps: 4\nsnapshots: 3\n"


def run(monkeypatch, capsys, name, command, *arguments):
    """Run one command in this process; return its exit code, its output and its errors."""
    app = typer.Typer()
    app.command(name)(command)
    monkeypatch.setattr(sys, "argv", ["ansatz", name, *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        app(list(map(str, arguments)))
    shown = capsys.readouterr()
    return caught.value.code or 0, shown.out, shown.err


@pytest.fixture
def report(monkeypatch, capsys):
    return lambda *arguments: run(monkeypatch, capsys, "report", report_command, *arguments)


def test_a_verification_is_judged_again_and_ends_with_its_verdict(report, tmp_path):
    store = Store.open(tmp_path / "out")
    request = {"law": "tansley2025nfa", "budget": "quick", "data": "digits", "settings": {}, "only": ["linear"]}
    store.write_json(REQUEST, request | {"runs": ["not run yet"]})
    code, out, _ = report(store.folder)
    assert code == EXIT_CODES["INCONCLUSIVE"] == 2
    assert "A.error" in out
    assert out.endswith(f"report: {store.folder / 'report.html'}\n")
    assert "INCONCLUSIVE" in (store.folder / "report.html").read_text(encoding="utf-8")


def test_a_measurement_is_shown_again(report, tmp_path):
    torch.manual_seed(0)
    measurement = measure(nn.Linear(4, 2).double(), [torch.randn(9, 4, dtype=torch.float64)])
    rows = read_layers(measurement, dict.fromkeys(measurement, (Convention(0.5),)))
    record = {"rows": [row.to_dict() for row in rows], "provenance": {"command": "c"}}
    page = write_folder(tmp_path, measurement, rows, (), record=record, facts={"command": "c"}, title="t")
    html = page.read_text(encoding="utf-8")
    page.unlink()
    assert report(tmp_path)[:2] == (0, f"report: {page}\n")
    assert page.read_text(encoding="utf-8") == html


def test_a_sweep_writes_its_page_and_report_writes_it_again(monkeypatch, capsys, report, tmp_path):
    (tmp_path / "plan.yaml").write_text(GRID, encoding="utf-8")
    out = tmp_path / "out"
    options = (tmp_path / "plan.yaml", "--out", out, "--executor", "serial", "--set", "seed=0,1")
    code, shown, _ = run(monkeypatch, capsys, "sweep", sweep_command, *options)
    page = out / "report.html"
    assert code == 0
    assert f"report: {page}" in shown
    html = page.read_text(encoding="utf-8")
    assert "4 runs: 4 finished" in html
    assert "--set seed=0,1" in html  # the command with its changes
    page.unlink()
    assert report(out)[:2] == (0, f"report: {page}\n")
    assert "--set seed=0,1" in page.read_text(encoding="utf-8")
    code, shown, _ = report(out, "--json")
    assert (code, json.loads(shown)) == (0, {"page": str(page)})


def test_a_recording_and_a_bare_store_have_pages(report, tmp_path):
    store = Store.open(tmp_path / "out")
    assert report(store.folder)[0] == 0
    assert "Runs in out" in (store.folder / "report.html").read_text(encoding="utf-8")
    store.write_json("recording", {"schedule": "log"})
    assert report(store.folder)[0] == 0
    assert "Recording out" in (store.folder / "report.html").read_text(encoding="utf-8")


def test_anything_else_is_one_line(report, tmp_path):
    code, out, err = report(tmp_path / "none")
    assert (code, out) == (3, "")
    assert (
        err == f"error: {tmp_path / 'none'}: there is no such folder; wanted one that `ansatz` wrote; check the path.\n"
    )
    code, out, err = report(tmp_path)
    assert (code, out) == (3, "")
    assert err.startswith(f"error: {tmp_path}: holds neither store.json nor measurement.json; wanted an output folder")
    assert len(err.splitlines()) == 1
