"""What the processes of a distributed measurement tell each other before they add up."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ansatzlab.errors import InputError
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.seeds import LossGradient, Seeds, Signs

SAMPLED = ("rows", "squares", "by_output", "weights", "positions", "places")
"""The tensors of a sample."""


@dataclass(frozen=True)
class Card:
    """What the other processes have to know of one layer before they add up.

    Attributes:
        alike: What has to be the same everywhere, by what to call it.
        seeds: None for a loss gradient: a function cannot be sent.
        gradient_dtype: Of the layer.
        moment: The shape of ``second_moment``.
        totals: ``weight_total``, ``position_total`` and ``examples``.
        below: Of the sample; 0 if there is none.
        places: Of the sample.
        sampled: Shape and dtype of each tensor of the sample.
        start: The card of the layer before training.
    """

    alike: Mapping[str, object]
    seeds: Seeds | None
    gradient_dtype: torch.dtype
    moment: tuple[int, ...]
    totals: tuple[float, float, int]
    below: int
    places: Tensor
    sampled: Mapping[str, tuple[tuple[int, ...], torch.dtype]]
    start: "Card | None"


def card_of(layer: LayerMeasurement) -> Card:
    """Describe a layer to the other processes."""
    sums, sample = layer.sums, layer.sums.sample
    tensors = {name: getattr(sample, name) for name in SAMPLED} if sample else {}
    seeds = None if isinstance(layer.seeds, LossGradient) else layer.seeds
    start = None if layer.start is None else card_of(layer.start)
    return Card(
        alike={
            "shape": (layer.kind, tuple(layer.blocks.shape), layer.height),
            "weights": _checksum(layer.blocks),
            "initial weights": None if layer.initial is None else _checksum(layer.initial),
            "accumulation": "factor" if sums.is_factor else "gram",
            "directions": sums.by_output.shape[0],
            "seeds": replace(seeds, seed=0) if isinstance(seeds, Signs) and not seeds.shared else seeds,
            "sample": sample is not None,
            "network before training": start and start.alike,
        },
        seeds=seeds,
        gradient_dtype=layer.gradient_dtype,
        moment=tuple(sums.second_moment.shape),
        totals=(sums.weight_total, sums.position_total, sums.examples),
        below=sample.below if sample else 0,
        places=sample.places.cpu() if sample else torch.zeros(0, dtype=torch.int64),
        sampled={name: (tuple(part.shape), part.dtype) for name, part in tensors.items() if part is not None},
        start=start,
    )


def _checksum(blocks: Tensor) -> int:
    return zlib.crc32(blocks.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def refuse_unlike(cards: Sequence[Mapping[str, Card]]) -> None:
    """Refuse parts that are not of one network measured in one way; alike in every process, so that none waits.

    Args:
        cards: For each process its layers.

    Raises:
        InputError: Naming the layer, the process and what differs.
    """
    first = cards[0]
    for rank, other in enumerate(cards):
        if list(other) != list(first):
            raise InputError(
                f"reduce_measurement: rank 0 measured the layers {list(first)} and rank {rank} {list(other)}; wanted "
                "the same; pass the same model and layers= in every process."
            )
        for name, card in other.items():
            for what, value in card.alike.items():
                if value != first[name].alike[what]:
                    raise InputError(
                        f"reduce_measurement: layer {name!r}: rank {rank} and rank 0 differ in {what} ({value} and "
                        f"{first[name].alike[what]}); wanted the same network measured the same way; load the same "
                        "weights and pass the same arguments in every process."
                    )
    for name in first:
        seeds = [card[name].seeds for card in cards]
        drawn = {found.seed for found in seeds if isinstance(found, Signs) and not found.shared}
        if drawn and len(drawn) < len(seeds):
            raise InputError(
                f"reduce_measurement: layer {name!r}: got Signs with the seeds {sorted(drawn)} in {len(seeds)} "
                "processes; wanted one for each, or their errors do not average out; measure with Signs(k, seed=rank)."
            )
