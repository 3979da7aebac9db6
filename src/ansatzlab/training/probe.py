"""Measuring one network on the same examples several times while it trains, without leaving a trace."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from ansatzlab.errors import InputError, ModelError
from ansatzlab.measurement.hooks import in_evaluation
from ansatzlab.measurement.layers import InitialWeights, Selector, select_layers
from ansatzlab.measurement.outputs import Batch, OutputPicker, as_batches, batch_size
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Seeds, Signs
from ansatzlab.training.recording import Order

APART = 1_000_003
"""How far the seeds of a step's batches lie apart, so that no other recorder of the same training has one of them."""


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


@final
@dataclass
class Watch:
    """One measurement, to be made at several moments of a training.

    Attributes:
        probe: The examples; None if they are given each time.
        layers: As of `ansatzlab.measure`; so are ``seeds`` and ``output``.
        seeds: Which combinations of outputs are differentiated.
        output: Picks the output tensor.
        initial: W₀: a state dict, or the network before training; None for the weights at the first moment at which
            there are any: a lazy network has none before its first call.
        initial_step: The step whose weights W₀ is; None if it was given, or is not known yet.
        order: Where the layers stand in the network, once it was measured.
    """

    probe: Probe | None
    layers: Selector
    seeds: Seeds
    output: OutputPicker
    initial: Mapping[str, Any] | nn.Module | None
    initial_step: int | None = None
    order: Order = Order()  # noqa: RUF009 - frozen
    _weights: InitialWeights = field(default_factory=InitialWeights)
    _checked: bool = False
    _batches: tuple[int, int] = (-1, 0)

    def renewed(self) -> "Watch":
        """Return the same measurement, for another training."""
        return Watch(self.probe, self.layers, self.seeds, self.output, self.initial)

    def measure(self, model: nn.Module, batch: Batch | None, step: int) -> Measurement:
        """Measure the network as it is now, in evaluation mode.

        The measurement checks itself until it once came through, and not again: that costs a few passes. W₀ is taken
        before anything can fail. Each batch of a step has random signs of its own, unless these are shared.

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
        with in_evaluation(network):
            initial = self._initial_for(network, step)
            probe = Probe.of([batch]) if self.probe is None else self.probe
            measured = measure(
                network,
                probe.beside(network).batches,
                layers=self.layers,
                seeds=self._next_seeds(step),
                output=self.output,
                initial=initial,
                check="never" if self._checked else "first",
            )
            if not self._checked:
                self._checked, self.order = True, order_of(network, measured)
        return measured

    def _next_seeds(self, step: int) -> Seeds:
        """Return the seeds for one more batch of a step; those of the first are the given ones."""
        last, count = self._batches
        self._batches = step, count + 1 if step == last else 0
        if not isinstance(self.seeds, Signs) or self.seeds.shared:
            return self.seeds
        return replace(self.seeds, seed=self.seeds.seed + APART * self._batches[1])

    def _initial_for(self, network: nn.Module, step: int) -> InitialWeights | None:
        """Return W₀ where the weights are, None at the moment whose weights it is; the first time keep it."""
        if not self._weights:
            self._weights = self._first_weights(network)
            self.initial_step = step if self.initial is None else None
        if step == self.initial_step:
            return None
        places = {name: attrgetter(name)(network).device for name in self._weights}
        return InitialWeights({name: weight.to(places[name]) for name, weight in self._weights.items()})

    def _first_weights(self, network: nn.Module) -> InitialWeights:
        if not isinstance(self.initial, Mapping):
            return _weights_of(network if self.initial is None else unwrapped(self.initial), self.layers)
        names = _weights_of(network, self.layers)
        given = self.initial
        return InitialWeights({name: given[name].detach().cpu().clone() for name in names if name in given})


@torch.no_grad()
def _weights_of(network: nn.Module, layers: Selector) -> InitialWeights:
    """Copy the weights of the measured layers, and nothing else, to the CPU."""
    chosen, _ = select_layers(network, layers)
    return InitialWeights({each.parameter_name: each.parameter.detach().cpu().clone() for each in chosen.values()})


def order_of(network: nn.Module, measured: Measurement) -> Order:
    """Return where the layers stand among all that the network has.

    Its depth is known if it is a chain of weight matrices that were all measured, as `torch.nn.Sequential` makes one
    of modules with one matrix each, and between them modules that have no more than vectors for weights.
    """
    known, _ = select_layers(network, None)
    row = dict(_in_row(network))
    between = [module for name, module in row.items() if name not in measured]
    is_chain = [name for name in row if name in measured] == list(measured) and not any(
        parameter.ndim > 1 for module in between for parameter in module.parameters()
    )
    return Order({name: place for place, name in enumerate(known, start=1)}, len(measured) if is_chain else 0)


def _in_row(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Go through the modules that are called one after the other, by name; one that is called twice comes twice."""
    if not isinstance(module, nn.Sequential) or type(module).forward is not nn.Sequential.forward:
        yield name, module
        return
    for key, part in module._modules.items():
        if part is not None:
            yield from _in_row(part, f"{name}.{key}" if name else key)
