"""A network and its data, named by text: ``package.module:callable``, ``path.py:callable`` or a file of arrays."""

import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ansatzlab.errors import InputError, ModelError
from ansatzlab.measurement.callables import resolve
from ansatzlab.measurement.outputs import Batch, as_batches
from ansatzlab.measurement.states import read_tensors

ARRAY_KEYS = ("inputs", "x")
"""The arrays of an ``.npz`` archive that are taken for the inputs, in this order."""

_ARRAYS = (".npy", ".npz")
_TENSORS = (".pt", ".safetensors")


@dataclass(frozen=True)
class Batches:
    """The batches of a data source.

    Attributes:
        source: Iterates over the batches.
        count: How many there are; None if that is not known before they have come.
    """

    source: Iterable[Batch]
    count: int | None

    def share(self, rank: int, world: int) -> "Batches":
        """Return every world-th batch from the given one on: the share of one of several processes."""
        count = None if self.count is None else len(range(rank, self.count, world))
        return Batches(islice(self.source, rank, None, world), count)


def load_model(text: str) -> nn.Module:
    """Build a network.

    Args:
        text: ``package.module:callable`` or ``path.py:callable``. The callable takes no argument and returns the
            network; a module-level network itself will do too.

    Returns:
        The network, in the mode in which it was made.

    Raises:
        InputError: If the text is not of this form, nothing of that name can be imported, or the callable needs
            arguments.
        ModelError: If the callable fails, or returns anything but a ``torch.nn.Module``.

    Example:
        >>> load_model("torch.nn:Identity")
        Identity()
    """
    model = resolve(text, "MODEL", keep=nn.Module)
    if not isinstance(model, nn.Module):
        raise ModelError(f"MODEL {text}: got a {type(model).__name__}; wanted a torch.nn.Module; return the network.")
    return model


def load_batches(text: str, batch_size: int = 64, limit: int | None = None) -> Batches:
    """Open a data source.

    Conventions:
        Numbers keep the dtype of the file: nothing is cast, scaled or shuffled. ``.npy`` is read piece by piece. Of an
        ``.npz`` archive the only array is taken, or ``inputs``, or ``x``. ``.pt`` holds a tensor or a dictionary of
        tensors, ``.safetensors`` one tensor or several; several are keywords of the model. Batches that a callable
        makes stay as they are, tensors are cut into batches. Pickled objects are refused.

    Args:
        text: A file, or ``package.module:callable`` or ``path.py:callable``, which returns a tensor, a dictionary of
            tensors, or an iterable of batches.
        batch_size: Examples in a batch; at least 1.
        limit: The most examples that are read, from the first on; None for all.

    Returns:
        The batches; those of a file or a tensor can be gone through again.

    Raises:
        InputError: If the source cannot be read or is not as above.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/data.npy", np.ones((10, 3)))
        ...     [tuple(batch.shape) for batch in load_batches(f"{folder}/data.npy", batch_size=4, limit=9).source]
        [(4, 3), (4, 3), (1, 3)]
    """
    for name, number in (("batch_size", batch_size), ("limit", limit)):
        if number is not None and number < 1:
            raise InputError(f"DATA {text}: got {name} = {number}; wanted at least 1.")
    suffix = Path(text).suffix
    if suffix in _ARRAYS:
        return _cut_array(text, _read_array(text), batch_size, limit)
    if suffix in _TENSORS:
        return _cut(text, _read_file(text), batch_size, limit)
    if ":" not in text:
        raise InputError(
            f"DATA {text}: got neither a file with one of the suffixes {', '.join((*_ARRAYS, *_TENSORS))} nor "
            "package.module:callable or path.py:callable; wanted one of these."
        )
    made = resolve(text, "DATA", keep=Tensor)
    if isinstance(made, Tensor | Mapping):
        return _cut(text, made, batch_size, limit)
    if isinstance(made, str | bytes) or not isinstance(made, Iterable):
        raise InputError(
            f"DATA {text}: got a {type(made).__name__}; wanted a tensor, a dictionary of tensors, or an iterable of "
            "batches, such as a DataLoader."
        )
    as_batches(made)  # refuses one pair of inputs and targets that would be taken for two batches
    count = len(made) if isinstance(made, Sized) and limit is None else None
    return Batches(made if limit is None else _first(made, limit), count)


def _read_array(text: str) -> np.ndarray:
    path = Path(text)
    try:
        if path.suffix == ".npy":
            mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
            return mapped
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            key = names[0] if len(names) == 1 else next((key for key in ARRAY_KEYS if key in names), None)
            if key is None:
                raise InputError(
                    f"DATA {text}: got the arrays {', '.join(names) or 'none'}; wanted a single one, or one named "
                    f"{' or '.join(ARRAY_KEYS)}; save it with numpy.savez(path, inputs=...)."
                )
            array: np.ndarray = archive[key]
            return array
    except FileNotFoundError:
        raise InputError(f"DATA {text}: there is no such file; check the path.") from None
    except InputError:
        raise
    except (OSError, EOFError, ValueError, TypeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise InputError(
            f"DATA {text}: cannot be read ({str(error).splitlines()[0]}); wanted plain arrays, without pickled "
            "objects; save them with numpy.save or numpy.savez."
        ) from error


def _cut_array(text: str, array: np.ndarray, batch_size: int, limit: int | None) -> Batches:
    if array.dtype.kind not in "biuf" or array.ndim == 0 or len(array) == 0:
        raise InputError(
            f"DATA {text}: got an array of dtype {array.dtype} and shape {array.shape}; wanted real numbers or "
            "integers, at least one example, the examples in the first dimension."
        )
    native = array.dtype.newbyteorder("=")
    try:
        torch.from_numpy(np.empty(0, native))
    except TypeError:
        raise InputError(
            f"DATA {text}: got numbers of dtype {array.dtype}, which torch does not have; wanted float32 or float64; "
            "save it with array.astype(numpy.float64)."
        ) from None
    return _slices(len(array), lambda part: torch.from_numpy(array[part].astype(native)), batch_size, limit)


def _read_file(text: str) -> Tensor | Mapping[str, object]:
    held = read_tensors(text)
    if isinstance(held, Tensor):
        return held
    if not isinstance(held, Mapping) or not held:
        raise InputError(f"DATA {text}: got a {type(held).__name__}; wanted a tensor or a dictionary of tensors.")
    if Path(text).suffix == ".safetensors" and len(held) == 1:
        (only,) = held.values()
        assert isinstance(only, Tensor)
        return only
    return held


def _cut(text: str, held: Tensor | Mapping[str, object], batch_size: int, limit: int | None) -> Batches:
    """Cut tensors into batches; those of a dictionary side by side."""
    tensors = {"": held} if isinstance(held, Tensor) else held
    cut = {name: value for name, value in tensors.items() if isinstance(value, Tensor) and value.ndim}
    lengths = {len(value) for value in cut.values()}
    if len(cut) != len(tensors) or len(lengths) != 1 or 0 in lengths:
        told = [
            f"{name} {tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__}".strip()
            for name, value in tensors.items()
        ]
        raise InputError(
            f"DATA {text}: got {', '.join(told) or 'no tensor'}; wanted tensors with the same number of examples, at "
            "least one, in the first dimension."
        )

    def read(part: slice) -> Batch:
        return held[part] if isinstance(held, Tensor) else {str(name): value[part] for name, value in cut.items()}

    return _slices(lengths.pop(), read, batch_size, limit)


@dataclass(frozen=True)
class _Slices:
    """Iterates over consecutive slices, as often as it is asked to."""

    read: Callable[[slice], Batch]
    examples: int
    batch_size: int

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, self.examples, self.batch_size):
            yield self.read(slice(start, min(start + self.batch_size, self.examples)))


def _slices(examples: int, read: Callable[[slice], Batch], batch_size: int, limit: int | None) -> Batches:
    kept = examples if limit is None else min(examples, limit)
    return Batches(_Slices(read, kept, batch_size), ceil(kept / batch_size))


def _first(batches: Iterable[Batch], limit: int) -> Iterator[Batch]:
    """Yield batches until there are so many examples; the last one is cut, with everything that is as long as it."""
    left = limit
    for batch in batches:
        values = [batch] if isinstance(batch, Tensor) else list(batch.values() if isinstance(batch, Mapping) else batch)
        size = next((len(value) for value in values if isinstance(value, Tensor) and value.ndim), 0)
        yield batch if size <= left else _shortened(batch, size, left)
        left -= size
        if left <= 0:
            return


def _shortened(batch: Batch, size: int, kept: int) -> Batch:
    if isinstance(batch, Tensor):
        return batch[:kept]
    if isinstance(batch, Mapping):
        return {name: _cut_value(value, size, kept) for name, value in batch.items()}
    return tuple(_cut_value(value, size, kept) for value in batch)


def _cut_value(value: object, size: int, kept: int) -> object:
    return value[:kept] if isinstance(value, Tensor) and value.ndim and len(value) == size else value
