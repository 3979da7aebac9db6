"""How the batches of a sweep are executed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from threadpoolctl import threadpool_limits

from ansatzlab.sweeps.batch import Batch
from ansatzlab.sweeps.run import Rows

Work = Callable[[Batch], Rows]
"""What executes a batch: a function of a module, so that another process finds it by name."""


@runtime_checkable
class Executor(Protocol):
    """Executes batches in any order and hands each back as soon as it is done."""

    def __call__(self, work: Work, batches: Sequence[Batch]) -> Iterator[tuple[Batch, Rows | Exception]]:
        """Yield every batch with its rows, or with the error that its worker was lost to."""
        ...


def serial(work: Work, batches: Sequence[Batch]) -> Iterator[tuple[Batch, Rows | Exception]]:
    """Execute one batch after another in this process, on one thread.

    One thread is faster for small matrices, and makes the sums, and so the stored numbers, the same every time.
    """
    for batch in batches:
        with one_thread():
            rows = work(batch)
        yield batch, rows


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread; the counts of before are restored."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
