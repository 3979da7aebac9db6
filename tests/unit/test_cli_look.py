import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ansatzlab import cli
from ansatzlab.cli.look import choose_example, names_of_tokens, refuse_unshown
from ansatzlab.errors import InputError
from ansatzlab.measurement.attribution import attribute
from ansatzlab.measurement.result import Measurement
from ansatzlab.testing.cases import normal

NETWORKS = """
import torch
from torch import nn

def image():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, 3)).double()

class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.out, self.into = nn.Linear(64, 3), nn.Linear(64, 64)

    def forward(self, image, mask):
        return self.out(torch.tanh(self.into(image * mask)))

def masked():
    return Masked().double()

def masked_images():
    image = torch.rand(6, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return [{"image": image, "mask": torch.ones_like(image)}]

class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.head = nn.Embedding(12, 5), nn.Linear(5, 2)

    def forward(self, tokens):
        return self.head(torch.tanh(self.words(tokens)).mean(1))

def bag():
    return Bag().double()

def words():
    return torch.arange(40).reshape(10, 4) % 12
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETWORKS)
    np.save("x.npy", normal(30, 64).numpy())


def ansatz(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["ansatz", "measure", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return left.value.code or 0


def test_an_image_is_pictured_and_the_asked_for_example_explained(monkeypatch):
    arguments = ("nets.py:image", "--data", "x.npy", "--batch-size", "7", "--explain", "17", "--out", "o")
    assert ansatz(monkeypatch, *arguments) == 0
    files = {path.name for path in Path("o/figures").glob("look-*.png")}
    wanted = {"look-1-diagonal-1.png", *(f"look-1-direction-{rank}.png" for rank in range(1, 7))}
    assert files == wanted | {f"look-2-{key}.png" for key in ("example", "mean", "attribution")}
    data = torch.from_numpy(np.load("x.npy"))
    layer = Measurement.load("o/measurement.safetensors")["0"]
    total = attribute(layer, data[17], 1.0, data.mean(0)).total
    page = Path("o/report.html").read_text(encoding="utf-8")
    assert f"Example 17 less the mean input is δ. δᵀGδ = {total:.3g}," in page
    assert ansatz(monkeypatch, "nets.py:image", "--data", "x.npy", "--layers", "2", "--out", "o") == 0
    assert list(Path("o/figures").glob("look-*.png")) == []  # pictures of an earlier run do not stay


def test_an_example_that_cannot_be_shown_is_said_not_to_be(monkeypatch):
    arguments = ("nets.py:image", "--data", "x.npy", "--explain", "3", "--layers", "2", "--out", "o")
    assert ansatz(monkeypatch, *arguments) == 0
    assert "Example 3 is not shown: the network" in Path("o/report.html").read_text(encoding="utf-8")


def test_a_network_of_several_inputs_is_explained_at_the_layer_that_they_enter(monkeypatch):
    arguments = ("nets.py:masked", "--data", "nets.py:masked_images", "--out", "o")
    assert ansatz(monkeypatch, *arguments) == 0
    assert list(Path("o/figures").glob("look-*.png"))  # it is run with all its inputs
    assert ansatz(monkeypatch, *arguments, "--explain", "2") == 0
    looks = json.loads(Path("o/measurement.json").read_text(encoding="utf-8"))["looks"]
    assert [look["layer"] for look in looks] == ["into", "into"]
    assert ansatz(monkeypatch, *arguments, "--explain", "2", "--layers", "out") == 0
    (look,) = json.loads(Path("o/measurement.json").read_text(encoding="utf-8"))["looks"]
    assert look["layer"] == "into"
    assert "is not shown" in look["caption"]


def test_tokens_are_named_from_a_file(monkeypatch):
    Path("vocab.json").write_text(json.dumps({f"<b>{place}": place for place in range(12)}))
    arguments = ("nets.py:bag", "--data", "nets.py:words", "--tokens", "vocab.json", "--explain", "2", "--out", "o")
    assert ansatz(monkeypatch, *arguments) == 0
    page = Path("o/report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;11" in page
    assert "<b>11" not in page
    assert "Example 2 is x." in page
    assert ansatz(monkeypatch, *arguments, "--layers", "head") == 0  # the names then belong to nothing that is shown
    assert "&lt;b&gt;11" not in Path("o/report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--explain", "1"), "--explain: shown in the report, which is not written; add --out FOLDER"),
        (("--tokens", "v", "--explain", "1"), "--tokens and --explain: shown in the report"),
        (("--explain", "30", "--out", "o"), "--explain 30: the data have 30 examples; wanted a number below 30"),
        (("--explain", "6", "--limit", "5", "--out", "o"), "--explain 6: the data have 5 examples"),
        (("--tokens", "none.txt", "--out", "o"), "tokens none.txt: there is no such file"),
        (("--tokens", "nets.py", "--out", "o"), "names for embeddings of these numbers of rows: none"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_anything_is_measured(monkeypatch, capsys, arguments, told):
    monkeypatch.setattr("ansatzlab.cli.measurement.measure", None)
    assert ansatz(monkeypatch, "nets.py:image", "--data", "x.npy", *arguments) == 3
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
    assert not Path("o").exists()


def test_nothing_is_opened_where_no_example_is_asked_for():
    assert choose_example(None, lambda: pytest.fail("opened")) is None
    refuse_unshown(None, None, None)
    assert names_of_tokens(None, nn.Linear(2, 2)) == ()


def test_the_example_and_the_mean_are_those_of_all_batches():
    data = normal(11, 3)
    for batches in (data.split(4), [(batch, torch.ones(2)) for batch in data.split(4)]):
        chosen = choose_example(9, lambda batches=batches: batches)
        example = chosen.example if isinstance(chosen.example, torch.Tensor) else chosen.example[0]
        assert torch.equal(example, data[9:10])
        assert torch.allclose(chosen.baseline[0], data.mean(0, keepdim=True))


def test_keywords_that_have_no_mean_stay_as_they_are_in_the_example():
    data = normal(6, 3)
    batch = {"x": data, "tokens": torch.arange(6)[:, None], "scale": torch.ones(()), "flag": True}
    chosen = choose_example(4, lambda: [batch])
    assert torch.allclose(chosen.baseline["x"], data.mean(0, keepdim=True))
    assert chosen.baseline["tokens"].tolist() == [[4]]
    assert chosen.baseline["flag"] is True


def test_tokens_and_examples_of_several_shapes_have_no_mean():
    assert choose_example(1, lambda: [torch.arange(6).reshape(3, 2)]).baseline is None
    ragged = [normal(2, 3), normal(2, 4), normal(2, 3)]
    assert choose_example(1, lambda: ragged).baseline is None


def test_more_names_than_rows_are_refused_before_the_network_runs():
    Path("vocab.txt").write_text("a\nb\nc\n")
    with pytest.raises(InputError, match="got 3 names for embeddings of these numbers of rows: 0 2"):
        names_of_tokens(Path("vocab.txt"), nn.Sequential(nn.Embedding(2, 3)))
