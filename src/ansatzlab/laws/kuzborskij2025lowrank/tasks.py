"""Two-class tasks: the record, the synthetic ones, and pairs of classes of real data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import normalize

from ansatzlab.data.archive import read_npz
from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import InputError
from ansatzlab.measurement.callables import resolve


@dataclass(frozen=True, eq=False)
class Task:
    """Examples of two classes.

    Attributes:
        name: What it is called in reports.
        inputs: The examples (n, …), finite.
        labels: −1 or +1 for each (n,), in the dtype of the inputs.

    Raises:
        InputError: If it has no example, one that is not finite, or another label.
    """

    name: str
    inputs: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        """Check the inputs, and bring the labels into the inputs' dtype and one dimension."""
        if (
            not self.inputs.is_floating_point()
            or self.inputs.ndim == 0
            or self.inputs.numel() == 0
            or not bool(self.inputs.isfinite().all())
        ):
            raise InputError(
                f"task {self.name}: got inputs of dtype {self.inputs.dtype} and shape {tuple(self.inputs.shape)}, or "
                "not all finite; wanted finite floating numbers, at least one example; drop or fill what is not."
            )
        labels = check_labels(self.labels, self.inputs, f"task {self.name}")
        object.__setattr__(self, "labels", labels)


def check_labels(labels: Tensor, inputs: Tensor, where: str) -> Float[Tensor, " n"]:
    """Return labels of two classes as numbers of the inputs' dtype.

    Args:
        labels: −1 or +1 for each example, (n,) or (n, 1), of any number type.
        inputs: The examples.
        where: What they belong to, for the message.

    Returns:
        The labels (n,).

    Raises:
        InputError: If there are not as many as examples, or one is neither −1 nor +1.
    """
    flat = labels.reshape(-1).to(inputs.dtype)
    if len(flat) != len(inputs) or labels.numel() != max(labels.shape, default=0):
        raise InputError(
            f"{where}: got labels of shape {tuple(labels.shape)} for {len(inputs)} examples; wanted one for each."
        )
    wrong = flat[flat.abs() != 1]
    if len(wrong):
        raise InputError(
            f"{where}: got labels that are neither −1 nor +1, the first is {float(wrong[0]):g}; wanted two classes, "
            "written as −1 and +1; translate them."
        )
    return flat


def task_of(dataset: Dataset) -> Task:
    """Return the task of a data set of two classes.

    Conventions:
        A target of one column takes two values, of which the larger is +1. Of two columns, as integer classes are read,
        the second is +1: the larger label.

    Args:
        dataset: The data set.

    Returns:
        The task, under the data set's name.

    Raises:
        InputError: If its targets are not two classes.

    Example:
        >>> one_hot = torch.eye(2, dtype=torch.float64)
        >>> task_of(Dataset("two", inputs=one_hot, targets=one_hot, description="")).labels
        tensor([-1.,  1.], dtype=torch.float64)
    """
    targets, distinct = dataset.targets, sorted(set(dataset.targets.flatten().tolist()))
    one_hot = targets.shape[1] == 2 and distinct == [0.0, 1.0] and bool((targets.sum(1) == 1).all())
    both = bool(targets.any(0).all())
    if not (one_hot and both) and (targets.shape[1] != 1 or len(distinct) != 2):
        raise InputError(
            f"data {dataset.name}: got targets of {targets.shape[1]} columns and {len(distinct)} distinct numbers; "
            "wanted two classes that both occur, written as −1 and +1 or as two integers."
        )
    return Task(dataset.name, dataset.inputs, 2.0 * (targets[:, -1] == distinct[1]) - 1)


def read_task(text: str, name: str) -> Task:
    """Read the examples of two classes that a text names.

    Args:
        text: An ``.npz`` file with ``inputs`` and ``targets`` (see `ansatzlab.data.archive.read_npz`), or
            ``package.module:callable`` or ``path.py:callable``, which returns a data set, or inputs and targets.
        name: What the task is called in reports.

    Returns:
        The task; see `task_of` for how two classes are read.

    Raises:
        InputError: If nothing of that name can be read, or it is not examples of two classes.
        ModelError: If the callable fails.
    """
    if text.endswith(".npz"):
        return replace(task_of(read_npz(Path(text))), name=name)
    made = resolve(text, "DATA", keep=Dataset)
    if isinstance(made, Dataset):
        return replace(task_of(made), name=name)
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise InputError(
            f"DATA {text}: got a {type(made).__name__}; wanted inputs and targets, a pair of arrays or tensors, or a "
            "data set; return them."
        )
    inputs, targets = (_numbers(each, text) for each in made)
    if targets.numel() == 0 or targets.ndim == 0 or inputs.ndim == 0:
        raise InputError(
            f"DATA {text}: got inputs of shape {tuple(inputs.shape)} and targets of shape {tuple(targets.shape)}; "
            "wanted one row of inputs and one target for each example."
        )
    columns = targets.double().reshape(len(targets), -1)
    labels = task_of(Dataset(text, inputs=torch.zeros_like(columns), targets=columns, description="")).labels
    return Task(name, inputs, labels)


def _numbers(made: object, text: str) -> Tensor:
    """Return what somebody else's code made as a tensor of real numbers."""
    try:
        found = torch.as_tensor(made).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"DATA {text}: got a {type(made).__name__} that is no array of numbers ({' '.join(str(error).split())}); "
            "wanted tensors, NumPy arrays or nested lists of numbers, all rows of one length."
        ) from error
    if found.is_complex():
        raise InputError(f"DATA {text}: got numbers of dtype {found.dtype}; wanted real ones.")
    return found


def coherence(one: Tensor, other: Tensor) -> float:
    """Return the largest cosine, in absolute value, of an input of one task with an input of the other.

    Conventions: an input that is zero has cosine 0 with everything.

    Raises:
        InputError: If the inputs of the tasks are not of one size.

    Example:
        >>> round(coherence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0], [3.0, 4.0]])), 6)
        0.6
    """
    left, right = (normalize(each.reshape(len(each), -1), dim=1) for each in (one, other))
    if left.shape[1] != right.shape[1]:
        raise InputError(
            f"coherence: got inputs of {left.shape[1]} and of {right.shape[1]} numbers; wanted as many in both tasks."
        )
    return float((left @ right.mT).abs().max())


def sign_task(seed: int, examples: int, inputs: int) -> Task:
    """Return Gaussian examples whose label is the sign of a linear teacher."""
    generator = Generator().manual_seed(seed)
    x, w = _gaussian(examples, inputs, generator), _gaussian(inputs, 1, generator)
    return Task("signs", x, _signs(x @ w))


def mixed_pair(seed: int, examples: int, inputs: int, mixing: float) -> tuple[Task, Task]:
    """Return two tasks of linear teachers, whose inputs are orthogonal but for a share.

    Definition:
        With z, z′ independent directions of norm √inputs in as many dimensions: A has ``(z, 0)``, B has
        ``(ε z′, √(1 − ε²) z′)``, so that every inner product of the two is ε times what it is at ε = 1.

    Args:
        seed: Fixes teachers and directions, whatever ε.
        examples: How many of each task.
        inputs: Half the number of inputs.
        mixing: ε, from 0 (orthogonal) to 1 (in the same space).

    Returns:
        A and B, of ``2 · inputs`` inputs and the same norms.
    """
    generator = Generator().manual_seed(seed)
    tasks = []
    for name, cosine in (("A", 1.0), ("B", mixing)):
        z = math.sqrt(inputs) * normalize(_gaussian(examples, inputs, generator), dim=1)
        labels = _signs(z @ _gaussian(inputs, 1, generator))
        tasks.append(Task(name, torch.cat([cosine * z, math.sqrt(1 - cosine**2) * z], dim=1), labels))
    return tasks[0], tasks[1]


def class_task(dataset: Dataset, classes: Sequence[int], *, examples: int, radius: float, seed: int) -> Task:
    """Return two classes of a data set as a task.

    Conventions:
        As many examples of each class, drawn at random; every input is scaled to one norm. The second class is +1.

    Args:
        dataset: Real data with one-hot targets.
        classes: The places of the two classes among the targets.
        examples: How many, of both together.
        radius: The norm of every input.
        seed: Of the draw.

    Returns:
        The task, named by the places of its classes.

    Raises:
        InputError: If the targets are not one-hot or lack a class, or there are too few examples that are not zero.
    """
    check_classes(dataset, [classes])
    generator = Generator().manual_seed(seed)
    parts = []
    for place in classes:
        members = dataset.inputs[dataset.targets.argmax(1) == place]
        members = members[members.norm(dim=1) > 0]
        if len(members) < examples // 2:
            raise InputError(
                f"data set {dataset.name!r}: got {len(members)} examples of class {place}; wanted {examples // 2}; "
                "lower task_examples."
            )
        parts.append(members[torch.randperm(len(members), generator=generator)[: examples // 2]])
    labels = torch.ones(2, len(parts[0]), dtype=torch.float64) * torch.tensor([[-1.0], [1.0]])
    name = f"{{{classes[0]}, {classes[1]}}}"
    return Task(name, radius * normalize(torch.cat(parts), dim=1), labels.reshape(-1))


def check_classes(dataset: Dataset, pairs: Sequence[Sequence[int]]) -> None:
    """Refuse a data set that cannot be split into two-class tasks by the classes that are asked for.

    Raises:
        InputError: If its targets are not one-hot, lack a class, or a class is asked for twice.
    """
    targets, places = dataset.targets, [place for pair in pairs for place in pair]
    one_hot = bool(((targets == 0) | (targets == 1)).all() and (targets.sum(1) == 1).all())
    if not one_hot or not all(0 <= place < targets.shape[1] for place in places):
        raise InputError(
            f"data set {dataset.name!r}: got {targets.shape[1]} target columns{'' if one_hot else ', not one-hot'}; "
            f"wanted classes, {places} among them; give such data, or set task_classes, or leave the chapter out with "
            "--only stationary --only merging."
        )
    if any(one == other for one, other in combinations(places, 2)):
        raise InputError(f"task_classes: got {[list(pair) for pair in pairs]}; wanted every class once.")


def on_disjoint_features(one: Task, other: Task) -> tuple[Task, Task]:
    """Return two tasks as if each had been seen by its own half of the inputs: exactly orthogonal."""
    left = torch.cat([one.inputs, torch.zeros_like(one.inputs)], dim=1)
    right = torch.cat([torch.zeros_like(other.inputs), other.inputs], dim=1)
    return replace(one, inputs=left), replace(other, inputs=right)


def _gaussian(rows: int, columns: int, generator: Generator) -> Float[Tensor, "rows columns"]:
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def _signs(values: Float[Tensor, "n 1"]) -> Float[Tensor, " n"]:
    return torch.where(values[:, 0] < 0, -1.0, 1.0).double()
