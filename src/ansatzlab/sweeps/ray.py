"""Executing batches on the machines of a Ray cluster."""

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import final

from ansatzlab.errors import InputError
from ansatzlab.sweeps.batch import Batch
from ansatzlab.sweeps.executors import (
    Results,
    Work,
    attempt,
    check_workers,
    lost,
    one_thread,
    retried,
    usable_cores,
)
from ansatzlab.sweeps.run import Rows

TASKS_PER_CORE = 2
"""How many batches Ray has in hand for every core: one to execute and one to go on with."""

QUIET = {"log_to_driver": False, "logging_level": logging.ERROR}
PATIENCE_SECONDS = 30.0
"""How long the head of a cluster has to answer."""


@final
@dataclass(frozen=True)
class Ray:
    """An executor: tasks of Ray, each on one core and one thread; here or on every node of a cluster.

    Conventions: a connection to Ray that the program has already is used, whatever the address, and stays open. Ray's
    own retries are off, because it repeats without end what ran out of memory; a batch that loses its worker or its
    node is tried once more by the rule of all executors. Usage statistics are not sent unless the environment has
    ``RAY_USAGE_STATS_ENABLED=1``.

    Attributes:
        address: The cluster's, as ``ray start --head`` prints it, or ``"auto"`` for the one that this machine is part
            of; None to start Ray on this machine for the time of the sweep.
        workers: How many batches are executed at once, at most; None for as many as there are cores, also while nodes
            come and go.

    Raises:
        InputError: If there is to be less than one worker; while executing, if Ray is not installed or the cluster
            cannot be reached.
    """

    address: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        """Check the count."""
        check_workers("Ray", self.workers)

    def __call__(self, work: Work, batches: Sequence[Batch]) -> Results:
        """Yield every batch with its rows, or with the exception that it ended with."""
        if batches:
            ray = _library()
            with _connected(ray, self.address, self.workers):
                yield from retried(partial(_execute, ray, work, self.workers), batches)


def _execute(ray: ModuleType, work: Work, workers: int | None, batches: Sequence[Batch]) -> Results:
    """Execute every batch once; of one whose worker or node dies, a `WorkerLostError` comes back."""
    here = str(Path.cwd())
    task = ray.remote(num_cpus=1, max_retries=0)(_task)
    waiting = list(reversed(batches))
    running: dict[object, Batch] = {}
    results: list[tuple[Batch, Rows | Exception]] = []
    try:
        while waiting or running:
            room = workers or TASKS_PER_CORE * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while waiting and len(running) < room:
                batch = waiting.pop()
                running[task.remote(work, batch, here)] = batch
            yield from results  # while the caller writes them, the workers compute
            done, _ = ray.wait(list(running), num_returns=1)
            results = [
                (batch, _result(ray, reference, batch)) for reference in done for batch in [running.pop(reference)]
            ]
        yield from results
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _task(work: Work, batch: Batch, folder: str) -> Rows | Exception | KeyboardInterrupt:
    if Path(folder).is_dir():
        os.chdir(folder)  # so that relative paths of data are those of the program
    try:
        with one_thread():
            return attempt(work, batch)
    except KeyboardInterrupt as interrupt:  # Ray would hand it back as the task's cancellation
        return interrupt


def _result(ray: ModuleType, reference: object, batch: Batch) -> Rows | Exception:
    try:
        result = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # the batch cannot be read there or its rows cannot be sent
        return error  # type: ignore[no-any-return]
    except ray.exceptions.RayError as error:
        return lost(batch, type(error).__name__)
    if isinstance(result, KeyboardInterrupt):
        raise result
    return result  # type: ignore[no-any-return]


@contextmanager
def _connected(ray: ModuleType, address: str | None, workers: int | None) -> Iterator[None]:
    """Connect to the cluster, or start one on this machine, unless the program is connected already."""
    if ray.is_initialized():
        yield
        return
    if address is None:
        ray.init(address="local", num_cpus=workers or usable_cores(), include_dashboard=False, **QUIET)
    else:
        _join(ray, address)
    try:
        yield
    finally:
        ray.shutdown()


def _join(ray: ModuleType, address: str) -> None:
    try:
        if ":" in address:
            _knock(address)
        ray.init(address=address, **QUIET)
    except (OSError, ValueError) as error:
        raise InputError(
            f"Ray: got address = {address!r}, which cannot be reached ({error}); wanted that of a running cluster, as "
            "`ray start --head` prints it; start one, or check the address and the token (RAY_AUTH_MODE)."
        ) from error


def _knock(address: str) -> None:
    """Raise at once where nobody listens; Ray itself tries for many minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    socket.create_connection((host, int(port)), PATIENCE_SECONDS).close()


def _library() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is started
    try:
        return import_module("ray")
    except ModuleNotFoundError as error:
        raise InputError(
            "Ray: is not installed; install it with `pip install 'ansatzlab[ray]'`, or use another executor."
        ) from error
