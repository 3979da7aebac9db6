"""What watching a training costs it: a Recorder every 100 steps, with one random sign, beside an MNIST CNN."""

from collections.abc import Iterator
from statistics import median
from time import perf_counter, process_time

import torch
from torch import Tensor, nn

from ansatzlab import Signs
from ansatzlab.data.registry import load
from ansatzlab.training.moments import Every
from ansatzlab.training.recorder import Recorder
from benchmarks.timing import Row

BATCH, EVERY, STEPS, TURN, REPEATS = 64, 100, 100, 5, 5
PROBES = (32, 64, 128)
"""How many examples are measured on: half a training batch, one, two."""


def network() -> nn.Sequential:
    """Return the architecture of examples/digit_cnn.py: 390,410 parameters, five layers to measure."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for narrow, wide in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(narrow, wide, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1152, 256), nn.ReLU(), nn.Linear(256, 10))


def images() -> tuple[Tensor, Tensor]:
    data = load("mnist", seed=0)
    order = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(0))
    return data.inputs[order].float().reshape(-1, 1, 28, 28), data.targets[order].argmax(1)


class Training:
    """A training that can be gone on with, so that one with and one without a recorder can take turns."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.inputs, self.labels = inputs, labels
        self.model, self.done = network(), 0
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        self.generator = torch.Generator().manual_seed(0)
        self.wall_seconds = self.recording_seconds = 0.0

    def go_on(self, recorder: Recorder | None) -> float:
        """Train some steps and return the processor's seconds, which other programs on the machine do not add to."""
        start, began = process_time(), perf_counter()
        for _ in range(TURN):
            rows = torch.randint(len(self.inputs), (BATCH,), generator=self.generator)
            loss = nn.functional.cross_entropy(self.model(self.inputs[rows]), self.labels[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.done += 1
            if recorder is not None:
                called = process_time()
                recorder.update(self.model, step=self.done, loss=loss)
                self.recording_seconds += process_time() - called
        self.wall_seconds += perf_counter() - began
        return process_time() - start


def compare(probe: Tensor, inputs: Tensor, labels: Tensor, *, init_removed: bool = True) -> Row:
    """Train with and without a recorder by turns; it has measured before, since its first measurement checks itself."""
    plain, watched = Training(inputs, labels), Training(inputs, labels)
    recorder = Recorder(probe, schedule=Every(EVERY), seeds=Signs(1), init_removed=init_removed)
    recorder.update(watched.model, step=0)
    first = recorder.overhead.recording_seconds
    pairs = []
    for _ in range(REPEATS):
        turns = [(plain.go_on(None), watched.go_on(recorder)) for _ in range(STEPS // TURN)]
        pairs.append(tuple(sum(each) for each in zip(*turns, strict=True)))
    for one, other in zip(plain.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(one, other), "the recorder changed the training"
    told, inside = recorder.overhead.recording_seconds - first, watched.recording_seconds
    without, with_recorder = (median(each) for each in zip(*pairs, strict=True))
    training = watched.wall_seconds - told
    return {
        "benchmark": f"training with a Recorder, Every({EVERY}), Signs(1), against without",
        "case": f"MNIST CNN, batch {BATCH}, probe {len(probe)}{'' if init_removed else ', without W − W₀'}",
        "slow_seconds": without,
        "our_seconds": with_recorder,
        "ratio": without / with_recorder,
        "notes": {
            "added_percent": 100 * median(other / one - 1 for one, other in pairs),
            "inside_percent": 100 * inside / (sum(other for _, other in pairs) - inside),
            "told_percent": 100 * told / training,
            "first_in_steps": first / (training / watched.done),
            "alignment_error": recorder.compute().rows[-1]["recorded_alignment_error"],
        },
    }


def run() -> Iterator[Row]:
    inputs, labels = images()
    for size in PROBES:
        yield compare(inputs[:size], inputs[512:], labels[512:])
    yield compare(inputs[: PROBES[0]], inputs[512:], labels[512:], init_removed=False)
