"""`Recorder`: follow how the weights of a network stand to its AGOP through a training of the user's own."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, SupportsIndex, final

from torch import Tensor, nn

from ansatzlab.errors import InputError
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.layers import Selector
from ansatzlab.measurement.outputs import Batch, OutputPicker
from ansatzlab.measurement.seeds import Exact, Seeds, can_be_centered
from ansatzlab.training.journal import Journal
from ansatzlab.training.moments import Every, Moments, Timetable
from ansatzlab.training.notes import Loss, Notes, counted, number_of, refuse_many
from ansatzlab.training.overhead import Overhead, Stopwatch
from ansatzlab.training.probe import Probe, Watch
from ansatzlab.training.recording import Identity, Reading, Recording, Row, described, scalars

_LOG = logging.getLogger("ansatzlab")


@final
class Recorder:
    """Measure a network on the same examples again and again while it trains, and leave the training as it is.

    Definition:
        At the moments of a schedule, the first call always among them, `ansatzlab.measure` on the probe; of each layer
        the spectrum from which every alignment follows, and the alignment, residual and best exponent under one
        convention, also with W − W₀ for W.

    Conventions:
        Step t means: after t steps of the optimiser, so step 0 is the start. W₀ are the weights at the first call, also
        where measuring fails; of a lazy network those of the next moment, `Recording.initial_step`. The network is
        measured in evaluation mode, whatever mode it is in. The random signs of `Signs` are the same at every step.
        What fails is recorded, told once by a `MeasurementFailedWarning`, and tried again at the next moment.

    Args:
        probe: The examples to measure on, as `ansatzlab.measure` takes batches; they are copied. None to measure on the
            batches given to `update`: those given for one step are merged.
        schedule: When to measure: `Every`, `LogSpaced`, `AtLossLevels`, or an object of one's own like these.
        layers: As of `ansatzlab.measure`; so are ``seeds`` and ``output``.
        seeds: Which combinations of outputs are differentiated. ``Signs(1)`` is the cheapest.
        output: Picks the output tensor.
        initial: W₀ if not the weights at the first call: a state dict, or the network before training.
        convention: How the alignment is read that is recorded and logged as a number.
        init_removed: Whether that alignment is also read with W − W₀ for W, for a second decomposition of every layer.
        folder: A store to write to while recording (see `ansatzlab.store.parquet.Store`).
        name: What the recording is of; the store's ``experiment``.
        settings: What the training is, as JSON has it; data, optimizer, depth, learning_rate, weight_decay and seed
            have columns of their own.
        keep_measurements: Whether to keep the measurement of every moment, which `merge` needs, or only the first and
            the last.

    Raises:
        InputError: If the probe, the settings, the name or the convention cannot be used.
        StoreError: If the folder cannot be used.

    Cost:
        With ``Signs(1)`` a measurement takes about as long as training on as many examples as the probe has; then, for
        each layer, two decompositions of k × k matrices, k the smaller side of W. `Recording.overhead` says what it
        was. Memory: W₀ on the CPU and the sums of two moments.

    Example:
        >>> import torch, ansatzlab
        >>> generator = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2)).double()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> x = torch.randn(64, 5, dtype=torch.float64)
        >>> recorder = Recorder(x[:16], schedule=Every(10), seeds=ansatzlab.Signs(1), layers="0")
        >>> with recorder:
        ...     measured = recorder.update(model, step=0)
        ...     for step in range(1, 21):
        ...         loss = (model(x) - x[:, :2].sin()).square().mean()
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         optimizer.step()
        ...         measured = recorder.update(model, step=step, loss=loss)
        >>> [(row["step"], row["layer"]) for row in recorder.compute().rows]
        [(0, '0'), (10, '0'), (20, '0')]
    """

    def __init__(
        self,
        probe: Iterable[Batch] | Batch | None = None,
        *,
        schedule: Moments = Every(100),  # noqa: B008 - frozen
        layers: Selector = None,
        seeds: Seeds = Exact(),  # noqa: B008 - frozen and empty
        output: OutputPicker = None,
        initial: Mapping[str, Any] | nn.Module | None = None,
        convention: Convention = Convention(0.5),  # noqa: B008 - frozen
        init_removed: bool = True,
        folder: Path | str | None = None,
        name: str = "recording",
        settings: Mapping[str, object] | None = None,
        keep_measurements: bool = False,
    ) -> None:
        """Copy the probe and open the store."""
        if convention.centered and not can_be_centered(seeds):
            raise InputError(
                f"Recorder(convention=): centered=True needs each output's mean gradient, and {seeds} draws other "
                "signs for every example; use Exact() or Signs(…, shared=True)."
            )
        if not name:
            raise InputError("Recorder(name=): got an empty text; wanted what the recording is of.")
        self._watch = Watch(None if probe is None else Probe.of(probe), layers, seeds, output, initial)
        self._timetable, self._keep_measurements = Timetable(schedule), keep_measurements
        self._reading = Reading(convention, init_removed)
        how = {"schedule": schedule, "seeds": seeds, "output": output, "convention": convention}
        recorder = {key: described(value) for key, value in how.items()}
        self._identity = Identity.of(name, recorder, settings or {})
        self._journal = None if folder is None else Journal(folder)
        self.reset()

    def reset(self) -> None:
        """Forget what was recorded, W₀ too, and start a new recording; what was written stays, under another id."""
        self._identity = self._identity.renewed()
        self._watch = self._watch.renewed()
        self._notes = Notes(self._identity.name, self._reading, keep_all=self._keep_measurements)
        self._timetable = Timetable(self._timetable.schedule)
        self._clock = Stopwatch()
        self._loss: Loss | None = None
        self._finished = False

    @property
    def run_id(self) -> str:
        """The recording's id in the store."""
        return self._identity.run_id

    @property
    def has_probe(self) -> bool:
        """Whether the examples to measure on were given beforehand."""
        return self._watch.probe is not None

    @property
    def last_step(self) -> int | None:
        """The step that was offered last; None before the first."""
        offered = self._timetable.offered
        return None if offered is None else offered.step

    @property
    def scalars(self) -> dict[str, float]:
        """The numbers of the last moment, for a logger, by names such as ``ansatz/fc1/alignment``."""
        return {} if self._notes.last is None else scalars(self._notes.last)

    @property
    def overhead(self) -> Overhead:
        """What recording has cost so far."""
        return self._clock.overhead(self._notes.measured)

    def update(
        self, model: nn.Module, batch: Batch | None = None, *, step: SupportsIndex, loss: Loss | None = None
    ) -> bool:
        """Offer a step; the network is measured if that is due.

        Args:
            model: The network after ``step`` steps, in any mode, as it is or wrapped for data-parallel training or by
                ``torch.compile``.
            batch: What to measure on, for a recorder without a probe; one more for the same step is added to it.
            step: The number of steps so far, not below that of the last call.
            loss: The loss, to be recorded beside what is measured; where not given, that of the last call for the step.

        Returns:
            Whether the network was measured.

        Raises:
            InputError: If there is nothing to measure on, the step is no count or falls, or the loss is no number.
        """
        return self._offer(model, batch, counted(step), loss, always=False)

    def finish(
        self,
        model: nn.Module | None = None,
        batch: Batch | None = None,
        *,
        step: SupportsIndex | None = None,
        loss: Loss | None = None,
    ) -> Overhead:
        """Measure the end if it was not, write what is not written, and log what it cost (``ansatzlab``, level INFO).

        Args:
            model: The trained network; None to measure nothing more.
            batch: As of `update`; so is ``loss``.
            step: The number of steps so far; None for that of the last call. One that was measured is left as it is.
            loss: The loss.

        Returns:
            What recording cost.

        Raises:
            InputError: As `update`.
        """
        now = (self.last_step or 0) if step is None else counted(step)
        if model is not None and (now != self.last_step or now not in self._notes.moments):
            self._offer(model, batch, now, loss, always=True)
        if self._timetable.waits_in_vain:
            why = "the schedule waits for a loss, and none was given; pass loss=."
            self._notes.failures.note(self.last_step or 0, why)
        self._finished = True
        with self._clock.charged():
            self._write()
        _LOG.info("recorder %r: %s", self._identity.name, self.overhead)
        return self.overhead

    def compute(self) -> Recording:
        """Return what was recorded so far, and write what is not written.

        Raises:
            InputError: If no step was offered yet.
        """
        if self.last_step is None:
            raise InputError("recorder: nothing was recorded; wanted update(model, step=…) after every step.")
        with self._clock.charged():
            self._write()
        return Recording(
            self.run_id,
            rows=self._rows(),
            measurements=dict(self._notes.kept),
            failures=self._notes.failures.all,
            overhead=self.overhead,
            initial_step=self._watch.initial_step,
        )

    def merge(self, other: "Recorder") -> None:
        """Add what another recorder measured at the same steps of the same training, on other examples.

        Definition:
            The sums are added, so that the result is what one recorder would have of all examples, up to rounding. A
            step that failed in either is failed. Loss, times and name stay those of this recorder.

        Conventions:
            With `Signs` each needs a seed of its own, unless they are ``shared``.

        Args:
            other: The other; it is not changed.

        Raises:
            InputError: If the steps differ, measurements were not kept, or those of a step do not fit together; then
                nothing is changed.
        """
        self._notes.merge(other._notes)
        with self._clock.charged():
            self._write()

    def __enter__(self) -> "Recorder":
        """Return the recorder itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Finish, whether the training came to its end or broke off."""
        self.finish()

    def _offer(self, model: nn.Module, batch: Batch | None, step: int, loss: Loss | None, *, always: bool) -> bool:
        self._clock.start()
        try:
            if not self.has_probe and batch is None:
                raise InputError("recorder: has no probe and got no batch; wanted one of them; pass Recorder(probe=…).")
            refuse_many(loss)
            loss = self._loss if loss is None and step == self.last_step else loss
            due = self._timetable.due(step, number_of(loss) if self._timetable.schedule.needs_loss else None) or always
            known = self._notes.moments.get(step)
            if known is not None:  # without a probe this is one more batch for the step
                due = not self.has_probe and not known.failure
            self._loss = loss.detach() if isinstance(loss, Tensor) else loss
            if due:
                self._clock.restart_once_idle(model)
                self._measure(model, batch, step, number_of(loss))
                self._write(now=False)
            return due and not self._notes.moments[step].failure
        finally:
            self._clock.stop()

    def _measure(self, model: nn.Module, batch: Batch | None, step: int, loss: float | None) -> None:
        try:
            self._notes.add(step, self._watch.measure(model, batch, step))
        except Exception as error:  # whatever it is, it must not end the training
            self._notes.fail(step, error)
        self._notes.complete(step, loss, self._clock.so_far())
        self._finished = False

    def _write(self, *, now: bool = True) -> None:
        if self._journal is None or self._notes.last is None:
            return
        try:
            self._journal.write(self.run_id, self._rows, self._entry, now=now)
        except Exception as error:  # a full disk must not end the training either
            self._notes.not_written(error)

    def _rows(self) -> tuple[Row, ...]:
        return self._notes.rows(self._identity, self._watch.order)

    def _entry(self) -> dict[str, object]:
        """Return what the side file of the store says."""
        more = {"initial_step": self._watch.initial_step, "overhead": self.overhead.told(), "finished": self._finished}
        return {**self._identity.told(), **self._notes.told(), **more}
