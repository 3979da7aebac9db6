"""The conventions of published measurements, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.measurement.convention import Convention


@dataclass(frozen=True)
class Preset:
    """How one paper reads an alignment.

    Attributes:
        key: Its name.
        says: The convention in words.
        needs_initial: Whether the initial weights are needed.
        conventions: For the number of layers and a layer's place among them, from 1, the readings that the paper gives.
    """

    key: str
    says: str
    needs_initial: bool
    conventions: Callable[[int, int], tuple[Convention, ...]]


def _fixed(*conventions: Convention) -> Callable[[int, int], tuple[Convention, ...]]:
    return lambda _depth, _layer: conventions


def _layer_law(depth: int, layer: int) -> tuple[Convention, ...]:
    """Return the exponent 1/(L − l + 1) of layer l in a network of L layers."""
    if not 1 <= layer <= depth:
        raise InputError(f"the layer law: got layer {layer} of {depth}; wanted 1 ≤ layer ≤ depth.")
    return (Convention(1 / (depth - layer + 1)),)


PRESETS: Mapping[str, Preset] = {
    preset.key: preset
    for preset in (
        Preset("tansley2025nfa", "exponent 1/(L − l + 1) in layer l of L, cosine", False, _layer_law),
        Preset(
            "radhakrishnan2024nfa",
            "power 1, cosine, W − W₀, gradients centred and not",
            True,
            _fixed(*(Convention(1.0, "cosine", centered=c, init_removed=True) for c in (False, True))),
        ),
        Preset("beaglehole2023cnfa", "power 1, Pearson", False, _fixed(Convention(1.0, "pearson"))),
        Preset(
            "beaglehole2024alignment",
            "power 1, Pearson, W − W₀ (centred NFC) and W (uncentred)",
            True,
            _fixed(*(Convention(1.0, "pearson", init_removed=removed) for removed in (True, False))),
        ),
        Preset("agop-scripts", "power ½, Pearson", False, _fixed(Convention(0.5, "pearson"))),
    )
}
"""Which convention each source uses; derived from their papers and public code (docs/devdocs/decisions.md)."""


def get_preset(key: str) -> Preset:
    """Return the preset of this name.

    Raises:
        UnknownNameError: If there is none.
    """
    if key not in PRESETS:
        raise UnknownNameError("preset", key, PRESETS)
    return PRESETS[key]
