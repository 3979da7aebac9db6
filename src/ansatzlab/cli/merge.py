"""The command ``ansatz merge``."""

import json
import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.table import Table
from safetensors.torch import save
from torch import Tensor, nn

from ansatzlab.atomic import refuse_foreign_folder, write_atomically
from ansatzlab.cli.console import Output, exit_codes, finish
from ansatzlab.errors import InputError, ModelError, StoreError
from ansatzlab.laws.kuzborskij2025lowrank.merge_report import MergeReport, TaskAccount, merge_report
from ansatzlab.laws.kuzborskij2025lowrank.merging import merge
from ansatzlab.laws.kuzborskij2025lowrank.stationarity import StationarityReport, stationarity_report
from ansatzlab.laws.kuzborskij2025lowrank.tasks import Task, read_task
from ansatzlab.measurement.sources import load_model
from ansatzlab.measurement.states import apply_state, fit_state, load_state
from ansatzlab.store.provenance import provenance

STOPPED = "stopped; nothing was written."
RECORD, WEIGHTS = "merge.json", "merged.safetensors"


@dataclass(frozen=True)
class Result:
    """What the command shows and writes.

    Attributes:
        merged: The merged network.
        report: What was lost.
        stationarity: How stationary each network is, by name; empty unless its decay was told.
        record: Everything as JSON.
    """

    merged: nn.Module
    report: MergeReport
    stationarity: Mapping[str, StationarityReport]
    record: Mapping[str, object]


def merge_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="Weights of one network: .safetensors, or .pt/.pth/.bin.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Weights of the other, of the same architecture.")],
    model: Annotated[str, typer.Option(help="package.module:callable or path.py:callable, which returns the network.")],
    data_a: Annotated[
        str,
        typer.Option(
            help="What A was trained on: an .npz file with inputs and targets of two classes, or module:callable that "
            "returns them."
        ),
    ],
    data_b: Annotated[str, typer.Option(help="What B was trained on.")],
    frozen: Annotated[
        list[str] | None,
        typer.Option(
            help="A weight that was not trained, the same in both; may be repeated. The same in both is kept."
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(help="Torch's weight decay (2λ) that both were trained with: say how stationary they are."),
    ] = None,
    flow_time: Annotated[
        float | None,
        typer.Option(help="Steps times learning rate of either training: say whether it was too short to be balanced."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the merged weights and the report to this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON, nothing else.")] = False,
) -> None:
    """Merge two networks, trained on two tasks, by the sum of their weights, and say what is lost.

    Nothing that a weight or data file holds is run; MODEL and module:callable are imported, so they are.
    """
    with exit_codes(STOPPED):
        if out is not None:
            refuse_foreign_folder(out, RECORD, "ansatz merge")
        trained = _told(weight_decay, flow_time)
        networks = _networks(model, (a, b))
        tasks = tuple(
            _like(network, read_task(text, name))
            for network, text, name in zip(networks, (data_a, data_b), "AB", strict=True)
        )
        sources = {"model": model, "a": str(a), "b": str(b), "data_a": data_a, "data_b": data_b}
        result = _merged(networks, tasks, tuple(frozen or ()), trained, sources)
        if out is not None:
            _write(out, result)
    finish(partial(_show, result, out, as_json), 0)


def _told(weight_decay: float | None, flow_time: float | None) -> tuple[float, float | None] | None:
    """Return λ and how long the networks were trained; None if no decay was told."""
    if weight_decay is not None and not 0 < weight_decay < math.inf:
        raise InputError(f"--weight-decay {weight_decay}: wanted a positive number; leave it out if there was none.")
    if flow_time is not None and not 0 < flow_time < math.inf:
        raise InputError(f"--flow-time {flow_time}: wanted a positive number, steps times learning rate.")
    if flow_time is not None and weight_decay is None:
        raise InputError("--flow-time: without --weight-decay no time is too short; wanted both, or neither.")
    return None if weight_decay is None else (weight_decay / 2, flow_time)


def _networks(model: str, paths: tuple[Path, Path]) -> tuple[nn.Module, nn.Module]:
    one, other = load_model(model).eval(), load_model(model).eval()
    if other is one:  # MODEL names a network and not what makes one
        other = deepcopy(one)
    for network, path in zip((one, other), paths, strict=True):
        state = load_state(path)
        _check_numbers(network, fit_state(network, state, path)[0], path)
        apply_state(network, state, path)
    return one, other


def _check_numbers(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not finite, or that the network would have to cast."""
    own = network.state_dict()
    cast = [
        f"{name} is {_name(held)}, {_name(own[name])} in MODEL"
        for name, held in tensors.items()
        if name in own and held.dtype != own[name].dtype
    ]
    if cast:
        raise ModelError(
            f"weights {path}: of another dtype: {'; '.join(cast)}; wanted those of the network; build it in the "
            "dtype of the file, for example with .double() or .half(), or convert the file."
        )
    broken = [name for name, held in tensors.items() if not bool(held.isfinite().all())]
    if broken:
        raise ModelError(
            f"weights {path}: {', '.join(broken)} hold numbers that are not finite; wanted a training that did not "
            "diverge; save weights of an earlier step."
        )


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _like(network: nn.Module, task: Task) -> Task:
    """Return a task whose inputs have the dtype of a network's parameters, but at least float32."""
    dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
    dtype = torch.promote_types(dtype, torch.float32)
    return replace(task, inputs=task.inputs.to(dtype), labels=task.labels.to(dtype))


def _merged(
    networks: tuple[nn.Module, nn.Module],
    tasks: tuple[Task, ...],
    frozen: tuple[str, ...],
    trained: tuple[float, float | None] | None,
    sources: Mapping[str, str],
) -> Result:
    report = merge_report(*networks, *tasks, frozen=frozen)
    for network in networks:
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name not in report.kept)  # what both have alike was not trained
    stationarity = {
        task.name: stationarity_report(network, task.inputs, task.labels, trained[0], flow_time=trained[1])
        for network, task in zip(networks, tasks, strict=True)
        if trained is not None
    }
    record = {
        **sources,
        **report.to_dict(),
        "stationarity": {name: each.to_dict() for name, each in stationarity.items()},
        "provenance": provenance(),
    }
    return Result(merge(*networks, frozen=frozen), report, stationarity, record)


def _write(folder: Path, result: Result) -> None:
    """Write the weights, then the record: where there is a record, the weights are whole."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RECORD).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be used as an output folder ({error.strerror}); choose another.") from error
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in result.merged.state_dict().items()}
    write_atomically(folder / WEIGHTS, save(tensors))
    write_atomically(folder / RECORD, json.dumps(result.record, indent=2, ensure_ascii=False, allow_nan=False).encode())


def _show(result: Result, out: Path | None, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.record, indent=2, ensure_ascii=False, allow_nan=False))
        return
    report, console = result.report, Output(highlight=False)
    console.print(report.statement(), markup=False, soft_wrap=True)
    table = Table("", *(f"task {account.task}" for account in report.accounts))
    cells = [_cells(account) for account in report.accounts]
    for name in cells[0]:
        table.add_row(name, *(each[name] for each in cells))
    console.print(table)
    for note in _notes(result, out):
        console.print(note, markup=False, soft_wrap=True)


def _cells(account: TaskAccount) -> dict[str, str]:
    known = not math.isnan(account.bound)
    return {
        "examples": str(account.examples),
        "own loss": f"{account.own_loss:.4g}",
        "merged loss": f"{account.merged_loss:.4g}",
        "own accuracy": f"{account.own_accuracy:.4f}",
        "merged accuracy": f"{account.merged_accuracy:.4f}",
        "the other's accuracy": f"{account.other_accuracy:.4f}",
        "right answers lost, won": f"{account.lost}, {account.gained}",
        "outputs move by at most": f"{account.deviation:.3g}",
        "relative to the largest": f"{account.relative_deviation:.3g}",
        "bound on that": f"{account.bound:.3g}" if known else "none known",
        "smallest own margin": f"{account.least_margin:.3g}",
        "answers certain to stay": f"{account.certified} of {account.examples}" if known else "none known",
    }


def _notes(result: Result, out: Path | None) -> list[str]:
    report = result.report
    notes = [f"coherence of the inputs: {report.coherence:.3g} (0: orthogonal)"]
    notes += [
        f"hidden directions of {each.layer}: overlap {each.value:.3f}; independent ones: {each.expected:.3f}"
        for each in report.overlaps
    ]
    if not math.isnan(report.start_cosine):
        notes.append(f"cosine of the first layers off all inputs: {report.start_cosine:.3f} (1: the same start)")
    notes.append(f"summed: {', '.join(report.summed)}; kept, the same in both: {', '.join(report.kept) or 'nothing'}")
    notes += [f"{name}: {each.statement()}" for name, each in result.stationarity.items()]
    notes += [f"warning: {warning}" for warning in report.warnings]
    if out is not None:
        notes.append(f"merged weights: {out / WEIGHTS}")
    return notes
