"""What the commands share: streams, exit codes, and errors as one line."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console

from ansatzlab.errors import AnsatzError

ERROR, STOPPED = 3, 130

messages = Console(stderr=True, highlight=False)


class Output(Console):
    """Standard output whose reader may leave early (``| head``): the rest is dropped and the exit code stays."""

    def on_broken_pipe(self) -> None:
        """Write the rest nowhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Outcome(SystemExit):
    """The end of a command that ran, told apart from the parser's own exits."""


@contextmanager
def exit_codes(stopped: str) -> Iterator[None]:
    """Turn an error into one line and exit code 3, and Ctrl-C into 130 and a word on what is left.

    Args:
        stopped: What to tell who presses Ctrl-C.
    """
    try:
        yield
    except AnsatzError as error:
        messages.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise Outcome(ERROR) from None
    except KeyboardInterrupt:
        messages.print(stopped)
        raise Outcome(STOPPED) from None


def finish(show: Callable[[], None], code: int) -> None:
    """Show a result, whose reader may have left, and end with its exit code."""
    with suppress(BrokenPipeError):
        show()
        sys.stdout.flush()
    raise Outcome(code)
