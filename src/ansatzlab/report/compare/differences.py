"""In what two sides of a comparison differ before any number is looked at."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.seeds import LossGradient, Output, Seeds, Signs

Part = Literal["reading", "gradients", "measuring", "network"]
"""Of what a difference is: how sums are read, of what gradients they are, how and on what they were taken, the rest."""

DEFAULT = Convention(0.5)
"""How layers are read of which it is not said how."""

FACTS: Mapping[str, Part] = {
    "data": "measuring",
    "network": "network",
    "weights": "network",
    "initial weights": "network",
    "ansatzlab": "network",
    "torch": "network",
}
"""The facts of a measurement that are compared, and what they are of."""

_SHOWN = 3  # of more values the first and the last are told


@dataclass(frozen=True)
class Difference:
    """Something in which two sides differ.

    Attributes:
        what: What it is.
        first: Of the first side.
        second: Of the second.
        part: Of what it is a difference.
    """

    what: str
    first: str
    second: str
    part: Part


@dataclass(frozen=True)
class Side:
    """One of two measurements.

    Attributes:
        measurement: The measurement.
        conventions: How each layer is read, by its name; `DEFAULT` where nothing is said.
        facts: Provenance, name to value; those of `FACTS` are compared.
    """

    measurement: Measurement
    conventions: Mapping[str, Sequence[Convention]]
    facts: Mapping[str, str]

    def of(self, layer: str) -> tuple[Convention, ...]:
        """Return the conventions of a layer, at least one."""
        return tuple(self.conventions.get(layer, ())) or (DEFAULT,)


_READING: Mapping[str, Callable[[Convention], str]] = {
    "exponent": lambda each: f"{each.exponent:.6g}",
    "comparator": lambda each: each.comparator,
    "mean gradient": lambda each: "taken out" if each.centered else "kept",
    "weights in the ansatz": lambda each: "W − W₀" if each.init_removed else "W",
}

_MEASURING: Mapping[str, tuple[Part, Callable[[LayerMeasurement], str]]] = {
    "gradients": ("gradients", lambda layer: _of_what(layer.seeds)),
    "directions": ("measuring", lambda layer: _directions(layer.seeds)),
    "examples": ("measuring", lambda layer: _examples(layer)),
    "positions an example": ("measuring", lambda layer: f"{layer.positions:.6g}"),
    "dtype of the gradients": ("measuring", lambda layer: str(layer.gradient_dtype).removeprefix("torch.")),
    "accumulation": ("measuring", lambda layer: "factor" if layer.sums.is_factor else "gram"),
}


def differences_of(first: Side, second: Side, layers: Sequence[str]) -> tuple[Difference, ...]:
    """Return in what two measurements differ, the convention first.

    Args:
        first: The first.
        second: The second.
        layers: The layers that are looked at.

    Returns:
        The differences: of the reading, of the gradients, of the measuring, of the network.
    """
    found: list[Difference] = []
    for what, read in _READING.items():
        one, other = (_told(read(each) for name in layers for each in side.of(name)) for side in (first, second))
        found.append(Difference(what, one, other, "reading"))
    found.append(Difference("outputs", first.measurement.outputs, second.measurement.outputs, "gradients"))
    for what, (part, say) in _MEASURING.items():
        one, other = (_told(say(side.measurement[name]) for name in layers) for side in (first, second))
        found.append(Difference(what, one, other, part))
    for what, part in FACTS.items():
        found.append(Difference(what, first.facts.get(what, ""), second.facts.get(what, ""), part))
    order: tuple[Part, ...] = ("reading", "gradients", "measuring", "network")
    differing = [each for each in found if each.first != each.second]
    return tuple(sorted(differing, key=lambda each: order.index(each.part)))


def _told(values: Iterable[str]) -> str:
    """Say the values that layers have, each once; of many the first and the last."""
    known = list(dict.fromkeys(values))
    return ", ".join(known) if len(known) <= _SHOWN else f"{known[0]} … {known[-1]}"


def _of_what(seeds: Seeds) -> str:
    if isinstance(seeds, LossGradient):
        return "of a loss"
    return f"of output {seeds.index}" if isinstance(seeds, Output) else "of every output"


def _directions(seeds: Seeds) -> str:
    if isinstance(seeds, Signs):
        shared = ", shared by all examples" if seeds.shared else ""
        return f"{seeds.count} random signs, seed {seeds.seed}{shared}"
    return "exact"


def _examples(layer: LayerMeasurement) -> str:
    weighted = not math.isclose(layer.sums.weight_total, layer.sums.examples)
    return f"{layer.sums.examples}{f', of weight {layer.sums.weight_total:.6g}' if weighted else ''}"


def without_nan(value: object) -> object:
    """Return a value as what JSON can hold: numbers that are not finite become None, tuples lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): without_nan(each) for name, each in value.items()}
    return [without_nan(each) for each in value] if isinstance(value, list | tuple) else value
