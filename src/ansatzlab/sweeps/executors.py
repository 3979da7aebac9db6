"""How the batches of a sweep are executed: what every executor promises, and the one that needs no other process."""

import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Protocol, runtime_checkable

import joblib
import torch
from threadpoolctl import threadpool_limits

from ansatzlab.errors import InputError, WorkerLostError
from ansatzlab.sweeps.batch import Batch
from ansatzlab.sweeps.run import Rows

Work = Callable[[Batch], Rows]
"""What executes a batch: a function of a module, so that another process finds it by name."""

Results = Generator[tuple[Batch, Rows | Exception], None, None]
"""Batches with their rows, or with why there are none."""


@runtime_checkable
class Executor(Protocol):
    """Executes batches in any order and hands each back as soon as it is done.

    Every executor promises, and `ansatzlab.testing.contracts.check_executor` asks for: each batch comes back once; what
    the work raises is that batch's result and the others go on, but an interrupt (`KeyboardInterrupt`) passes; a worker
    that dies costs its batch only, which is tried once more and then comes back with a `WorkerLostError`; when the
    generator is closed, or an error passes through it, nothing is left running.
    """

    def __call__(self, work: Work, batches: Sequence[Batch]) -> Results:
        """Yield every batch with its rows, or with the exception that it ended with."""
        ...


def serial(work: Work, batches: Sequence[Batch]) -> Results:
    """Execute one batch after another in this process, on one thread.

    One thread is faster for small matrices, and makes the sums, and so the stored numbers, the same every time.
    """
    for batch in batches:
        with one_thread():
            result = attempt(work, batch)
        yield batch, result


def attempt(work: Work, batch: Batch) -> Rows | Exception:
    """Execute a batch, and catch what the work raises.

    Args:
        work: What executes it.
        batch: The batch.

    Returns:
        Its rows or the exception. One that would not survive the way to another process is replaced by a
        `RuntimeError` with its name and message, by every executor alike.
    """
    try:
        return work(batch)
    except Exception as error:  # a bug in the work costs its batch, not the sweep
        return _portable(error)


def retried(execute: Callable[[Sequence[Batch]], Results], batches: Sequence[Batch]) -> Results:
    """Execute batches, and those that lost their worker a second time.

    The second time comes after all others, when the memory that a batch may have lacked is free. One that loses its
    worker again is handed back with the `WorkerLostError`.

    Args:
        execute: What executes batches, each once.
        batches: The batches.
    """
    lost = []
    with closing(execute(batches)) as results:
        for batch, result in results:
            if isinstance(result, WorkerLostError):
                lost.append(batch)
            else:
                yield batch, result
    yield from execute(lost)


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


def usable_cores() -> int:
    """Return how many cores this process may use: not more than its affinity and its container allow."""
    return int(joblib.cpu_count())


def check_workers(executor: str, workers: int | None) -> None:
    """Refuse a count of workers that is not positive.

    Args:
        executor: Whose count it is, for the message.
        workers: The count, or None for as many as there are cores.

    Raises:
        InputError: If it is not positive.
    """
    if workers is not None and workers < 1:
        raise InputError(f"{executor}: got workers = {workers}; wanted 1 or more, or None for all cores; change it.")


def lost(batch: Batch, how: str) -> WorkerLostError:
    """Return the error of a batch whose worker died.

    Args:
        batch: The batch.
        how: What is known of the death.
    """
    return WorkerLostError(
        f"the batch of {len(batch.specs)} runs that starts with {batch.run_ids[0]} lost its worker twice ({how}): "
        "killed from outside, for want of memory, or by a crash; free memory or make batches smaller, then start again."
    )


def _portable(error: Exception) -> Exception:
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:  # an exception's own constructor and reducer may raise anything
        copy = None
    if type(copy) is type(error) and str(copy) == str(error):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
