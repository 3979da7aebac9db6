"""One measurement by several processes: each measures its share of the batches, and the sums are added up.

A script does so with::

    with process_group() as (rank, world):
        part = ansatzlab.measure(model, shard(batches, rank, world))
        whole = reduce_measurement(part)    # the same in every process

and is started with ``torchrun --nproc-per-node 4 script.py``; without torchrun it is one process, which measures all.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import reduce
from itertools import islice

import torch
import torch.distributed as dist
from torch import Tensor

from ansatzlab.errors import AnsatzError, InputError
from ansatzlab.linalg.psd import triangular_factor
from ansatzlab.measurement.agreement import SAMPLED, Card, card_of, refuse_unlike
from ansatzlab.measurement.gram import GradientSums
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.outputs import Batch, as_batches
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.sample import ExampleSample, bound, capacity, hashes


@contextmanager
def process_group(timeout_seconds: float = 600.0) -> Iterator[tuple[int, int]]:
    """Join the processes that torchrun started, and leave them at the end.

    Conventions:
        Without torchrun (no ``WORLD_SIZE`` in the environment, or 1) nothing is joined. A group that is there already
        is used and left as it is. Tensors on the CPU go through gloo, those on a GPU through nccl, and each process
        takes the GPU of its ``LOCAL_RANK``.

    Args:
        timeout_seconds: How long a process waits for one that is late. One that ended is noticed at once.

    Yields:
        The process's rank, from 0, and the number of processes.

    Raises:
        AnsatzError: If the other processes cannot be reached in that time.

    Example:
        >>> with process_group() as (rank, world):
        ...     rank, world
        (0, 1)
    """
    if dist.is_available() and dist.is_initialized():
        yield dist.get_rank(), dist.get_world_size()
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, 1
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=timedelta(seconds=timeout_seconds))
    except (RuntimeError, ValueError) as error:
        raise AnsatzError(
            f"process_group: the {os.environ['WORLD_SIZE']} processes did not find each other within "
            f"{timeout_seconds:g} s ({_first_line(error)}); start all of them, with torchrun."
        ) from error
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        dist.destroy_process_group()


def shard(batches: Iterable[Batch], rank: int, world: int) -> Iterator[Batch]:
    """Give a process its share of the batches: every ``world``-th, from number ``rank`` on.

    Conventions:
        A sequence is indexed. Anything else is read through in every process, so a loader that is slow should divide
        the data itself. Example weights are divided like the batches, as below.

    Args:
        batches: The same batches in every process.
        rank: The process's rank.
        world: The number of processes.

    Yields:
        The batches of this process.

    Raises:
        InputError: If the rank is not below ``world``, or there is no batch for it.

    Example:
        >>> weights = torch.arange(5.0)
        >>> torch.cat(list(shard(weights.split(2), 0, 2)))    # of batches of two examples
        tensor([0., 1., 4.])
    """
    if not 0 <= rank < world:
        raise InputError(f"shard: got rank {rank} of {world} processes; wanted 0 to {world - 1}.")
    return _shard(as_batches(batches), rank, world)


def _shard(batches: Iterable[Batch], rank: int, world: int) -> Iterator[Batch]:
    if isinstance(batches, Sequence):
        mine: Iterable[Batch] = (batches[place] for place in range(rank, len(batches), world))
    else:
        mine = islice(batches, rank, None, world)
    empty = True
    for batch in mine:
        empty = False
        yield batch
    if empty:
        raise InputError(
            f"shard: there is no batch for rank {rank} of {world} processes; wanted at least one for each; use fewer "
            "processes or smaller batches."
        )


def reduce_measurement(measurement: Measurement, group: dist.ProcessGroup | None = None) -> Measurement:
    """Add up what several processes measured on different examples.

    Definition:
        The sums are all-reduced, factors are gathered and made triangular again, and of the sampled examples as many
        are kept as one process would keep. The result equals one process's measurement of all batches up to rounding
        (the standard errors up to which examples were sampled).

    Conventions:
        Every process has to call it, with the same network measured in the same way. With `Signs` each needs a seed of
        its own, as in ``Signs(k, seed=rank)``, unless they are ``shared``.

    Args:
        measurement: This process's part.
        group: The processes; all by default. Without any it returns the measurement as it is.

    Returns:
        The whole, in every process, on the device of its part.

    Raises:
        InputError: If the parts are of different networks or were measured differently; then in every process.
        AnsatzError: If another process ended, failed or did not arrive before the group's timeout.

    Cost:
        Sends o² numbers a layer, and the sampled examples.

    Example:
        >>> import ansatzlab
        >>> m = ansatzlab.measure(torch.nn.Linear(3, 2), [torch.ones(4, 3)])
        >>> reduce_measurement(m) is m    # one process
        True
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size(group) == 1:
        return measurement
    if dist.get_rank(group) < 0:
        raise InputError("reduce_measurement(group=): this process is not in the group; call it in those that are.")
    cards: list[dict[str, Card]] = [{}] * dist.get_world_size(group)
    with _together():
        dist.all_gather_object(cards, {name: card_of(layer) for name, layer in measurement.items()}, group=group)
    refuse_unlike(cards)
    with _together():
        layers = {
            name: _reduced(layer, [card[name] for card in cards], group) for name, layer in measurement.layers.items()
        }
    return replace(measurement, layers=layers)


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise AnsatzError(
            "reduce_measurement: another process ended, failed or did not arrive before the sums were added up "
            f"({_first_line(error)}); there is no result; see the first error among the outputs of all processes."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].strip()


def _reduced(layer: LayerMeasurement, cards: Sequence[Card], group: dist.ProcessGroup | None) -> LayerMeasurement:
    starts = [card.start for card in cards if card.start is not None]
    return replace(
        layer,
        sums=_reduced_sums(layer.sums, cards, group),
        seeds=cards[0].seeds or layer.seeds,
        gradient_dtype=max((card.gradient_dtype for card in cards), key=lambda dtype: torch.finfo(dtype).eps),
        start=None if layer.start is None else _reduced(layer.start, starts, group),
    )


def _reduced_sums(sums: GradientSums, cards: Sequence[Card], group: dist.ProcessGroup | None) -> GradientSums:
    if sums.is_factor:
        shapes = [(card.moment, sums.second_moment.dtype) for card in cards]
        factors = _gathered(sums.second_moment, shapes, sums.second_moment.device, group)
        moment = triangular_factor(torch.cat([factor for factor in factors if factor is not None], dim=1))
    else:
        moment = _added(sums.second_moment, group)
    weights, positions, examples = zip(*(card.totals for card in cards), strict=True)
    return GradientSums(
        second_moment=moment,
        is_factor=sums.is_factor,
        by_output=_added(sums.by_output, group),
        weight_total=sum(weights),
        position_total=sum(positions),
        examples=sum(examples),
        sample=None if sums.sample is None else _joined_sample(sums, sums.sample, cards, group),
    )


def _joined_sample(
    sums: GradientSums, sample: ExampleSample, cards: Sequence[Card], group: dist.ProcessGroup | None
) -> ExampleSample:
    """Gather the samples of all processes, thinned to what one process would have kept of all examples."""
    directions, groups, width = sums.by_output.shape
    positions = round(sum(card.totals[1] for card in cards) / sum(card.totals[0] for card in cards))
    everyone = torch.cat([card.places for card in cards])
    most = capacity(directions, positions, groups, width)
    below = min(bound(everyone, most), *(card.below for card in cards))
    mine = sample.thinned(below)
    gathered: list[dict[str, Tensor | None]] = [{} for _ in cards]
    for name in SAMPLED:
        part: Tensor | None = getattr(mine, name)
        shapes = [
            ((int((hashes(card.places) < below).sum()), *card.sampled[name][0][1:]), card.sampled[name][1])
            if name in card.sampled
            else None
            for card in cards
        ]
        device = sums.second_moment.device if part is None else part.device
        for found, tensor in zip(gathered, _gathered(part, shapes, device, group), strict=True):
            found[name] = tensor
    return reduce(ExampleSample.__add__, (_sample(parts, below) for parts in gathered))


def _sample(parts: Mapping[str, Tensor | None], below: int) -> ExampleSample:
    weights, positions, places = parts["weights"], parts["positions"], parts["places"]
    assert weights is not None
    assert positions is not None
    assert places is not None
    return ExampleSample(
        rows=parts["rows"],
        squares=parts["squares"],
        by_output=parts["by_output"],
        weights=weights,
        positions=positions,
        places=places,
        below=below,
    )


def _added(tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    total = tensor.to(_device(tensor.device, group)).clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total.to(tensor.device)


def _gathered(
    tensor: Tensor | None,
    shapes: Sequence[tuple[tuple[int, ...], torch.dtype] | None],
    device: torch.device,
    group: dist.ProcessGroup | None,
) -> list[Tensor | None]:
    """Return every process's tensor, in the order of ranks; shapes may differ, and a process may have none."""
    rank, between = dist.get_rank(group), _device(device, group)
    found: list[Tensor | None] = []
    for source, shape in enumerate(shapes):
        if shape is None:
            found.append(None)
            continue
        part = torch.empty(shape[0], dtype=shape[1], device=between)
        if source == rank and tensor is not None:
            part.copy_(tensor)
        if part.numel():
            dist.broadcast(part, group=group, group_src=source)
        found.append(part.to(device))
    return found


def _device(device: torch.device, group: dist.ProcessGroup | None) -> torch.device:
    """Return where a tensor has to be for the group to send it: a group of nccl alone sends from GPUs only."""
    if f"{device.type}:" in dist.get_backend_config(group):
        return device
    return torch.device("cuda", torch.cuda.current_device())
