"""Watch a training in a loop of one's own: a perceptron on scikit-learn's 1,797 digits. Half a minute.

python examples/plain_loop.py
ansatz measure examples/plain_loop.py:model --data examples/plain_loop.py:data     # the same network, trained
"""

from pathlib import Path

import torch
from recorded import print_recording
from torch import Tensor, nn

from ansatzlab import Signs
from ansatzlab.data.registry import load
from ansatzlab.training.moments import LogSpaced
from ansatzlab.training.recorder import Recorder
from ansatzlab.training.recording import Recording

RATE, DECAY, BATCH, STEPS = 0.05, 0.003, 64, 2000


def data() -> list[Tensor]:
    """Return the digits that are measured on, which are not trained on."""
    return [load("digits").inputs[:256].float()]


def train(recorder: Recorder | None = None, steps: int = STEPS) -> nn.Module:
    """Train, and let the recorder see every step."""
    digits, generator = load("digits"), torch.Generator().manual_seed(0)
    inputs, targets = digits.inputs[256:].float(), digits.targets[256:].argmax(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=DECAY)
    if recorder is not None:
        recorder.update(model, step=0)
    for step in range(1, steps + 1):
        rows = torch.randint(len(inputs), (BATCH,), generator=generator)
        loss = nn.functional.cross_entropy(model(inputs[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if recorder is not None:
            recorder.update(model, step=step, loss=loss)
    return model.eval()


def model() -> nn.Module:
    """Return the trained network."""
    return train()


def main(steps: int = STEPS, folder: Path | None = None) -> Recording:
    """Train with a recorder; with a folder its rows are written there."""
    recorder = Recorder(
        data(),
        schedule=LogSpaced(12, last=steps),
        seeds=Signs(1),
        folder=folder,
        name="digits in a plain loop",
        settings={"data": "digits", "optimizer": "heavy_ball", "learning_rate": RATE, "weight_decay": DECAY},
    )
    with recorder:
        train(recorder, steps)
    return recorder.compute()


if __name__ == "__main__":
    print_recording("digits", main())
