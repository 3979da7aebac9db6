"""One process of a distributed measurement, as tests/truth/test_distributed.py starts it: SCENARIO [FOLDER]."""

import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from ansatzlab.errors import InputError
from ansatzlab.measurement.distributed import process_group, reduce_measurement, shard
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Signs

SIZE = 7
"""Examples in a batch; the last one is smaller."""


def seeded(build, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().double()


def mlp():
    return nn.Sequential(nn.Linear(6, 30), nn.Tanh(), nn.Linear(30, 8), nn.Tanh(), nn.Linear(8, 3))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Conv2d(4, 6, 2, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(54, 3)
    )


def gaussian(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def vectors():
    return gaussian(33, 6).split(SIZE)


def images():
    return gaussian(33, 2, 6, 6).split(SIZE)


def example_weights():
    return gaussian(33, seed=1).abs()


def parts(rank, world):
    """What this process measures: in one process, all of it."""
    weights = torch.cat(list(shard(example_weights().split(SIZE), rank, world)))
    model, before = seeded(mlp), seeded(mlp, 1)
    many = gaussian(1200, 6, seed=2).split(200)
    return {
        "gram": measure(model, shard(vectors(), rank, world), example_weights=weights),
        "factor": measure(model, shard(vectors(), rank, world), example_weights=weights, accumulation="factor"),
        "start": measure(model, shard(iter(vectors()), rank, world), initial=before),
        "convolutions": measure(seeded(convolutions), shard(images(), rank, world)),
        "signs": measure(model, shard(many, rank, world), seeds=Signs(2, seed=rank)),
    }


def equal(folder):
    with process_group() as (rank, world):
        for name, part in parts(rank, world).items():
            reduce_measurement(part).save(Path(folder) / f"{name}.{rank}")


def refused():
    """Each of these is refused in both processes, and the group still works afterwards."""
    with process_group() as (rank, world):
        layers = [None, ["0"]][rank]
        for part in (
            measure(seeded(mlp), shard(vectors(), rank, world), layers=layers),
            measure(seeded(mlp, seed=rank), shard(vectors(), rank, world)),
            measure(seeded(mlp), shard(vectors(), rank, world), accumulation=["gram", "factor"][rank]),
            measure(seeded(mlp), shard(vectors(), rank, world), seeds=Signs(2)),
            measure(seeded(mlp), shard(vectors(), rank, world), layers="2", initial=[None, seeded(mlp, 1)][rank]),
        ):
            try:
                reduce_measurement(part)
            except InputError as error:
                sys.stdout.write(f"{error}\n")
        whole = reduce_measurement(measure(seeded(mlp), shard(vectors(), rank, world)))
        sys.stdout.write(f"{whole['0'].sums.examples} examples\n")


def killed():
    with process_group() as (rank, world):
        part = measure(seeded(mlp), shard(vectors(), rank, world))
        if rank == 1:
            os._exit(9)
        reduce_measurement(part)


def late():
    with process_group(timeout_seconds=5) as (rank, world):
        part = measure(seeded(mlp), shard(vectors(), rank, world))
        if rank == 1:
            time.sleep(600)
        reduce_measurement(part)


def empty():
    with process_group() as (rank, world):
        reduce_measurement(measure(seeded(mlp), shard(vectors()[:1], rank, world)))


def alone():
    with process_group(timeout_seconds=3):
        pass


if __name__ == "__main__":
    torch.set_num_threads(1)
    scenarios = {found.__name__: found for found in (equal, refused, killed, late, empty, alone)}
    scenarios[sys.argv[1]](*sys.argv[2:])
