"""How the runs of a sweep are executed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from threadpoolctl import threadpool_limits

from ansatzlab.sweeps.spec import RunSpec

Rows = list[dict[str, object]]
"""The rows of one run."""


@runtime_checkable
class Executor(Protocol):
    """Executes runs in any order and hands each back as soon as it is done."""

    def __call__(self, run: Callable[[RunSpec], Rows], specs: Sequence[RunSpec]) -> Iterator[tuple[RunSpec, Rows]]:
        """Yield every spec with its rows."""
        ...


def serial(run: Callable[[RunSpec], Rows], specs: Sequence[RunSpec]) -> Iterator[tuple[RunSpec, Rows]]:
    """Execute one run after another in this process, on one thread.

    One thread is faster for small matrices, and makes the sums, and so the stored numbers, the same every time.
    """
    for spec in specs:
        with _one_thread():
            rows = run(spec)
        yield spec, rows


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
