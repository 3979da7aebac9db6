"""The command ``ansatz merge``, on networks as a user trains and saves them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from torch.nn.functional import softplus
from typer.testing import CliRunner, Result

from ansatzlab.cli.merge import merge_command
from ansatzlab.measurement.sources import load_model

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(merge_command)

NETWORK = '''"""A user's network: one hidden layer, and a readout that is not trained."""
import torch


def build():
    net = torch.nn.Sequential(
        torch.nn.Linear(8, 40, bias=False), torch.nn.ReLU(), torch.nn.Linear(40, 1, bias=False)
    )
    net[2].weight.data = torch.tensor([[1.0, -1.0] * 20]) / 40**0.5
    return net


def biased():
    return torch.nn.Sequential(torch.nn.Linear(8, 40), torch.nn.ReLU(), torch.nn.Linear(40, 1, bias=False))


def half():
    return build().half()


def brain():
    return build().bfloat16()


def narrow():
    net = build()
    return torch.nn.Sequential(net[0], torch.nn.Flatten(0), net[2])


def words():
    return torch.ones(2, 8), ["cat", "dog"]


def strings():
    return [["a"] * 8] * 2, [0, 1]


def ragged():
    return [[1.0, 2.0], [1.0]], [0, 1]


def nothing():
    return torch.ones(0, 8), []


def one_class():
    return torch.ones(2, 8), [[0, 1], [0, 1]]
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks that were trained with torch on two tasks whose inputs are orthogonal, and on two that overlap."""
    place = tmp_path_factory.mktemp("merge")
    (place / "net.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    z = {name: rng.normal(size=(12, 4)) for name in "ab"}
    for kind in ("apart", "same"):
        for name, half in (("a", 0), ("b", 1 if kind == "apart" else 0)):
            x = np.zeros((12, 8), dtype=np.float32)
            x[:, 4 * half : 4 * half + 4] = z[name]
            targets = (z[name][:, 0] * (1 if name == "a" else -1) > 0).astype(int) + 2
            np.savez(place / f"{kind}_{name}.npz", inputs=x, targets=targets)
            save_file(train(place, x, targets, seed=ord(name)), place / f"{kind}_{name}.safetensors")
    return place


def train(place: Path, x: np.ndarray, targets: np.ndarray, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    net = load_model(f"{place / 'net.py'}:build")
    inputs, labels = torch.from_numpy(x), torch.from_numpy(2.0 * (targets == targets.max()) - 1).float()
    optimizer = torch.optim.SGD([net[0].weight], lr=0.5, weight_decay=0.02)
    for _ in range(800):
        optimizer.zero_grad()
        softplus(-labels * net(inputs)[:, 0]).mean().backward()
        optimizer.step()
    return net.state_dict()


def run(folder: Path, kind: str, *words: str, b: str = "", model: str = "build", data_b: str = "") -> Result:
    return CliRunner().invoke(
        app,
        [
            str(folder / f"{kind}_a.safetensors"),
            str(folder / (b or f"{kind}_b.safetensors")),
            "--model",
            f"{folder / 'net.py'}:{model}",
            "--data-a",
            str(folder / f"{kind}_a.npz"),
            "--data-b",
            str(folder / (data_b or f"{kind}_b.npz")),
            *words,
        ],
        env={"COLUMNS": "200"},
    )


def test_orthogonal_tasks_lose_nothing_and_the_first_line_says_so(folder: Path):
    shown = run(folder, "apart", "--weight-decay", "0.02")
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith("Lost: no right answer on either task; outputs move by up to")
    for told in ("merged accuracy", "bound on that", "coherence of the inputs: 0 ", "kept, the same in both: 2.weight"):
        assert told in shown.output
    assert "A: cos(θ, −gradient) = 0.9" in shown.output
    assert "The norms are those of a stationary point and the gradient is not" in shown.output
    assert (
        json.loads(run(folder, "apart", "--weight-decay", "0.02", "--json").output)["stationarity"]["A"]["decay"]
        == 0.01
    )
    assert "warning" not in shown.output


def test_tasks_that_contradict_one_another_lose_answers_and_are_warned_of(folder: Path):
    shown = run(folder, "same")
    assert "right answers on" in shown.output.splitlines()[0]
    assert "warning: the inputs of the two tasks are not orthogonal" in shown.output
    told = json.loads(run(folder, "same", "--json").output)
    assert told["accounts"][0]["lost"] > 0
    assert told["coherence"] > 0.5
    assert told["accounts"][0]["bound_share"] <= 1


def test_what_is_written_is_the_sum_and_can_be_used_again(folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    shown = run(folder, "apart", "--out", str(out), "--frozen", "2.weight", "--json")
    assert shown.exit_code == 0, shown.output
    a, b, merged = (
        load_file(path)
        for path in (folder / "apart_a.safetensors", folder / "apart_b.safetensors", out / "merged.safetensors")
    )
    assert torch.equal(merged["0.weight"], a["0.weight"] + b["0.weight"])
    assert torch.equal(merged["2.weight"], a["2.weight"])
    assert sorted(file.name for file in out.iterdir()) == ["merge.json", "merged.safetensors"]
    record = json.loads((out / "merge.json").read_text())
    assert record == json.loads(shown.output)
    assert record["summed"] == ["0.weight"]
    again = run(folder, "apart", "--out", str(out))
    assert again.exit_code == 0, again.output
    assert "merged weights:" in again.output


@pytest.mark.parametrize(
    ("words", "changed", "message"),
    [
        (("--frozen", "head"), {}, "frozen names ['head']"),
        (("--frozen", "0.weight"), {}, "the frozen 0.weight differ"),
        (("--weight-decay", "0"), {}, "--weight-decay 0.0: wanted a positive number"),
        ((), {"b": "apart_a.safetensors"}, "both networks have the same weights"),
        ((), {"b": "missing.safetensors"}, "there is no such file"),
        ((), {"model": "biased"}, "missing (0.bias)"),
        ((), {"data_b": "net.py"}, "wanted package.module:callable"),
        ((), {"data_b": "three.npz"}, "wanted two classes"),
        ((), {"data_b": "net.py:words"}, "no array of numbers"),
        ((), {"data_b": "net.py:strings"}, "no array of numbers"),
        ((), {"data_b": "net.py:ragged"}, "no array of numbers"),
        ((), {"data_b": "net.py:nothing"}, "one target for each example"),
        ((), {"data_b": "net.py:one_class"}, "wanted two classes that both occur"),
        ((), {"b": "nan.safetensors"}, "nan.safetensors: 0.weight hold numbers that are not finite"),
        ((), {"b": "inf.safetensors"}, "inf.safetensors: 0.weight hold numbers that are not finite"),
        ((), {"b": "int.safetensors"}, "0.weight is int64, float32 in MODEL"),
        ((), {"b": "double.safetensors"}, "0.weight is float64, float32 in MODEL"),
        ((), {"model": "half"}, "0.weight is float32, float16 in MODEL"),
        ((), {"model": "narrow"}, "network A: Sequential: cannot be evaluated"),
        (("--flow-time", "100"), {}, "without --weight-decay"),
        (("--flow-time", "0", "--weight-decay", "0.1"), {}, "--flow-time 0.0: wanted a positive number"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else str(value),
)
def test_what_cannot_be_used_ends_with_3_and_one_line(folder: Path, words, changed, message):
    np.savez(folder / "three.npz", inputs=np.eye(8)[:3], targets=np.arange(3))
    state = load_file(folder / "apart_b.safetensors")
    hidden = state["0.weight"]
    odd = {"nan": hidden * torch.nan, "inf": hidden * torch.inf, "int": hidden.long(), "double": hidden.double()}
    for name, tensor in odd.items():
        save_file(state | {"0.weight": tensor}, folder / f"{name}.safetensors")
    shown = run(folder, "apart", *words, **changed)
    assert shown.exit_code == 3
    assert message in shown.stderr
    assert len(shown.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("model", "dtype"), [("half", torch.float16), ("brain", torch.bfloat16)])
def test_networks_in_half_precision_are_merged_and_told_of(
    folder: Path, tmp_path: Path, model: str, dtype: torch.dtype
):
    for place in ("net.py", "half_a.npz", "half_b.npz"):
        (tmp_path / place).write_bytes((folder / place.replace("half", "apart")).read_bytes())
    states = [load_file(folder / f"apart_{name}.safetensors") for name in "ab"]
    for name, state in zip("ab", states, strict=True):
        save_file({key: value.to(dtype) for key, value in state.items()}, tmp_path / f"half_{name}.safetensors")
    shown = run(tmp_path, "half", "--weight-decay", "0.02", "--json", "--out", str(tmp_path / "out"), model=model)
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.output)
    assert told["accounts"][0]["lost"] == 0
    assert 0 < told["accounts"][0]["deviation"] < 0.1
    assert told["stationarity"]["A"]["structure"]["layers"][0]["stable_rank"] >= 1
    merged = load_file(tmp_path / "out" / "merged.safetensors")["0.weight"]
    assert torch.equal(merged, states[0]["0.weight"].to(dtype) + states[1]["0.weight"].to(dtype))


def test_data_that_are_exchanged_are_warned_of(folder: Path):
    for ending in ("safetensors", "npz"):
        for one, other in ("ab", "ba"):
            name = one if ending == "npz" else other
            (folder / f"crossed_{one}.{ending}").write_bytes((folder / f"apart_{name}.{ending}").read_bytes())
    shown = run(folder, "crossed")
    assert shown.exit_code == 0, shown.output
    for task in "AB":
        assert f"warning: on task {task} its own network is right on" in shown.output
        assert f"on task {task} the other network is right more often than its own, 100.0%" in shown.output
    assert "--data-a" in shown.output


def test_a_training_that_is_too_short_is_told(folder: Path):
    for time, young in (("124", True), ("126", False)):  # λ = 0.01, 5/(4λ) = 125
        shown = run(folder, "apart", "--weight-decay", "0.02", "--flow-time", time)
        assert ("Too early to be balanced" in shown.output) is young
        told = json.loads(run(folder, "apart", "--weight-decay", "0.02", "--flow-time", time, "--json").output)
        assert [told["stationarity"][name]["not_balanced_yet"] for name in "AB"] == [young, young]


def test_a_folder_that_holds_something_else_is_left_alone(folder: Path, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    shown = run(folder, "apart", "--out", str(tmp_path))
    assert shown.exit_code == 3
    assert "not empty" in shown.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
    taken = tmp_path / "mine.txt"
    assert run(folder, "apart", "--out", str(taken)).exit_code == 3
