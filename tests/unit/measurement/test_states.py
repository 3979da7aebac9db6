import os
from contextlib import chdir

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ansatzlab.errors import InputError, ModelError
from ansatzlab.measurement.states import State, apply_state, fit_state, load_state


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


class Runs:
    """A pickle that would leave a mark if it were read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def same(a, b):
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt", "net.pth", "net.bin"])
def test_a_state_comes_back_as_it_was(tmp_path, name):
    state = network().state_dict()
    save_file(state, tmp_path / name) if name.endswith("safetensors") else torch.save(state, tmp_path / name)
    loaded = load_state(tmp_path / name)
    assert loaded.key == ""
    assert same(dict(sorted(loaded.tensors.items())), dict(sorted(state.items())))
    model = network(seed=1)
    assert apply_state(model, loaded, tmp_path / name) == ""
    assert same(model.state_dict(), state)


def test_a_file_in_the_old_format_of_torch_is_read(tmp_path):
    torch.save(network().state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(load_state(tmp_path / "old.pt").tensors, network().state_dict())


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "module"])
def test_a_checkpoint_gives_its_weights_and_says_where_they_were(tmp_path, key):
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, key: network().state_dict()}, tmp_path / "a.pt")
    state = load_state(tmp_path / "a.pt")
    assert state.key == key
    assert apply_state(network(1), state, "a.pt") == f"taken from {key!r}"


@pytest.mark.parametrize(
    "held",
    [
        {"model": {"w": torch.ones(1)}, "state_dict": {"w": torch.ones(1)}},
        {"epoch": 3},
        {"model": {"w": 1.0}},
        {"model": {}},
        {},
        {3: torch.ones(1)},
    ],
    ids=["two", "none", "numbers", "empty", "nothing", "names that are numbers"],
)
def test_an_ambiguous_or_empty_checkpoint_is_refused(tmp_path, held):
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(InputError, match="wanted tensors by name, or exactly one of state_dict, model"):
        load_state(tmp_path / "a.pt")


def test_a_file_that_is_no_dictionary_is_refused(tmp_path):
    torch.save(torch.ones(3), tmp_path / "a.pt")
    with pytest.raises(InputError, match="got a Tensor; wanted the state dict"):
        load_state(tmp_path / "a.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_unrun_and_said_how_to_convert(tmp_path, zipped):
    mark = tmp_path / "ran"
    torch.save({"a": Runs(mark)}, tmp_path / "evil.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"reading it means calling posix\.system") as caught:
        load_state(tmp_path / "evil.pt")
    assert not mark.exists()
    assert "save_file(torch.load('evil.pt', weights_only=False)" in str(caught.value)
    assert "'evil.safetensors'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_pickled_network_is_refused_and_the_advice_works(tmp_path):
    torch.save(network(), tmp_path / "whole.pt")
    with pytest.raises(InputError, match=r"calling torch\.nn\.modules\.[\w., ]+") as caught:
        load_state(tmp_path / "whole.pt")
    advice = str(caught.value).partition('python -c "')[2].removesuffix('"')
    with chdir(tmp_path):
        exec(advice, {})
    assert apply_state(network(1), load_state(tmp_path / "whole.safetensors"), "whole.safetensors") == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("none.pt", "there is no such file"),
        ("net.ckpt", r"got the suffix '\.ckpt'; wanted \.safetensors"),
        ("junk.pt", "cannot be read as a file of torch.save"),
        ("junk.safetensors", "cannot be read as a .safetensors file"),
        ("empty.pt", "cannot be read as a file of torch.save"),
        ("cut.pt", "cannot be read as a file of torch.save"),
    ],
)
def test_a_missing_or_damaged_file_is_one_line(tmp_path, name, told):
    for junk in ("junk.pt", "junk.safetensors", "net.ckpt"):
        (tmp_path / junk).write_text("junk")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save(network().state_dict(), tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:300])
    with pytest.raises(InputError, match=told) as caught:
        load_state(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_the_prefix_of_a_wrapper_is_taken_off_and_said(prefix):
    state = {prefix + name: tensor for name, tensor in network().state_dict().items()}
    model = network(1)
    assert apply_state(model, State(state), "a.pt") == f"prefix {prefix!r} taken off"
    assert same(model.state_dict(), network().state_dict())


def test_a_prefix_stays_where_the_network_has_it():
    wrapped = nn.ModuleDict({"module": network()})
    assert apply_state(wrapped, State(wrapped.state_dict()), "a.pt") == ""


def test_a_prefix_that_only_some_names_have_is_not_taken_off():
    state = dict(network().state_dict())
    state["module.0.weight"] = state.pop("0.weight")
    with pytest.raises(ModelError, match=r"1 missing \(0\.weight\); 1 unexpected \(module\.0\.weight\)"):
        fit_state(network(), State(state), "a.pt")


def test_misfits_are_listed_a_few_of_each_and_nothing_is_loaded():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = {**before, **{f"extra.{k}": torch.ones(1) for k in range(6)}, "0.weight": torch.ones(4, 9)}
    del state["2.bias"]
    told = (
        r"weights a\.pt: do not fit Sequential: 1 missing \(2\.bias\); "
        r"6 unexpected \(extra\.0, extra\.1, extra\.2, extra\.3 and 2 more\); "
        r"1 of another shape \(0\.weight is \(4, 9\), wanted \(4, 3\)\)"
    )
    with pytest.raises(ModelError, match=told):
        apply_state(model, State(state), "a.pt")
    assert same(model.state_dict(), before)


def test_a_tied_weight_may_be_stored_once():
    model, other = Tied(), Tied()
    apply_state(other, State({"embed.weight": model.embed.weight.detach()}), "a.safetensors")
    assert torch.equal(other.head.weight, model.embed.weight)
    state = dict(network().state_dict())
    del state["2.weight"]
    with pytest.raises(ModelError, match=r"1 missing \(2\.weight\)"):
        apply_state(network(), State(state), "a.pt")
