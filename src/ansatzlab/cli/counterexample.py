"""The command ``ansatz counterexample``."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ansatzlab.atomic import refuse_foreign_folder
from ansatzlab.cli.console import Output, exit_codes, finish
from ansatzlab.cli.settings import read_setting
from ansatzlab.counterexamples.family import Counterexample
from ansatzlab.counterexamples.folder import RECORD, write_folder
from ansatzlab.counterexamples.reading import Alignments, Reading, read
from ansatzlab.counterexamples.registry import FAMILIES, get_family
from ansatzlab.counterexamples.search import HOMOGENEOUS, Fit, Found, Goal, search
from ansatzlab.data.registry import load
from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.store.provenance import provenance

SEARCH = "search"
ACCURACY = 0.95
STOPPED = "stopped; nothing was written."
SEARCH_SETTINGS = ("training_steps", "steps", "batch_size", "learning_rate")
"""What --set changes of a search."""


@dataclass(frozen=True)
class Wanted:
    """The options of a search; None where the default is meant.

    Attributes:
        data: The data set.
        hidden: The hidden widths, comma-separated.
        activation: The activation.
        accuracy: The least accuracy.
        loss: The largest loss.
        balanced: Whether neurons are to be balanced.
    """

    data: str | None
    hidden: str | None
    activation: str | None
    accuracy: float | None
    loss: float | None
    balanced: bool | None


def counterexample_command(
    family: Annotated[
        str | None, typer.Argument(help="A family, or search for one on your data. Without it, all are listed.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, NAME=VALUE; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is random.")] = 0,
    jitter: Annotated[float, typer.Option(min=0, help="Of a family: noise on the inputs that the AGOP sees.")] = 0.0,
    data: Annotated[
        str | None, typer.Option(help="Of the search: a data set by name, or an .npz file. Default: digits.")
    ] = None,
    hidden: Annotated[
        str | None, typer.Option(help="Of the search: hidden widths, comma-separated. Default: 64,64.")
    ] = None,
    activation: Annotated[str | None, typer.Option(help="Of the search. Default: relu.")] = None,
    accuracy: Annotated[
        float | None, typer.Option(help="Of the search: the least accuracy. Default: 0.95, where no loss is given.")
    ] = None,
    loss: Annotated[float | None, typer.Option(help="Of the search: the largest square loss, of a regression.")] = None,
    balanced: Annotated[
        bool | None,
        typer.Option(
            "--balanced/--unbalanced", help="Of the search: neurons balanced. Default: where the activation allows it."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the network, its data and its scores to this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON, nothing else.")] = False,
) -> None:
    """Show networks that fit their data and disobey the neural feature ansatz, or search for one."""
    wanted = Wanted(data, hidden, activation, accuracy, loss, balanced)
    with exit_codes(STOPPED):
        if out is not None:
            refuse_foreign_folder(out, RECORD, "ansatz counterexample")
        settings = dict(read_setting(change) for change in changes or [])
        if family is None:
            show = partial(_list_families, as_json)
        elif family == SEARCH:
            if jitter:
                raise InputError("--jitter: is for a family; wanted no such option of a search; leave it out.")
            show = partial(_show, _search(wanted, settings, seed, out), as_json)
        else:
            show = partial(_show, _build(family, wanted, settings, seed, jitter, out), as_json)
    finish(show, 0)


@dataclass(frozen=True)
class Result:
    """What the command shows.

    Attributes:
        record: It as JSON.
        columns: What is shown of each network, by the networks' names.
        notes: Lines below the table.
    """

    record: Mapping[str, object]
    columns: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...]


def _build(
    name: str, wanted: Wanted, settings: Mapping[str, object], seed: int, jitter: float, out: Path | None
) -> Result:
    for option, value in vars(wanted).items():
        if value is not None:
            raise InputError(f"--{option}: is for `ansatz counterexample search`; wanted no such option; leave it out.")
    if name not in FAMILIES:
        raise UnknownNameError("family of counterexamples", name, (*FAMILIES, SEARCH))
    family = get_family(name)
    example = family.build(seed=seed, **settings)
    readings = {"training inputs": read(example)}
    if jitter:
        readings[f"inputs jittered by {jitter:g}"] = read(example, jitter=jitter, seed=seed)
    record = {
        "family": name,
        "settings": {**family.settings, **settings},
        "seed": seed,
        "statement": family.statement,
        "why": example.why,
        "reached": example.reached,
        "readings": {title: _reading_record(reading) for title, reading in readings.items()},
        "provenance": provenance(),
    }
    first = readings["training inputs"]
    notes = [f"{family.title}. {family.statement}", f"why: {example.why}", f"reached: {example.reached}"]
    notes.append(f"verdict: {first.alignments.verdict}, {first.alignments.reason}")
    if out is not None:
        notes += _written(out, example, record)
    columns = {title: _reading_cells(reading) for title, reading in readings.items()}
    return Result(record, columns, tuple(notes))


def _written(out: Path, example: Counterexample, record: Mapping[str, object]) -> list[str]:
    tensors = {
        "inputs": example.inputs,
        "targets": example.targets,
        "example_weights": example.example_weights,
        "closed_form_agop": example.gram,
    }
    command = write_folder(out, example.model, example.start, tensors, record)
    counted = example.example_weights is not None
    only = " (which counts every example once; the weights are in data.safetensors)" if counted else ""
    return [f"measure it again: {command}{only}"]


def _search(wanted: Wanted, settings: Mapping[str, object], seed: int, out: Path | None) -> Result:
    goal = _goal(wanted, settings, seed)
    source = wanted.data or "digits"
    data = load(source)
    found = search(data, goal)
    record = {
        "family": SEARCH,
        "data": source,
        "goal": dict(vars(goal)),
        "plain": {**_fit_record(found.plain_fit), **_alignments_record(found.before)},
        "found": {**_fit_record(found.fit), **_alignments_record(found.after)},
        "drop": found.drop,
        "provenance": provenance(),
    }
    notes = [
        f"The best cosine over exponents from 0.05 to 4 fell by {found.drop:.3f}, from {found.before.best_cosine:.3f} "
        f"to {found.after.best_cosine:.3f}.",
        f"verdict, plainly trained: {found.before.verdict}, {found.before.reason}",
        f"verdict, found: {found.after.verdict}, {found.after.reason}",
    ]
    if out is not None:
        tensors = {"inputs": data.inputs, "targets": data.targets}
        command = write_folder(out, found.model, found.plain.state_dict(), tensors, record)
        notes.append(f"measure it again: {command}")
    return Result(record, _found_cells(found), tuple(notes))


def _goal(wanted: Wanted, settings: Mapping[str, object], seed: int) -> Goal:
    for name, value in settings.items():
        if name not in SEARCH_SETTINGS:
            raise UnknownNameError("setting of the search", name, SEARCH_SETTINGS)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise InputError(f"--set {name}={value}: wanted a positive number; change it.")
        if name != "learning_rate" and not isinstance(value, int):
            raise InputError(f"--set {name}={value}: wanted a whole number; change it.")
    numbers = {name: value for name, value in settings.items() if isinstance(value, int | float)}
    activation = wanted.activation or "relu"
    accuracy = ACCURACY if wanted.accuracy is None and wanted.loss is None else wanted.accuracy
    return Goal(
        hidden=_widths(wanted.hidden or "64,64"),
        activation=activation,
        accuracy=accuracy,
        loss=wanted.loss,
        balanced=activation in HOMOGENEOUS if wanted.balanced is None else wanted.balanced,
        training_steps=int(numbers.get("training_steps", Goal.training_steps)),
        steps=int(numbers.get("steps", Goal.steps)),
        batch_size=int(numbers.get("batch_size", Goal.batch_size)),
        learning_rate=float(numbers.get("learning_rate", Goal.learning_rate)),
        seed=seed,
    )


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError:
        raise InputError(f"--hidden {text}: wanted widths, comma-separated, for example 64,64.") from None


def _reading_record(reading: Reading) -> dict[str, object]:
    return {
        "loss": reading.loss,
        "largest_residual": reading.largest_residual,
        "gram_error": _known(reading.gram_error),
        **_alignments_record(reading.alignments),
    }


def _alignments_record(alignments: Alignments) -> dict[str, object]:
    found = {name: value for name, value in vars(alignments).items() if name != "spectrum"}
    return {name: _known(value) if isinstance(value, float) else value for name, value in found.items()}


def _fit_record(fit: Fit) -> dict[str, object]:
    return {"loss": fit.loss, "accuracy": _known(fit.accuracy)}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _reading_cells(reading: Reading) -> dict[str, str]:
    closed = {} if math.isnan(reading.gram_error) else {"AGOP against closed form": f"{reading.gram_error:.1e}"}
    return {
        "loss": f"{reading.loss:.1e}",
        "largest residual": f"{reading.largest_residual:.1e}",
        **closed,
        **_alignment_cells(reading.alignments),
    }


def _found_cells(found: Found) -> dict[str, dict[str, str]]:
    return {
        title: {
            "loss": f"{fit.loss:.3g}",
            **({} if math.isnan(fit.accuracy) else {"accuracy": f"{fit.accuracy:.4f}"}),
            **_alignment_cells(alignments),
        }
        for title, fit, alignments in (
            ("plainly trained", found.plain_fit, found.before),
            ("found", found.fit, found.after),
        )
    }


def _alignment_cells(alignments: Alignments) -> dict[str, str]:
    where = "" if math.isnan(alignments.best_exponent) else f" at α = {alignments.best_exponent:.2f}"
    return {
        "cosine at ½": f"{alignments.cosine_half:.3f}",
        "residual at ½": f"{alignments.residual_half:.3f}",
        "cosine at 1": f"{alignments.cosine_one:.3f}",
        "residual at 1": f"{alignments.residual_one:.3f}",
        "best cosine": f"{alignments.best_cosine:.3f}{where}",
        "floor, α → 0": f"{alignments.floor:.3f}",
        "rank of the AGOP": str(alignments.rank),
        "imbalance": f"{alignments.imbalance:.3g}",
        "verdict at ½": alignments.verdict,
    }


def _show(result: Result, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.record, indent=2, ensure_ascii=False, allow_nan=False))
        return
    console = Output(highlight=False)
    table = Table("first layer", *result.columns)
    names = dict.fromkeys(name for cells in result.columns.values() for name in cells)
    for name in names:
        table.add_row(name, *(cells.get(name, "") for cells in result.columns.values()))
    console.print(table)
    for note in result.notes:
        console.print(note, markup=False, soft_wrap=True)


def _list_families(as_json: bool) -> None:
    if as_json:
        told = {
            name: {"title": family.title, "statement": family.statement, "settings": family.settings}
            for name, family in FAMILIES.items()
        }
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    console = Output(highlight=False)
    table = Table("family", "what", "settings", show_lines=True)
    for name, family in FAMILIES.items():
        settings = ", ".join(f"{key}={json.dumps(value)}" for key, value in family.settings.items())
        table.add_row(name, family.statement, settings)
    console.print(table)
    console.print("Build and measure one: ansatz counterexample FAMILY")
    console.print("Find one on your data: ansatz counterexample search --data digits", markup=False)
