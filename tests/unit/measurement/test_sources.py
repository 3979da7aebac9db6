import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ansatzlab.errors import InputError, ModelError
from ansatzlab.measurement.sources import load_batches, load_model

NETWORKS = """
import torch
from beside import WIDTH

def make(width=WIDTH):
    torch.manual_seed(0)
    return torch.nn.Linear(3, width)

def needy(width, *rest, depth, **more):
    return torch.nn.Linear(3, width)

def failing():
    raise ValueError("no such\\nwidth")

def seven():
    return 7

ready = torch.nn.Linear(3, 1)
number = 7

class Factory:
    make = staticmethod(make)

def tensor():
    return torch.arange(10.0).reshape(5, 2)

def pairs():
    return [(torch.ones(4, 2), torch.zeros(4)) for _ in range(3)]

def pair():
    return torch.ones(4, 2), torch.zeros(4)

def words():
    return {"ids": torch.arange(6).reshape(3, 2), "mask": torch.ones(3, 2)}

def stream():
    return ({"x": torch.ones(4, 2), "scale": 2.0} for _ in range(3))
"""


@pytest.fixture
def code(tmp_path):
    """A folder that is not the current one, with a file of functions and a module beside it."""
    (tmp_path / "beside.py").write_text("WIDTH = 5\n")
    (tmp_path / "networks.py").write_text(NETWORKS)
    yield tmp_path / "networks.py"
    sys.modules.pop("beside", None)


def shapes(batches):
    return [tuple(batch.shape) for batch in batches.source]


def test_a_callable_of_a_file_builds_the_network_and_finds_its_neighbours(code):
    path = list(sys.path)
    assert load_model(f"{code}:make").out_features == 5
    assert load_model(f"{code}:Factory.make").out_features == 5
    assert load_model(f"{code}:ready").out_features == 1
    assert sys.path == path


def test_a_file_is_run_once(code):
    assert load_model(f"{code}:ready") is load_model(f"{code}:ready")


def test_files_of_one_name_in_two_folders_are_two_modules(code, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "networks.py").write_text("import torch\ndef make():\n    return torch.nn.Linear(2, 9)\n")
    assert load_model(f"{code}:make").out_features == 5
    assert load_model(f"{other / 'networks.py'}:make").out_features == 9


def test_a_module_is_found_where_it_is_installed_and_in_the_current_folder(code, monkeypatch):
    assert isinstance(load_model("torch.nn:Identity"), nn.Identity)
    monkeypatch.chdir(code.parent)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert load_model("networks:make").out_features == 5
    del sys.modules["networks"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{code}", r"wanted package\.module:callable or path\.py:callable"),
        (":make", r"wanted package\.module:callable"),
        ("{folder}/none.py:make", r"none\.py: there is no such file"),
        ("{folder}/broken.py:make", r"importing it failed: ZeroDivisionError: division by zero \(broken\.py, line 2\)"),
        ("{folder}/lacking.py:make", r"importing it failed: ModuleNotFoundError: No module named 'not_installed'"),
        ("{folder}/wrong.py:make", r"importing it failed: SyntaxError"),
        ("not_installed.deep:make", r"there is no module 'not_installed' here"),
        ("torch.nowhere:make", r"there is no module 'torch\.nowhere' here"),
        ("{code}:mke", r"has no 'mke'; did you mean make"),
        ("{code}:zzzzzz", r"has no 'zzzzzz'; check the name"),
        ("{code}:Factory.mak", r"has no 'Factory\.mak'; did you mean make"),
        ("{code}:number", r"got a int; wanted a callable"),
        ("{code}:needy", r"needs the arguments width, depth; wanted a callable without any"),
    ],
)
def test_a_network_that_cannot_be_found_is_one_line(code, text, told):
    folder = code.parent
    (folder / "broken.py").write_text("\n1 / 0\n")
    (folder / "lacking.py").write_text("import not_installed\n")
    (folder / "wrong.py").write_text("def\n")
    with pytest.raises(InputError, match=told) as caught:
        load_model(text.format(code=code, folder=folder))
    assert "\n" not in str(caught.value)


def test_a_callable_that_fails_tells_its_own_words_in_one_line(code):
    with pytest.raises(ModelError, match=r"failed: ValueError: no such width \(networks\.py, line 13\)"):
        load_model(f"{code}:failing")


def test_what_is_no_network_is_refused(code):
    with pytest.raises(ModelError, match=r"got a int; wanted a torch\.nn\.Module"):
        load_model(f"{code}:seven")


def test_a_file_that_failed_to_import_is_tried_again(tmp_path):
    path = tmp_path / "later.py"
    path.write_text("1 / 0\n")
    with pytest.raises(InputError, match="ZeroDivisionError"):
        load_model(f"{path}:make")
    path.write_text("import torch\ndef make():\n    return torch.nn.Identity()  # mended\n")
    assert isinstance(load_model(f"{path}:make"), nn.Identity)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", "bool", ">f4"])
def test_an_array_keeps_its_dtype_and_is_cut_in_order(tmp_path, dtype):
    array = np.arange(20).reshape(10, 2).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    batches = load_batches(str(tmp_path / "a.npy"), batch_size=4)
    assert batches.count == 3
    assert shapes(batches) == [(4, 2), (4, 2), (2, 2)]
    whole = torch.cat(list(batches.source))
    assert str(whole.dtype).removeprefix("torch.") == np.dtype(dtype).name
    assert np.array_equal(whole.numpy(), array)


def test_an_array_is_not_read_before_its_batch_is_asked_for(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 3)))
    batches = load_batches(str(tmp_path / "a.npy"), batch_size=2)
    changed = np.lib.format.open_memmap(tmp_path / "a.npy", mode="r+")
    changed[3] = 7.0
    changed.flush()
    assert list(batches.source)[1][1].tolist() == [7.0, 7.0, 7.0]


@pytest.mark.parametrize(("limit", "wanted"), [(1, [1]), (4, [4]), (6, [4, 2]), (99, [4, 4, 2])])
def test_the_limit_counts_examples(tmp_path, limit, wanted):
    np.save(tmp_path / "a.npy", np.zeros((10, 2)))
    batches = load_batches(str(tmp_path / "a.npy"), batch_size=4, limit=limit)
    assert [len(batch) for batch in batches.source] == wanted
    assert batches.count == len(wanted)


def test_the_limit_cuts_everything_in_a_batch_that_has_its_length(code):
    inputs, targets = list(load_batches(f"{code}:pairs", limit=6).source)[1]
    assert (inputs.shape, targets.shape) == ((2, 2), (2,))
    batches = load_batches(f"{code}:stream", limit=10)
    assert batches.count is None
    found = list(batches.source)
    assert [len(batch["x"]) for batch in found] == [4, 4, 2]
    assert found[-1]["scale"] == 2.0


def test_an_archive_gives_its_only_array_or_the_inputs(tmp_path):
    path = str(tmp_path / "a.npz")
    np.savez(path, anything=np.ones((3, 2)))
    assert shapes(load_batches(path)) == [(3, 2)]
    np.savez(path, x=np.ones((4, 2)), y=np.ones(4))
    assert shapes(load_batches(path)) == [(4, 2)]
    np.savez(path, x=np.ones((4, 2)), inputs=np.ones((5, 2)))
    assert shapes(load_batches(path)) == [(5, 2)]
    np.savez(path, a=np.ones((4, 2)), b=np.ones((5, 2)))
    with pytest.raises(InputError, match="got the arrays a, b; wanted a single one, or one named inputs or x"):
        load_batches(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_tensors_are_cut_and_a_dictionary_of_them_side_by_side(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save = torch.save if suffix == ".pt" else save_file
    save({"ids": torch.arange(10).reshape(5, 2), "mask": torch.ones(5, 2)}, path)
    first, second = load_batches(str(path), batch_size=3).source
    assert first["ids"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert second["mask"].shape == (2, 2)
    save(torch.arange(6.0).reshape(3, 2) if suffix == ".pt" else {"anything": torch.arange(6.0).reshape(3, 2)}, path)
    assert shapes(load_batches(str(path))) == [(3, 2)]


def test_a_callable_gives_tensors_or_batches(code):
    assert shapes(load_batches(f"{code}:tensor", batch_size=2)) == [(2, 2), (2, 2), (1, 2)]
    assert [batch["ids"].shape for batch in load_batches(f"{code}:words", batch_size=2).source] == [(2, 2), (1, 2)]
    batches = load_batches(f"{code}:pairs", batch_size=2)
    assert batches.count == 3
    assert [len(inputs) for inputs, _ in batches.source] == [4, 4, 4]


def test_the_shares_of_several_processes_are_all_batches(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(10.0))
    batches = load_batches(str(tmp_path / "a.npy"), batch_size=3)
    shares = [batches.share(rank, 3) for rank in range(3)]
    assert [share.count for share in shares] == [2, 1, 1]
    assert [[batch.tolist() for batch in share.source] for share in shares] == [
        [[0, 1, 2], [9]],
        [[3, 4, 5]],
        [[6, 7, 8]],
    ]


def save_bad(folder):
    np.save(folder / "objects.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    np.savez(folder / "objects.npz", inputs=np.array([{"a": 1}, None], dtype=object))
    np.save(folder / "words.npy", np.array(["a", "b"]))
    np.save(folder / "scalar.npy", np.array(3.0))
    np.save(folder / "empty.npy", np.ones((0, 3)))
    np.save(folder / "long.npy", np.ones(3, dtype=np.longdouble))
    (folder / "junk.npy").write_text("junk")
    (folder / "junk.npz").write_text("junk")
    torch.save({"a": torch.ones(3), "b": torch.ones(4)}, folder / "uneven.pt")
    torch.save({"a": torch.ones(3), "b": "text"}, folder / "mixed.pt")
    torch.save([torch.ones(3)], folder / "list.pt")
    torch.save(torch.ones(()), folder / "scalar.pt")
    torch.save(nn.Linear(2, 2), folder / "module.pt")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("none.npy", "none.npy: there is no such file"),
        ("none.pt", "none.pt: there is no such file"),
        ("objects.npy", "cannot be read .*without pickled objects"),
        ("objects.npz", "cannot be read .*without pickled objects"),
        ("words.npy", "got an array of dtype <U1"),
        ("scalar.npy", r"of dtype float64 and shape \(\)"),
        ("empty.npy", r"shape \(0, 3\); wanted .*at least one example"),
        ("long.npy", "got numbers of dtype .*, which torch does not have"),
        ("junk.npy", "cannot be read"),
        ("junk.npz", "cannot be read"),
        ("uneven.pt", r"got a \(3,\), b \(4,\); wanted tensors with the same number of examples"),
        ("mixed.pt", r"got a \(3,\), b str; wanted tensors"),
        ("list.pt", "got a list; wanted a tensor or a dictionary of tensors"),
        ("scalar.pt", r"got \(\); wanted tensors"),
        ("module.pt", "refused: it is a pickle, and reading it means calling torch.nn.modules.linear.Linear"),
        ("data.csv", "got neither a file with one of the suffixes"),
        ("networks.py:seven", "got a int; wanted a tensor, a dictionary of tensors, or an iterable"),
        ("networks.py:pair", "wanted an iterable of batches"),
    ],
)
def test_data_that_cannot_be_read_is_one_line(code, text, told):
    save_bad(code.parent)
    with pytest.raises(InputError, match=told) as caught:
        load_batches(f"{code.parent}/{text}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("argument", "told"), [("batch_size", "batch_size = 0"), ("limit", "limit = 0")])
def test_sizes_below_one_are_refused(tmp_path, argument, told):
    with pytest.raises(InputError, match=told):
        load_batches(str(tmp_path / "a.npy"), **{argument: 0})
