import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ansatzlab import cli
from ansatzlab.cli import measurement as command
from ansatzlab.cli.batches import refuse_idle_process
from ansatzlab.cli.processes import Process, one_of_several
from ansatzlab.errors import InputError
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.sources import Batches
from ansatzlab.measurement.verdict import judge

NETWORKS = """
import torch
from torch import nn

def make(seed=0):
    torch.manual_seed(seed)
    layers = nn.Linear(6, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 4), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, 3)
    return nn.Sequential(*layers).double()

def wide():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 64)).double()

class Keyed(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, inputs):
        hidden = torch.tanh(self.body(inputs))
        return {"logits": self.head(hidden), "hidden": (hidden, self.head(hidden).unsqueeze(1).expand(-1, 2, -1))}

def keyed():
    return Keyed().double()

class Sequences(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 5)

    def forward(self, inputs):
        return self.head(torch.tanh(self.body(inputs.reshape(len(inputs), 2, 3))))

def sequences():
    return Sequences().double()

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attention, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, inputs):
        tokens = inputs.reshape(len(inputs), 1, 6) * torch.arange(1.0, 4.0, dtype=inputs.dtype)[:, None]
        return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))

def attention():
    return Attention().double()

ready = make(3)

def none():
    return iter(())

def endless():
    while True:
        yield torch.ones(2, 6, dtype=torch.float64)
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The current folder, with networks and data in it."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETWORKS)
    inputs = np.random.default_rng(0).standard_normal((40, 6))
    np.save("x.npy", inputs)
    np.save("x32.npy", inputs.astype(np.float32))
    torch.save(build(seed=1).state_dict(), "trained.pt")
    torch.save(build(seed=2).state_dict(), "start.pt")
    return tmp_path


def build(seed=0, maker="make"):
    space = {"__name__": "nets"}
    exec(NETWORKS, space)
    return (space[maker](seed) if maker == "make" else space[maker]()).eval()


def ansatz(monkeypatch, *arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["ansatz", "measure", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


def rows(monkeypatch, capsys, *arguments: str):
    """Return the rows that ``--json`` prints, which must be all that is printed."""
    assert ansatz(monkeypatch, *arguments, "--json") == 0, capsys.readouterr().err
    shown = capsys.readouterr()
    assert shown.err == ""
    return json.loads(shown.out)["rows"]


def inputs():
    return [torch.from_numpy(np.load("x.npy"))]


def test_the_table_names_every_layer_measured_or_skipped(monkeypatch, capsys):
    assert ansatz(monkeypatch, "nets.py:make", "--data", "x.npy") == 0
    shown = capsys.readouterr()
    assert "5×6" in shown.out
    assert "4×5" in shown.out
    assert "tautological: 6: the output gradients are isotropic" in shown.out
    assert "skipped: 2: LayerNorm" in shown.out
    assert "outputs: 3 outputs; 40 examples" in shown.out
    assert "convention: exponent 0.5, cosine\n" in shown.out
    assert "start" not in shown.out
    assert all(len(line.rstrip()) <= 80 for line in shown.out.partition("tautological:")[0].splitlines())
    assert "1/1" in shown.err


def test_the_json_rows_are_what_the_library_gives(monkeypatch, capsys):
    found = rows(monkeypatch, capsys, "nets.py:make", "--data", "x.npy", "--exponent", "0.5", "--exponent", "1")
    measured = measure(build(), inputs())
    assert [(row["layer"], row["exponent"]) for row in found] == [
        (name, exponent) for name in ("0", "3", "6") for exponent in (0.5, 1.0)
    ]
    for row in found:
        verdict = judge(measured[row["layer"]], Convention(row["exponent"]))
        assert row["value"] == pytest.approx(verdict.alignment.value, rel=1e-12)
        assert row["error"] == pytest.approx(verdict.alignment.error, rel=1e-9)
        assert row["residual"] == pytest.approx(verdict.alignment.residual, rel=1e-9, abs=1e-12)
        assert (row["verdict"], row["reason"]) == (verdict.word, verdict.reason)
        assert row["best_exponent"] == pytest.approx(measured[row["layer"]].fit_exponent().value, rel=1e-9)
        assert row["start"] is None


def test_the_json_says_what_was_done(monkeypatch, capsys):
    command_line = ("nets.py:make", "--data", "x.npy", "--weights", "trained.pt", "--json")
    assert ansatz(monkeypatch, *command_line) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["outputs"] == "3 outputs"
    assert told["conventions"] == ["exponent 0.5, cosine"]
    assert list(told["skipped"]) == ["2"]
    assert told["provenance"]["command"] == "ansatz measure nets.py:make --data x.npy --weights trained.pt --json"
    assert told["provenance"]["weights"] == "trained.pt"
    assert told["provenance"]["directions"] == "every output"
    assert "torch" in told["provenance"]


def test_weights_are_loaded_and_the_start_is_the_network_before_training(monkeypatch, capsys):
    common = ("nets.py:make", "--data", "x.npy", "--weights", "trained.pt", "--init-weights", "start.pt")
    found = rows(monkeypatch, capsys, *common)
    after, before = measure(build(seed=1), inputs()), measure(build(seed=2), inputs())
    for row in found:
        assert row["value"] == pytest.approx(after[row["layer"]].alignment(0.5).value, rel=1e-12)
        assert row["start"] == pytest.approx(before[row["layer"]].alignment(0.5).value, rel=1e-12)
    assert ansatz(monkeypatch, *common) == 0
    assert "start" in capsys.readouterr().out


def test_a_network_made_beforehand_is_not_its_own_start(monkeypatch, capsys):
    files = ("--weights", "trained.pt", "--init-weights", "start.pt")
    made = rows(monkeypatch, capsys, "nets.py:make", "--data", "x.npy", *files)
    assert rows(monkeypatch, capsys, "nets.py:ready", "--data", "x.npy", *files) == made


def test_safetensors_with_a_wrappers_prefix_are_loaded_and_said(monkeypatch, capsys):
    state = {f"module.{name}": tensor.contiguous() for name, tensor in build(seed=1).state_dict().items()}
    save_file(state, "t.safetensors")
    assert ansatz(monkeypatch, "nets.py:make", "--data", "x.npy", "--weights", "t.safetensors", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["provenance"]["weights"] == "t.safetensors (prefix 'module.' taken off)"
    value = measure(build(seed=1), inputs())["0"].alignment(0.5).value
    assert told["rows"][0]["value"] == pytest.approx(value, rel=1e-12)


def test_batch_size_does_not_matter_and_the_limit_does(monkeypatch, capsys):
    whole = rows(monkeypatch, capsys, "nets.py:make", "--data", "x.npy")
    small = rows(monkeypatch, capsys, "nets.py:make", "--data", "x.npy", "--batch-size", "7")
    assert [row["value"] for row in small] == pytest.approx([row["value"] for row in whole], rel=1e-10)
    few = rows(monkeypatch, capsys, "nets.py:make", "--data", "x.npy", "--batch-size", "7", "--limit", "9")
    assert [row["examples"] for row in few] == [9, 9, 9]
    wanted = measure(build(), [inputs()[0][:9]])["0"].alignment(0.5).value
    assert few[0]["value"] == pytest.approx(wanted, rel=1e-10)


def test_layers_are_chosen_by_name(monkeypatch, capsys):
    chosen = rows(monkeypatch, capsys, "nets.py:make", "--data", "x.npy", "--layers", "6,0", "--layers", "3")
    assert [row["layer"] for row in chosen] == ["0", "3", "6"]
    chosen = rows(monkeypatch, capsys, "nets.py:make", "--data", "x.npy", "--layers", "3")
    assert [row["layer"] for row in chosen] == ["3"]


def test_a_law_by_depth_counts_the_layers_that_were_not_chosen(monkeypatch, capsys):
    preset = ("nets.py:make", "--data", "x.npy", "--preset", "tansley2025nfa")
    assert [row["exponent"] for row in rows(monkeypatch, capsys, *preset)] == pytest.approx([1 / 3, 1 / 2, 1])
    (row,) = rows(monkeypatch, capsys, *preset, "--layers", "3")
    assert row["exponent"] == 0.5


def test_a_law_by_depth_counts_the_linear_maps_inside_a_module(monkeypatch, capsys):
    preset = ("nets.py:attention", "--data", "x.npy", "--preset", "tansley2025nfa")
    found = rows(monkeypatch, capsys, *preset)
    assert [row["layer"] for row in found] == [*(f"attention.{name}_proj" for name in ("q", "k", "v", "out")), "head"]
    assert [row["exponent"] for row in found] == pytest.approx([1 / 5, 1 / 4, 1 / 3, 1 / 2, 1])
    (row,) = rows(monkeypatch, capsys, *preset, "--layers", "attention.v_proj")
    assert row["exponent"] == pytest.approx(1 / 3)


def test_a_preset_gives_every_reading_of_its_paper(monkeypatch, capsys):
    common = ("nets.py:make", "--data", "x.npy", "--preset", "radhakrishnan2024nfa", "--init-weights", "start.pt")
    found = rows(monkeypatch, capsys, *common, "--layers", "0")
    assert [(row["centered"], row["init_removed"], row["exponent"]) for row in found] == [
        (False, True, 1.0),
        (True, True, 1.0),
    ]
    layer = measure(build(), inputs(), initial=build(seed=2))["0"]
    for row in found:
        wanted = layer.alignment(1.0, centered=row["centered"], init_removed=True).value
        assert row["value"] == pytest.approx(wanted, rel=1e-10)
    monkeypatch.setenv("COLUMNS", "130")
    assert ansatz(monkeypatch, *common, "--layers", "0") == 0
    shown = capsys.readouterr().out
    assert "not centred" in shown
    assert "convention: exponent 1, cosine, mean gradient taken out, W − W₀ for W" in shown


def test_signs_stand_for_the_outputs_and_are_said(monkeypatch, capsys):
    common = ("nets.py:wide", "--data", "x.npy", "--layers", "0")
    (exact,) = rows(monkeypatch, capsys, *common)
    (signs,) = rows(monkeypatch, capsys, *common, "--signs", "16")
    assert signs["value"] != exact["value"]
    assert signs["value"] == pytest.approx(exact["value"], abs=0.05)
    (full,) = rows(monkeypatch, capsys, *common, "--signs", "64")
    assert full["value"] == pytest.approx(exact["value"], rel=1e-10)
    assert ansatz(monkeypatch, *common, "--signs", "16", "--json") == 0
    assert json.loads(capsys.readouterr().out)["provenance"]["directions"] == "16 random signs a batch"


def test_signs_are_shared_where_a_mean_gradient_is_taken_out(monkeypatch, capsys):
    preset = ("--preset", "radhakrishnan2024nfa", "--init-weights", "start.pt", "--signs", "2")
    found = rows(monkeypatch, capsys, "nets.py:make", "--data", "x.npy", *preset)
    assert {row["centered"] for row in found} == {True, False}


def test_an_output_is_picked_by_key_and_its_positions_by_word(monkeypatch, capsys):
    keyed = rows(monkeypatch, capsys, "nets.py:keyed", "--data", "x.npy", "--output", "logits")
    wanted = measure(build(maker="keyed"), inputs(), output="logits")["body"].alignment(0.5).value
    assert keyed[0]["value"] == pytest.approx(wanted, rel=1e-12)
    for positions, outputs in (("each", "10 outputs"), ("last", "5 outputs"), ("mean", "5 outputs")):
        arguments = ("nets.py:sequences", "--data", "x.npy", "--positions", positions, "--json")
        assert ansatz(monkeypatch, *arguments) == 0
        assert json.loads(capsys.readouterr().out)["outputs"].startswith(outputs)


def test_an_index_is_a_number_and_not_a_key(monkeypatch, capsys):
    assert ansatz(monkeypatch, "nets.py:keyed", "--data", "x.npy", "--output", "1") == 3
    assert "1 finds nothing in the dict" in capsys.readouterr().err


def test_a_key_may_look_like_two_signs_and_a_number(monkeypatch, capsys):
    assert ansatz(monkeypatch, "nets.py:keyed", "--data", "x.npy", "--output=--1") == 3
    assert "'--1' finds nothing in the dict" in capsys.readouterr().err


def test_an_exponent_that_is_given_twice_is_read_once(monkeypatch, capsys):
    twice = ("--exponent", "1", "--exponent", "0.5", "--exponent", "1.0")
    found = rows(monkeypatch, capsys, "nets.py:make", "--data", "x.npy", "--layers", "0", *twice)
    assert [row["exponent"] for row in found] == [1.0, 0.5]


def test_heads_get_rows_of_their_own(monkeypatch, capsys):
    plain = rows(monkeypatch, capsys, "nets.py:attention", "--data", "x.npy")
    parts = rows(monkeypatch, capsys, "nets.py:attention", "--data", "x.npy", "--parts")
    assert [row for row in parts if not row["part"]] == plain
    measured = measure(build(maker="attention"), inputs())
    wanted = [(name, part) for name, layer in measured.items() for part in layer.parts]
    assert [(row["layer"], row["part"]) for row in parts if row["part"]] == wanted
    assert len(wanted) >= 6


def test_a_dtype_casts_both_and_without_it_the_message_says_so(monkeypatch, capsys):
    assert ansatz(monkeypatch, "nets.py:make", "--data", "x32.npy") == 3
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "the data are float32, the network is float64: add --dtype float32 or --dtype float64" in line
    assert "input of shape (40, 6), float32" in line
    exact = rows(monkeypatch, capsys, "nets.py:make", "--data", "x.npy")
    for dtype in ("float32", "float64"):
        found = rows(monkeypatch, capsys, "nets.py:make", "--data", "x32.npy", "--dtype", dtype)
        assert [row["value"] for row in found] == pytest.approx([row["value"] for row in exact], abs=1e-5)


def test_out_holds_the_measurement_its_rows_a_page_and_figures(monkeypatch, capsys):
    arguments = ("nets.py:make", "--data", "x.npy", "--out", "a/b", "--json")
    for _ in range(2):  # again into the same folder
        assert ansatz(monkeypatch, *arguments) == 0
        printed = json.loads(capsys.readouterr().out)
        kept = json.loads(Path("a/b/measurement.json").read_text())
        assert kept["rows"] == printed["rows"]
    files = {str(path.relative_to("a/b")) for path in Path("a/b").rglob("*") if path.is_file()}
    pictures = {f"figures/{name}.png" for name in ("layers", "alignment", "residual", "spectra")}
    assert files == {"measurement.safetensors", "measurement.json", "report.html"} | pictures
    loaded = Measurement.load("a/b/measurement.safetensors")
    assert loaded["0"].alignment(0.5).value == pytest.approx(printed["rows"][0]["value"], rel=1e-12)
    assert Path("a/b/report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert ansatz(monkeypatch, "nets.py:make", "--data", "x.npy", "--out", "a/b") == 0
    assert "report: a/b/report.html" in capsys.readouterr().out


def test_a_picture_of_an_earlier_run_does_not_stay(monkeypatch):
    assert ansatz(monkeypatch, "nets.py:make", "--data", "x.npy", "--out", "o") == 0
    assert ansatz(monkeypatch, "nets.py:make", "--data", "x.npy", "--out", "o", "--layers", "3") == 0
    assert not Path("o/figures/layers.png").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nets.py:make", "--data", "none.npy"), "none.npy: there is no such file"),
        (("nets.py", "--data", "x.npy"), "wanted package.module:callable or path.py:callable"),
        (("nets.py:mke", "--data", "x.npy"), "did you mean make"),
        (("nets.py:make", "--data", "nets.py:none"), "got no batch; wanted at least one"),
        (("nets.py:make", "--data", "x.npy", "--weights", "none.pt"), "none.pt: there is no such file"),
        (("nets.py:wide", "--data", "x.npy", "--weights", "trained.pt"), "weights trained.pt: do not fit Sequential"),
        (("nets.py:wide", "--data", "x.npy", "--init-weights", "start.pt"), "weights start.pt: do not fit Sequential"),
        (("nets.py:make", "--data", "x.npy", "--weights", "whole.pt"), "refused: it is a pickle"),
        (
            ("nets.py:make", "--data", "narrow.npy"),
            "the network cannot be run on the first batch (input of shape (4, 5)",
        ),
        (("nets.py:make", "--data", "bad.npy"), "3 entries that are not finite"),
        (("nets.py:make", "--data", "x.npy", "--layers", "9"), "unknown layer '9'"),
        (("nets.py:keyed", "--data", "x.npy"), "the model returns a dict"),
        (("nets.py:make", "--data", "x.npy", "--exponent", "0"), "--exponent 0.0: wanted a positive number"),
        (("nets.py:make", "--data", "x.npy", "--preset", "tansley2025"), "did you mean 'tansley2025nfa'?"),
        (("nets.py:make", "--data", "x.npy", "--preset", "tansley2025nfa", "--exponent", "1"), "its own exponents"),
        (("nets.py:make", "--data", "x.npy", "--preset", "radhakrishnan2024nfa"), "add --init-weights FILE"),
        (("nets.py:make", "--data", "x.npy", "--out", "full"), "is not empty and not an output folder"),
        (("nets.py:make", "--data", "x.npy", "--out", "nets.py"), "cannot be used as an output folder"),
        (("nets.py:make", "--data", "x.npy", "--out", "nets.py/below"), "cannot be used as an output folder"),
        (("nets.py:make", "--data", "x.npy", "--device", "nowhere"), "--device nowhere: cannot be used"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(monkeypatch, capsys, arguments, told):
    Path("full").mkdir()
    Path("full/thesis.tex").write_text("x")
    torch.save(build(), "whole.pt")
    np.save("narrow.npy", np.ones((4, 5)))
    np.save("bad.npy", np.array([[np.nan, np.inf, -np.inf, 1, 1, 1]]))
    assert ansatz(monkeypatch, *arguments, "--json") == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.strip().splitlines()
    assert line.startswith("error: ")
    assert told in line
    assert sorted(path.name for path in Path("full").iterdir()) == ["thesis.tex"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("nets.py:make",),
        ("nets.py:make", "--data", "x.npy", "--signs", "0"),
        ("nets.py:make", "--data", "x.npy", "--batch-size", "0"),
        ("nets.py:make", "--data", "x.npy", "--positions", "first"),
        ("nets.py:make", "--data", "x.npy", "--dtype", "float8"),
    ],
)
def test_wrong_usage_is_an_error(monkeypatch, arguments):
    assert ansatz(monkeypatch, *arguments) == 3


def test_a_stream_of_unknown_length_is_measured_up_to_the_limit(monkeypatch, capsys):
    found = rows(monkeypatch, capsys, "nets.py:make", "--data", "nets.py:endless", "--limit", "5", "--layers", "0")
    assert found[0]["examples"] == 5


def test_ctrl_c_writes_nothing_and_says_so(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "measure", interrupted)
    assert ansatz(monkeypatch, "nets.py:make", "--data", "x.npy", "--out", "o") == 130
    assert "nothing was written" in capsys.readouterr().err
    assert not Path("o").exists()


def test_every_process_needs_a_batch():
    with pytest.raises(InputError, match="got 2 batches for 3 processes; wanted at least one each"):
        refuse_idle_process(Batches([torch.ones(1)] * 2, 2), Process(0, 3))
    refuse_idle_process(Batches([torch.ones(1)] * 2, 2), Process(0, 2))
    refuse_idle_process(Batches(iter(()), None), Process(0, 3))


@pytest.mark.parametrize(("world", "rank"), [("2", None), ("two", "0"), ("2", "2")])
def test_an_environment_that_torchrun_did_not_make_is_refused(monkeypatch, world, rank):
    monkeypatch.setenv("WORLD_SIZE", world)
    monkeypatch.delenv("RANK", raising=False) if rank is None else monkeypatch.setenv("RANK", rank)
    with pytest.raises(InputError, match="wanted what torchrun sets"), one_of_several():
        pass


def test_two_processes_equal_one(monkeypatch, capsys):
    arguments = ("nets.py:make", "--data", "x.npy", "--batch-size", "7")
    alone = rows(monkeypatch, capsys, *arguments)
    launch = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python")
    ansatz_ = str(Path(sys.executable).with_name("ansatz"))
    done = subprocess.run(
        [*launch, ansatz_, "measure", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)  # one process printed
    assert told["provenance"]["processes"] == "2"
    for one, two in zip(alone, told["rows"], strict=True):
        assert two["examples"] == one["examples"] == 40
        assert two["value"] == pytest.approx(one["value"], rel=1e-10)
        assert two["best_exponent"] == pytest.approx(one["best_exponent"], rel=1e-9)
        assert math.isclose(two["error"], one["error"], rel_tol=1e-6)
