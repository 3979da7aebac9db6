"""What a measurement returns: sums and weights of every layer, and why the others are not there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.measurement.layer import LayerMeasurement


@dataclass(frozen=True)
class Measurement(Mapping[str, LayerMeasurement]):
    """Every measured layer by name, and why the others are not here.

    Attributes:
        layers: The measured layers, in the model's order.
        skipped: Every other module that holds parameters of its own, with the reason.
        outputs: Which outputs were differentiated, in words.
    """

    layers: Mapping[str, LayerMeasurement]
    skipped: Mapping[str, str]
    outputs: str = field(default="", compare=False)

    def __getitem__(self, name: str) -> LayerMeasurement:
        """Return the layer of this name.

        Raises:
            UnknownNameError: If it was not measured.
        """
        if name not in self.layers:
            reason = f" (skipped: {self.skipped[name]})" if name in self.skipped else ""
            raise UnknownNameError("layer", f"{name}{reason}", self.layers)
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the layers."""
        return iter(self.layers)

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.layers)

    def __add__(self, other: "Measurement") -> "Measurement":
        """Merge two measurements of the same network on different examples.

        Definition:
            The result equals one measurement of all examples, up to rounding.

        Raises:
            InputError: If they hold different layers, weights, or kinds of sums.
        """
        if list(self.layers) != list(other.layers):
            raise InputError(
                f"merging measurements: got layers {list(self.layers)} and {list(other.layers)}; wanted the same; pass "
                "the same layers= to both."
            )
        merged = {name: layer.merged(other.layers[name]) for name, layer in self.layers.items()}
        return Measurement(layers=merged, skipped=self.skipped, outputs=self.outputs)

    def rows(self) -> list[dict[str, object]]:
        """Return one row per layer, ready for a table."""
        return [layer.row() for layer in self.layers.values()]

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything to one safetensors file (see `ansatzlab.measurement.storage`)."""
        from ansatzlab.measurement.storage import save

        save(self, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> "Measurement":
        """Read what `save` wrote, on any machine."""
        from ansatzlab.measurement.storage import load

        return load(path)
