"""The command ``ansatz sweep``."""

import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import typer
from rich.table import Table

from ansatzlab.cli.console import STOPPED, Outcome, Output, exit_codes, finish, messages
from ansatzlab.cli.listing import show_listing
from ansatzlab.cli.progress import Tell, json_lines, line, live
from ansatzlab.cli.settings import read_setting
from ansatzlab.errors import InputError
from ansatzlab.report.settings import settings_of
from ansatzlab.report.store_page import write_store_page
from ansatzlab.store.parquet import MARKER, Store
from ansatzlab.store.schema import STATUSES
from ansatzlab.sweeps.batch import plan_batches
from ansatzlab.sweeps.executors import Executor, serial, usable_cores
from ansatzlab.sweeps.grid import expand
from ansatzlab.sweeps.planfile import read_axes
from ansatzlab.sweeps.processes import Processes
from ansatzlab.sweeps.ray import Ray
from ansatzlab.sweeps.spec import RunSpec
from ansatzlab.sweeps.sweep import Progress, sweep

FAILED, BAD_INPUT = 1, 2
REQUEST = "sweep"
"""The side file of a store that says which runs the last sweep into it was to make."""

SHOWN = 5
"""How many specs a dry run shows."""

ExecutorName = Literal["serial", "processes", "ray"]


@dataclass(frozen=True)
class Told:
    """Where a command tells what it does.

    Attributes:
        console: Standard output.
        quiet: Whether only errors are told.
        as_lines: Whether JSON is.
    """

    console: Output
    quiet: bool
    as_lines: bool


def sweep_command(
    file: Annotated[Path, typer.Argument(help="The grid: a .yaml or .toml file of axes.")],
    out: Annotated[Path | None, typer.Option(help="The output folder. Default: runs/NAME of the file.")] = None,
    executor: Annotated[
        ExecutorName | None, typer.Option(help="Default: processes where there are several cores, else serial.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Of processes and ray: how many. Default: one for each core.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Of ray: the cluster's address, or auto. Default: Ray on this machine.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="How many runs are trained as one, at most.")] = 64,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change an axis of the file, NAME=VALUE; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be run, and run nothing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show nothing but errors.")] = False,
    as_lines: Annotated[
        bool, typer.Option("--json-lines", help="Print a JSON object a line after every batch, nothing else.")
    ] = False,
) -> None:
    """Run a grid of trainings and keep what they measure. Call again to resume.

    Exit codes: 0 every run finished or diverged, 1 some failed, 2 the grid or an option is not usable and nothing was
    run, 3 any other error, 130 stopped.
    """
    told = Told(Output(highlight=False), quiet, as_lines)
    folder = out if out is not None else Path("runs") / file.stem
    with exit_codes("stopped; nothing was run."):
        with _bad_input():
            if batch_size < 1:
                raise InputError(f"--batch-size: got {batch_size}; wanted 1 or more; change it.")
            chosen = _executor(executor, workers, address)
            axes = {**read_axes(file), **dict(read_setting(change) for change in changes or [])}
            specs = expand(axes, str(file))
        if dry_run:
            finish(partial(_show_plan, specs, folder, batch_size, told), 0)
        store = Store.open(folder)
        command = shlex.join(["ansatz", *sys.argv[1:]])
        runs = [spec.run_id for spec in specs]
        store.write_json(REQUEST, {"file": str(file), "grid": axes, "runs": runs, "command": command})
        with _bad_input(), _kept(folder, told) as progress:
            table = sweep(specs, store=store, executor=chosen, batch_size=batch_size, progress=progress)
        page = write_store_page(store, table)
    counts = _counts(table)
    finish(partial(_show_end, counts, folder, page, told), FAILED if counts["failed"] else 0)


def _executor(name: ExecutorName | None, workers: int | None, address: str | None) -> Executor:
    chosen = name or ("processes" if usable_cores() > 1 else "serial")
    if address is not None and chosen != "ray":
        raise InputError(f"--address: is for --executor ray, got {chosen}; add --executor ray or leave it out.")
    if workers is not None and chosen == "serial":
        raise InputError("--workers: the serial executor has none; wanted --executor processes or ray; add it.")
    if chosen == "processes":
        return Processes(workers)
    return Ray(address, workers) if chosen == "ray" else serial


@contextmanager
def _bad_input() -> Iterator[None]:
    """Turn what cannot be used into one line and an exit code of its own: nothing was run."""
    try:
        yield
    except InputError as error:
        messages.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise Outcome(BAD_INPUT) from None


@contextmanager
def _kept(folder: Path, told: Told) -> Iterator[Tell]:
    """Show how far a sweep is; when it is stopped, say what is kept and how to go on."""
    last: list[Progress] = []
    try:
        with live(quiet=told.quiet or told.as_lines) as show:
            tell = json_lines(told.console) if told.as_lines else show

            def remember(state: Progress) -> None:
                last[:] = [state]
                tell(state)

            yield remember
    except KeyboardInterrupt:
        kept = f"{last[0].done} of {last[0].total} runs are" if last else "finished runs are"
        command = shlex.join(["ansatz", *sys.argv[1:]])
        messages.print(
            f"stopped; {kept} kept in {folder}; the same command goes on from here: {command}",
            markup=False,
            soft_wrap=True,
        )
        raise Outcome(STOPPED) from None


def _counts(table: pa.Table) -> dict[str, int]:
    """Return how many runs ended in each way."""
    counts = Counter(table.group_by(["run_id", "status"]).aggregate([])["status"].to_pylist())
    return {status: counts[status] for status in STATUSES}


def _show_end(counts: dict[str, int], folder: Path, page: Path, told: Told) -> None:
    command = shlex.join(["ansatz", "runs", str(folder)])
    if told.as_lines:
        line(told.console, "end", **counts, folder=str(folder))
    elif not told.quiet:
        table = Table(*counts, "runs")
        table.add_row(*map(str, counts.values()), str(sum(counts.values())))
        told.console.print(table)
        told.console.print(f"runs: {folder}", markup=False, soft_wrap=True)
        told.console.print(f"report: {page}", markup=False, soft_wrap=True)
        told.console.print(f"list them: {command}", markup=False, soft_wrap=True)
        if counts["failed"]:
            told.console.print(f"why some failed: {command} --status failed", markup=False, soft_wrap=True)


def _show_plan(specs: Sequence[RunSpec], folder: Path, batch_size: int, told: Told) -> None:
    kept = Store.open(folder).finished() if (folder / MARKER).is_file() else frozenset()
    batches = plan_batches(specs, batch_size)
    stacked = [batch for batch in batches if len(batch.specs) > 1]
    plan = {
        "runs": len(specs),
        "kept": sum(spec.run_id in kept for spec in specs),
        "batches": len(batches),
        "stacked_batches": len(stacked),
        "stacked_runs": sum(len(batch.specs) for batch in stacked),
    }
    if told.as_lines:
        line(told.console, "plan", **plan, folder=str(folder))
        return
    if told.quiet:
        return
    told.console.print(
        f"{plan['runs']} runs, {plan['kept']} of them kept in {folder} already; {plan['batches']} batches: "
        f"{plan['stacked_batches']} of runs trained as one ({plan['stacked_runs']} runs), "
        f"{plan['batches'] - plan['stacked_batches']} of one run.",
        markup=False,
        soft_wrap=True,
    )
    rows = [{"run_id": spec.run_id, **settings_of(spec.model_dump(mode="json"))} for spec in specs[:SHOWN]]
    told.console.print(f"the first {len(rows)}:")
    show_listing(rows, [name for name in rows[0] if any(row[name] is not None for row in rows)])
