"""What an embedding looks at: the tokens that stand out on its AGOP's diagonal and in its top eigenvectors."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import InputError
from ansatzlab.measurement.attribution import agop_diagonal
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.result import Measurement
from ansatzlab.report.looks.directions import leading, signed
from ansatzlab.report.looks.records import Look, TokenRow, format_entry, percent
from ansatzlab.report.looks.vocabulary import token_name

SMALLEST_VOCABULARY = 8
"""An embedding of fewer rows than this, such as BERT's of the two sentence types, says nothing by its top tokens."""


def token_looks(
    measurement: Measurement, tokens: Sequence[str] = (), *, count: int = 6, shown: int = 8
) -> tuple[Look, ...]:
    """List the tokens that stand out in each measured embedding.

    Definition:
        The AGOP over the vocabulary is ``G = E K Eᵀ``. Entry t of its eigenvector v_j is ``e_tᵀ u_j`` with
        ``u_j = K Eᵀ v_j / λ_j``: how far the token's embedding e_t reaches along one direction of the embedding space.
        Entry t of its diagonal is ``e_tᵀ K e_t``.

    Conventions:
        An eigenvector has no sign; here its entry of largest size is positive. Tokens that are not in the data have
        entries, too: K is measured with the tokens that are.

    Args:
        measurement: The measurement.
        tokens: The names of the tokens of the embeddings that `named_embeddings` chooses.
        count: How many eigenvectors; no more than the AGOP's rank are shown.
        shown: How many tokens at each end of them.

    Returns:
        What to show, an embedding each, without those of fewer rows than 8 and those whose AGOP is zero.

    Raises:
        InputError: If there are more names than any embedding has rows.

    Cost:
        O(V o) numbers and O(V o²) operations for V tokens; no V × V matrix.

    Source:
        Derived in docs/looks.md.
    """
    rows = vocabulary_sizes(measurement)
    named = named_embeddings(rows, len(tokens))
    looks = (
        _look(measurement[name], tokens if name in named else (), count, shown)
        for name, size in rows.items()
        if size >= SMALLEST_VOCABULARY
    )
    return tuple(look for look in looks if look is not None)


def vocabulary_sizes(measurement: Measurement) -> dict[str, int]:
    """Return the number of tokens of each measured embedding."""
    return {name: layer.shape[1] for name, layer in measurement.items() if layer.kind == "embedding"}


def named_embeddings(rows: Mapping[str, int], count: int) -> set[str]:
    """Choose the embeddings to which so many names of tokens belong.

    Conventions:
        Those with as many rows; if none has, the largest, whose last rows then have no name, as where a vocabulary was
        padded to a rounder size.

    Args:
        rows: The number of rows of each embedding.
        count: The number of names; 0 for no names at all.

    Returns:
        The names of the embeddings.

    Raises:
        InputError: If there are more names than any embedding has rows.

    Example:
        >>> named_embeddings({"tokens": 104, "places": 64}, 100)
        {'tokens'}
    """
    if not count:
        return set()
    largest = max(rows.values(), default=0)
    if count > largest:
        told = ", ".join(f"{name} {size}" for name, size in rows.items()) or "none"
        raise InputError(
            f"tokens: got {count} names for embeddings of these numbers of rows: {told}; wanted a name a row; take the "
            "vocabulary that belongs to the network."
        )
    size = count if count in rows.values() else largest
    return {name for name, found in rows.items() if found == size}


def _look(layer: LayerMeasurement, tokens: Sequence[str], count: int, shown: int) -> Look | None:
    diagonal = agop_diagonal(layer)[0]
    trace = float(diagonal.sum())
    if not trace > 0:
        return None
    times = diagonal / diagonal.mean()
    top = [(token_name(place, tokens), f"{float(times[place]):.2f} ×") for place in _largest(diagonal, shown)]
    rows = [TokenRow("diagonal", "", tuple(top))]
    for rank, (value, _, vector) in enumerate(leading(layer, count), start=1):
        entries = signed(vector)
        ends = (_named(entries, side, shown, tokens) for side in (1, -1))
        rows.append(TokenRow(str(rank), percent(value / trace), *ends))
    return Look(
        "Tokens that stand out in the AGOP of",
        layer.name,
        f"The AGOP over {layer.shape[1]} tokens. Diagonal: how strongly the outputs react to a token, as a multiple "
        "of the mean over all of them. Eigenvectors, the largest eigenvalue first, with its share of the trace: the "
        "tokens whose embeddings reach furthest to either side along a direction that the outputs listen to, with "
        "their entries; an eigenvector has no sign, so its largest entry is shown positive. Tokens that are not in the "
        "data are ranked, too.",
        tokens=tuple(rows),
    )


def _named(
    entries: Float[Tensor, " tokens"], side: int, shown: int, tokens: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Return the entries furthest to one side of zero by the names of their tokens."""
    places = [place for place in _largest(side * entries, shown) if side * entries[place] > 0]
    return tuple((token_name(place, tokens), format_entry(float(entries[place]))) for place in places)


def _largest(values: Float[Tensor, " tokens"], count: int) -> list[int]:
    found: list[int] = values.topk(min(count, len(values))).indices.tolist()
    return found


def nearest_tokens(
    table: Float[Tensor, "tokens width"],
    directions: Float[Tensor, "k _width"],
    tokens: Sequence[str] = (),
    count: int = 8,
) -> list[list[tuple[str, float]]]:
    """Find the tokens whose embeddings point most nearly along directions of the embedding space.

    Conventions:
        By cosine, without taking the embeddings' mean out; turn a direction round for the tokens on its other side. A
        layer behind a normalisation or behind position embeddings sees something else than the embedding itself, so
        that the cosine is then a guide and no more.

    Args:
        table: The embeddings, one a row.
        directions: For example `LayerMeasurement.agop_directions` of a layer that reads embeddings.
        tokens: The tokens' names.
        count: How many for each direction.

    Returns:
        For each direction the nearest tokens with their cosines, the nearest first.

    Raises:
        InputError: If the widths differ.

    Cost:
        O(V d k) for V tokens of width d.

    Example:
        >>> table = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
        >>> (nearest,) = nearest_tokens(table, torch.tensor([[0.0, 1.0]]), ["a", "b", "c"], count=2)
        >>> [(token, round(cosine, 3)) for token, cosine in nearest]
        [('b', 1.0), ('c', 0.707)]
    """
    if table.shape[1] != directions.shape[1]:
        raise InputError(
            f"nearest_tokens: got embeddings of width {table.shape[1]} and directions of width {directions.shape[1]}; "
            "wanted the same; take a layer whose inputs are embeddings."
        )
    cosines = (
        torch.nn.functional.normalize(directions.to(table), dim=1) @ torch.nn.functional.normalize(table, dim=1).mT
    )
    return [[(token_name(place, tokens), float(found[place])) for place in _largest(found, count)] for found in cosines]
