"""When a training is measured: every so many steps, evenly on a logarithmic axis, or as its loss falls."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import ClassVar, Protocol, final, runtime_checkable

from ansatzlab.errors import InputError
from ansatzlab.training.schedule import log_spaced_steps


@dataclass(frozen=True)
class Offered:
    """What a recorder was offered so far.

    Attributes:
        step: The step offered last.
        lowest_loss: The lowest loss offered so far; infinite before the first.
    """

    step: int
    lowest_loss: float = math.inf


@runtime_checkable
class Moments(Protocol):
    """Says at which steps to measure; the first one offered is measured whatever it says.

    Attributes:
        needs_loss: Whether it looks at the loss, which is then read at every step and not only where one is measured
            (on a GPU reading it waits for the step to end).
    """

    needs_loss: ClassVar[bool]

    def due(self, step: int, loss: float | None, before: Offered) -> bool:
        """Whether a step is to be measured.

        Args:
            step: The step, above that offered before.
            loss: The loss, if it was given and is needed.
            before: What was offered before.
        """
        ...


@final
@dataclass(frozen=True)
class Every:
    """Every so many steps: at each multiple of ``steps``, or at the first step offered after one.

    Attributes:
        steps: How many.

    Example:
        >>> [step for step in range(1, 10) if Every(3).due(step, None, Offered(step - 1))]
        [3, 6, 9]
    """

    needs_loss: ClassVar[bool] = False

    steps: int

    def __post_init__(self) -> None:
        """Refuse less than one step."""
        if self.steps < 1:
            raise InputError(f"Every(steps={self.steps}): wanted at least 1.")

    def due(self, step: int, loss: float | None, before: Offered) -> bool:  # noqa: ARG002 - as the protocol has it
        """Whether a multiple lies behind the step before, up to this one."""
        return step // self.steps > before.step // self.steps


@final
@dataclass(frozen=True)
class LogSpaced:
    """Steps evenly spaced on a logarithmic axis, as `log_spaced_steps` gives them; none after the last.

    Attributes:
        count: How many at most, the first and the last step among them; at least 2.
        last: The last step, as a rule that of the training.

    Example:
        >>> [step for step in range(1, 101) if LogSpaced(4, last=100).due(step, None, Offered(step - 1))]
        [1, 10, 100]
    """

    needs_loss: ClassVar[bool] = False

    count: int
    last: int

    def __post_init__(self) -> None:
        """Refuse what has no such steps."""
        if self.count < 2 or self.last < 1:
            raise InputError(
                f"LogSpaced(count={self.count}, last={self.last}): wanted a count of at least 2 and a last step of at "
                "least 1."
            )

    @cached_property
    def planned(self) -> Sequence[int]:
        """The steps, ascending."""
        return log_spaced_steps(self.last, self.count)

    def due(self, step: int, loss: float | None, before: Offered) -> bool:  # noqa: ARG002 - as the protocol has it
        """Whether a planned step lies behind the step before, up to this one."""
        return bisect_right(self.planned, step) > bisect_right(self.planned, before.step)


@final
@dataclass(frozen=True)
class AtLossLevels:
    """The first steps whose loss is at or below each of some levels: comparable moments of different trainings.

    Conventions:
        The loss is the one that is given; that of a single batch crosses a level by chance before its mean does, so
        give a smoothed one where that matters. A step that crosses several levels is measured once. A loss that is not
        given, or is nan, crosses none.

    Attributes:
        levels: The losses.

    Example:
        >>> moments, lowest = AtLossLevels((1.0, 0.1)), float("inf")
        >>> for step, loss in enumerate([2.0, 0.9, 1.1, 0.8, 0.05, 0.01]):
        ...     if moments.due(step, loss, Offered(step - 1, lowest)):
        ...         print(step, loss)
        ...     lowest = min(lowest, loss)
        1 0.9
        4 0.05
    """

    needs_loss: ClassVar[bool] = True

    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse no level, and levels that are no numbers."""
        if not self.levels or not all(math.isfinite(level) for level in self.levels):
            raise InputError(f"AtLossLevels(levels={self.levels}): wanted at least one, all finite.")

    def due(self, step: int, loss: float | None, before: Offered) -> bool:  # noqa: ARG002 - as the protocol has it
        """Whether the loss is at or below a level that no loss before was."""
        return loss is not None and any(loss <= level < before.lowest_loss for level in self.levels)


@final
class Timetable:
    """What a schedule says of the steps of one training, as they come.

    Args:
        schedule: The schedule.
    """

    def __init__(self, schedule: Moments) -> None:
        """Start before the first step."""
        self.schedule = schedule
        self.offered: Offered | None = None

    @property
    def waits_in_vain(self) -> bool:
        """Whether the schedule looks at the loss and none was given so far."""
        return self.schedule.needs_loss and self.offered is not None and self.offered.lowest_loss == math.inf

    def due(self, step: int, loss: float | None) -> bool:
        """Whether a step is to be measured: the first of all, and those that the schedule says; none twice.

        Args:
            step: The step.
            loss: The loss, if the schedule needs it and it was given.

        Raises:
            InputError: If the step is not a count or below that offered before.
        """
        before = self.offered
        if not isinstance(step, Integral) or isinstance(step, bool) or step < 0:
            raise InputError(f"recorder: got step {step!r}; wanted the number of steps so far, an integer from 0 on.")
        if before is not None and step < before.step:
            raise InputError(
                f"recorder: got step {step} after step {before.step}; wanted steps that do not fall; call reset() "
                "before another training."
            )
        lowest = math.inf if before is None else before.lowest_loss
        self.offered = Offered(int(step), loss if loss is not None and loss < lowest else lowest)
        return before is None or (step > before.step and self.schedule.due(step, loss, before))
