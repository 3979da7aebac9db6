"""The record of a data set, checked when it is made."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ansatzlab.errors import InputError


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and targets of a regression, one row an example.

    Attributes:
        name: The name it was loaded by.
        inputs: Network inputs (n, i), float64, finite.
        targets: What the network's outputs should be (n, c), float64, finite; classes are one-hot.
        description: Where it comes from and how it was centred and scaled, in a sentence.

    Example:
        >>> zeros = torch.zeros(3, 2, dtype=torch.float64)
        >>> Dataset("zeros", inputs=zeros, targets=zeros[:, :1], description="Nothing to learn.").inputs.shape
        torch.Size([3, 2])
    """

    name: str
    inputs: Tensor
    targets: Tensor
    description: str

    def __post_init__(self) -> None:
        """Check both arrays: here rather than in their types, so that tests and users see the same error.

        Raises:
            InputError: An array is not two-dimensional, not float64, empty or not finite, or the rows do not match.
        """
        for label, array in (("inputs", self.inputs), ("targets", self.targets)):
            _check_array(f"data set {self.name!r}: {label}", array)
        if len(self.inputs) != len(self.targets):
            raise InputError(
                f"data set {self.name!r}: got {len(self.inputs)} rows of inputs and {len(self.targets)} of targets; "
                "wanted one target row for each input row; drop the rows without a partner."
            )


def _check_array(where: str, array: Tensor) -> None:
    """Refuse an array that is not a finite, non-empty, float64 matrix."""
    if array.ndim != 2 or array.numel() == 0:
        raise InputError(
            f"{where}: got shape {tuple(array.shape)}; wanted two dimensions (examples, features), both at least 1; "
            "flatten each example to one row."
        )
    if array.dtype != torch.float64:
        raise InputError(f"{where}: got dtype {array.dtype}; wanted torch.float64; convert with .double().")
    wrong = (~array.isfinite()).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        raise InputError(
            f"{where}: got {len(wrong)} entries that are not finite, the first at row {row}, column {column}; "
            "wanted finite numbers; drop or fill the rows in question."
        )


def subsample(dataset: Dataset, *, seed: int, size: int) -> Dataset:
    """Return ``size`` distinct examples, chosen at random.

    Conventions:
        The first rows of one random order, so that a smaller size with the same seed gives a subset.
        Nothing is centred or scaled again.

    Args:
        dataset: The data set to draw from.
        seed: Seed of the order; torch's global generator is left alone.
        size: Between 1 and the number of examples.

    Returns:
        A new data set of the same name; its description says how it was drawn.

    Raises:
        InputError: The size is not in that range.
    """
    available = len(dataset.inputs)
    if not 1 <= size <= available:
        raise InputError(
            f"data set {dataset.name!r}: got size {size}; wanted between 1 and the {available} examples it has; "
            "choose a smaller size, or leave it out for all."
        )
    rows = torch.randperm(available, generator=torch.Generator().manual_seed(seed))[:size]
    return replace(
        dataset,
        inputs=dataset.inputs[rows],
        targets=dataset.targets[rows],
        description=f"{dataset.description} {size} of {available} examples, drawn with seed {seed}.",
    )
