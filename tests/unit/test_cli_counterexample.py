import json
from pathlib import Path

import pytest
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from ansatzlab.cli.counterexample import counterexample_command
from ansatzlab.counterexamples.reading import FIRST
from ansatzlab.counterexamples.registry import FAMILIES
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.sources import load_batches, load_model
from ansatzlab.measurement.states import apply_state, load_state

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(counterexample_command)

SEARCH = ("search", "--hidden", "16", "--set", "steps=50", "--set", "training_steps=400", "--accuracy", "0.9")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def measured_again(folder: Path) -> float:
    """The best cosine of the first layer of a network that was read back from a folder."""
    model = load_model(f"{folder / 'network.py'}:build")
    apply_state(model, load_state(folder / "weights.safetensors"), folder / "weights.safetensors")
    batches = load_batches(str(folder / "inputs.safetensors")).source
    residual = measure(model, batches, layers=FIRST)[FIRST].fit_exponent().residual
    return float((1 - residual**2) ** 0.5)


def test_without_a_family_all_are_listed() -> None:
    shown = run()
    assert shown.exit_code == 0
    assert all(name in shown.output for name in FAMILIES)
    told = json.loads(run("--json").output)
    assert told["plateau"]["settings"] == FAMILIES["plateau"].settings


def test_a_family_is_built_measured_and_explained() -> None:
    shown = run("cancellation", "--set", "strength=2.0")
    assert shown.exit_code == 0
    for word in ("residual at ½", "floor, α → 0", "why:", "reached:", "verdict"):
        assert word in shown.output


def test_jitter_adds_a_column() -> None:
    told = json.loads(run("plateau", "--set", "m=8", "--jitter", "1", "--json").output)
    assert list(told["readings"]) == ["training inputs", "inputs jittered by 1"]
    flat, jittered = told["readings"].values()
    assert flat["loss"] < 1e-6
    assert jittered["size"] > flat["size"]
    assert jittered["gram_error"] is None


def test_what_is_written_can_be_measured_again(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    told = json.loads(run("cancellation", "--out", str(folder), "--json").output)
    assert json.loads((folder / "counterexample.json").read_text()) == told
    assert measured_again(folder) == pytest.approx(told["readings"]["training inputs"]["best_cosine"], rel=1e-9)
    assert set(load_file(folder / "start.safetensors")) == {"layers.0.weight", "layers.1.weight"}


def test_a_search_is_written_and_can_be_measured_again(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    told = json.loads(run(*SEARCH, "--out", str(folder), "--json").output)
    assert told["found"]["accuracy"] >= 0.9
    assert told["drop"] > 0
    assert told["goal"]["balanced"] is True
    assert measured_again(folder) == pytest.approx(told["found"]["best_cosine"], rel=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plateu",), "did you mean 'plateau'"),
        (("plateau", "--set", "m=5"), "a power of two"),
        (("plateau", "--set", "size=5"), "setting of plateau"),
        (("plateau", "--accuracy", "0.9"), "--accuracy: is for"),
        (("search", "--jitter", "0.5"), "--jitter: is for a family"),
        (("search", "--accuracy", "1.5"), "at most 1"),
        (("search", "--activation", "rellu"), "did you mean 'relu'"),
        (("search", "--set", "R=5"), "setting of the search"),
        (("search", "--set", "steps=0"), "a positive number"),
        (("search", "--set", "steps=1.5"), "a whole number"),
        (("search", "--hidden", "wide"), "comma-separated"),
        (("search", "--loss", "0.1", "--accuracy", "0.9"), "both or neither"),
        (("search", "--activation", "tanh", "--balanced"), "cannot be rescaled"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_used_ends_with_3_and_one_line(words: tuple[str, ...], message: str) -> None:
    shown = run(*words)
    assert shown.exit_code == 3
    assert message in shown.stderr
    assert len(shown.stderr.strip().splitlines()) == 1


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    shown = run("cancellation", "--out", str(tmp_path))
    assert shown.exit_code == 3
    assert "not empty" in shown.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
