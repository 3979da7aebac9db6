"""The command ``ansatz compare``."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ansatzlab.cli.console import Output, exit_codes, finish
from ansatzlab.cli.folders import Measured, Runs, read_folder
from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.linalg.spectrum import Comparator
from ansatzlab.measurement.convention import Convention
from ansatzlab.report.compare.measurements import Comparison, compare_measurements
from ansatzlab.report.compare.runs import RunsComparison, compare_tables
from ansatzlab.report.compare.terminal import (
    changes_table,
    claims_table,
    closing,
    group_tables,
    layers_table,
    opening,
)
from ansatzlab.report.figures.kinds.options import Options

STOPPED = "stopped."


def compare_command(
    first: Annotated[str, typer.Argument(help="An output folder; of runs DIR@STEP is its state at that step.")],
    second: Annotated[str, typer.Argument(help="Another, made by the same command, or the same at another step.")],
    exponent: Annotated[
        float | None, typer.Option(help="Read both at this exponent of the AGOP. Default: as the first was.")
    ] = None,
    comparator: Annotated[
        Comparator | None, typer.Option(help="Compare WᵀW and the AGOP's power in this way in both.")
    ] = None,
    layer: Annotated[list[str] | None, typer.Option(help="A layer by name; may be repeated. Default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON, nothing else.")] = False,
) -> None:
    """Compare two measurements, two stores of runs, or two moments of one: what differs in the convention comes first.

    Exit codes: 0 done, whatever differs; 3 error.
    """
    with exit_codes(STOPPED):
        options = Options(layers=tuple(layer or ()), exponent=exponent, comparator=comparator or "cosine")
        places = [_place(text) for text in (first, second)]
        sides = [read_folder(folder) for folder, _ in places]
        found = _compare(sides[0], sides[1], (places[0][1], places[1][1]), options, comparator)
    finish(partial(_show, found, (first, second), as_json), 0)


def _place(text: str) -> tuple[Path, float | None]:
    """Return the folder, and the moment that is meant, if one is; a folder may have an @ in its name."""
    folder, at, moment = text.rpartition("@")
    if not at or Path(text).exists():
        return Path(text), None
    try:
        return Path(folder), float(moment)
    except ValueError:
        raise InputError(f"{text}: wanted a number behind the @, a step or a flow time; or check the path.") from None


def _compare(
    first: Measured | Runs,
    second: Measured | Runs,
    moments: tuple[float | None, float | None],
    options: Options,
    comparator: Comparator | None,
) -> Comparison | RunsComparison:
    if isinstance(first, Runs) and isinstance(second, Runs):
        return compare_tables(
            first.table,
            second.table,
            options=options,
            moments=moments,
            findings=(first.findings, second.findings),
            requests=(first.request, second.request),
        )
    if isinstance(first, Measured) and isinstance(second, Measured):
        for side, moment in ((first, moments[0]), (second, moments[1])):
            if moment is not None:
                raise InputError(f"{side.folder}@{moment:g}: a measurement has no steps; leave the @ out.")
        one, other = (_chosen(side, options, comparator) for side in (first, second))
        return compare_measurements(
            one.measurement,
            other.measurement,
            conventions=(one.conventions, other.conventions),
            facts=(one.facts, other.facts),
        )
    raise InputError(
        f"compare: {first.folder} is {_kind(first)} and {second.folder} {_kind(second)}; wanted two of a kind; compare "
        "it with another of its own."
    )


def _kind(side: Measured | Runs) -> str:
    return "a measurement" if isinstance(side, Measured) else "a store of runs"


def _chosen(side: Measured, options: Options, comparator: Comparator | None) -> Measured:
    """Return a measurement with the layers and the readings that were asked for."""
    for name in options.layers:
        if name not in side.measurement:
            raise UnknownNameError("layer", name, side.measurement)
    layers = {name: layer for name, layer in side.measurement.items() if not options.layers or name in options.layers}

    def read(convention: Convention) -> Convention:
        return replace(
            convention,
            exponent=options.exponent or convention.exponent,
            comparator=comparator or convention.comparator,
        )

    conventions = {name: tuple(dict.fromkeys(map(read, each))) for name, each in side.conventions.items()}
    return replace(side, measurement=replace(side.measurement, layers=layers), conventions=conventions)


def _show(found: Comparison | RunsComparison, names: tuple[str, str], as_json: bool) -> None:
    if as_json:
        told = {"first": names[0], "second": names[1], **found.to_dict()}
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False))
        return
    console = Output(highlight=False)
    for place, name in enumerate(names, start=1):
        console.print(f"{place}: {name}", markup=False, soft_wrap=True)
    for line in opening(found):
        console.print(line, markup=False, soft_wrap=True)
    if isinstance(found, Comparison):
        console.print(layers_table(found))
        console.print(changes_table(found))
    else:
        for name, table in group_tables(found.groups):
            console.print(name, markup=False, soft_wrap=True)
            console.print(table)
        if found.claims:
            console.print(claims_table(found.claims))
    for line in closing(found):
        console.print(line, markup=False, soft_wrap=True)
