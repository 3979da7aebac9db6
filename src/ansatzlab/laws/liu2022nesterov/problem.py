"""The regression that a linear network is trained on, reduced to what descent can see of it."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import InputError

LEAST = 2.0
"""Below this κ there is nothing to accelerate."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A linear regression in the coordinates of its inputs' row space.

    Definition:
        With the thin decomposition ``X = U diag(s) Vᵀ`` of the inputs, columns being examples: ``X V`` and ``Y V`` in
        place of X and Y, one row an example. Every linear network has the same gradients on both, and the same
        residual but for ``‖Y(I − VVᵀ)‖``, which no weights change.

    Attributes:
        inputs: ``(X V)ᵀ`` (r, i).
        targets: ``(Y V)ᵀ`` (r, c).
        singular_values: The non-zero singular values of X, descending.
        floor: ``‖Y(I − VVᵀ)‖``, what is left of the residual at the global minimum.
    """

    inputs: Float[Tensor, "r i"]
    targets: Float[Tensor, "r c"]
    singular_values: Float[Tensor, " r"]
    floor: float

    @classmethod
    def of(cls, data: Dataset) -> "Problem":
        """Reduce a data set.

        Args:
            data: The data set.

        Returns:
            The problem. Singular values below ``max(n, i)`` times the rounding unit times the largest count as zero.

        Raises:
            InputError: If the inputs are zero.

        Example:
            >>> inputs, targets = torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [3.0]])
            >>> data = Dataset("two", inputs.double(), targets.double(), "one input, told twice")
            >>> problem = Problem.of(data)
            >>> len(problem.inputs), round(problem.floor**2, 12)
            (1, 2.0)
        """
        U, s, Vh = torch.linalg.svd(data.inputs, full_matrices=False)
        rank = int((s > max(data.inputs.shape) * torch.finfo(s.dtype).eps * s[0]).sum())
        if not rank:
            raise InputError(
                f"data set {data.name!r}: the inputs are all zero, so that no weights change the outputs; wanted "
                "inputs of rank 1 or more."
            )
        targets = U[:, :rank].mT @ data.targets
        return cls(
            inputs=s[:rank, None] * Vh[:rank],
            targets=targets,
            singular_values=s[:rank],
            floor=float((data.targets - U[:, :rank] @ targets).norm()),
        )

    @property
    def condition(self) -> float:
        """The condition number of ``X Xᵀ`` on its range, ``(s₁/s_r)²``."""
        return float((self.singular_values[0] / self.singular_values[-1]) ** 2)


def log_spaced(*, seed: int, condition: float, input_dim: int = 6, size: int = 10, output_dim: int = 3) -> Dataset:
    """Return data whose ``X Xᵀ`` has eigenvalues spaced logarithmically from 1 down to 1/κ, and a linear teacher.

    Definition:
        ``X = U diag(s) Vᵀ`` with Haar U and V; ``Y = Φ X`` with Φ of N(0, 1/c) entries, as in a new network's map.

    Args:
        seed: Of U, V and Φ, which do not depend on κ.
        condition: κ.
        input_dim: i.
        size: n, at least i.
        output_dim: c.

    Returns:
        The data set.

    Raises:
        InputError: If κ is not a finite number of at least 1, or there are fewer examples than inputs.
    """
    if not (math.isfinite(condition) and condition >= 1):
        raise InputError(f"log_spaced: got condition {condition}; wanted a finite number of at least 1; change it.")
    if size < input_dim:
        raise InputError(
            f"log_spaced: got {size} examples of {input_dim} inputs; wanted no fewer examples than inputs."
        )
    generator = Generator().manual_seed(seed)
    U, V = (
        nn.init.orthogonal_(torch.empty(rows, input_dim, dtype=torch.float64), generator=generator)
        for rows in (input_dim, size)
    )
    teacher = torch.randn(output_dim, input_dim, generator=generator, dtype=torch.float64) / math.sqrt(output_dim)
    exponents = torch.linspace(0, 1, input_dim, dtype=torch.float64)
    inputs = V @ (condition ** (-exponents / 2) * U).mT
    return Dataset(
        name="log_spaced",
        inputs=inputs,
        targets=inputs @ teacher.mT,
        description=f"Eigenvalues of XXᵀ spaced logarithmically in [1/{condition:g}, 1], linear teacher, seed {seed}.",
    )


def directions(data: Dataset, largest_condition: float, count: int) -> tuple[int, ...]:
    """Say how many principal directions to keep for condition numbers that are spread evenly on a logarithmic axis.

    Args:
        data: The data set.
        largest_condition: What κ of the kept directions stays within.
        count: How many numbers at most.

    Returns:
        The numbers, ascending, each of a κ from 2 on; if there is none, the rank alone.

    Raises:
        InputError: If the inputs are zero.

    Example:
        >>> data = log_spaced(seed=0, condition=243.0)    # κ = 1, 3, 9, 27, 81, 243
        >>> directions(data, 250.0, 3)
        (2, 4, 6)
    """
    s = Problem.of(data).singular_values
    conditions = ((s[0] / s) ** 2).numpy()
    usable = np.flatnonzero((conditions >= LEAST) & (conditions <= largest_condition * (1 + 1e-9)))
    if not len(usable):
        return (len(s),)
    heights = np.log(conditions[usable])
    wanted = np.linspace(heights[0], heights[-1], count)
    nearest = usable[np.abs(heights - wanted[:, None]).argmin(1)]
    return tuple(sorted({int(place) + 1 for place in nearest}))


def principal(data: Dataset, kept: int) -> Dataset:
    """Keep the first principal directions of the inputs.

    Conventions:
        Principal directions of the inputs as they are, not centred again. Inputs are divided by their largest singular
        value and targets so that the least-squares map has the Frobenius norm √k, k the directions kept: a new
        network's map has that norm, and κ does not depend on it.

    Args:
        data: The data set.
        kept: k.

    Returns:
        A data set with k inputs, the coordinates along the directions.

    Raises:
        InputError: If the inputs have not that many directions, or the targets do not depend on them.
    """
    problem = Problem.of(data)
    s = problem.singular_values
    if not 1 <= kept <= len(s):
        raise InputError(f"data set {data.name!r}: got {kept} principal directions; wanted 1 to {len(s)}, its rank.")
    axes = problem.inputs[:kept] / s[:kept, None]
    size = float((problem.targets[:kept] * (s[0] / s[:kept, None])).norm())
    if not size:
        raise InputError(
            f"data set {data.name!r}: the targets do not depend on the first {kept} principal directions; wanted "
            "targets that do; keep more of them."
        )
    return replace(
        data,
        inputs=data.inputs @ axes.mT / s[0],
        targets=data.targets * (math.sqrt(kept) / size),
        description=f"{data.description} The first {kept} principal directions, scaled.",
    )
