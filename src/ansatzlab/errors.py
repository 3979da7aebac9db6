"""The errors and warnings that ansatzlab raises on purpose.

Every message is one string that says where, what was got, what was wanted and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class AnsatzError(Exception):
    """Base of every error that ansatzlab raises on purpose."""


class InputError(AnsatzError, ValueError):
    """An argument, a setting or a data set that cannot be used as it is."""


class UnknownNameError(InputError, KeyError):
    """A name that is not registered; the message gives the nearest known one and all of them."""

    __str__ = Exception.__str__  # a KeyError would show its message in quotes

    def __init__(self, kind: str, got: str, known: Iterable[str]) -> None:
        """Write the message.

        Args:
            kind: What was looked up, for example ``"law"``.
            got: The name that was asked for.
            known: The names that exist.
        """
        names = sorted(known)
        near = get_close_matches(got, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        super().__init__(f"unknown {kind} {got!r}{hint} Known: {', '.join(names)}.")


class ModelError(AnsatzError):
    """A network that cannot be measured as it is."""


class StoreError(AnsatzError):
    """An output folder that cannot be written or read."""


class DivergedError(AnsatzError):
    """A training whose loss or weights stopped being finite.

    Attributes:
        step: The step (or the count of right-hand-side evaluations of a flow) at which it was seen.
    """

    def __init__(self, message: str, step: int) -> None:
        """Store the message and the step."""
        super().__init__(message)
        self.step = step


class WorkerLostError(AnsatzError):
    """A worker process or node that died, and with it what it was executing."""


class DamagedFileWarning(UserWarning):
    """A file of the store that cannot be read; the others were read without it."""
