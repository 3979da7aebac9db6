"""What fails beside a training and must not end it."""

import logging
import warnings
from dataclasses import asdict, dataclass
from typing import final

_LOG = logging.getLogger("ansatzlab")


class MeasurementFailedWarning(UserWarning):
    """A measurement beside a training, or its writing, that failed; the training goes on."""


@final
@dataclass(frozen=True)
class Failure:
    """Something that was not measured, or not written.

    Attributes:
        step: The step.
        message: Why.
    """

    step: int
    message: str


@final
class Failures:
    """The failures of one recording, of which the first is told.

    Args:
        name: The recording's name.
    """

    def __init__(self, name: str) -> None:
        """Start without any."""
        self._name = name
        self._found: list[Failure] = []

    @property
    def all(self) -> tuple[Failure, ...]:
        """The failures in their order."""
        return tuple(self._found)

    def note(self, step: int, message: str) -> None:
        """Add one; the first is told by a `MeasurementFailedWarning`.

        Where warnings are errors it is logged instead (``ansatzlab``, level WARNING): it must not end the training.
        """
        self._found.append(Failure(step, message))
        if len(self._found) > 1:
            return
        try:
            warnings.warn(
                f"recorder {self._name!r}, step {step}: {message} – the training goes on and later steps are tried "
                "again; further failures are not told: see compute().failures.",
                MeasurementFailedWarning,
                stacklevel=6,  # where the recorder was called: `update`, and four functions behind it
            )
        except MeasurementFailedWarning as warning:
            _LOG.warning("%s", warning)

    def told(self) -> list[dict[str, object]]:
        """Return them as JSON has it."""
        return [asdict(failure) for failure in self._found]

    def extend(self, others: "Failures") -> None:
        """Add those of another recording."""
        self._found += others._found
