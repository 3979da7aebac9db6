"""The command ``ansatz figure``."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.table import Table
from rich.text import Text

from ansatzlab.cli.console import Output, exit_codes, finish
from ansatzlab.cli.folders import Measured, Runs, read_folder
from ansatzlab.cli.listing import list_runs
from ansatzlab.cli.runs import choose_rows
from ansatzlab.errors import InputError, StoreError, UnknownNameError
from ansatzlab.laws.figure import Exhibit, TextTable
from ansatzlab.laws.registry import get_law
from ansatzlab.laws.runs import RunTable
from ansatzlab.linalg.spectrum import Comparator
from ansatzlab.report.figures.kinds.measured import measured_table
from ansatzlab.report.figures.kinds.options import Clock, Options, Score
from ansatzlab.report.figures.kinds.registry import KINDS, Kind, draw, possible
from ansatzlab.report.figures.paper import FORMATS, WIDTHS, Drawable, Format, save_paper
from ansatzlab.report.terminal import printable
from ansatzlab.verification import REQUEST, Request

STOPPED = "stopped; nothing was written."


@dataclass(frozen=True)
class Files:
    """Where a figure goes and what it looks like there.

    Attributes:
        formats: The formats; one file each.
        out: The file, of which the ending is replaced by each format's; None for one in the folder.
        width: The width in inches.
        titled: Whether the title is drawn.
    """

    formats: tuple[Format, ...]
    out: Path | None
    width: float
    titled: bool


def figure_command(
    kind: Annotated[str, typer.Argument(help="What to draw; or DIR alone, to list what can be drawn of it.")],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="An output folder of measure, sweep or verify, or a recording."),
    ] = None,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="pdf, svg or png; may be repeated. Default: pdf.")
    ] = None,
    columns: Annotated[
        int | None, typer.Option(min=1, max=2, help="Columns of a paper to span: 3.25 or 6.75 inches. Default: 1.")
    ] = None,
    width: Annotated[float | None, typer.Option(help="The width in inches, if it is another.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file. Default: DIR/figures/KIND.pdf.")] = None,
    title: Annotated[bool, typer.Option("--title", help="Draw the title, too.")] = False,
    by: Annotated[
        list[str] | None, typer.Option(help="Settings that tell curves apart, comma-separated; may be repeated.")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only runs with NAME=VALUE, or one of VALUE,VALUE; may be repeated.")
    ] = None,
    layer: Annotated[list[str] | None, typer.Option(help="A layer by name; may be repeated. Default: all.")] = None,
    exponent: Annotated[
        float | None, typer.Option(help="Exponent of the AGOP. Default: 1/(L−l+1), or as read.")
    ] = None,
    comparator: Annotated[Comparator | None, typer.Option(help="How WᵀW and the AGOP's power are compared.")] = None,
    score: Annotated[Score, typer.Option(help="What layers are given, in training, layers and map.")] = "alignment",
    over: Annotated[Clock | None, typer.Option(help="What a training is drawn over.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List what can be drawn of DIR.")] = False,
) -> None:
    """Draw a figure for a paper: at a column's width, as vectors with text that stays text.

    A law's own figures are drawn by their names, too. The caption is printed. Exit codes: 0 done, 3 error.
    """
    with exit_codes(STOPPED):
        if folder is None and kind in KINDS and not Path(kind).exists():
            raise InputError(f"figure {kind}: DIR is missing; wanted what to draw it of: ansatz figure {kind} DIR.")
        if folder is None or listed:
            source = read_folder(Path(kind) if folder is None else folder)
            show = partial(_show_kinds, _possible(source), _exhibits(source), source.folder)
        else:
            chosen = Options(
                by=_split(by),
                layers=tuple(layer or ()),
                exponent=exponent,
                comparator=comparator or "cosine",
                score=score,
                clock=over,
            )
            files = _files(formats, columns, width, out, title)
            source = read_folder(folder)
            if comparator is None and isinstance(source, Measured):
                chosen = replace(chosen, comparator=_comparator(source))
            drawn = _draw(kind, source, chosen, tuple(where or ()))
            show = partial(_show_files, drawn, _write(drawn, files, source.folder / "figures"))
    finish(show, 0)


def _split(texts: list[str] | None) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts or [] for name in text.split(",") if name.strip())


def _files(
    formats: list[str] | None, columns: int | None, width: float | None, out: Path | None, titled: bool
) -> Files:
    """Return where the figure goes, and refuse what cannot be before anything is read."""
    if columns is not None and width is not None:
        raise InputError(f"--columns {columns} and --width {width:g}: wanted one of them; leave the other out.")
    ending = "pdf" if out is None else out.suffix.removeprefix(".").lower()
    asked = _split(formats) or (ending,)
    for name in asked:
        if name not in FORMATS:
            raise UnknownNameError("--format" if formats else f"format of --out {out}", name, FORMATS)
    told = tuple(known for known in FORMATS if known in asked)
    return Files(told, out, WIDTHS[columns or 1] if width is None else width, titled)


def _comparator(source: Measured) -> Comparator:
    """Return how the measurement was read, if that is the same for all layers, else the cosine."""
    found = {each[0].comparator for each in source.conventions.values() if each}
    return found.pop() if len(found) == 1 else "cosine"


def _draw(key: str, source: Measured | Runs, options: Options, where: tuple[str, ...]) -> Drawable:
    """Draw a kind of figure, or a figure of the verified law."""
    if key in KINDS:
        return draw(key, _table_for(key, source, options, where), options=options)
    exhibits = _exhibits(source)
    found = {name for name in exhibits if key in (name, name.partition(".")[2])}
    if len(found) != 1:
        raise UnknownNameError("figure", key, [*KINDS, *exhibits])
    if where or options != Options():
        raise InputError(f"figure {key}: is the law's own, which nothing can be chosen about; leave the options out.")
    return exhibits[found.pop()]


def _table_for(key: str, source: Measured | Runs, options: Options, where: tuple[str, ...]) -> pa.Table:
    """Return the table that a kind is drawn from, its runs chosen."""
    if isinstance(source, Measured):
        if where:
            raise InputError(f"--where {where[0]}: a measurement has no runs to choose from; leave it out.")
        return _table_of_measurement(source, options, nulls=key == "layers")
    if key == "verdicts":
        if where:
            raise InputError(f"--where {where[0]}: verdicts are of all runs; leave it out.")
        return pa.Table.from_pylist([dict(finding) for finding in source.findings])
    if not where:
        return source.table
    rows = choose_rows(list_runs(source.table), where)
    if not rows:
        raise InputError(f"--where {' --where '.join(where)}: no run is like that; `ansatz runs` lists them.")
    return source.table.filter(pc.is_in(source.table["run_id"], pa.array([row["run_id"] for row in rows], pa.string())))


def _table_of_measurement(source: Measured, options: Options, *, nulls: bool = False) -> pa.Table:
    firsts = {name: each[0] for name, each in source.conventions.items()}
    asked = {
        name: replace(first, exponent=options.exponent or first.exponent, comparator=options.comparator)
        for name, first in firsts.items()
    }
    return measured_table(source.measurement, asked, nulls=nulls)


def _exhibits(source: Measured | Runs) -> dict[str, Exhibit]:
    """Return the figures of a verified law by chapter and key."""
    if isinstance(source, Measured) or source.maker != REQUEST:
        return {}
    request = Request.parse(source.request, where=f"{source.folder / REQUEST}.json")
    law = get_law(request.law).within(request.budget, request.only)
    runs = pa.array(request.runs, pa.string())
    table = RunTable(source.table.filter(pc.is_in(source.table["run_id"], runs)))
    return {
        f"{chapter.key}.{exhibit.key}": exhibit
        for chapter in law.chapters
        for exhibit in chapter.figures(table)
        if not isinstance(exhibit, TextTable)
    }


def _possible(source: Measured | Runs) -> tuple[Kind, ...]:
    """Return the kinds that a folder can feed; none of a measurement of which no layer can be read."""
    if isinstance(source, Measured):
        try:
            return possible(_table_of_measurement(source, Options()))
        except InputError:
            return ()
    findings = possible(pa.Table.from_pylist([dict(finding) for finding in source.findings]))
    return (*possible(source.table), *findings)


def _write(drawn: Drawable, files: Files, folder: Path) -> list[Path]:
    """Write a file for each format."""
    out = files.out or folder / f"{re.sub(r'[^A-Za-z0-9._-]', '-', drawn.key)}.pdf"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{out.parent}: cannot be made ({error.strerror}); choose another --out.") from error
    paths = [out.with_suffix(f".{each}") for each in files.formats]
    for path in paths:
        save_paper(drawn, path, width_inches=files.width, titled=files.titled)
    return paths


def _show_files(drawn: Drawable, paths: list[Path]) -> None:
    console = Output(highlight=False)
    console.print(f"caption: {printable(drawn.caption)}", markup=False, soft_wrap=True)
    for path in paths:
        console.print(f"written: {path}", markup=False, soft_wrap=True)


def _show_kinds(known: Sequence[Kind], exhibits: Mapping[str, Exhibit], folder: Path) -> None:
    console = Output(highlight=False)
    table = Table("figure", "shows", box=None, pad_edge=False, header_style="bold")
    for kind in known:
        table.add_row(kind.key, kind.says)
    for name, exhibit in exhibits.items():
        table.add_row(Text(printable(name)), Text(printable(exhibit.title)))
    console.print(table)
    others = [key for key in KINDS if key not in {kind.key for kind in known}]
    if others:
        console.print(f"not of this folder: {', '.join(others)}", markup=False, soft_wrap=True)
    if known or exhibits:
        console.print(f"draw one: ansatz figure KIND {folder}", markup=False, soft_wrap=True)
