"""What ``ansatz measure`` puts into its report on what layers look at."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ansatzlab.errors import InputError
from ansatzlab.measurement.outputs import Batch, batch_size, one_example
from ansatzlab.measurement.result import Measurement
from ansatzlab.report.looks.directions import directions, first_layer, image_shapes
from ansatzlab.report.looks.explained import TITLE, Chosen, explained_looks
from ansatzlab.report.looks.records import Look
from ansatzlab.report.looks.tokens import named_embeddings, token_looks, vocabulary_sizes
from ansatzlab.report.looks.vocabulary import read_tokens

WHY_UNSHOWN = "the network's first layer was not measured, or reads neither rows of numbers nor one image"


def refuse_unshown(tokens: Path | None, explain: int | None, out: Path | None) -> None:
    """Refuse what is only seen in the report where none is written.

    Raises:
        InputError: If there is no output folder.
    """
    asked = [name for name, value in (("--tokens", tokens), ("--explain", explain)) if value is not None]
    if asked and out is None:
        raise InputError(f"{' and '.join(asked)}: shown in the report, which is not written; add --out FOLDER.")


def names_of_tokens(path: Path | None, network: nn.Module) -> tuple[str, ...]:
    """Read the names of the network's tokens; none without a file.

    Raises:
        InputError: If the file is no vocabulary, or has more tokens than any embedding has rows.
    """
    if path is None:
        return ()
    tokens = read_tokens(path)
    tables = {
        name: module.num_embeddings for name, module in network.named_modules() if isinstance(module, nn.Embedding)
    }
    named_embeddings(tables, len(tokens))
    return tokens


def choose_example(number: int | None, opened: Callable[[], Iterable[Batch]]) -> Chosen | None:
    """Find an example by its number, and the mean of the inputs, to set it against.

    Conventions:
        The mean is over all examples, of floating tensors that have a row for each and one shape throughout. What else
        the network is called with stays, in the mean, as it is in the example.

    Args:
        number: Its number, from 0 on; None for no example, and then the data are not opened.
        opened: Opens the data, which are gone through once.

    Raises:
        InputError: If there is no such example.
    """
    if number is None:
        return None
    chosen: Batch | None = None
    sums: dict[str, Tensor | None] = {}
    seen = 0
    for index, batch in enumerate(opened()):
        size = batch_size(batch, index)
        if seen <= number < seen + size:
            chosen = one_example(batch, size, number - seen)
        for name, value in _named(batch).items():
            if isinstance(value, Tensor) and value.is_floating_point() and value.shape[:1] == (size,):
                total = value.double().sum(0, keepdim=True)
                known = sums.get(name, torch.zeros_like(total))
                sums[name] = known + total if known is not None and known.shape == total.shape else None
        seen += size
    if chosen is None:
        raise InputError(f"--explain {number}: the data have {seen} examples; wanted a number below {seen}.")
    means = {name: total / seen for name, total in sums.items() if total is not None}
    return Chosen(number, chosen, _with_means(chosen, means) if means else None)


def _named(batch: Batch) -> Mapping[str, object]:
    """Return what the network is called with, by name."""
    if isinstance(batch, Mapping):
        return batch
    return {"": batch if isinstance(batch, Tensor) else batch[0]}


def _with_means(example: Batch, means: Mapping[str, Tensor]) -> Batch:
    """Put the means in the place of the example's own tensors."""
    found = {
        name: means[name].to(value) if isinstance(value, Tensor) and name in means else value
        for name, value in _named(example).items()
    }
    return found if isinstance(example, Mapping) else (found[""],)


def looks_at(
    measurement: Measurement,
    network: nn.Module,
    example: Batch,
    tokens: Sequence[str],
    chosen: Chosen | None,
) -> tuple[Look, ...]:
    """Return what the network's layers look at: images, tokens, and the example that was asked for.

    Args:
        measurement: The measurement.
        network: The network.
        example: A batch of one example.
        tokens: The names of its tokens; may be empty.
        chosen: The example to be explained, if any.
    """
    if len(tokens) > max(vocabulary_sizes(measurement).values(), default=0):
        tokens = ()  # their embedding was not measured
    shapes = image_shapes(network, example if chosen is None else chosen.example, measurement)
    looks = (*directions(measurement, shapes), *token_looks(measurement, tokens))
    if chosen is None:
        return looks
    unshown = Look(TITLE, first_layer(network, chosen.example), f"Example {chosen.number} is not shown: {WHY_UNSHOWN}.")
    return (*looks, *(explained_looks(measurement, network, chosen, shapes, tokens) or (unshown,)))
