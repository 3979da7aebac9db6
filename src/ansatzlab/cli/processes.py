"""One command in several processes, as ``torchrun`` starts it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ansatzlab.errors import InputError
from ansatzlab.measurement.distributed import process_group, reduce_measurement
from ansatzlab.measurement.result import Measurement

PATIENCE_SECONDS = 1800.0
"""How long a process waits for the others; they may have longer batches."""


@dataclass(frozen=True)
class Process:
    """This process among those of one command.

    Attributes:
        rank: Its number, from 0.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1


@contextmanager
def one_of_several() -> Iterator[Process]:
    """Join the processes that ``torchrun`` started; without it there is one.

    Yields:
        This process.

    Raises:
        InputError: If the environment names several processes but not which one this is.
        AnsatzError: If the other processes cannot be reached.
    """
    world = os.environ.get("WORLD_SIZE", "1")
    rank = os.environ.get("RANK", "0" if world == "1" else "")
    if not world.isdecimal() or not rank.isdecimal() or int(rank) >= int(world):
        raise InputError(
            f"the environment says WORLD_SIZE={world!r} and RANK={rank!r}; wanted what torchrun sets; unset both to "
            "run in one process."
        )
    with process_group(PATIENCE_SECONDS) as (own, count):
        yield Process(own, count)


def device_of(process: Process, asked: str) -> torch.device:
    """Return the device by its name; ``cuda`` alone is each process's own.

    Raises:
        InputError: If there is no such device here.
    """
    try:
        device = torch.device(asked)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) if process.world > 1 else 0)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"--device {asked}: cannot be used ({str(error).splitlines()[0]}); wanted a device that this torch has."
        ) from error
    return device


def sum_over_processes(measurement: Measurement, process: Process) -> Measurement:
    """Return the measurement of all processes' examples; every process has to call it."""
    return measurement if process.world == 1 else reduce_measurement(measurement)
