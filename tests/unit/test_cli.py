import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ansatzlab import cli
from ansatzlab.laws.judge import judge
from ansatzlab.laws.registry import get_law
from ansatzlab.laws.runs import RunTable
from ansatzlab.verification import Report

LAW = get_law("tansley2025nfa")

SMALL = [
    *("--only", "linear"),
    *("--set", "seeds=0"),
    *("--set", "depths=2"),
    *("--set", "unbalanced_depths=2"),
    *("--set", "weight_decays=0.2"),
    *("--set", "snapshots=20"),
    *("--set", "width=4"),
    *("--set", "flow_time=5"),
    *("--set", "learning_rates=0.2,0.1,0.05"),
    *("--set", "descent_time=2"),
]


def ansatz(monkeypatch, *arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["ansatz", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


def test_version(monkeypatch, capsys):
    assert ansatz(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == "ansatzlab 0.1.0\n"


def test_verify_judges_writes_a_report_and_resumes(monkeypatch, capsys, tmp_path):
    out = tmp_path / "out"
    command = ("verify", "tansley2025nfa", "--data", "linnerud", "--out", str(out), *SMALL)
    assert ansatz(monkeypatch, *command) == 2  # one seed shows no spread
    shown = capsys.readouterr()
    assert "A.error" in shown.out
    assert f"report: {out / 'report.html'}" in shown.out
    files = {file.name: file.stat().st_mtime_ns for file in (out / "runs").iterdir()}
    assert ansatz(monkeypatch, *command, "--json") == 2
    shown = capsys.readouterr()
    verdicts = json.loads(shown.out)
    assert shown.err == ""
    assert verdicts["outcome"] == "INCONCLUSIVE"
    assert {f["claim"]: f["value"] for f in verdicts["findings"]}["A.error"] < 1e-13
    assert {file.name: file.stat().st_mtime_ns for file in (out / "runs").iterdir()} == files
    (out / "report.html").unlink()
    assert ansatz(monkeypatch, "report", str(out)) == 2
    assert (out / "report.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("table", "code"),
    [(LAW.planted(True), 0), (LAW.planted(False), 1), (LAW.planted(True).slice(0, 0), 2)],
    ids=["HOLDS", "FAILS", "INCONCLUSIVE"],
)
def test_the_exit_code_is_the_outcome(monkeypatch, tmp_path, table, code):
    report = Report(LAW, "planted", judge(LAW, RunTable(table)), table, tmp_path, tmp_path / "report.html")
    monkeypatch.setattr(cli, "verify", lambda *_, **__: report)
    assert ansatz(monkeypatch, "verify", "tansley2025nfa", "--json") == code


def bad_data(tmp_path: Path) -> Path:
    inputs = np.ones((5, 3))
    inputs[2, 1] = np.nan
    np.savez(tmp_path / "bad.npz", inputs=inputs, targets=np.ones((5, 2)))
    return tmp_path / "bad.npz"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("verify", "tansley2025nfA"), "unknown law 'tansley2025nfA'; did you mean 'tansley2025nfa'?"),
        (("verify", "tansley2025nfa", "--data", "digitz"), "unknown data set 'digitz'; did you mean 'digits'?"),
        (("verify", "tansley2025nfa", "--data", "none.npz"), "none.npz: cannot be read"),
        (("verify", "tansley2025nfa", "--data", "{bad}"), "entries that are not finite, the first at row 2, column 1"),
        (("verify", "tansley2025nfa", "--set", "depths=1"), "got depths.0 = 1; wanted greater than or equal to 2"),
        (
            ("verify", "tansley2025nfa", "--set", "weight_decays=-0.1"),
            "got weight_decays.0 = -0.1; wanted greater",
        ),
        (("verify", "tansley2025nfa", "--set", "seeds=[]"), "got seeds = []; Value should have at least 1 item"),
        (("verify", "tansley2025nfa", "--set", "depth=3"), "did you mean 'depths'?"),
        (("verify", "tansley2025nfa", "--set", "depths"), "wanted NAME=VALUE"),
        (("verify", "tansley2025nfa", "--data", "linnerud", "--out", "{file}"), "is a file"),
        (("verify", "tansley2025nfa", "--data", "linnerud", "--out", "{file}/below"), "cannot be used as a store"),
        (("verify", "tansley2025nfa", "--data", "linnerud", "--out", "{full}"), "is not empty and not a store"),
        (("verify", "tansley2025nfa", "--data", "linnerud", "--out", "{old}"), "made by store schema 0"),
        (("report", "{missing}"), "there is no such folder"),
        (("report", "{full}"), "wanted an output folder of `ansatz verify`"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(monkeypatch, capsys, tmp_path, arguments, told):
    places = {name: tmp_path / name for name in ("file", "full", "old", "missing")}
    places["file"].write_text("x")
    for name in ("full", "old"):
        places[name].mkdir()
    (places["full"] / "thesis.tex").write_text("x")
    (places["old"] / "store.json").write_text('{"format": "ansatzlab-store", "schema_version": 0}')
    filled = [argument.format(bad=bad_data(tmp_path), **places) for argument in arguments]
    assert ansatz(monkeypatch, *filled) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.strip().splitlines()
    assert line.startswith("error: ")
    assert told in line


@pytest.mark.parametrize("arguments", [("verify",), ("frobnicate",), ("verify", "tansley2025nfa", "--no-such-option")])
def test_wrong_usage_is_an_error_and_not_inconclusive(monkeypatch, arguments):
    assert ansatz(monkeypatch, *arguments) == 3


def test_a_reader_that_leaves_early_does_not_change_the_exit_code():
    command = f"{Path(sys.executable).with_name('ansatz')} laws tansley2025nfa | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tansley2025nfa")


def test_output_without_unicode_is_not_an_error():
    command = [str(Path(sys.executable).with_name("ansatz")), "laws"]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, done.stderr) == (0, "")


def test_our_own_fault_is_an_error_and_not_a_verdict(monkeypatch, capsys):
    def broken(*_, **__):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(cli, "verify", broken)
    assert ansatz(monkeypatch, "verify", "tansley2025nfa") == 3
    assert "ZeroDivisionError: ours" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "verify", interrupted)
    assert ansatz(monkeypatch, "verify", "tansley2025nfa") == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_the_console_command_is_installed():
    command = Path(sys.executable).with_name("ansatz")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ansatzlab 0.1.0\n")
