"""Teachers with known features: every data set is a function of a seed, a size and options."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import InputError, UnknownNameError

LINKS: dict[str, Callable[[Float[Tensor, "n k"]], Float[Tensor, " n"]]] = {
    "linear": lambda z: z.sum(dim=1),
    "product": lambda z: z.prod(dim=1),
    "quadratic": lambda z: z.square().sum(dim=1),
    "relu": lambda z: z.relu().sum(dim=1),
    "sine": lambda z: z.sin().sum(dim=1),
    "staircase": lambda z: z.cumprod(dim=1).sum(dim=1),
}
"""Link functions g of the indices z, by name: Σ z_j, Π z_j, Σ z_j², Σ relu(z_j), Σ sin z_j, z_1 + z_1 z_2 + …"""


def low_rank_linear(
    *,
    seed: int = 0,
    size: int = 1000,
    input_dim: int = 20,
    output_dim: int = 5,
    spectrum: Sequence[float] = (1.0, 0.7, 0.5),
    noise: float = 0.0,
) -> Dataset:
    """Return examples of a linear teacher of low rank.

    Definition:
        ``y = A x + noise · ε`` with ``A = P diag(spectrum) Qᵀ``; P (c, k) and Q (i, k) Haar with orthonormal columns,
        x ~ N(0, I_i), ε ~ N(0, I_c). Nothing is centred or scaled afterwards.

    Args:
        seed: Fixes the teacher, whatever the size and the noise, and then the examples.
        size: Number of examples n.
        input_dim: Number of inputs i.
        output_dim: Number of targets c.
        spectrum: Singular values of A, positive, 1 to min(i, c) of them.
        noise: Standard deviation of the noise on each target.

    Returns:
        Inputs (size, input_dim) and targets (size, output_dim).

    Raises:
        InputError: A count is below 1, the spectrum is empty, too long or not positive, or the noise is negative.

    Example:
        >>> data = low_rank_linear(seed=0, size=50, spectrum=[2.0])
        >>> round(torch.linalg.lstsq(data.inputs, data.targets).solution.norm().item(), 12)
        2.0
    """
    _check_numbers("low_rank_linear", noise, size=size, input_dim=input_dim, output_dim=output_dim)
    narrowest = min(input_dim, output_dim)
    if not 1 <= len(spectrum) <= narrowest or not all(math.isfinite(value) and value > 0 for value in spectrum):
        raise InputError(
            f"low_rank_linear: got spectrum {list(spectrum)}; wanted 1 to {narrowest} positive finite numbers "
            "(at most the smaller of input_dim and output_dim); change the spectrum or the dimensions."
        )
    generator = Generator().manual_seed(seed)
    P, Q = (_orthonormal_columns(dim, len(spectrum), generator) for dim in (output_dim, input_dim))
    A = (P * torch.tensor(spectrum, dtype=torch.float64)) @ Q.mT
    x = _gaussian(size, input_dim, generator)
    return Dataset(
        name="low_rank_linear",
        inputs=x,
        targets=x @ A.mT + noise * _gaussian(size, output_dim, generator),
        description=f"Linear teacher of spectrum {list(spectrum)}, Gaussian inputs, noise {noise}, seed {seed}.",
    )


def multi_index(
    *,
    seed: int = 0,
    size: int = 1000,
    input_dim: int = 20,
    index_dim: int = 2,
    link: str = "quadratic",
    noise: float = 0.0,
) -> Dataset:
    """Return examples of a function that depends on a few directions only.

    Definition:
        ``y = g(U x) + noise · ε``, U (k, i) Haar with orthonormal rows, x ~ N(0, I_i), ε ~ N(0, 1), g in ``LINKS``.
        Nothing is centred or scaled afterwards.

    Args:
        seed: Fixes U, whatever the size, the link and the noise, and then the examples.
        size: Number of examples n.
        input_dim: Number of inputs i.
        index_dim: Number of directions k, at most ``input_dim``.
        link: A name in ``LINKS``.
        noise: Standard deviation of the noise.

    Returns:
        Inputs (size, input_dim) and targets (size, 1).

    Raises:
        InputError: A count is below 1, ``index_dim`` exceeds ``input_dim``, the noise is negative or the link unknown.

    Example:
        >>> data = multi_index(seed=0, size=50, input_dim=3, index_dim=3)
        >>> torch.testing.assert_close(data.targets[:, 0], data.inputs.square().sum(dim=1))
    """
    _check_numbers("multi_index", noise, size=size, input_dim=input_dim, index_dim=index_dim)
    if index_dim > input_dim:
        raise InputError(
            f"multi_index: got index_dim {index_dim} with input_dim {input_dim}; wanted at most input_dim directions; "
            "lower index_dim or raise input_dim."
        )
    if link not in LINKS:
        raise UnknownNameError("link", link, LINKS)
    generator = Generator().manual_seed(seed)
    U = _orthonormal_columns(input_dim, index_dim, generator).mT
    x = _gaussian(size, input_dim, generator)
    return Dataset(
        name="multi_index",
        inputs=x,
        targets=LINKS[link](x @ U.mT)[:, None] + noise * _gaussian(size, 1, generator),
        description=f"The {link} link of {index_dim} directions, Gaussian inputs, noise {noise}, seed {seed}.",
    )


def _check_numbers(where: str, noise: float, **counts: int) -> None:
    """Refuse counts below one and a noise that is negative or not finite."""
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{where}: got {name} {count}; wanted at least 1; raise {name}.")
    if not (math.isfinite(noise) and noise >= 0):
        raise InputError(f"{where}: got noise {noise}; wanted a finite number that is not negative; change noise.")


def _orthonormal_columns(rows: int, columns: int, generator: Generator) -> Float[Tensor, "rows columns"]:
    """Return a Haar matrix with orthonormal columns."""
    return nn.init.orthogonal_(torch.empty(rows, columns, dtype=torch.float64), generator=generator)


def _gaussian(rows: int, columns: int, generator: Generator) -> Float[Tensor, "rows columns"]:
    """Return independent standard normal numbers."""
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)
