"""The command ``ansatz measure``."""

import json
import math
import shlex
import sys
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from torch import nn

from ansatzlab.atomic import refuse_foreign_folder
from ansatzlab.cli.batches import counted, device_of_network, moved, peek, refuse_idle_process, try_network
from ansatzlab.cli.console import Output, exit_codes, finish
from ansatzlab.cli.look import choose_example, looks_at, names_of_tokens, refuse_unshown
from ansatzlab.cli.processes import Process, device_of, one_of_several, sum_over_processes
from ansatzlab.errors import InputError
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.layers import select_layers
from ansatzlab.measurement.outputs import Batch, Outputs, Positions, batch_size, one_example
from ansatzlab.measurement.presets import get_preset
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Exact, Seeds, Signs
from ansatzlab.measurement.sources import load_batches, load_model
from ansatzlab.measurement.states import apply_state, load_state
from ansatzlab.report.folder import ROWS, write_folder
from ansatzlab.report.readout import Readout, conventions_of, describe_convention, read_layers
from ansatzlab.report.terminal import readout_notes, readout_table
from ansatzlab.store.provenance import provenance

DEFAULT_EXPONENT = 0.5
STOPPED = "stopped; nothing was written."


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line.

    Attributes:
        model: Where the network comes from.
        data: Where the batches come from.
        weights: A file with its weights, or None for those it is built with.
        initial: A file with its weights before training, or None.
        layers: The layers to measure; empty for all.
        signs: How many random signs stand for the outputs; None for every output.
        output: Which outputs.
        exponents: The exponents to read; empty for the default's.
        preset: A published convention by name, or None.
        parts: Whether heads and gates get rows of their own.
        batch_size: Examples in a batch.
        limit: The most examples.
        dtype: What the network and its floating inputs are cast to; None leaves both.
        device: Where the network runs; None leaves it.
        tokens: A file with the names of the network's tokens, or None.
        explain: The number of an example to attribute, or None.
        out: The output folder, or None.
    """

    model: str
    data: str
    weights: Path | None
    initial: Path | None
    layers: tuple[str, ...]
    signs: int | None
    output: Outputs
    exponents: tuple[float, ...]
    preset: str | None
    parts: bool
    batch_size: int
    limit: int | None
    dtype: torch.dtype | None
    device: str | None
    tokens: Path | None
    explain: int | None
    out: Path | None


@dataclass(frozen=True)
class Result:
    """What the command shows and writes.

    Attributes:
        measurement: The measurement.
        rows: What was read out of it.
        facts: Provenance, name to value.
        page: The report; None if no folder was asked for.
    """

    measurement: Measurement
    rows: tuple[Readout, ...]
    facts: Mapping[str, str]
    page: Path | None = None

    def to_dict(self) -> dict[str, object]:
        """Return it as what JSON can hold."""
        return {
            "rows": [row.to_dict() for row in self.rows],
            "skipped": dict(self.measurement.skipped),
            "outputs": self.measurement.outputs,
            "conventions": [describe_convention(convention) for convention in conventions_of(self.rows)],
            "provenance": dict(self.facts),
        }


def measure_command(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="package.module:callable or path.py:callable, which returns the network."),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="A .npy, .npz, .pt or .safetensors file, or module:callable that returns tensors or batches."
        ),
    ],
    weights: Annotated[
        Path | None, typer.Option(help="Its weights: .safetensors, or .pt/.pth/.bin of tensors.")
    ] = None,
    init_weights: Annotated[
        Path | None, typer.Option(help="Its weights before training, for the start column.")
    ] = None,
    layers: Annotated[
        list[str] | None, typer.Option(help="Layers by name, comma-separated; may be repeated. Default: all.")
    ] = None,
    signs: Annotated[
        int | None, typer.Option(min=1, help="Random signs in place of every output: so many backward passes a batch.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="Key or index of the output tensor in what the model returns.")
    ] = None,
    positions: Annotated[
        Positions, typer.Option(help="Of outputs (n, positions, c): each one, the last, or their mean.")
    ] = "each",
    exponent: Annotated[
        list[float] | None, typer.Option(help="Exponent of the AGOP; may be repeated. Default: 0.5.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A published convention, such as beaglehole2023cnfa.")] = None,
    parts: Annotated[bool, typer.Option("--parts", help="Rows for attention heads, gates and groups, too.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples in a batch of a file's or tensor's data.")] = 64,
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first so many examples only.")] = None,
    dtype: Annotated[
        Literal["float64", "float32", "bfloat16"] | None,
        typer.Option(help="Cast the network and its floating inputs. Default: both as they are."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where the network runs, such as cuda. Default: where it is.")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="Names of an embedding's tokens: one a line, or tokenizer.json, for the report.")
    ] = None,
    explain: Annotated[
        int | None, typer.Option(min=0, help="An example by its number, whose AGOP attribution the report shows.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the measurement, its rows, a report and its figures to this folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON, nothing else.")] = False,
) -> None:
    """Measure how each layer's weights stand to its average gradient outer product (AGOP).

    The network is put into evaluation mode. Under torchrun the processes share the batches. Nothing that a weight or
    data file holds is run; MODEL and module:callable are imported, so they are.
    """
    with exit_codes(STOPPED), one_of_several() as process:
        request = Request(
            model=model,
            data=data,
            weights=weights,
            initial=init_weights,
            layers=tuple(name for names in layers or [] for name in names.split(",") if name),
            signs=signs,
            output=Outputs(_key_or_index(output), positions),
            exponents=tuple(dict.fromkeys(exponent or ())),
            preset=preset,
            parts=parts,
            batch_size=batch_size,
            limit=limit,
            dtype=None if dtype is None else getattr(torch, dtype),
            device=device,
            tokens=tokens,
            explain=explain,
            out=out,
        )
        result = _run(request, process, quiet=as_json)
    if result is not None:
        finish(partial(_show, result, as_json), 0)


def _key_or_index(text: str | None) -> str | int | None:
    return int(text) if text and text.removeprefix("-").isdecimal() else text


def _run(request: Request, process: Process, *, quiet: bool) -> Result | None:
    """Measure, sum over the processes and, in the first of them, read and write."""
    _check(request)
    network, initial, done = _build(request, process)
    names = names_of_tokens(request.tokens, network)
    chosen = None if process.rank else choose_example(request.explain, partial(_inputs, request, network))
    batches = load_batches(request.data, request.batch_size, request.limit)
    refuse_idle_process(batches, process)
    batches = moved(batches.share(process.rank, process.world), device_of_network(network), request.dtype)
    first, batches = peek(batches, request.data)
    try_network(network, first)
    with counted(batches, quiet=quiet or process.rank > 0) as told:
        measurement = measure(
            network,
            told,
            layers=request.layers or None,
            seeds=_seeds(request, process),
            output=request.output,
            initial=initial,
        )
    measurement = sum_over_processes(measurement, process)
    if process.rank > 0:
        return None
    rows = read_layers(measurement, _plan(measurement, network, request), parts=request.parts)
    result = Result(measurement, rows, _facts(request, process, done))
    if request.out is None:
        return result
    looks = looks_at(measurement, network, one_example(first, batch_size(first, 0)), names, chosen)
    page = write_folder(
        request.out, measurement, rows, looks, record=result.to_dict(), facts=result.facts, title=request.model
    )
    return Result(measurement, rows, result.facts, page)


def _inputs(request: Request, network: nn.Module) -> Iterable[Batch]:
    """Open the data once more, as they enter the network."""
    batches = load_batches(request.data, request.batch_size, request.limit)
    return moved(batches, device_of_network(network), request.dtype).source


def _check(request: Request) -> None:
    """Refuse what can be refused before anything is loaded."""
    refuse_unshown(request.tokens, request.explain, request.out)
    if request.out is not None:
        refuse_foreign_folder(request.out, ROWS, "ansatz measure")
    for exponent in request.exponents:
        if not 0 < exponent < math.inf:
            raise InputError(f"--exponent {exponent}: wanted a positive number, for example 0.5.")
    if request.preset is not None:
        preset = get_preset(request.preset)
        if request.exponents:
            raise InputError(f"--preset {preset.key} has its own exponents; leave --exponent out, or --preset.")
        if preset.needs_initial and request.initial is None:
            raise InputError(
                f"--preset {preset.key} ({preset.says}) needs the weights before training; add --init-weights FILE."
            )


def _build(request: Request, process: Process) -> tuple[nn.Module, nn.Module | None, dict[str, str]]:
    """Return the network, the same before training if its weights were given, and what was done to make files fit."""
    network = load_model(request.model).eval()
    initial = None if request.initial is None else load_model(request.model).eval()
    if initial is network:  # MODEL names a network and not what makes one
        initial = deepcopy(network)
    done = {}
    for name, model, path in (("weights", network, request.weights), ("initial weights", initial, request.initial)):
        if model is not None and path is not None:
            told = apply_state(model, load_state(path), path)
            done[name] = f"{path}{f' ({told})' if told else ''}"
    place = None if request.device is None else device_of(process, request.device)
    for model in (network, initial):
        if model is not None:
            model.to(device=place, dtype=request.dtype)
    return network, initial, done


def _seeds(request: Request, process: Process) -> Seeds:
    """Return the seeds; signs are shared by all examples only where a mean gradient is to be taken out."""
    if request.signs is None:
        return Exact()
    preset = None if request.preset is None else get_preset(request.preset)
    shared = preset is not None and any(convention.centered for convention in preset.conventions(1, 1))
    return Signs(request.signs, seed=0 if shared else process.rank, shared=shared)


def _plan(measurement: Measurement, network: nn.Module, request: Request) -> dict[str, tuple[Convention, ...]]:
    """Return each layer's conventions; a law by depth counts the layers that were not selected, too."""
    if request.preset is None:
        chosen = tuple(map(Convention, request.exponents or (DEFAULT_EXPONENT,)))
        return dict.fromkeys(measurement, chosen)
    preset = get_preset(request.preset)
    order = [
        name
        for name in select_layers(network, None)[0]
        if name in measurement or measurement.skipped.get(name) == "not selected"
    ]
    return {name: preset.conventions(len(order), order.index(name) + 1) for name in measurement}


def _facts(request: Request, process: Process, done: Mapping[str, str]) -> dict[str, str]:
    signs = "" if request.signs is None else f"{request.signs} random signs a batch"
    facts = {
        "command": f"ansatz {shlex.join(sys.argv[1:])}",
        "network": request.model,
        "weights": done.get("weights", "as the network was built"),
        "initial weights": done.get("initial weights", "not given"),
        "data": request.data,
        "directions": signs or "every output",
        "processes": str(process.world),
    }
    return {**facts, **provenance()}


def _show(result: Result, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    console = Output(highlight=False)
    console.print(readout_table(result.rows, width=console.width))
    for note in readout_notes(result.rows, result.measurement):
        console.print(note, markup=False, soft_wrap=True)
    if result.page is not None:
        console.print(f"report: {result.page}", markup=False, soft_wrap=True)
