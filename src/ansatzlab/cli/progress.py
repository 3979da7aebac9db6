"""How far a sweep is: one live line for people, a line of JSON after every batch for logs."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from ansatzlab.cli.console import Output, messages
from ansatzlab.sweeps.sweep import Progress

Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class Pace:
    """How fast a sweep is, over all that this call has done; None before the first batch is.

    Attributes:
        runs_per_second: The rate.
        seconds_left: What the rest takes at that rate.
    """

    runs_per_second: float | None
    seconds_left: float | None


def pace(state: Progress, seconds: float) -> Pace:
    """Return the pace of a sweep after so many seconds; the runs of earlier calls took none of them.

    Example:
        >>> pace(Progress(done=30, total=50, resumed=10), 10.0)
        Pace(runs_per_second=2.0, seconds_left=10.0)
    """
    done = state.done - state.resumed
    if not done or seconds <= 0:
        return Pace(None, None)
    return Pace(done / seconds, (state.total - state.done) * seconds / done)


@contextmanager
def live(*, quiet: bool = False) -> Iterator[Tell]:
    """Show one live line on standard error: runs done, those that went wrong, rate, time taken and left.

    Args:
        quiet: Show nothing.

    Yields:
        What to tell the progress.
    """
    columns = (
        TextColumn("runs"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    bar = ProgressBar(*columns, console=messages, disable=quiet)
    task = bar.add_task("", total=None)
    start = time.monotonic()

    def tell(state: Progress) -> None:
        described = describe(state, pace(state, time.monotonic() - start))
        bar.update(task, total=state.total, completed=state.done, description=described)
        bar.start()

    try:
        yield tell
    finally:
        bar.stop()


def describe(state: Progress, at: Pace) -> str:
    """Say what went wrong, how fast it goes and how long it will take.

    Example:
        >>> describe(Progress(done=30, total=5000, resumed=10, failed=1), Pace(2.0, 2485.0))
        '10 resumed, 1 failed, 2 runs/s, 0:41:25 left'
    """
    troubles = {"resumed": state.resumed, "failed": state.failed, "diverged": state.diverged}
    told = [f"{count} {word}" for word, count in troubles.items() if count]
    if at.runs_per_second is not None and at.seconds_left is not None:
        minutes, seconds = divmod(round(at.seconds_left), 60)
        told += [f"{at.runs_per_second:.3g} runs/s", f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"]
    return ", ".join(told)


def json_lines(console: Output) -> Tell:
    """Return what writes one JSON object for every progress it is told: the start, then every batch.

    Args:
        console: Where to.
    """
    start = time.monotonic()
    event = "start"

    def tell(state: Progress) -> None:
        nonlocal event
        seconds = time.monotonic() - start
        at = {name: None if value is None else round(value, 3) for name, value in asdict(pace(state, seconds)).items()}
        line(console, event, **asdict(state), seconds=round(seconds, 3), **at)
        event = "batch"

    return tell


def line(console: Output, event: str, **values: object) -> None:
    """Write one event as a line of JSON."""
    console.print(json.dumps({"event": event, **values}, allow_nan=False), markup=False, soft_wrap=True)
