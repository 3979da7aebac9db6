"""Data sets by name."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TypeAlias

from ansatzlab.data.archive import read_npz
from ansatzlab.data.dataset import Dataset, subsample
from ansatzlab.data.images import fashion_mnist, mnist
from ansatzlab.data.modular import modular
from ansatzlab.data.shipped import diabetes, digits, flights, linnerud
from ansatzlab.data.synthetic import low_rank_linear, multi_index
from ansatzlab.errors import InputError, UnknownNameError

Source: TypeAlias = Callable[..., Dataset]
"""Takes the keywords ``seed`` and ``size``, and any options by name."""


def fixed(read: Callable[[], Dataset]) -> Source:
    """Return the source that reads a finite data set and, given a size, draws that many of its examples."""

    def source(*, seed: int = 0, size: int | None = None) -> Dataset:
        dataset = read()
        return dataset if size is None else subsample(dataset, seed=seed, size=size)

    return source


SOURCES: dict[str, Source] = {
    "diabetes": fixed(diabetes),
    "digits": fixed(digits),
    "fashion_mnist": fixed(fashion_mnist),
    "flights": fixed(flights),
    "linnerud": fixed(linnerud),
    "low_rank_linear": low_rank_linear,
    "mnist": fixed(mnist),
    "modular": modular,
    "multi_index": multi_index,
}
"""Data sets by name."""


def load(name: str, *, seed: int = 0, size: int | None = None, **options: object) -> Dataset:
    """Return a data set by name.

    Args:
        name: A name in ``SOURCES``, or the path of a user's ``.npz`` file (see ``read_npz``).
        seed: Fixes what is random: the subsample of real data, the teacher and examples of synthetic data.
        size: Number of examples. None: all of real data, the source's default for synthetic data.
        options: Keywords of the source; only synthetic data have any.

    Returns:
        The data set; its ``description`` says how it was centred and scaled.

    Raises:
        InputError: The name or an option is unknown, the size is out of range, or the data cannot be read.

    Example:
        >>> load("digits", seed=1, size=100).inputs.shape
        torch.Size([100, 64])
        >>> load("low_rank_linear", output_dim=3, noise=0.1).targets.shape
        torch.Size([1000, 3])
    """
    if name.endswith(".npz"):
        source = fixed(partial(read_npz, Path(name)))
    elif name in SOURCES:
        source = SOURCES[name]
    else:
        raise UnknownNameError("data set", name, SOURCES)
    known = signature(source).parameters.keys() - {"seed", "size"}
    unknown = options.keys() - known
    if unknown:
        raise InputError(
            f"data set {name!r}: got the options {sorted(unknown)}; wanted only {sorted(known)}; leave out the others."
        )
    sized = {} if size is None else {"size": size}
    return source(seed=seed, **sized, **options)
