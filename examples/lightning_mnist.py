"""Watch a training by Lightning: a convolutional network on 5,000 MNIST digits. One minute; `make integrations` first.

python examples/lightning_mnist.py
"""

from pathlib import Path

import lightning.pytorch as pl
import torch
from recorded import print_recording
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ansatzlab import Signs
from ansatzlab.data.registry import load
from ansatzlab.integrations.lightning import AnsatzCallback
from ansatzlab.training.moments import Every
from ansatzlab.training.recorder import Recorder
from ansatzlab.training.recording import Recording

PROBE, BATCH, STEPS = 64, 64, 400


class Digits(pl.LightningModule):
    """Two convolutions with batch normalisation, two dense layers with dropout."""

    def __init__(self) -> None:
        """Build the network."""
        super().__init__()
        convolutions = [nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3)]
        dense = [nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(800, 64), nn.ReLU(), nn.Dropout(0.2)]
        self.net = nn.Sequential(*convolutions, *dense, nn.Linear(64, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.net(images)
        return logits

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        del batch_idx
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), lr=0.001)


def main(steps: int = STEPS, folder: Path | None = None, size: int | None = None) -> Recording:
    """Train with the callback; with a folder its rows and TensorBoard's events are written there."""
    pl.seed_everything(0, verbose=False)
    digits = load("mnist", seed=0, size=size)
    images, labels = digits.inputs.float().reshape(-1, 1, 28, 28), digits.targets.argmax(1)
    order = torch.randperm(len(images))
    probe, rest = order[:PROBE], order[PROBE:]
    store = None if folder is None else folder / "store"
    recorder = Recorder(images[probe], schedule=Every(100), seeds=Signs(1), folder=store, name="MNIST by Lightning")
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[AnsatzCallback(recorder)],
        logger=False if folder is None else pl.loggers.TensorBoardLogger(folder, name="events"),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Digits(), DataLoader(TensorDataset(images[rest], labels[rest]), BATCH, shuffle=True))
    return recorder.compute()


if __name__ == "__main__":
    print_recording("MNIST by Lightning", main())
