import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ansatzlab import cli
from ansatzlab.cli.progress import Pace, describe, live, pace
from ansatzlab.cli.settings import read_setting
from ansatzlab.errors import InputError
from ansatzlab.store.parquet import Store
from ansatzlab.sweeps.executors import serial
from ansatzlab.sweeps.processes import Processes
from ansatzlab.sweeps.ray import Ray
from ansatzlab.sweeps.sweep import Progress, sweep

GRID = """
data: linnerud
depth: [2, 3]
width: 3
init: gaussian
optimizer: [{name: gd, learning_rate: 0.1}, {name: adam, learning_rate: 0.01}]
steps: 5
snapshots: 3
seed: [0, 1]
"""


def ansatz(monkeypatch, *arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["ansatz", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


@pytest.fixture
def plan(tmp_path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(GRID, encoding="utf-8")
    return path


def arguments(plan: Path, *more: str) -> tuple[str, ...]:
    return ("sweep", str(plan), "--out", str(plan.parent / "out"), "--executor", "serial", *more)


def files_of(plan: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (plan.parent / "out" / "runs").iterdir()}


# --- running -----------------------------------------------------------------------------------------------------


def test_a_sweep_runs_says_what_came_of_it_and_resumes(monkeypatch, capsys, plan):
    assert ansatz(monkeypatch, *arguments(plan)) == 0
    shown = capsys.readouterr()
    folder = plan.parent / "out"
    assert shown.out.split("┃")[1:5] == [" finished ", " diverged ", " failed ", " runs "]
    assert "│ 8        │ 0        │ 0      │ 8    │" in shown.out
    assert f"list them: ansatz runs {folder}" in shown.out
    assert "8/8" in shown.err
    store = Store.open(folder)
    assert len(store.finished()) == 8
    request = store.read_json("sweep")
    assert set(request["runs"]) == store.finished()
    assert request["grid"]["depth"] == [2, 3]
    before = files_of(plan)
    assert ansatz(monkeypatch, *arguments(plan)) == 0
    assert files_of(plan) == before
    assert "8 resumed" in capsys.readouterr().err


def test_quiet_shows_nothing(monkeypatch, capsys, plan):
    assert ansatz(monkeypatch, *arguments(plan, "--quiet")) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_json_lines_tell_the_start_every_batch_and_the_end(monkeypatch, capsys, plan):
    assert ansatz(monkeypatch, *arguments(plan, "--json-lines", "--batch-size", "1", "--set", "seed=0")) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    events = [json.loads(line) for line in shown.out.splitlines()]
    assert [(event["event"], event.get("done")) for event in events] == [
        ("start", 0),
        *(("batch", done) for done in (1, 2, 3, 4)),
        ("end", None),
    ]
    assert events[0]["runs_per_second"] is None
    assert events[-2]["seconds_left"] == 0
    assert events[-1] == {
        "event": "end",
        "finished": 4,
        "diverged": 0,
        "failed": 0,
        "folder": str(plan.parent / "out"),
    }


def test_a_diverged_run_is_counted_and_is_no_failure(monkeypatch, capsys, plan):
    change = 'optimizer={"name": "gd", "learning_rate": 1000.0, "steps": 500}'
    plan.write_text(GRID.replace("steps: 5\n", ""), encoding="utf-8")
    assert ansatz(monkeypatch, *arguments(plan, "--set", change, "--set", "depth=2", "--set", "seed=0")) == 0
    assert "│ 0        │ 1        │ 0      │ 1    │" in capsys.readouterr().out


def test_a_failed_run_is_an_exit_code_of_its_own_and_the_others_are_kept(monkeypatch, capsys, plan):
    def faulty(work, batches):
        for batch, rows in serial(work, batches):
            yield batch, MemoryError("planted") if batch.specs[0].seed else rows

    monkeypatch.setattr("ansatzlab.cli.sweep.serial", faulty)
    assert ansatz(monkeypatch, *arguments(plan, "--batch-size", "1")) == 1
    shown = capsys.readouterr()
    assert "│ 4        │ 0        │ 4      │ 8    │" in shown.out
    assert "4 failed" in shown.err
    assert f"why some failed: ansatz runs {plan.parent / 'out'} --status failed" in shown.out
    monkeypatch.setattr("ansatzlab.cli.sweep.serial", serial)
    assert ansatz(monkeypatch, *arguments(plan)) == 0, "failed runs are tried again"


def test_settings_are_changed_on_the_command_line(monkeypatch, capsys, plan):
    assert ansatz(monkeypatch, *arguments(plan, "--dry-run", "--set", "seed=0,1,2", "--set", "depth=4")) == 0
    assert capsys.readouterr().out.startswith("6 runs, 0 of them kept")


# --- the dry run -------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_run_and_writes_nothing(monkeypatch, capsys, plan):
    assert ansatz(monkeypatch, *arguments(plan, "--dry-run")) == 0
    shown = capsys.readouterr()
    first, second, *rest = shown.out.splitlines()
    assert first == (
        f"8 runs, 0 of them kept in {plan.parent / 'out'} already; 4 batches: 4 of runs trained as one (8 runs), "
        "0 of one run."
    )
    assert second == "the first 5:"
    assert rest[0].startswith("all: experiment sweep, data linnerud, data.seed 0, model deep_linear")
    assert len(rest) == 7
    assert not (plan.parent / "out").exists()


def test_a_dry_run_counts_what_is_kept(monkeypatch, capsys, plan):
    assert ansatz(monkeypatch, *arguments(plan, "--quiet", "--set", "seed=0")) == 0
    assert ansatz(monkeypatch, *arguments(plan, "--dry-run", "--json-lines")) == 0
    (event,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (event["event"], event["runs"], event["kept"], event["stacked_runs"]) == ("plan", 8, 4, 8)


# --- stopping ----------------------------------------------------------------------------------------------------


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(monkeypatch, capsys, plan):
    def interrupted(specs, *, progress, **_):
        progress(Progress(done=3, total=len(specs), resumed=1))
        raise KeyboardInterrupt

    monkeypatch.setattr("ansatzlab.cli.sweep.sweep", interrupted)
    assert ansatz(monkeypatch, *arguments(plan)) == 130
    told = capsys.readouterr().err
    assert f"stopped; 3 of 8 runs are kept in {plan.parent / 'out'}; the same command goes on from here:" in told
    assert shlex.join(["ansatz", *arguments(plan)]) in told


def test_a_real_ctrl_c_leaves_a_readable_store_that_goes_on(plan):
    command = [str(Path(sys.executable).with_name("ansatz")), *arguments(plan, "--json-lines", "--batch-size", "1")]
    command += ["--set", "seed=0,1,2,3,4,5,6,7,8,9", "--set", "steps=20000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        events = [json.loads(running.stdout.readline()) for _ in range(2)]
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    assert (events[-1]["event"], events[-1]["done"]) == ("batch", 1)
    assert running.returncode == 130, told
    assert "40 runs are kept in" in told
    assert len(told.strip().splitlines()) == 1
    kept = Store.open(plan.parent / "out").finished()
    assert 1 <= len(kept) < 40


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "more", "told"),
    [
        (("depth: [2", "dept: [2"), (), "unknown axis of {plan} 'dept'; did you mean 'depth'?"),
        (("0.01", "-0.01"), (), "{plan}: adam: got optimizer.learning_rate = -0.01; wanted greater than 0"),
        (("seed: [0, 1]", "seed: []"), (), "{plan}: got seed = []; wanted at least one value"),
        (("linnerud", "none.npz"), (), "{plan}: data: none.npz: cannot be read"),
        (("width: 3", "width: 3\nwidth: 4"), (), "{plan}: is not valid YAML (the key width is given twice"),
        ((), ("--set", "seed"), "--set seed: wanted NAME=VALUE"),
        ((), ("--set", "sed=1"), "unknown axis of {plan} 'sed'; did you mean 'seed'?"),
        ((), ("--batch-size", "0"), "--batch-size: got 0; wanted 1 or more"),
        ((), ("--workers", "2"), "--workers: the serial executor has none"),
        ((), ("--address", "auto"), "--address: is for --executor ray, got serial"),
        ((), ("--executor", "processes", "--workers", "0"), "Processes: got workers = 0"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_run(monkeypatch, capsys, plan, change, more, told):
    if change:
        assert change[0] in GRID
        plan.write_text(GRID.replace(*change), encoding="utf-8")
    assert ansatz(monkeypatch, *arguments(plan, *more)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.strip().splitlines()
    assert line.startswith(f"error: {told.format(plan=plan)}")
    assert not (plan.parent / "out").exists()


def test_a_missing_file_is_refused(monkeypatch, capsys, tmp_path):
    assert ansatz(monkeypatch, "sweep", str(tmp_path / "none.yaml")) == 2
    assert "none.yaml: cannot be read (No such file or directory)" in capsys.readouterr().err


def test_a_folder_that_cannot_be_used_is_an_error_of_another_code(monkeypatch, capsys, plan):
    (plan.parent / "out").write_text("x", encoding="utf-8")
    assert ansatz(monkeypatch, *arguments(plan)) == 3
    assert "is a file, wanted a folder" in capsys.readouterr().err


# --- executors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "cores", "chosen"),
    [
        ((), 1, serial),
        ((), 2, Processes()),
        (("--executor", "serial"), 2, serial),
        (("--workers", "3"), 2, Processes(3)),
        (("--executor", "ray"), 1, Ray()),
        (("--executor", "ray", "--address", "10.0.0.1:6379", "--workers", "4"), 1, Ray("10.0.0.1:6379", 4)),
    ],
    ids=range(6),
)
def test_the_executor_is_the_one_asked_for_or_fits_the_machine(monkeypatch, plan, options, cores, chosen):
    got = []

    def noted(specs, *, store, executor, **_):
        got.append(executor)
        return sweep(specs, store=store, executor=serial)

    monkeypatch.setattr("ansatzlab.cli.sweep.usable_cores", lambda: cores)
    monkeypatch.setattr("ansatzlab.cli.sweep.sweep", noted)
    assert ansatz(monkeypatch, "sweep", str(plan), "--out", str(plan.parent / "out"), *options) == 0
    assert got == [chosen]


# --- progress ----------------------------------------------------------------------------------------------------


def test_the_pace_counts_the_runs_of_this_call_only():
    state = Progress(done=30, total=50, resumed=10)
    assert pace(state, 10.0) == Pace(runs_per_second=2.0, seconds_left=10.0)
    assert pace(state, 0.0) == pace(Progress(done=10, total=50, resumed=10), 10.0) == Pace(None, None)


def test_the_live_line_says_what_went_wrong_and_what_is_left():
    state = Progress(done=30, total=50, resumed=10, failed=1, diverged=2)
    assert describe(state, Pace(2.0, 3725.4)) == "10 resumed, 1 failed, 2 diverged, 2 runs/s, 1:02:05 left"
    assert describe(Progress(done=0, total=50, resumed=0), Pace(None, None)) == ""


def test_a_quiet_live_line_shows_nothing(capsys):
    with live(quiet=True) as tell:
        tell(Progress(done=1, total=2, resumed=0))
    assert capsys.readouterr().err == ""


def test_settings_are_read_as_json_or_lists_or_text():
    assert [read_setting(text) for text in ("a=1", "a=1,2", "a=x", 'a={"b": null}', "a=x=y")] == [
        ("a", 1),
        ("a", [1, 2]),
        ("a", "x"),
        ("a", {"b": None}),
        ("a", "x=y"),
    ]
    with pytest.raises(InputError, match="--set =3: wanted NAME=VALUE"):
        read_setting("=3")
