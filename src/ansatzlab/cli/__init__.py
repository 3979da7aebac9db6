"""The command line: ``ansatz``.

Exit codes of ``verify`` and ``report``: 0 every counting claim holds, 1 one fails, 2 inconclusive, 3 error, 130 stopped
by Ctrl-C. Of ``sweep``: 0 every run finished or diverged, 1 some failed, 2 the grid or an option is not usable and
nothing was run, 3 any other error, 130 stopped. Of every other command: 0 done, 3 error, 130 stopped.
"""

import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from ansatzlab import __version__
from ansatzlab.cli.compare import compare_command
from ansatzlab.cli.console import ERROR, Outcome, exit_codes
from ansatzlab.cli.counterexample import counterexample_command
from ansatzlab.cli.figure import figure_command
from ansatzlab.cli.laws import laws_app
from ansatzlab.cli.measurement import measure_command
from ansatzlab.cli.merge import merge_command
from ansatzlab.cli.progress import live
from ansatzlab.cli.report import finish_report, report_command
from ansatzlab.cli.runs import runs_command
from ansatzlab.cli.settings import read_setting
from ansatzlab.cli.sweep import sweep_command
from ansatzlab.laws.law import Budget
from ansatzlab.sweeps.executors import Executor, serial, usable_cores
from ansatzlab.sweeps.processes import Processes
from ansatzlab.verification import verify

USAGE = 2
GO_ON = "stopped; every finished run is kept, and the same command goes on from here."

app = typer.Typer(
    help="A laboratory for the laws of feature learning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; whatever goes wrong, wrong usage and our own faults included, exits with 3.

    A terminal that cannot show a character shows a question mark; a reader that closes the pipe loses only the text.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except Outcome:
        raise
    except SystemExit as exit_:
        raise SystemExit(ERROR if exit_.code == USAGE else exit_.code) from None
    except Exception:
        traceback.print_exc()
        raise SystemExit(ERROR) from None


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    """A laboratory for the laws of feature learning."""
    if version:
        typer.echo(f"ansatzlab {__version__}")
        raise typer.Exit


@app.command("verify")
def verify_command(
    law: Annotated[str, typer.Argument(help="The law's key; `ansatz laws` lists them.")],
    full: Annotated[bool, typer.Option("--full/--quick", help="All experiments, or minutes of them.")] = False,
    data: Annotated[str, typer.Option(help="A data set by name, or an .npz file with inputs and targets.")] = "digits",
    out: Annotated[Path | None, typer.Option(help="The output folder. Default: runs/LAW-DATA-BUDGET.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, [CHAPTER.]NAME=VALUE; `ansatz laws LAW` lists them."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="A chapter of the law, if not all; may be repeated.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="How many processes. Default: one; with --full, one for each core.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON, nothing else.")] = False,
) -> None:
    """Run a law's experiments, judge its claims and write the report. Call again to resume."""
    budget: Budget = "full" if full else "quick"
    with exit_codes(GO_ON), live(quiet=as_json) as progress:
        settings = dict(read_setting(change) for change in changes or [])
        report = verify(
            law,
            budget=budget,
            data=data,
            out=out,
            settings=settings,
            only=tuple(only or ()),
            executor=_executor(workers if workers is not None else usable_cores() if full else 1),
            progress=progress,
        )
    finish_report(report, as_json)


def _executor(workers: int) -> Executor:
    return serial if workers == 1 else Processes(workers)


app.command("report")(report_command)
app.command("measure")(measure_command)
app.command("sweep")(sweep_command)
app.command("runs")(runs_command)
app.command("figure")(figure_command)
app.command("compare")(compare_command)
app.command("merge")(merge_command)
app.command("counterexample")(counterexample_command)


app.add_typer(laws_app, name="laws")
