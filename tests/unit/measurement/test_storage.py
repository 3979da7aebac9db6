"""A measurement that was written and read again, against the one that was written, bit by bit."""

import dataclasses
import json
import struct
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import ansatzlab.measurement.storage as storage
from ansatzlab.errors import InputError, StoreError
from ansatzlab.measurement.result import Measurement, layer_row
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Exact, LossGradient, Output, Signs
from ansatzlab.measurement.storage import HEADER, SCHEMA_VERSION, load, save


class Reader(nn.Module):
    """Embedding, packed attention and a recurrent layer: named ranges of rows, and uses at several positions."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.gates, self.last = nn.GRU(8, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, tokens):
        x = self.table(tokens)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.last(self.gates(x)[0][:, -1])


def seeded(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def gaussian(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mlp():
    return nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.LayerNorm(40), nn.Linear(40, 5), nn.Tanh(), nn.Linear(5, 3))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 6, 3, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(24, 3)
    )


def summed_squares(outputs, _batch):
    return outputs.square().sum(-1)


def mlp_measurement(**arguments):
    model = seeded(lambda: mlp().double())
    return measure(model, [gaussian(30, 6), gaussian(11, 6, seed=1)], **arguments)


MEASUREMENTS = {
    "gram": mlp_measurement,
    "factor, weighted": partial(mlp_measurement, accumulation="factor", example_weights=gaussian(41).abs()),
    "start": lambda: mlp_measurement(initial=seeded(lambda: mlp().double(), 1)),
    "signs": lambda: mlp_measurement(seeds=Signs(2, seed=3, shared=True)),
    "output": lambda: mlp_measurement(seeds=Output(1)),
    "loss": lambda: mlp_measurement(seeds=LossGradient(summed_squares)),
    "convolutions": lambda: measure(seeded(lambda: convolutions().double()), [gaussian(9, 2, 6, 6)]),
    "float32": lambda: measure(seeded(convolutions), [gaussian(5, 2, 6, 6).float()]),
    "bfloat16": lambda: measure(seeded(lambda: mlp().bfloat16()), [gaussian(9, 6).bfloat16()], check="never"),
    "attention": lambda: measure(seeded(Reader), [torch.arange(40).reshape(8, 5) % 7]),
}


def saved(measurement, folder):
    save(measurement, folder / "m.safetensors")
    return load(folder / "m.safetensors")


def assert_same(got, wanted, where=""):
    """Compare every field of the records, recursively."""
    if dataclasses.is_dataclass(wanted):
        assert type(got) is type(wanted), where
        for field in dataclasses.fields(wanted):
            if field.init:
                assert_same(getattr(got, field.name), getattr(wanted, field.name), f"{where}.{field.name}")
    elif isinstance(wanted, torch.Tensor):
        assert got.dtype == wanted.dtype, where
        assert got.is_contiguous() == wanted.is_contiguous(), where
        assert torch.equal(got, wanted), where
    elif isinstance(wanted, dict):
        assert list(got) == list(wanted), where
        for key, value in wanted.items():
            assert_same(got[key], value, f"{where}[{key}]")
    elif not callable(wanted):
        assert got == wanted, where


def readouts(layer):
    """Everything that is read out of a layer, as text, in which equal numbers and nan are equal."""
    found = [layer_row(layer), layer.positions]
    for exponent in (0.3, 0.5, 1.0):
        for comparator in ("cosine", "pearson", "traceless"):
            found.append(layer.alignment(exponent, comparator=comparator))
    found.append(layer.fit_exponent())
    found.append(layer.verdict(0.5))
    if not (isinstance(layer.seeds, Signs) and not layer.seeds.shared):
        found.append(layer.alignment(0.5, centered=True))
    if layer.initial is not None:
        found.append(layer.alignment(0.5, init_removed=True))
    found.extend(readouts(part) for part in layer.parts.values())
    return repr(found)


@pytest.mark.parametrize("name", [name for name in MEASUREMENTS if name != "bfloat16"])
def test_everything_that_is_read_out_is_equal_to_a_bit(name, tmp_path):
    before = MEASUREMENTS[name]()
    after = saved(before, tmp_path)
    assert {name: readouts(layer) for name, layer in after.items()} == {
        name: readouts(layer) for name, layer in before.items()
    }


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_every_field_comes_back(name, tmp_path):
    before = MEASUREMENTS[name]()
    assert_same(saved(before, tmp_path), before)


def test_both_forms_of_the_sample_and_a_kept_start_are_among_the_cases():
    samples = [layer.sums.sample for build in MEASUREMENTS.values() for layer in build().values()]
    assert any(sample.rows is not None and sample.by_output is None for sample in samples)
    assert any(sample.squares is not None for sample in samples)
    assert all(layer.start is not None for layer in MEASUREMENTS["start"]().values())
    assert any(layer.ranges for layer in MEASUREMENTS["attention"]().values())


def test_what_was_loaded_merges_as_before(tmp_path):
    model = seeded(lambda: mlp().double())
    first, second = measure(model, [gaussian(30, 6)]), measure(model, [gaussian(20, 6, seed=1)])
    merged = saved(first, tmp_path) + second
    assert_same(merged, first + second)
    assert_same(saved(first, tmp_path) + saved(second, tmp_path), first + second)


def test_the_order_of_dimensions_in_memory_is_kept(tmp_path):
    measurement = mlp_measurement()
    layer = measurement["0"]
    turned = dataclasses.replace(layer, blocks=layer.blocks.mT.contiguous().mT)
    after = saved(Measurement(layers={"0": turned}, skipped={}), tmp_path)["0"]
    assert after.blocks.stride() == turned.blocks.stride() != layer.blocks.stride()
    assert torch.equal(after.blocks, layer.blocks)


def test_the_measurement_has_methods_for_both(tmp_path):
    measurement = mlp_measurement()
    measurement.save(tmp_path / "m")
    assert_same(Measurement.load(str(tmp_path / "m")), measurement)


def test_a_second_save_replaces_the_first_and_equal_measurements_give_equal_files(tmp_path):
    path = tmp_path / "m"
    save(MEASUREMENTS["output"](), path)
    save(mlp_measurement(), path)
    assert_same(load(path), mlp_measurement())
    save(mlp_measurement(), tmp_path / "again")
    assert path.read_bytes() == (tmp_path / "again").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again", "m"]


def test_a_folder_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(StoreError, match="cannot be written"):
        save(mlp_measurement(), tmp_path / "none" / "m")


def test_a_loss_is_not_kept_and_says_so_when_it_is_called(tmp_path):
    after = saved(MEASUREMENTS["loss"](), tmp_path)
    seeds = after["0"].seeds
    assert isinstance(seeds, LossGradient)
    with pytest.raises(InputError, match="loaded from a file, which does not hold the loss itself"):
        measure(seeded(lambda: mlp().double()), [gaussian(4, 6)], seeds=seeds)


def test_seeds_come_back_as_they_were(tmp_path):
    assert saved(MEASUREMENTS["signs"](), tmp_path)["0"].seeds == Signs(2, seed=3, shared=True)
    assert saved(MEASUREMENTS["output"](), tmp_path)["0"].seeds == Output(1)
    assert saved(MEASUREMENTS["gram"](), tmp_path)["0"].seeds == Exact()


# --- what is refused ------------------------------------------------------------------------------------------------


def written(tmp_path):
    save(mlp_measurement(), tmp_path / "m")
    return tmp_path / "m"


def header(path):
    content = path.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"][HEADER])


def rewrite(path, tensors=None, **changes):
    """Write the file again with other tensors or another header."""
    text = json.dumps({**header(path), **changes})
    save_file(load_file(path) if tensors is None else tensors, path, metadata={HEADER: text})


def test_rewriting_alone_changes_nothing(tmp_path):
    rewrite(written(tmp_path))
    assert_same(load(tmp_path / "m"), mlp_measurement())


def test_a_missing_file_is_said_so(tmp_path):
    with pytest.raises(StoreError, match=r"none: cannot be read .*; check that it is there"):
        load(tmp_path / "none")


def test_a_folder_is_said_so(tmp_path):
    with pytest.raises(StoreError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04" + b"\0" * 100, b"\xff" * 64])
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(StoreError, match="is not a whole safetensors file"):
        load(tmp_path / "m")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(share, tmp_path):
    path = written(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(StoreError, match="is not a whole safetensors file"):
        load(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_weights_are_not_a_measurement(metadata, tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "w", metadata=metadata)
    with pytest.raises(StoreError, match=f"is a safetensors file without '{HEADER}' in its metadata"):
        load(tmp_path / "w")


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_another_schema_is_refused(version, tmp_path):
    rewrite(written(tmp_path), schema_version=version, record={"of": "another kind"})
    with pytest.raises(StoreError, match=f"has schema version {version}; this ansatzlab reads version 2; measure"):
        load(tmp_path / "m")


def test_a_missing_tensor_is_named(tmp_path):
    tensors = load_file(written(tmp_path))
    del tensors["1.second_moment"]
    rewrite(tmp_path / "m", tensors)
    with pytest.raises(StoreError, match=r"is damaged \(its tensor '1.second_moment' is missing\)"):
        load(tmp_path / "m")


def test_a_tensor_of_other_dimensions_is_named(tmp_path):
    tensors = load_file(written(tmp_path))
    tensors["1.second_moment"] = torch.ones(3, dtype=torch.float64)
    rewrite(tmp_path / "m", tensors)
    with pytest.raises(StoreError, match=r"its tensor '1\.second_moment' has 1 dimensions instead of 3"):
        load(tmp_path / "m")


def test_a_bit_that_flipped_is_noticed(tmp_path):
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="its checksum does not fit its content"):
        load(path)


def test_a_header_that_was_edited_is_noticed(tmp_path):
    record = header(written(tmp_path))["record"]
    record["layers"][0]["sums"]["examples"] += 1
    rewrite(tmp_path / "m", record=record)
    with pytest.raises(StoreError, match="its checksum does not fit its content"):
        load(tmp_path / "m")


def test_a_header_without_a_field_names_it(tmp_path):
    record = header(written(tmp_path))["record"]
    del record["layers"][0]["sums"]["examples"]
    rewrite(tmp_path / "m", record=record)
    with pytest.raises(StoreError, match=r"is damaged \(layers.0.sums.examples: Field required\)"):
        load(tmp_path / "m")


def test_a_header_without_a_version_is_damaged(tmp_path):
    written(tmp_path)
    save_file({"a": torch.ones(1)}, tmp_path / "m", metadata={HEADER: "{}"})
    with pytest.raises(StoreError, match=r"is damaged \(KeyError 'schema_version'\)"):
        load(tmp_path / "m")


def test_an_unknown_dtype_is_damage(tmp_path):
    record = header(written(tmp_path))["record"]
    record["layers"][0]["gradient_dtype"] = "nn"
    rewrite(tmp_path / "m", record=record)
    with pytest.raises(StoreError, match="there is no dtype 'nn'"):
        load(tmp_path / "m")


def test_nothing_is_left_when_writing_fails(tmp_path, monkeypatch):
    path = written(tmp_path)
    content = path.read_bytes()
    monkeypatch.setattr(storage, "to_bytes", lambda *_args, **_kw: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        save(MEASUREMENTS["output"](), path)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["m"]
