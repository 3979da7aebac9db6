"""What recording a training costs it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import final

import torch
from torch import nn


@final
@dataclass(frozen=True)
class Overhead:
    """What recording cost.

    Attributes:
        recording_seconds: In the recorder: measuring, reading out, writing, and deciding not to.
        total_seconds: From the first call to the end of the last.
        measured: At how many steps was measured.
    """

    recording_seconds: float
    total_seconds: float
    measured: int

    @property
    def training_seconds(self) -> float:
        """What the training took between the calls, the recorder's own time left out."""
        return self.total_seconds - self.recording_seconds

    @property
    def share(self) -> float:
        """The recorder's time over the training's; nan if there was no training between two calls."""
        return self.recording_seconds / self.training_seconds if self.training_seconds > 0 else math.nan

    def __str__(self) -> str:
        """Say it in a sentence."""
        share = "" if math.isnan(self.share) else f" ({100 * self.share:.2g} %)"
        return (
            f"recording took {self.recording_seconds:.2f} s beside {self.training_seconds:.2f} s of training{share}; "
            f"measured at {self.measured} {'step' if self.measured == 1 else 'steps'}."
        )

    def told(self) -> dict[str, object]:
        """Return it as JSON has it."""
        share = None if math.isnan(self.share) else self.share
        return {
            "recording_seconds": self.recording_seconds,
            "training_seconds": self.training_seconds,
            "share": share,
            "measured": self.measured,
        }


@final
class Stopwatch:
    """Tells the time that a recorder takes from that of the training beside it."""

    def __init__(self) -> None:
        """Stand still."""
        self._began: float | None = None
        self._ended = self._started = 0.0
        self._busy = 0.0

    def start(self) -> None:
        """Note that the recorder is called."""
        self._started = perf_counter()
        if self._began is None:
            self._began = self._ended = self._started

    def restart_once_idle(self, model: nn.Module) -> None:
        """Wait for what the training has left to a GPU, so that it counts as training."""
        if any(parameter.is_cuda for parameter in model.parameters()):
            torch.cuda.synchronize()
        self._started = perf_counter()

    def stop(self) -> None:
        """Note that the recorder returns."""
        self._ended = perf_counter()
        self._busy += self._ended - self._started

    @contextmanager
    def charged(self) -> Iterator[None]:
        """Count what is done inside the ``with`` as the recorder's, and the time since its last call not at all."""
        start = perf_counter()
        try:
            yield
        finally:
            taken = perf_counter() - start
            self._busy += taken
            self._ended += taken

    def so_far(self) -> tuple[float, float]:
        """Return the seconds since the first call, and since the present one."""
        now = perf_counter()
        return now - (now if self._began is None else self._began), now - self._started

    def overhead(self, measured: int) -> Overhead:
        """Return what recording has cost, having measured so many times."""
        return Overhead(self._busy, self._ended - (self._ended if self._began is None else self._began), measured)
