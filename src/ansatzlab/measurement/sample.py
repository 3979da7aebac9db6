"""Single examples kept from a measurement, from which its standard errors are read."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

FLOATS = 2**22
"""How many numbers the sample of a layer may hold."""

FEWEST, USUAL, MOST = 16, 64, 512
"""How many examples are kept, depending on how much one of them takes. A standard error from 50 examples with heavy
tails is itself 30 to 50 % off, so that its intervals cover too little; more are kept where that is cheap."""

SINGLE = (2.0**-20, 2.0**20)
"""Gradients whose largest number lies between these are kept in single precision: it holds their squares, and what
those are multiplied with."""


@dataclass(frozen=True)
class ExampleSample:
    """Examples at random, with their own output gradients.

    Conventions:
        Kept are the examples whose places have the smallest hashes: unlike every k-th, they follow no order that the
        data have, and samples can be merged. Gradients are kept in float32, as good as the frame that errors are read
        in; all of a float64 network in float64 if those of one direction in one batch are out of `SINGLE`.

    Attributes:
        rows: Output gradients of each kept example as rows, zero rows behind them, shape (m, q, g, o); or None.
        squares: Where those would be more than o rows: their second moment, shape (m, g, o, o); or None.
        by_output: Their sum over positions for each direction, shape (m, c, g, o); None where ``rows`` are just that.
        weights: The example weights, shape (m,).
        positions: The number of positions (times uses) of the layer in each, shape (m,).
        places: The examples' places in the data, ascending within a merged part, shape (m,).
        below: Every example whose hash is below this was kept, and no other.
    """

    rows: Float[Tensor, "m q g o"] | None
    squares: Float[Tensor, "m g o o"] | None
    by_output: Float[Tensor, "m c g o"] | None
    weights: Float[Tensor, " m"]
    positions: Int[Tensor, " m"]
    places: Int[Tensor, " m"]
    below: int

    def quadratic(self, images: Float[Tensor, "g o k"], matrix: Float[Tensor, "g k k"]) -> Float[Tensor, " m"]:
        """Return ``⟨E, Tᵀ S_x T⟩`` for every kept example, S_x the second moment of its output gradients."""
        images, matrix = images.to(self.dtype), matrix.to(self.dtype)
        if self.rows is None:
            assert self.squares is not None
            return torch.einsum("mgop,gop->m", self.squares, images @ matrix @ images.mT)
        moved = torch.einsum("mqgo,gok->mqgk", self.rows, images)
        return (torch.einsum("mqgk,gkl->mqgl", moved, matrix) * moved).sum(dim=(1, 2, 3))

    def directional(self) -> Float[Tensor, "m c g o"]:
        """Return the sum over positions for each direction."""
        found = self.rows if self.by_output is None else self.by_output
        assert found is not None, "without sums by output there are rows"
        return found

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the gradients."""
        return self.directional().dtype

    @property
    def is_in_range(self) -> bool:
        """Whether the largest numbers are finite, and so large that what underflowed in float32 does not matter."""
        kept = self.squares if self.rows is None else self.rows
        assert kept is not None
        info = torch.finfo(kept.dtype)
        return info.tiny / info.eps <= float(kept.abs().amax()) <= info.max

    def outputs(self, span: slice) -> "ExampleSample":
        """Return the sample of some of the layer's outputs alone."""
        return replace(
            self,
            rows=None if self.rows is None else self.rows[..., span],
            squares=None if self.squares is None else self.squares[..., span, span],
            by_output=None if self.by_output is None else self.by_output[..., span],
        )

    def group(self, index: int) -> "ExampleSample":
        """Return the sample of one block alone."""
        only = slice(index, index + 1)
        return replace(
            self,
            rows=None if self.rows is None else self.rows[:, :, only],
            squares=None if self.squares is None else self.squares[:, only],
            by_output=None if self.by_output is None else self.by_output[:, :, only],
        )

    def thinned(self, below: int) -> "ExampleSample":
        """Keep the examples whose hashes are below a bound, at most the present one."""
        if below == self.below:
            return self
        return replace(self._chosen(hashes(self.places) < below), below=below)

    def _chosen(self, keep: Tensor) -> "ExampleSample":
        return replace(
            self,
            rows=None if self.rows is None else self.rows[keep],
            squares=None if self.squares is None else self.squares[keep],
            by_output=None if self.by_output is None else self.by_output[keep],
            weights=self.weights[keep],
            positions=self.positions[keep],
            places=self.places[keep],
        )

    def __add__(self, other: "ExampleSample") -> "ExampleSample":
        """Join two samples at the lower of their bounds, or a lower one still where they are too many."""
        below = min(self.below, other.below, bound(torch.cat([self.places, other.places]), MOST))
        first, second = self.thinned(below), other.thinned(below)
        if (first.rows is None) != (second.rows is None):
            first, second = first.squared(), second.squared()
        return ExampleSample(
            rows=None if first.rows is None or second.rows is None else _joined(first.rows, second.rows),
            squares=None
            if first.squares is None or second.squares is None
            else torch.cat([first.squares, second.squares]),
            by_output=None
            if first.by_output is None and second.by_output is None
            else torch.cat([first.directional(), second.directional()]),
            weights=torch.cat([first.weights, second.weights]),
            positions=torch.cat([first.positions, second.positions]),
            places=torch.cat([first.places, second.places]),
            below=below,
        )

    def squared(self) -> "ExampleSample":
        """Return the same sample with second moments instead of rows."""
        if self.rows is None:
            return self
        squares = torch.einsum("mqgo,mqgp->mgop", self.rows, self.rows)
        return replace(self, rows=None, squares=squares, by_output=self.directional())


def _joined(first: Float[Tensor, "m q g o"], second: Float[Tensor, "k p g o"]) -> Float[Tensor, "_m _q g o"]:
    """Join rows of examples with different numbers of positions: zero rows change nothing."""
    longest = max(first.shape[1], second.shape[1])
    missing = [(part, longest - part.shape[1]) for part in (first, second)]
    return torch.cat([torch.nn.functional.pad(part, (0, 0, 0, 0, 0, few)) if few else part for part, few in missing])


def hashes(places: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Return a number below `HASHES` for each place; places below that have different ones."""
    mixed = places + 1
    for _ in range(2):
        mixed = (mixed >> 16 ^ mixed) * _MULTIPLIER % HASHES
    return mixed >> 16 ^ mixed


def bound(places: Int[Tensor, " n"], most: int) -> int:
    """Return the bound below which at most so many of the places' hashes lie, `HASHES` if all may."""
    return HASHES if len(places) <= most else int(hashes(places).sort().values[most])


HASHES = 2**32
"""How many hashes there are."""

_MULTIPLIER = 0x45D9F3B
"""Odd, so that the hash permutes the numbers below `HASHES`; one that mixes them well."""


def capacity(directions: int, positions: int, groups: int, width: int) -> int:
    """Return how many examples to keep of a layer of this size."""
    room = FLOATS // max(groups * width * max(min(directions * positions, width), directions), 1)
    cheap = room // (4 if fits_as_rows(directions, positions, width) else 64)
    return max(FEWEST, min(USUAL, room), min(MOST, cheap))


def fits_as_rows(directions: int, positions: int, width: int) -> bool:
    """Whether an example's output gradients are fewer than their second moment has rows."""
    return directions * positions <= width


class RunningSample:
    """A sample that grows while batches pass."""

    def __init__(self, directions: int) -> None:
        """Begin empty, keeping every example.

        Args:
            directions: How many directions in output space are differentiated.
        """
        self._directions = directions
        self._kept: ExampleSample | None = None
        self._below = HASHES
        self._seen = 0
        self._empty()

    def _empty(self) -> None:
        self._places, self._positions, self._filled = torch.zeros(0, dtype=torch.int64), 0, 0
        self._rows: Tensor | None = None
        self._squares: Tensor | None = None
        self._by_output: Tensor | None = None

    def begin(self, size: int, positions: int, most: int) -> None:
        """Choose the examples of the next batch, making room first: of all data, those of the smallest hashes."""
        places = torch.arange(self._seen, self._seen + size)
        kept = torch.zeros(0, dtype=torch.int64) if self._kept is None else self._kept.places
        self._below = min(self._below, bound(torch.cat([kept, places]), most))
        if self._kept is not None:
            self._kept = self._kept.thinned(self._below)
        self._positions = positions
        self._places = (hashes(places) < self._below).nonzero()[:, 0]

    def add(self, gradients: Float[Tensor, "n s g o"], direction: int) -> None:
        """Add one direction's gradients at one use of the layer; directions come one after the other."""
        if not len(self._places):
            return
        rows = gradients[self._places.to(gradients.device)]
        rows = rows.to(torch.float32 if rows.dtype != torch.float64 or _fits_single(rows) else torch.float64)
        examples, positions, groups, width = rows.shape
        if fits_as_rows(self._directions, self._positions, width):
            self._rows = _begun(self._rows, rows, (examples, self._directions * self._positions, groups, width))
            self._rows[:, self._filled : self._filled + positions] = rows
            self._filled += positions
            return
        self._squares = _begun(self._squares, rows, (examples, groups, width, width))
        flat = rows.movedim(2, 1).flatten(0, 1).to(self._squares.dtype)
        self._squares.flatten(0, 1).baddbmm_(flat.mT, flat)
        self._by_output = _begun(self._by_output, rows, (examples, self._directions, groups, width))
        self._by_output[:, direction] += rows.sum(1)

    def close(self, size: int, weights: Float[Tensor, " n"] | None) -> None:
        """End the batch."""
        places, rows = self._places, self._rows
        if rows is not None or self._squares is not None:
            if rows is not None and self._positions > 1:
                self._by_output = rows.reshape(len(rows), self._directions, self._positions, *rows.shape[2:]).sum(2)
            found = ExampleSample(
                rows=rows,
                squares=self._squares,
                by_output=self._by_output,
                weights=torch.ones(len(places), dtype=torch.float64) if weights is None else weights[places].double(),
                positions=torch.full_like(places, self._positions),
                places=places + self._seen,
                below=self._below,
            )
            self._kept = found if self._kept is None else self._kept + found
        self._seen += size
        self._empty()

    def finish(self) -> ExampleSample | None:
        """Return the sample."""
        return self._kept


def _fits_single(rows: Float[Tensor, "m s g o"]) -> bool:
    """Whether gradients, or all that matters of them, can be kept in single precision."""
    largest = float(rows.abs().amax()) if rows.numel() else 0.0
    return largest == 0 or SINGLE[0] <= largest <= SINGLE[1]


def _begun(total: Tensor | None, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return a sum that these rows can be added to: zeros, or what there was, in their dtype if that is the wider."""
    if total is None:
        return rows.new_zeros(shape)
    return total.to(torch.promote_types(total.dtype, rows.dtype))
