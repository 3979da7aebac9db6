"""The command ``ansatz laws``: what can be verified, what was found of it, how to cite it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from ansatzlab.cli.console import Output, exit_codes, messages
from ansatzlab.cli.merge import RECORD
from ansatzlab.cli.runs import read_table
from ansatzlab.errors import InputError
from ansatzlab.laws.citation import DATA, law_bibtex, program_bibtex
from ansatzlab.laws.law import Law
from ansatzlab.laws.registry import LAWS, get_law
from ansatzlab.report.matrix import NOT_RUN, Entry, find_verifications, matrix
from ansatzlab.report.verdicts import MARKS
from ansatzlab.store.parquet import Store
from ansatzlab.verification import REQUEST, Request

STOPPED = "stopped."
MERGING = "kuzborskij2025lowrank"
"""The law that ``ansatz merge`` rests on."""

LIST, SHOW = "list", "show"
"""The subcommands that ``ansatz laws`` and ``ansatz laws LAW`` stand for."""


class LawGroup(TyperGroup):
    """A group in which nothing, or an option, stands for the list, and a word that is no subcommand for a law."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer does not export the type
        """Put the subcommand that is meant before the arguments."""
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = [LIST, *args]
        elif not args[0].startswith("-") and args[0] not in self.commands:
            args = [SHOW, *args]
        return super().parse_args(ctx, args)


laws_app = typer.Typer(cls=LawGroup, help="What can be verified, what was found of it, and how to cite it.")


@laws_app.command(LIST)
def list_command(
    runs: Annotated[Path, typer.Option(help="Where the output folders of `ansatz verify` are.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show every claim of every law, what was found of it and what that cost (the default)."""
    found, skipped = find_verifications(runs)
    for line in skipped:
        messages.print(f"skipped: {line}", style="yellow", markup=False, soft_wrap=True)
    entries = matrix(list(LAWS.values()), found)
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries], indent=2, ensure_ascii=False))
        return
    console = Output(highlight=False)
    for law in LAWS.values():
        console.print(f"[bold]{law.key}[/]  {law.title}. {law.authors}. {law.source}", soft_wrap=True)
        console.print(f"  {law.summary}", soft_wrap=True)
        for chapter in law.chapters:
            chosen = [entry for entry in entries if (entry.law, entry.chapter) == (law.key, chapter.key)]
            console.print(f"\n  {_heading(chosen[0])}", markup=False, soft_wrap=True)
            console.print(_chapter_table(chosen))
    console.print("One law in full: ansatz laws LAW. BibTeX: ansatz laws cite.")


def _heading(entry: Entry) -> str:
    """Say what a chapter is about, and what it took."""
    if entry.runs is None:
        return f"{entry.chapter}: {entry.regime} ({NOT_RUN})"
    took = f"{entry.budget}, {entry.data}, {entry.runs} runs, {entry.seconds:.0f} s of computing"
    return f"{entry.chapter}: {entry.regime} ({took}: {entry.folder})"


def _chapter_table(entries: list[Entry]) -> Table:
    table = Table("claim", "statistic", "threshold", "verdict", box=box.SIMPLE_HEAD, pad_edge=False)
    for entry in entries:
        statistic = entry.statistic if entry.role == "claim" else f"{entry.statistic} ({entry.role})"
        table.add_row(Text(entry.claim), Text(statistic), entry.threshold, _verdict(entry))
    return table


def _verdict(entry: Entry) -> Text:
    mark = next((mark for word, mark in MARKS.items() if word == entry.verdict), "")
    among = f" {entry.holding}/{entry.conditions}" if entry.conditions > 1 else ""
    told = Text(f"{mark} {entry.verdict}{among}".strip())
    told.no_wrap = True
    return told


@laws_app.command(SHOW)
def show_command(
    law: Annotated[str, typer.Argument(help="The law's key.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show one law's claims, chapters and settings; `ansatz laws LAW` for short."""
    with exit_codes(STOPPED):
        chosen = get_law(law)
    if as_json:
        typer.echo(json.dumps(_described(chosen), indent=2, ensure_ascii=False))
        return
    console = Output(highlight=False)
    console.print(f"[bold]{chosen.key}[/]  {chosen.title}. {chosen.authors}. {chosen.source}", soft_wrap=True)
    console.print(f"  {chosen.summary}\n", soft_wrap=True)
    console.print(_claims_table(chosen))
    console.print("Chapters, chosen by --only KEY:")
    for chapter in chosen.chapters:
        console.print(f"  {chapter.key}: {chapter.title}", markup=False)
    console.print("Settings of the quick budget, changed by --set NAME=VALUE:")
    for name, value in chosen.settings().items():
        console.print(f"  {name} = {json.dumps(value)}", markup=False)


def _described(law: Law) -> dict[str, object]:
    return {
        "law": law.key,
        "title": law.title,
        "source": law.source,
        "summary": law.summary,
        "claims": {claim.key: claim.statement for claim in law.claims},
        "chapters": {chapter.key: chapter.title for chapter in law.chapters},
        "settings": law.settings(),
    }


def _claims_table(law: Law) -> Table:
    table = Table("claim", "statement", "statistic", "threshold", "counts", show_lines=True)
    for claim in law.claims:
        counts = "yes" if claim.role == "claim" else claim.role
        table.add_row(claim.key, claim.statement, claim.statistic, str(claim.threshold), counts)
    return table


@laws_app.command("cite")
def cite_command(
    used: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[LAW | FOLDER]...",
            help="Laws, or output folders of `ansatz verify` or `ansatz merge`. Default: all laws.",
        ),
    ] = None,
) -> None:
    """Print BibTeX for laws, or for what reports used: their laws, their data, and this program."""
    with exit_codes(STOPPED):
        entries = [entry for name in used or LAWS for entry in _entries(name)]
    for entry in dict.fromkeys([*entries, program_bibtex()]):
        typer.echo(f"{entry}\n")


def _entries(name: str) -> list[str]:
    """Return what a law or a report rests on; of a folder that has a law's name, the law is meant."""
    folder = Path(name)
    if name in LAWS or not folder.is_dir():
        return [law_bibtex(get_law(name))]
    if (folder / RECORD).is_file():
        return [law_bibtex(LAWS[MERGING])]
    path = folder / f"{REQUEST}.json"
    if not path.is_file():
        raise InputError(
            f"{folder}: has no {path.name}; wanted an output folder of `ansatz verify` or `ansatz merge`; check the "
            "path."
        )
    store = Store.open(folder)
    kept = store.read_json(REQUEST)
    request = Request.parse(kept if isinstance(kept, dict) else {}, where=str(path))
    used = sorted(set(read_table(store)["data"].to_pylist()) & DATA.keys())
    return [law_bibtex(get_law(request.law)), *(DATA[data] for data in used)]
