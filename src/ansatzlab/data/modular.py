"""Arithmetic modulo a prime, as a table to be learnt from a part of it."""

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import InputError, UnknownNameError

Operands = Int[Tensor, " n"]


def _divide(x: Operands, y: Operands, p: int) -> Operands:
    """Return ``x y⁻¹``, the inverse by Fermat: y^{p−2}."""
    inverses = torch.tensor([pow(value, p - 2, p) for value in range(p)])
    return x * inverses[y]


OPERATIONS: dict[str, Callable[[Operands, Operands, int], Operands]] = {
    "add": lambda x, y, _: x + y,
    "sub": lambda x, y, _: x - y,
    "mul": lambda x, y, _: x * y,
    "div": _divide,
}
"""The operations by name, before the remainder is taken."""


def modular(*, seed: int = 0, size: int | None = None, prime: int = 61, operation: str = "add") -> Dataset:
    """Return the table of an operation modulo a prime, in a random order.

    Definition:
        Inputs: the one-hot x followed by the one-hot y; target: the one-hot ``x ∘ y mod p``. All pairs (x, y), but
        those with y = 0 under ``div``.

    Conventions:
        The rows come in a random order, so that the first k of them are a random training set and the others a test
        set. Nothing is centred.

    Args:
        seed: Fixes the order.
        size: How many rows of that order; None for all.
        prime: p.
        operation: ``add``, ``sub``, ``mul`` or ``div``.

    Returns:
        Inputs (size, 2p) and targets (size, p).

    Raises:
        UnknownNameError: The operation is unknown.
        InputError: p is not a prime, or there are not so many pairs.

    Example:
        >>> data = modular(prime=5, operation="div")
        >>> row = data.inputs[0].nonzero().flatten()
        >>> x, y, quotient = int(row[0]), int(row[1]) - 5, int(data.targets[0].argmax())
        >>> (y * quotient - x) % 5
        0
    """
    if operation not in OPERATIONS:
        raise UnknownNameError("operation", operation, OPERATIONS)
    if prime < 2 or any(prime % divisor == 0 for divisor in range(2, int(prime**0.5) + 1)):
        raise InputError(f"modular: got prime={prime}; wanted a prime number; change it.")
    x, y = torch.cartesian_prod(torch.arange(prime), torch.arange(prime)).mT
    if operation == "div":
        x, y = x[y > 0], y[y > 0]
    available = len(x)
    if size is not None and not 1 <= size <= available:
        raise InputError(
            f"modular: got size {size}; wanted between 1 and the {available} pairs that there are; choose another size."
        )
    order = torch.randperm(available, generator=torch.Generator().manual_seed(seed))[:size]
    x, y = x[order], y[order]
    one_hot = torch.eye(prime, dtype=torch.float64)
    return Dataset(
        name="modular",
        inputs=torch.cat([one_hot[x], one_hot[y]], dim=1),
        targets=one_hot[OPERATIONS[operation](x, y, prime) % prime],
        description=f"x {operation} y modulo {prime}, one-hot; {len(x)} of {available} pairs, drawn with seed {seed}.",
    )
