from collections.abc import Callable

import pytest
import torch

from ansatzlab.data.modular import modular
from ansatzlab.data.registry import load
from ansatzlab.errors import InputError, UnknownNameError

HOLDS: dict[str, Callable[[int, int, int], bool]] = {
    "add": lambda x, y, z: (x + y - z) % 7 == 0,
    "sub": lambda x, y, z: (z + y - x) % 7 == 0,
    "mul": lambda x, y, z: (x * y - z) % 7 == 0,
    "div": lambda x, y, z: (z * y - x) % 7 == 0,
}


@pytest.mark.parametrize("operation", sorted(HOLDS))
def test_every_pair_once_with_its_result(operation: str) -> None:
    data = modular(prime=7, operation=operation)
    x, y = data.inputs[:, :7].argmax(dim=1).tolist(), data.inputs[:, 7:].argmax(dim=1).tolist()
    z = data.targets.argmax(dim=1).tolist()
    assert data.inputs.sum() == 2 * len(x)
    assert data.targets.sum() == len(x)
    pairs = {(first, second) for first in range(7) for second in range(operation == "div", 7)}
    assert len(x) == len(pairs)
    assert set(zip(x, y, strict=True)) == pairs
    assert all(HOLDS[operation](*row) for row in zip(x, y, z, strict=True))


def test_the_seed_fixes_the_order_and_a_size_takes_its_beginning() -> None:
    whole, part, other = modular(seed=3, prime=7), load("modular", seed=3, size=20, prime=7), modular(seed=4, prime=7)
    assert torch.equal(whole.inputs[:20], part.inputs)
    assert torch.equal(whole.targets[:20], part.targets)
    assert not torch.equal(whole.inputs, other.inputs)


@pytest.mark.parametrize("prime", [-3, 0, 1, 4, 49])
def test_a_modulus_that_is_not_prime_is_refused(prime: int) -> None:
    with pytest.raises(InputError, match=f"got prime={prime}; wanted a prime number"):
        modular(prime=prime)


@pytest.mark.parametrize(("operation", "size"), [("add", 26), ("div", 21), ("add", 0)])
def test_more_rows_than_pairs_are_refused(operation: str, size: int) -> None:
    with pytest.raises(InputError, match=f"got size {size}; wanted between 1 and the 2[05] pairs"):
        modular(prime=5, operation=operation, size=size)


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown operation 'ad'; did you mean 'add'"):
        modular(operation="ad")
