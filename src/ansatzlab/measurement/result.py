"""What a measurement returns: sums and weights of every layer, and why the others are not there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import nan
from os import PathLike

import torch
from torch import Tensor

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
        merged = {name: merge_layers(layer, other.layers[name]) for name, layer in self.layers.items()}
        return Measurement(layers=merged, skipped=self.skipped, outputs=self.outputs)

    def rows(self) -> list[dict[str, object]]:
        """Return one row per layer, ready for a table."""
        return [layer_row(layer) for layer in self.layers.values()]

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything to one safetensors file (see `ansatzlab.measurement.storage`)."""
        from ansatzlab.measurement.storage import save

        save(self, path)

    @staticmethod
    def load(path: str | PathLike[str]) -> "Measurement":
        """Read what `save` wrote, on any machine."""
        from ansatzlab.measurement.storage import load

        return load(path)


def merge_layers(first: LayerMeasurement, second: LayerMeasurement) -> LayerMeasurement:
    """Merge the same layer measured on different examples.

    Raises:
        InputError: If the weights differ or the sums do not fit.
    """
    if not _same(first.blocks, second.blocks) or not _same(first.initial, second.initial):
        raise InputError(
            f"merging measurements: layer {first.name!r} has other weights in the second measurement; wanted the "
            "same network, and the same initial weights, on other examples; measure both parts at the same moment "
            "of training with the same arguments."
        )
    return replace(
        first,
        sums=first.sums + second.sums,
        gradient_dtype=max(first.gradient_dtype, second.gradient_dtype, key=lambda dtype: torch.finfo(dtype).eps),
        is_last=first.is_last and second.is_last,
        start=merge_layers(first.start, second.start) if first.start and second.start else None,
    )


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def layer_row(layer: LayerMeasurement) -> dict[str, object]:
    """Return the layer as a row of a table: its spectrum against M, its best exponent, the counts behind them."""
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "outputs": layer.height,
        "inputs": layer.blocks.shape[-1],
        "groups": layer.groups,
        "examples": layer.sums.examples,
        "positions": layer.positions,
        **_read_out(layer),
        "tautological": layer.tautological,
    }


def _read_out(layer: LayerMeasurement) -> dict[str, object]:
    """Return the columns that come from the spectrum: without numbers where the gradients are too coarse for one."""
    try:
        spectrum, fit = layer.spectrum(), layer.fit_exponent()
    except InputError as error:
        missing = ("best_exponent", "best_exponent_low", "best_exponent_high", "best_exponent_error", "best_residual")
        return {
            "rank": 0,
            "eigenvalues": [],
            "energies": [],
            "off_energy": nan,
            **dict.fromkeys(missing, nan),
            "not_identifiable": str(error),
        }
    return {
        "rank": spectrum.rank,
        "eigenvalues": spectrum.eigenvalues.tolist(),
        "energies": spectrum.energies.tolist(),
        "off_energy": spectrum.off_energy,
        "best_exponent": fit.value,
        "best_exponent_low": fit.low,
        "best_exponent_high": fit.high,
        "best_exponent_error": fit.error,
        "best_residual": fit.residual,
        "not_identifiable": fit.reason,
    }
