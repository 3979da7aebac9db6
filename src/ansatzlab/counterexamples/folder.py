"""The output folder of ``ansatz counterexample``: what is needed to measure the network again."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from ansatzlab.atomic import write_atomically
from ansatzlab.counterexamples.family import linear_layers_of
from ansatzlab.counterexamples.reading import FIRST
from ansatzlab.errors import StoreError
from ansatzlab.models.mlp import MLP

RECORD, NETWORK, DATA, WEIGHTS, START = (
    "counterexample.json",
    "network.py",
    "data.safetensors",
    "weights.safetensors",
    "start.safetensors",
)

SOURCE = '''"""The network of a counterexample: `ansatz measure network.py:build --weights weights.safetensors`."""

from ansatzlab.models.mlp import MLP


def build() -> MLP:
    """Return the network; its weights are in the files beside this one."""
    return MLP({widths}, activation="{activation}", bias=False)
'''


def write_folder(
    folder: Path,
    model: MLP,
    start: Mapping[str, Tensor] | None,
    data: Mapping[str, Tensor | None],
    record: Mapping[str, object],
) -> str:
    """Write a network, the weights it started from, its data and what was read of it.

    Args:
        folder: Where; made if it is not there.
        model: The network.
        start: Weights to compare with; None where there are none.
        data: Tensors by name, ``inputs`` among them; those that are None are left out.
        record: What is kept as JSON.

    Returns:
        The command that measures the network again.

    Raises:
        StoreError: If something cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (RECORD, START):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be used as an output folder ({error.strerror}); choose another.") from error
    layers = linear_layers_of(model)
    widths = [layers[0].in_features, *(layer.out_features for layer in layers)]
    write_atomically(folder / NETWORK, SOURCE.format(widths=widths, activation=model.activation).encode())
    write_atomically(folder / WEIGHTS, _packed(model.state_dict()))
    write_atomically(folder / "inputs.safetensors", _packed({"inputs": data["inputs"]}))
    write_atomically(folder / DATA, _packed(data))
    if start is not None:
        write_atomically(folder / START, _packed(start))
    write_atomically(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False).encode())
    words = ["ansatz", "measure", f"{folder / NETWORK}:build", "--data", str(folder / "inputs.safetensors")]
    words += ["--weights", str(folder / WEIGHTS), "--layers", FIRST]
    return shlex.join(words)


def _packed(tensors: Mapping[str, Tensor | None]) -> bytes:
    kept: dict[str, torch.Tensor] = {
        name: value.detach().contiguous() for name, value in tensors.items() if value is not None
    }
    return save(kept)
