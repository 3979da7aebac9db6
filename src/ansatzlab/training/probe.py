"""Measuring one network on the same examples several times while it trains, without leaving a trace."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from ansatzlab.errors import InputError, ModelError
from ansatzlab.measurement.layers import Selector, select_layers
from ansatzlab.measurement.outputs import Batch, OutputPicker, as_batches, batch_size
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Seeds


@final
@dataclass(frozen=True, eq=False)
class Probe:
    """Examples that stay the same, as batches.

    Attributes:
        batches: The batches.
        examples: How many examples they hold.
    """

    batches: tuple[Batch, ...]
    examples: int

    @classmethod
    def of(cls, batches: Iterable[Batch] | Batch) -> "Probe":
        """Copy what `ansatzlab.measure` takes as batches: a loader is gone through once, its order then stays.

        Torch's random state is left as it was, although a loader draws from it.

        Args:
            batches: The batches.

        Returns:
            The probe.

        Raises:
            InputError: If there is no batch, or one holds no examples or numbers that are not finite.
        """
        with torch.random.fork_rng(devices=[]):
            copied = tuple(_each_tensor(batch, lambda tensor: tensor.detach().clone()) for batch in as_batches(batches))
        if not copied:
            raise InputError("Recorder(probe=): got no batch; wanted at least one; an iterator may be used up already.")
        return cls(copied, sum(batch_size(batch, index) for index, batch in enumerate(copied)))

    def beside(self, model: nn.Module) -> "Probe":
        """Put the batches where a network is: on its device, floating-point numbers in its dtype.

        Both are those of its first floating-point parameter.
        """
        home = next((p for p in model.parameters() if p.is_floating_point()), None)
        return self if home is None else Probe(tuple(_beside(batch, home) for batch in self.batches), self.examples)


def _each_tensor(batch: object, change: Callable[[Tensor], Tensor]) -> Batch:
    """Return a batch with its tensors changed; what else it holds stays."""
    if isinstance(batch, Mapping):
        return {key: change(value) if isinstance(value, Tensor) else value for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(change(value) if isinstance(value, Tensor) else value for value in batch)
    if not isinstance(batch, Tensor):
        raise InputError(
            f"Recorder(probe=): got a batch that is a {type(batch).__name__}; wanted a tensor, a tuple whose first "
            "item is the input, or a dict of keywords."
        )
    return change(batch)


def _beside(batch: Batch, home: Tensor) -> Batch:
    return _each_tensor(
        batch, lambda tensor: tensor.to(home.device, home.dtype if tensor.is_floating_point() else tensor.dtype)
    )


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network itself from inside the wrappers of data-parallel training and of ``torch.compile``.

    Args:
        model: The network, wrapped or not.

    Returns:
        The network, whose layers have the names that its maker gave them.

    Raises:
        ModelError: If its parameters are spread over several processes, so that none of these has the weights.
    """
    while True:
        if isinstance(model, DataParallel | DistributedDataParallel):
            model = model.module
        elif type(model).__name__ == "OptimizedModule":
            model = model.get_submodule("_orig_mod")
        else:
            break
    for name, module in model.named_modules():
        if type(module).__name__ == "FullyShardedDataParallel":
            raise _sharded(name or type(model).__name__)
    for name, parameter in model.named_parameters():
        if type(parameter.data).__name__ == "DTensor" or hasattr(parameter, "ds_id"):  # FSDP 2, DeepSpeed ZeRO 3
            raise _sharded(name)
    return model


def _sharded(name: str) -> ModelError:
    return ModelError(
        f"recorder: {name!r} is sharded over several processes; wanted a network that one process holds whole; measure "
        "checkpoints instead, gathered, with ansatzlab.measure."
    )


@contextmanager
def in_evaluation(model: nn.Module) -> Iterator[None]:
    """Have every module in evaluation mode inside the ``with``, and each in its own mode again behind it.

    The flags are set one by one: ``train()`` and ``eval()``, which a network may have overridden, are not called.
    """
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


@final
@dataclass
class Watch:
    """One measurement, to be made at several moments of a training.

    Attributes:
        probe: The examples; None if they are given each time.
        layers: As of `ansatzlab.measure`; so are ``seeds`` and ``output``.
        seeds: Which combinations of outputs are differentiated.
        output: Picks the output tensor.
        initial: W₀: a state dict, or the network before training; None for the weights at the first moment.
    """

    probe: Probe | None
    layers: Selector
    seeds: Seeds
    output: OutputPicker
    initial: Mapping[str, Any] | nn.Module | None
    _weights: dict[str, Tensor] = field(default_factory=dict)
    _start: int | None = None
    _checked: bool = False

    def renewed(self) -> "Watch":
        """Return the same measurement, for another training."""
        return Watch(self.probe, self.layers, self.seeds, self.output, self.initial)

    def measure(self, model: nn.Module, batch: Batch | None, step: int) -> Measurement:
        """Measure the network as it is now, in evaluation mode.

        The measurement checks itself until it once came through, and not again: that costs a few passes.

        Args:
            model: The network, wrapped or not.
            batch: What to measure on, without a probe.
            step: The moment.

        Returns:
            The measurement; with W₀ in it but at the moment whose weights W₀ is.

        Raises:
            AnsatzError: If it cannot be measured.
        """
        network = unwrapped(model)
        probe = Probe.of([batch]) if self.probe is None else self.probe
        with in_evaluation(network):
            measured = measure(
                network,
                probe.beside(network).batches,
                layers=self.layers,
                seeds=self.seeds,
                output=self.output,
                initial=self._initial_for(network, step),
                check="never" if self._checked else "first",
            )
        self._checked = True
        return measured

    def _initial_for(self, network: nn.Module, step: int) -> Mapping[str, Tensor] | None:
        """Return W₀ where the weights are, None at the moment whose weights it is; the first time keep it."""
        if not self._weights:
            self._weights = self._first_weights(network)
            self._start = step if self.initial is None else None
        if step == self._start:
            return None
        return {name: weight.to(attrgetter(name)(network).device) for name, weight in self._weights.items()}

    def _first_weights(self, network: nn.Module) -> dict[str, Tensor]:
        if not isinstance(self.initial, Mapping):
            return _weights_of(network if self.initial is None else unwrapped(self.initial), self.layers)
        names = _weights_of(network, self.layers)
        return {name: self.initial[name].detach().cpu().clone() for name in names if name in self.initial}


@torch.no_grad()
def _weights_of(network: nn.Module, layers: Selector) -> dict[str, Tensor]:
    """Copy the weights of the measured layers, and nothing else, to the CPU."""
    chosen, _ = select_layers(network, layers)
    return {layer.parameter_name: layer.parameter.detach().cpu().clone() for layer in chosen.values()}
