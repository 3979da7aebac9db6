"""A command's batches on their way into the measurement: on the network's device, tried once, counted."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from ansatzlab.cli.console import messages
from ansatzlab.cli.processes import Process
from ansatzlab.errors import InputError, ModelError
from ansatzlab.measurement.callables import describe_error
from ansatzlab.measurement.outputs import Batch, batch_size, call
from ansatzlab.measurement.sources import Batches


def refuse_idle_process(batches: Batches, process: Process) -> None:
    """Refuse fewer batches than processes: one without any would leave the others waiting."""
    if batches.count is not None and batches.count < process.world:
        raise InputError(
            f"--data: got {batches.count} batches for {process.world} processes; wanted at least one each; lower "
            "--batch-size or start fewer processes."
        )


def device_of_network(network: nn.Module) -> torch.device | None:
    """Return the one device of the network's parameters; None if there are none or several."""
    places = {parameter.device for parameter in network.parameters()}
    return places.pop() if len(places) == 1 else None


def moved(batches: Batches, device: torch.device | None, dtype: torch.dtype | None) -> Batches:
    """Return the batches on a device and, where one is given, with floating tensors in a dtype."""
    return Batches((_move(batch, device, dtype) for batch in batches.source), batches.count)


def _move(batch: Batch, device: torch.device | None, dtype: torch.dtype | None) -> Batch:
    def move(value: object) -> object:
        if not isinstance(value, Tensor):
            return value
        return value.to(device=device, dtype=dtype if value.is_floating_point() else None)

    if isinstance(batch, Tensor):
        return batch.to(device=device, dtype=dtype if batch.is_floating_point() else None)
    if isinstance(batch, Mapping):
        return {name: move(value) for name, value in batch.items()}
    return tuple(move(value) for value in batch)


def peek(batches: Batches, source: str) -> tuple[Batch, Batches]:
    """Return the first batch, and the batches with it still before the others."""
    rest = iter(batches.source)
    first = next(rest, None)
    if first is None:
        raise InputError(f"--data {source}: got no batch; wanted at least one.")
    batch_size(first, 0)
    return first, Batches(chain([first], rest), batches.count)


def try_network(network: nn.Module, batch: Batch) -> None:
    """Run the network once, so that its own errors are told from those of the measurement."""
    try:
        with torch.no_grad():
            call(network, batch)
    except Exception as error:
        got = _input(batch)
        held = {_name(parameter.dtype) for parameter in network.parameters()}
        hint = ""
        if got is not None and got.is_floating_point() and held and _name(got.dtype) not in held:
            hint = (
                f"; the data are {_name(got.dtype)}, the network is {' and '.join(sorted(held))}: add --dtype float32 "
                "or --dtype float64 to cast both"
            )
        shape = "" if got is None else f" (input of shape {tuple(got.shape)}, {_name(got.dtype)})"
        raise ModelError(
            f"the network cannot be run on the first batch{shape}: {describe_error(error)}{hint}."
        ) from error


def _input(batch: Batch) -> Tensor | None:
    values = [batch] if isinstance(batch, Tensor) else list(batch.values() if isinstance(batch, Mapping) else batch)
    return next((value for value in values if isinstance(value, Tensor)), None)


@contextmanager
def counted(batches: Batches, *, quiet: bool) -> Iterator[Iterable[Batch]]:
    """Show how many batches are done, where it is known how many there are."""
    columns = (
        TextColumn("batches"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, disable=quiet or batches.count is None) as bar:
        task = bar.add_task("", total=batches.count)

        def told() -> Iterator[Batch]:
            for batch in batches.source:
                yield batch
                bar.advance(task)

        yield told()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
