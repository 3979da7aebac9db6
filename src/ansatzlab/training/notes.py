"""What a recorder is given, and what it keeps, of a training while it goes on."""

from collections.abc import Mapping
from dataclasses import replace
from operator import index
from typing import SupportsIndex, final

from torch import Tensor

from ansatzlab.errors import InputError
from ansatzlab.measurement.result import Measurement
from ansatzlab.training.failures import Failures
from ansatzlab.training.recording import Identity, Moment, Order, Reading, Row

Loss = float | Tensor
"""A loss as a number or as a tensor of one."""


@final
class Notes:
    """The moments of one training: what was read out of each, the measurements that are kept, what failed.

    Args:
        name: The recording's name.
        reading: What is read out of a layer.
        keep_all: Whether every measurement is kept, or the first and the last.
    """

    def __init__(self, name: str, reading: Reading, *, keep_all: bool) -> None:
        """Start without a moment."""
        self._reading, self._keep_all = reading, keep_all
        self.moments: dict[int, Moment] = {}
        self.kept: dict[int, Measurement] = {}
        self.layers: dict[str, None] = {}
        self.failures = Failures(name)

    @property
    def last(self) -> Moment | None:
        """The last moment."""
        return next(reversed(self.moments.values()), None)

    @property
    def measured(self) -> int:
        """How many moments were measured."""
        return sum(not moment.failure for moment in self.moments.values())

    def add(self, step: int, measured: Measurement) -> None:
        """Add a measurement; to one of the same step on other examples it is added.

        Raises:
            InputError: If these do not fit together; nothing is changed then.
        """
        if step in self.kept:
            measured = self.kept[step] + measured
        self.moments[step] = replace(self.moments.get(step, Moment(step)), layers=self._read(measured))
        kept = self.kept if self._keep_all else dict(list(self.kept.items())[:1])
        self.kept = {**kept, step: measured}
        for layer in self.moments[step].layers:
            if layer.get("error"):
                self.failures.note(step, f"layer {layer['layer']!r}: {layer['error']}")

    def fail(self, step: int, error: Exception) -> None:
        """Note that a moment could not be measured."""
        message = f"{type(error).__name__}: {error}"
        self.kept.pop(step, None)
        self.moments[step] = replace(self.moments.get(step, Moment(step)), layers=(), failure=message)
        self.failures.note(step, message)

    def not_written(self, error: Exception) -> None:
        """Note that what there is could not be written."""
        self.failures.note(next(reversed(self.moments)), f"not written: {type(error).__name__}: {error}")

    def complete(self, step: int, loss: float | None, seconds: tuple[float, float]) -> None:
        """Add the loss of a moment and the time that it took, as `Stopwatch.so_far` tells it."""
        wall, recording = seconds
        self.moments[step] = replace(self.moments[step], loss=loss, wall_seconds=wall, recording_seconds=recording)

    def merge(self, other: "Notes") -> None:
        """Add what was measured at the same steps on other examples (see `Recorder.merge`).

        Raises:
            InputError: If they do not fit together; nothing is changed then.
        """
        if not (self._keep_all and other._keep_all):
            raise InputError("recorder: merge needs every measurement; pass keep_measurements=True to both recorders.")
        if list(self.moments) != list(other.moments):
            raise InputError(
                f"recorder: got measurements at steps {list(self.moments)} and {list(other.moments)}; wanted the same "
                "steps in both; give both the same schedule and offer them the same steps."
            )
        kept = {step: mine + other.kept[step] for step, mine in self.kept.items() if step in other.kept}
        for step, moment in self.moments.items():
            failure = moment.failure or other.moments[step].failure
            layers = self._read(kept[step]) if step in kept else ()
            self.moments[step] = replace(moment, layers=layers, failure=failure)
        self.kept = kept
        self.failures.extend(other.failures)

    def rows(self, identity: Identity, order: Order) -> tuple[Row, ...]:
        """Return the rows of the store."""
        return identity.rows(self.moments, order)

    def told(self) -> Mapping[str, object]:
        """Return what a side file of the store says of it."""
        return {
            "layers": list(self.layers),
            "steps": list(self.moments),
            "measured": self.measured,
            "failed": len(self.moments) - self.measured,
            "failures": self.failures.told(),
        }

    def _read(self, measured: Measurement) -> tuple[Row, ...]:
        self.layers |= dict.fromkeys(measured)
        return tuple(self._reading.columns(layer) for layer in measured.values())


def counted(step: SupportsIndex) -> int:
    """Return a step as Python's own integer, which a numpy one is not.

    Raises:
        InputError: If it is no integer.
    """
    try:
        if not isinstance(step, bool):
            return index(step)
    except TypeError:
        pass
    raise InputError(f"recorder: got step {step!r}; wanted the number of steps so far, an integer from 0 on.")


def refuse_many(loss: Loss | None) -> None:
    """Refuse at the first call what could not be read at a later one; looking at the shape waits for nothing.

    Raises:
        InputError: If a loss is not one number.
    """
    if isinstance(loss, Tensor) and loss.numel() != 1:
        raise InputError(f"recorder: got a loss of shape {tuple(loss.shape)}; wanted one number; pass its mean.")


def number_of(loss: Loss | None) -> float | None:
    """Return a loss as a number."""
    return None if loss is None else float(loss.detach() if isinstance(loss, Tensor) else loss)
