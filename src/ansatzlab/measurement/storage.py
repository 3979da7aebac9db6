"""A measurement in one safetensors file: tensors and a JSON header, no pickle."""

import json
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from ansatzlab.atomic import write_atomically
from ansatzlab.errors import InputError, StoreError
from ansatzlab.measurement.gram import GradientSums
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.sample import ExampleSample
from ansatzlab.measurement.seeds import Exact, LossGradient, Output, Seeds, Signs

HEADER = "ansatzlab.measurement"
"""The name of the header among the file's metadata."""

SCHEMA_VERSION = 2
"""The version of the layout that is written and read. In version 1 samples had no positions, and no hashes."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Stored(_Record):
    """A tensor of the file, and in which order its dimensions lay in memory: products of it are then equal to a bit."""

    key: str
    order: list[int]


class _Sample(_Record):
    rows: _Stored | None
    squares: _Stored | None
    by_output: _Stored | None
    weights: _Stored
    positions: _Stored
    places: _Stored
    below: int


class _Sums(_Record):
    second_moment: _Stored
    is_factor: bool
    by_output: _Stored
    weight_total: float
    position_total: float
    examples: int
    sample: _Sample | None


class _Seeds(_Record):
    kind: Literal["exact", "signs", "output", "loss gradient"]
    count: int = 0
    seed: int = 0
    shared: bool = False
    index: int = 0


class _Layer(_Record):
    name: str
    kind: str
    blocks: _Stored
    initial: _Stored | None
    sums: _Sums
    seeds: _Seeds
    gradient_dtype: str
    height: int
    ranges: dict[str, list[int | None]]
    is_last: bool
    start: "_Layer | None"


class _Header(_Record):
    outputs: str
    skipped: dict[str, str]
    layers: list[_Layer]


def save(measurement: Measurement, path: str | PathLike[str]) -> None:
    """Write a measurement to one file, whole or not at all.

    Definition:
        A safetensors file. Its tensors are the weights, the sums and the sampled examples of every layer; its metadata
        holds, under ``ansatzlab.measurement``, a JSON text with everything else, a schema version and a checksum.

    Conventions:
        Tensors are written from wherever they are and read onto the CPU. Of `LossGradient` only that it was one is
        kept, not the function.

    Args:
        measurement: What to write.
        path: The file to write or to replace. Its folder has to exist.

    Raises:
        StoreError: If the file cannot be written; an older one of that name is then as it was.

    Precision:
        Every read-out of what is loaded equals the original's bit for bit (on a CPU).

    Cost:
        The file, and the memory to write it, are as large as the tensors: per layer o² + o i numbers, and the sample.

    Example:
        >>> import tempfile, ansatzlab
        >>> m = ansatzlab.measure(torch.nn.Linear(3, 2), [torch.ones(4, 3)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(m, Path(folder) / "m.safetensors")
        ...     load(Path(folder) / "m.safetensors")[""].spectrum().trace == m[""].spectrum().trace
        True
    """
    tensors: dict[str, Tensor] = {}
    header = _Header(
        outputs=measurement.outputs,
        skipped=dict(measurement.skipped),
        layers=[_layer_record(layer, f"{place}", tensors) for place, layer in enumerate(measurement.layers.values())],
    )
    record = header.model_dump(mode="json")
    text = json.dumps({"schema_version": SCHEMA_VERSION, "checksum": _checksum(record, tensors), "record": record})
    write_atomically(Path(path), to_bytes(tensors, metadata={HEADER: text}))


def load(path: str | PathLike[str]) -> Measurement:
    """Read what `save` wrote, on any machine.

    Args:
        path: The file.

    Returns:
        The measurement, its tensors on the CPU.

    Raises:
        StoreError: If the file is missing, not safetensors, not a measurement, written by another version, or damaged.

    Cost:
        Reads the whole file once, for the checksum as well.
    """
    file = Path(path)
    metadata, tensors = _read(file)
    if HEADER not in metadata:
        raise StoreError(
            f"{file}: is a safetensors file without {HEADER!r} in its metadata; wanted what Measurement.save wrote; "
            "weights are loaded into the model, not read as a measurement."
        )
    try:
        text = json.loads(metadata[HEADER])
        version, checksum, record = text["schema_version"], text["checksum"], text["record"]
        if isinstance(version, int) and version != SCHEMA_VERSION:
            raise StoreError(
                f"{file}: has schema version {version}; this ansatzlab reads version {SCHEMA_VERSION}; measure again, "
                "or install the version that wrote it."
            )
        header = _Header.model_validate(record)
        layers = [_layer(layer, tensors) for layer in header.layers]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file}: is damaged ({_in_one_line(error)}); write it again, or take a copy.") from error
    if checksum != _checksum(record, tensors):
        raise StoreError(f"{file}: is damaged (its checksum does not fit its content); write it again, or take a copy.")
    return Measurement(layers={layer.name: layer for layer in layers}, skipped=header.skipped, outputs=header.outputs)


def _read(file: Path) -> tuple[Mapping[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors, in memory of their own."""
    try:
        with safe_open(file, framework="pt") as opened:
            return opened.metadata() or {}, {key: opened.get_tensor(key).clone() for key in opened.keys()}  # noqa: SIM118
    except OSError as error:
        raise StoreError(f"{file}: cannot be read ({error}); check that it is there and readable.") from error
    except SafetensorError as error:
        raise StoreError(
            f"{file}: is not a whole safetensors file ({error}); wanted what Measurement.save wrote; it may have been "
            "cut off while it was copied."
        ) from error


def _layer_record(layer: LayerMeasurement, place: str, tensors: dict[str, Tensor]) -> _Layer:
    sums = layer.sums
    return _Layer(
        name=layer.name,
        kind=layer.kind,
        blocks=_put(f"{place}.blocks", layer.blocks, tensors),
        initial=_maybe_put(f"{place}.initial", layer.initial, tensors),
        sums=_Sums(
            second_moment=_put(f"{place}.second_moment", sums.second_moment, tensors),
            is_factor=sums.is_factor,
            by_output=_put(f"{place}.by_output", sums.by_output, tensors),
            weight_total=sums.weight_total,
            position_total=sums.position_total,
            examples=sums.examples,
            sample=None if sums.sample is None else _sample_record(sums.sample, f"{place}.sample", tensors),
        ),
        seeds=_seeds_record(layer.seeds),
        gradient_dtype=str(layer.gradient_dtype).removeprefix("torch."),
        height=layer.height,
        ranges={name: [span.start, span.stop, span.step] for name, span in layer.ranges.items()},
        is_last=layer.is_last,
        start=None if layer.start is None else _layer_record(layer.start, f"{place}.start", tensors),
    )


def _sample_record(sample: ExampleSample, place: str, tensors: dict[str, Tensor]) -> _Sample:
    return _Sample(
        rows=_maybe_put(f"{place}.rows", sample.rows, tensors),
        squares=_maybe_put(f"{place}.squares", sample.squares, tensors),
        by_output=_maybe_put(f"{place}.by_output", sample.by_output, tensors),
        weights=_put(f"{place}.weights", sample.weights, tensors),
        positions=_put(f"{place}.positions", sample.positions, tensors),
        places=_put(f"{place}.places", sample.places, tensors),
        below=sample.below,
    )


def _layer(record: _Layer, tensors: Mapping[str, Tensor]) -> LayerMeasurement:
    sums = record.sums
    return LayerMeasurement(
        name=record.name,
        kind=record.kind,
        blocks=_get(record.blocks, tensors),
        initial=_maybe_get(record.initial, tensors),
        sums=GradientSums(
            second_moment=_get(sums.second_moment, tensors),
            is_factor=sums.is_factor,
            by_output=_get(sums.by_output, tensors),
            weight_total=sums.weight_total,
            position_total=sums.position_total,
            examples=sums.examples,
            sample=None if sums.sample is None else _sample(sums.sample, tensors),
        ),
        seeds=_seeds(record.seeds),
        gradient_dtype=_dtype(record.gradient_dtype),
        height=record.height,
        ranges={name: slice(*span) for name, span in record.ranges.items()},
        is_last=record.is_last,
        start=None if record.start is None else _layer(record.start, tensors),
    )


def _sample(record: _Sample, tensors: Mapping[str, Tensor]) -> ExampleSample:
    return ExampleSample(
        rows=_maybe_get(record.rows, tensors),
        squares=_maybe_get(record.squares, tensors),
        by_output=_maybe_get(record.by_output, tensors),
        weights=_get(record.weights, tensors),
        positions=_get(record.positions, tensors),
        places=_get(record.places, tensors),
        below=record.below,
    )


def _maybe_put(key: str, tensor: Tensor | None, tensors: dict[str, Tensor]) -> _Stored | None:
    return None if tensor is None else _put(key, tensor, tensors)


def _maybe_get(stored: _Stored | None, tensors: Mapping[str, Tensor]) -> Tensor | None:
    return None if stored is None else _get(stored, tensors)


def _put(key: str, tensor: Tensor, tensors: dict[str, Tensor]) -> _Stored:
    """Add a copy of a tensor to those of the file: two of its tensors may not share memory."""
    strides = tensor.stride()
    order = sorted(range(tensor.ndim), key=lambda axis: -strides[axis])
    tensors[key] = tensor.detach().permute(order).cpu().clone(memory_format=torch.contiguous_format)
    return _Stored(key=key, order=order)


def _get(stored: _Stored, tensors: Mapping[str, Tensor]) -> Tensor:
    if stored.key not in tensors:
        raise ValueError(f"its tensor {stored.key!r} is missing")
    tensor = tensors[stored.key]
    if sorted(stored.order) != list(range(tensor.ndim)):
        raise ValueError(f"its tensor {stored.key!r} has {tensor.ndim} dimensions instead of {len(stored.order)}")
    return tensor.permute([stored.order.index(axis) for axis in range(tensor.ndim)])


def _seeds_record(seeds: Seeds) -> _Seeds:
    if isinstance(seeds, Signs):
        return _Seeds(kind="signs", count=seeds.count, seed=seeds.seed, shared=seeds.shared)
    if isinstance(seeds, Output):
        return _Seeds(kind="output", index=seeds.index)
    return _Seeds(kind="exact" if isinstance(seeds, Exact) else "loss gradient")


def _seeds(record: _Seeds) -> Seeds:
    if record.kind == "signs":
        return Signs(record.count, record.seed, record.shared)
    if record.kind == "output":
        return Output(record.index)
    return Exact() if record.kind == "exact" else LossGradient(lost_loss)


def lost_loss(_outputs: Tensor, _batch: Any) -> Tensor:  # noqa: ANN401 - as LossGradient has it
    """Stand for the loss of a measurement that was loaded: its function is not in the file.

    Raises:
        InputError: Always.
    """
    raise InputError(
        "measure(seeds=): this LossGradient was loaded from a file, which does not hold the loss itself; wanted the "
        "function; build LossGradient(loss) anew."
    )


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"there is no dtype {name!r}")
    return dtype


def _checksum(record: object, tensors: Mapping[str, Tensor]) -> int:
    """Return the CRC-32 of the record and of all tensors, in the order of their names."""
    found = zlib.crc32(json.dumps(record, sort_keys=True).encode())
    for key in sorted(tensors):
        found = zlib.crc32(tensors[key].reshape(-1).view(torch.uint8).numpy().data, zlib.crc32(key.encode(), found))
    return found


def _in_one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{type(error).__name__} {error}" if isinstance(error, KeyError | TypeError) else str(error)
