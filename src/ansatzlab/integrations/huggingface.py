"""A callback for Hugging Face's Trainer; needs ``pip install 'ansatzlab[huggingface]'``."""

# ruff: noqa: ARG002 - the arguments are those that the trainer gives
# ruff: noqa: ANN401

from typing import Any, final

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ansatzlab.training.callback import begin, end, follow, refuse_without_probe
from ansatzlab.training.recorder import Recorder


@final
class AnsatzCallback(TrainerCallback):
    """Record a training by Hugging Face's Trainer: its start, the recorder's moments, its end.

    Conventions:
        Steps are those of ``state.global_step``. A step is measured when the next one begins, after whatever the
        trainer does at its end, so that the loss that it logs there is known: a row has a loss where the trainer logged
        one at its step, the mean since its last log. Of several processes the first one measures. Where the best model
        is loaded at the end, the end is not measured unless the training came to it by its number of steps.

    Args:
        recorder: What to measure and where to write it; it needs a probe. `Recorder.compute` gives what was recorded.

    Raises:
        InputError: If the recorder has no probe.
    """

    def __init__(self, recorder: Recorder) -> None:
        """Take a recorder."""
        super().__init__()
        refuse_without_probe(recorder)
        self.recorder = recorder
        self._trainer: Trainer | None = None
        self._logged: tuple[int, float] | None = None
        self._ended = False

    def attach(self, trainer: Trainer) -> "AnsatzCallback":
        """Add the callback to a trainer, and let it log through it.

        A callback that is only passed in ``callbacks=`` records, but does not know the trainer and cannot log.

        Args:
            trainer: The trainer.

        Returns:
            The callback itself.
        """
        self._trainer = trainer
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        return self

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **event: Any
    ) -> None:
        """Measure the start.

        Raises:
            ModelError: If the network is sharded over several processes.
        """
        self._logged, self._ended = None, False
        if state.is_world_process_zero:
            self._log(control, begin(self.recorder, event["model"], state.global_step))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **event: Any
    ) -> None:
        """Offer the step that has just been done."""
        if state.is_world_process_zero:
            loss = self._loss(state.global_step)
            self._log(control, follow(self.recorder, event["model"], state.global_step, loss))

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **event: Any) -> None:
        """Keep the loss that the trainer logs."""
        if "loss" in event["logs"]:
            self._logged = state.global_step, event["logs"]["loss"]

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **event: Any) -> None:
        """Measure the end and log what it cost, while the trainer's loggers are still there."""
        if control.should_training_stop and state.is_world_process_zero:
            self._ended = True
            loss = self._loss(state.global_step)
            self._log(control, end(self.recorder, event["model"], state.global_step, loss))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **event: Any) -> None:
        """Write what is not written of a training that something stopped behind its last epoch."""
        if state.is_world_process_zero and not self._ended:
            self.recorder.finish(None if args.load_best_model_at_end else event["model"], step=state.global_step)

    def _loss(self, step: int) -> float | None:
        """Return the loss that the trainer logged at a step."""
        return self._logged[1] if self._logged is not None and self._logged[0] == step else None

    def _log(self, control: TrainerControl, scalars: dict[str, float]) -> None:
        """Log through the trainer, which then takes its own log of this step for done; let that still come."""
        if self._trainer is not None and scalars:
            due = control.should_log
            self._trainer.log(dict(scalars))
            control.should_log = due
