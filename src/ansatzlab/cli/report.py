"""The command ``ansatz report``, and how a verification ends on the command line."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ansatzlab.cli.console import Output, exit_codes, finish
from ansatzlab.errors import StoreError
from ansatzlab.report.folder import ROWS, rebuild_folder
from ansatzlab.report.store_page import write_store_page
from ansatzlab.report.verdicts import tally, verdict_notes, verdict_table
from ansatzlab.store.parquet import MARKER, Store
from ansatzlab.verification import REQUEST, Report, rebuild

EXIT_CODES = {"HOLDS": 0, "FAILS": 1, "INCONCLUSIVE": 2}
STOPPED = "stopped; the page is as it was."


def report_command(
    folder: Annotated[
        Path, typer.Argument(help="An output folder of `ansatz verify`, `measure` or `sweep`, or of a recorder.")
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the verdicts, or else the page's path, as JSON, nothing else.")
    ] = False,
) -> None:
    """Write a folder's report again from what it holds, without running anything.

    Of `ansatz verify` the runs are judged again, and the exit code is that of the verdict: 0 holds, 1 fails, 2
    inconclusive. Of every other folder: 0 done. 3 error.
    """
    with exit_codes(STOPPED):
        found = _write(folder)
    if isinstance(found, Report):
        finish_report(found, as_json)
    else:
        finish(partial(_show_page, found, as_json), 0)


def finish_report(report: Report, as_json: bool) -> None:
    """Show a verification's verdicts and end with their exit code."""
    finish(partial(_show_report, report, as_json), EXIT_CODES[report.outcome])


def _write(folder: Path) -> Report | Path:
    """Find out what a folder is of and write its page.

    Raises:
        StoreError: If it is nothing that has a page.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder; wanted one that `ansatz` wrote; check the path.")
    if (folder / ROWS).is_file():
        return rebuild_folder(folder)
    if not (folder / MARKER).is_file():
        raise StoreError(
            f"{folder}: holds neither {MARKER} nor {ROWS}; wanted an output folder of `ansatz verify`, "
            "`ansatz measure` or `ansatz sweep`, or of a recorder; check the path."
        )
    if (folder / f"{REQUEST}.json").is_file():
        return rebuild(folder)
    return write_store_page(Store.open(folder))


def _show_page(page: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"page": str(page)}, indent=2))
    else:
        Output(highlight=False).print(f"report: {page}", markup=False, soft_wrap=True)


def _show_report(report: Report, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2))
    else:
        console = Output(highlight=False)
        console.print(verdict_table(report.findings))
        for note in verdict_notes(report.findings):
            console.print(note, markup=False, soft_wrap=True)
        console.print(f"[bold]{report.outcome}[/]  {tally(report.findings)}", soft_wrap=True)
        console.print(f"report: {report.page}", markup=False, soft_wrap=True)
