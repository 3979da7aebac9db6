"""What the callbacks of other people's trainers share: when a recorder is called, and what is then logged."""

import math

from torch import nn

from ansatzlab.errors import InputError
from ansatzlab.training.notes import Loss
from ansatzlab.training.probe import unwrapped
from ansatzlab.training.recorder import Recorder

OVERHEAD = "ansatz/overhead_percent"
"""The name under which the recorder's share of the training time is logged at the end."""


def refuse_without_probe(recorder: Recorder) -> None:
    """Refuse a recorder that would have to be given its batches.

    Raises:
        InputError: If it has no probe.
    """
    if not recorder.has_probe:
        raise InputError(
            "AnsatzCallback: got a Recorder without a probe; wanted the examples to measure on; pass Recorder(probe=…)."
        )


def begin(recorder: Recorder, model: nn.Module, step: int) -> dict[str, float]:
    """Measure the start of a training; a recorder that has seen a longer one starts anew.

    Args:
        recorder: The recorder.
        model: The network.
        step: How many steps it has been trained for.

    Returns:
        What to log.

    Raises:
        ModelError: If the network is spread over several processes: before the training, where it does no harm.
    """
    unwrapped(model)
    if recorder.last_step is not None and step < recorder.last_step:
        recorder.reset()
    return follow(recorder, model, step)


def follow(recorder: Recorder, model: nn.Module, step: int, loss: Loss | None = None) -> dict[str, float]:
    """Offer a step; return what to log, which is nothing unless it was measured."""
    return recorder.scalars if recorder.update(model, step=step, loss=loss) else {}


def end(recorder: Recorder, model: nn.Module, step: int, loss: Loss | None = None) -> dict[str, float]:
    """Measure the end of a training if it was not; return what to log, the overhead among it."""
    before = recorder.overhead.measured
    overhead = recorder.finish(model, step=step, loss=loss)
    logged = recorder.scalars if overhead.measured > before else {}
    return logged if math.isnan(overhead.share) else {**logged, OVERHEAD: 100 * overhead.share}
