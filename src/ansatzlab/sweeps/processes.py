"""Executing batches in several processes of this machine."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import final

import torch
from threadpoolctl import threadpool_limits

from ansatzlab.errors import WorkerLostError
from ansatzlab.sweeps.batch import Batch
from ansatzlab.sweeps.executors import Results, Work, attempt, check_workers, lost, retried, usable_cores
from ansatzlab.sweeps.run import Rows

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""What libraries read when they are loaded; later they are told by other means too."""

_NO_START = (
    "Processes: no worker process could be started; see what it printed. Each imports the script that was started, so "
    'that must have its calls under `if __name__ == "__main__":`; or use executor=serial.'
)
_SPAWN = get_context("spawn")  # a fork of a process in which torch has computed can hang


@final
@dataclass(frozen=True)
class Processes:
    """An executor: worker processes of this machine, each on one thread.

    A worker takes seconds to start, as it imports torch. It ends with the process that started it, however that ends,
    and Ctrl-C does not reach it. A script that uses this executor has its calls under ``if __name__ == "__main__":``,
    because every worker imports the script.

    Attributes:
        workers: How many; None for as many as there are usable cores (affinity and container respected).

    Raises:
        InputError: If there is to be less than one worker.
        WorkerLostError: While executing, if no worker can be started at all.
    """

    workers: int | None = None

    def __post_init__(self) -> None:
        """Check the count."""
        check_workers("Processes", self.workers)

    def __call__(self, work: Work, batches: Sequence[Batch]) -> Results:
        """Yield every batch with its rows, or with the exception that it ended with."""
        sizes = iter((self.workers or usable_cores(), 1))  # what lost its worker has the memory to itself
        return retried(lambda some: _execute(work, some, next(sizes)), batches)


@dataclass(frozen=True)
class _Worker:
    """One process. A pool of its own, so that its death breaks nothing that another is executing."""

    pool: ProcessPoolExecutor
    ready: Future[None]


def _execute(work: Work, batches: Sequence[Batch], workers: int) -> Results:
    """Execute every batch once; of one whose worker dies, a `WorkerLostError` comes back."""
    waiting = list(reversed(batches))
    running: dict[Future[Rows | Exception], tuple[_Worker, Batch]] = {}
    results: list[tuple[Batch, Rows | Exception]] = []
    any_ready = False
    with _started() as start:
        free = [start() for _ in range(min(workers, len(waiting)))]
        while waiting or running:
            while waiting and free:
                worker, batch = free.pop(), waiting.pop()
                running[_submit(worker, work, batch)] = worker, batch
            yield from results  # while the caller writes them, the workers compute
            results = []
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, batch = running.pop(future)
                any_ready = any_ready or _is_ready(worker)
                result = _result(future, batch)
                if isinstance(result, WorkerLostError):
                    if not any_ready:
                        raise WorkerLostError(_NO_START)
                    worker = start() if waiting else worker
                free.append(worker)
                results.append((batch, result))
        yield from results


@contextmanager
def _started() -> Iterator[Callable[[], _Worker]]:
    """Yield what starts workers; at the end they are ended, whatever they are doing.

    They watch a pipe that only this process holds open, and so end with it too if it is killed.
    """
    reader, writer = _SPAWN.Pipe(duplex=False)
    pools = []

    def start() -> _Worker:
        pool = ProcessPoolExecutor(1, mp_context=_SPAWN, initializer=_prepare, initargs=(reader,))
        pools.append(pool)
        with _inherited():
            return _Worker(pool, pool.submit(_nothing))

    try:
        yield start
    finally:
        writer.close()
        for pool in pools:
            pool.shutdown(cancel_futures=True)
        reader.close()


@contextmanager
def _inherited() -> Iterator[None]:
    """Set what a process that is started meanwhile has from its first moment: one thread, and no ear for Ctrl-C."""
    before = {name: os.environ[name] for name in ONE_THREAD if name in os.environ}
    os.environ.update(ONE_THREAD)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for name in ONE_THREAD:
            del os.environ[name]
        os.environ.update(before)


def _prepare(leash: Connection) -> None:
    """Make a fresh worker compute on one thread and end as soon as nobody holds the other end of the leash."""
    torch.set_num_threads(1)
    threadpool_limits(1)
    Thread(target=_end_with, args=(leash,), daemon=True).start()


def _end_with(leash: Connection) -> None:
    leash.poll(None)  # nothing is ever sent: it returns when the pipe is closed
    os._exit(1)  # sys.exit would end this thread only


def _nothing() -> None:
    """Do nothing: once this is done, the worker has started."""


def _is_ready(worker: _Worker) -> bool:
    return worker.ready.done() and worker.ready.exception() is None


def _submit(worker: _Worker, work: Work, batch: Batch) -> Future[Rows | Exception]:
    try:
        return worker.pool.submit(attempt, work, batch)
    except BrokenProcessPool as error:  # it died after its last batch
        future: Future[Rows | Exception] = Future()
        future.set_exception(error)
        return future


def _result(future: Future[Rows | Exception], batch: Batch) -> Rows | Exception:
    try:
        return future.result()
    except BrokenProcessPool:
        return lost(batch, "the process died")
    except Exception as error:  # the rows cannot be sent
        return error
