"""The runs of the chapter: a family's network measured, and a search."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ansatzlab.counterexamples.reading import Alignments, read
from ansatzlab.counterexamples.registry import get_family
from ansatzlab.counterexamples.search import Goal, fit_of, search
from ansatzlab.data.dataset import Dataset
from ansatzlab.sweeps.spec import DataSpec

Row = dict[str, object]

SCORES = (
    "cosine_half",
    "residual_half",
    "cosine_one",
    "residual_one",
    "best_cosine",
    "best_exponent",
    "floor",
    "size",
    "imbalance",
    "null_z",
)
"""What is stored of a first layer's `ansatzlab.counterexamples.reading.Alignments`, beside its spectrum."""


def measure_family(*, seed: int, family: str, jitter: float = 0.0, **settings: object) -> Iterator[Row]:
    """Build a counterexample, train it where the family is trained, and measure it.

    Args:
        seed: Of all that is random.
        family: The family's name.
        jitter: Noise on the inputs at which the AGOP is measured.
        settings: The family's settings.

    Yields:
        One row: the columns `SCORES`, the spectrum, ``largest_residual`` and ``gram_error``.

    Raises:
        InputError: If a setting is not valid.
        DivergedError: If a training stops being finite.
    """
    reading = read(get_family(family).build(seed=seed, **settings), jitter=jitter, seed=seed)
    yield {
        "snapshot": 0,
        "loss": reading.loss,
        "largest_residual": reading.largest_residual,
        "gram_error": _known(reading.gram_error),
        **_columns(reading.alignments),
    }


def search_and_compare(
    *,
    seed: int,
    data: str,
    digest: str = "",
    hidden: Sequence[int],
    activation: str,
    accuracy: float,
    balanced: bool,
    training_steps: int,
    steps: int,
    held_out: float,
) -> Iterator[Row]:
    """Search for a network that classifies as asked and disobeys the ansatz.

    Args:
        seed: Of the initial weights and the batches.
        data: The data set, with one-hot targets.
        digest: Of a file, its content's hash.
        hidden: The hidden widths.
        activation: The activation.
        accuracy: The least accuracy.
        balanced: Whether its neurons are to be balanced.
        training_steps: Steps of the plain training.
        steps: Steps of the search.
        held_out: The share of the examples that is kept for testing.

    Yields:
        Two rows: the plainly trained network (snapshot 0) and the one that was found (1), with their ``accuracy`` on
        the examples of the search and ``held_out_accuracy`` on the others.

    Raises:
        InputError: If the data have no classes or their file changed, or the plain training does not fit as asked.
    """
    goal = Goal(
        hidden=tuple(hidden),
        activation=activation,
        accuracy=accuracy,
        balanced=balanced,
        training_steps=training_steps,
        steps=steps,
        seed=seed,
    )
    shown, kept = _split(DataSpec(name=data, digest=digest).load(), held_out, seed)
    found = search(shown, goal)
    networks = ((found.plain, found.plain_fit, found.before), (found.model, found.fit, found.after))
    for snapshot, (model, fit, alignments) in enumerate(networks):
        yield {
            "snapshot": snapshot,
            "loss": fit.loss,
            "accuracy": fit.accuracy,
            "held_out_accuracy": fit_of(model, kept, "cross_entropy").accuracy,
            **_columns(alignments),
        }


def _split(data: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Return the examples of the search, and those held out, drawn by a seed."""
    order = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(seed))
    kept = max(1, round(share * len(order)))
    rest, held = order[kept:], order[:kept]
    return (
        replace(data, inputs=data.inputs[rest], targets=data.targets[rest]),
        replace(data, inputs=data.inputs[held], targets=data.targets[held]),
    )


def _columns(alignments: Alignments) -> Row:
    return {
        "layer": "layers.0",
        "layer_index": 1,
        **alignments.spectrum.columns(),
        **{name: _known(getattr(alignments, name)) for name in SCORES},
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
