"""A callback for Lightning's Trainer; needs ``pip install 'ansatzlab[lightning]'``."""

from typing import Any, final

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from ansatzlab.training.callback import begin, end, follow, refuse_without_probe
from ansatzlab.training.recorder import Recorder


@final
class AnsatzCallback(Callback):
    """Record a training by Lightning: its start, the recorder's moments, its end.

    Conventions:
        Steps are those of ``trainer.global_step``: of the optimisers, not batches; under accumulation the loss is that
        of the step's last batch. Every logger of the trainer is given the recorder's scalars at these steps, as
        ``ansatz/<layer>/alignment`` and so on, whatever ``log_every_n_steps`` is. Of several processes the first one
        measures, while the others wait for it.

    Args:
        recorder: What to measure and where to write it; it needs a probe. `Recorder.compute` gives what was recorded.
        module: The name of the submodule that is measured, if the LightningModule's ``forward`` is not the network.

    Raises:
        InputError: If the recorder has no probe.
    """

    def __init__(self, recorder: Recorder, *, module: str = "") -> None:
        """Take a recorder."""
        super().__init__()
        refuse_without_probe(recorder)
        self.recorder = recorder
        self._module = module

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the start.

        Raises:
            ModelError: If the network is sharded over several processes.
        """
        if trainer.is_global_zero:
            _log(trainer, begin(self.recorder, self._network(pl_module), trainer.global_step))

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Any,  # noqa: ANN401, ARG002 - as Lightning calls it
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Offer the step."""
        if trainer.is_global_zero:
            loss = _loss(trainer, pl_module, outputs)
            _log(trainer, follow(self.recorder, self._network(pl_module), trainer.global_step, loss))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the end, write, and tell what it cost."""
        if trainer.is_global_zero:
            _log(trainer, end(self.recorder, self._network(pl_module), trainer.global_step))
            rank_zero_info(f"ansatzlab: {self.recorder.overhead}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        """Write what was recorded until a training broke off."""
        if trainer.is_global_zero:
            self.recorder.finish()

    def _network(self, pl_module: LightningModule) -> nn.Module:
        network: nn.Module = pl_module.get_submodule(self._module)
        return network


def _log(trainer: Trainer, scalars: dict[str, float]) -> None:
    for logger in trainer.loggers if scalars else ():
        logger.log_metrics(scalars, step=trainer.global_step)


def _loss(trainer: Trainer, pl_module: LightningModule, outputs: object) -> Tensor | None:
    """Return the loss of a batch; Lightning has divided it by the number of batches of a step."""
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        return None
    return loss * trainer.accumulate_grad_batches if pl_module.automatic_optimization else loss
