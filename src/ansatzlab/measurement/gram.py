"""The mergeable sums that a measurement is made of."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import InputError
from ansatzlab.linalg.psd import triangular_factor
from ansatzlab.measurement.sample import ExampleSample, RunningSample, capacity

Accumulation = Literal["gram", "factor"]


@dataclass(frozen=True)
class GradientSums:
    """Sums over examples of one layer's output gradients ``b`` (the gradient of one network output at the layer's own).

    Attributes:
        second_moment: ``Σ w b bᵀ`` over examples, outputs, positions and uses, shape (g, o, o), one block per group;
            or, with ``is_factor``, the triangular R with ``RᵀR`` equal to it, which does not square the condition
            number.
        is_factor: Which of the two ``second_moment`` is.
        by_output: ``Σ w b`` over examples, positions and uses, for each network output (or other direction that was
            differentiated), shape (c, g, o).
        weight_total: ``Σ w`` over examples: their number unless they carry weights.
        position_total: ``Σ w P``, P the number of positions (times uses) of the layer in that example.
        examples: The number of examples.
        sample: Some single examples, for standard errors.
    """

    second_moment: Float[Tensor, "g p o"]
    is_factor: bool
    by_output: Float[Tensor, "c g o"]
    weight_total: float
    position_total: float
    examples: int
    sample: ExampleSample | None = None

    def __add__(self, other: "GradientSums") -> "GradientSums":
        """Merge two sets of sums over different examples.

        Raises:
            InputError: If they were accumulated differently or belong to layers or outputs of another size.
        """
        if self.is_factor != other.is_factor or self.by_output.shape != other.by_output.shape:
            raise InputError(
                f"merging measurements: got sums of (outputs, layer outputs) {_size(self)} as {_form(self)} and "
                f"{_size(other)} as {_form(other)}; wanted the same network measured the same way; measure both parts "
                "with the same arguments."
            )
        if self.is_factor:
            moment = triangular_factor(torch.cat([self.second_moment, other.second_moment], dim=1))
        else:
            moment = self.second_moment + other.second_moment
        sample = self.sample + other.sample if self.sample and other.sample else self.sample or other.sample
        return GradientSums(
            second_moment=moment,
            is_factor=self.is_factor,
            by_output=self.by_output + other.by_output,
            weight_total=self.weight_total + other.weight_total,
            position_total=self.position_total + other.position_total,
            examples=self.examples + other.examples,
            sample=sample,
        )

    def rows(self, span: slice) -> "GradientSums":
        """Return the sums of some of the layer's outputs alone."""
        moment = self.second_moment[..., span]
        return replace(
            self,
            second_moment=moment if self.is_factor else moment[:, span],
            by_output=self.by_output[..., span],
            sample=self.sample and self.sample.outputs(span),
        )

    def group(self, index: int) -> "GradientSums":
        """Return the sums of one block alone."""
        only = slice(index, index + 1)
        return replace(
            self,
            second_moment=self.second_moment[only],
            by_output=self.by_output[:, only],
            sample=self.sample and self.sample.group(index),
        )

    def mean_gram(self, *, centered: bool = False) -> Float[Tensor, "g o o"]:
        """Return K, the mean second moment of the output gradients.

        Definition:
            ``K = Σ w b bᵀ / Σ w``; centred: ``K − (1/P) Σ_c b̄_c b̄_cᵀ`` with ``b̄_c = Σ w b / Σ w`` and P the mean
            number of positions of an example. Without the 1/P it would not be positive semi-definite.

        Args:
            centered: Whether each output's mean gradient is taken out.

        Returns:
            K, shape (g, o, o).
        """
        moment = self.second_moment.mT @ self.second_moment if self.is_factor else self.second_moment
        if centered:
            moment = moment - torch.einsum("cgo,cgp->gop", self.by_output, self.by_output) / self.position_total
        return moment / self.weight_total

    def mean_factor(self) -> Float[Tensor, "g p o"] | None:
        """Return R with ``RᵀR = K``, shape (g, p, o), if the sums were accumulated as a factor, else None."""
        return self.second_moment / self.weight_total**0.5 if self.is_factor else None

    def influences(
        self, images: Float[Tensor, "g o k"], matrix: Float[Tensor, "g k k"], *, centered: bool = False
    ) -> Float[Tensor, " m"]:
        """Return the influence of each sampled example on a read-out.

        Definition:
            ``w_x ⟨E, Tᵀ (S_x − K) T⟩`` over the mean weight, S_x the example's own second moment; centred, with the
            mean gradients taken out of both to first order, at each of the example's own positions. Read-outs do not
            depend on the scale of the AGOP, so ``⟨E, Tᵀ K T⟩ = 0`` and the mean need not be subtracted.

        Args:
            images: T, which takes an output gradient to the AGOP's eigenbasis, shape (g, o, k).
            matrix: E, the derivative of the read-out there, symmetric, shape (g, k, k).
            centered: Whether K is centred.

        Returns:
            One number per sampled example; none if no example was kept.
        """
        if self.sample is None:
            return torch.zeros(0, dtype=torch.float64)
        found = self.sample.quadratic(images, matrix).double()
        if centered:
            means = torch.einsum("cgo,gok->cgk", self.by_output, images.double()) / self.position_total
            towards = torch.einsum("cgk,gkl->cgl", means, matrix.double())
            own = self.sample.directional()
            own = torch.einsum("mcgo,gok->mcgk", own, images.to(own))
            found = found - 2 * torch.einsum("mcgk,cgk->m", own, towards.to(own)).double()
            found = found + self.sample.positions.to(found) * (means * towards).sum()
        deviations: Tensor = self.sample.weights.to(found) * found * (self.examples / self.weight_total)
        return deviations


class RunningSums:
    """Sums of one layer that grow in place while batches and directions pass."""

    def __init__(self, directions: int, accumulation: Accumulation, *, sample: bool = True) -> None:
        """Begin empty.

        Args:
            directions: How many directions in output space are differentiated.
            accumulation: What to keep of the second moment.
            sample: Whether to keep single examples.
        """
        self._directions = directions
        self._as_factor = accumulation == "factor"
        self._moment: Tensor | None = None
        self._waiting: list[Tensor] = []
        self._by_output: Tensor | None = None
        self._weights: Tensor | None = None
        self._weight_total = self._position_total = 0.0
        self._examples = 0
        self._sample = RunningSample(directions) if sample else None

    def begin(self, shape: tuple[int, int, int, int], weights: Float[Tensor, " n"] | None) -> None:
        """Begin a batch: (examples, positions, blocks, outputs) of the gradients to come, and the example weights."""
        examples, positions, groups, width = shape
        self._weights = weights
        self._examples += examples
        total = float(examples) if weights is None else float(weights.double().sum())
        self._weight_total += total
        self._position_total += total * positions
        if self._sample is not None:
            self._sample.begin(examples, positions, capacity(self._directions, positions, groups, width))

    def add(self, gradients: Float[Tensor, "n s g o"], direction: int) -> None:
        """Add the gradients of one direction at one use of the layer; the uses of a module count as positions."""
        examples, _, groups, width = gradients.shape
        rows = gradients.movedim(2, 0).reshape(groups, -1, width)
        if self._by_output is None:
            self._by_output = rows.new_zeros((self._directions, groups, width), dtype=torch.float64)
        if self._weights is None:
            self._by_output[direction] += rows.sum(1, dtype=torch.float64)
            self._gather(rows, None)
        else:
            weights = self._weights.to(rows.device, torch.float64)[:, None].expand(examples, gradients.shape[1])
            self._by_output[direction] += torch.einsum("gro,r->go", rows.double(), weights.reshape(-1))
            self._gather(rows, weights.reshape(-1, 1).sqrt())
        if self._sample is not None:
            self._sample.add(gradients, direction)

    def close(self, size: int) -> None:
        """End the batch."""
        if self._sample is not None:
            self._sample.close(size, self._weights)

    @property
    def finite(self) -> bool:
        """Whether everything so far was finite: a bad number shows on the diagonal."""
        parts = [*self._waiting, *([] if self._moment is None else [self._moment.diagonal(dim1=-2, dim2=-1)])]
        return all(bool(torch.isfinite(part).all()) for part in parts)

    def finish(self) -> GradientSums:
        """Freeze the sums."""
        self._merge_waiting()
        assert self._moment is not None, "finished after at least one batch"
        assert self._by_output is not None
        return GradientSums(
            second_moment=self._moment if self._as_factor else _mirror(self._moment),
            is_factor=self._as_factor,
            by_output=self._by_output,
            weight_total=self._weight_total,
            position_total=self._position_total,
            examples=self._examples,
            sample=self._sample.finish() if self._sample is not None else None,
        )

    def _gather(self, rows: Float[Tensor, "g r o"], roots: Float[Tensor, "r 1"] | None) -> None:
        width = rows.shape[-1]
        if self._as_factor:
            scaled = rows.double()
            self._waiting.append(scaled if roots is None else scaled * roots)
            if sum(part.shape[1] for part in self._waiting) >= 2 * width:
                self._merge_waiting()
            return
        if self._moment is None:
            self._moment = rows.new_zeros((len(rows), width, width), dtype=torch.float64)
        step = max(1, _CHUNK // (len(rows) * width))
        for start in range(0, rows.shape[1], step):
            part = rows[:, start : start + step].double()
            if roots is not None:
                part = part * roots[start : start + step]
            _add_square(self._moment, part)

    def _merge_waiting(self) -> None:
        if self._waiting:
            parts = self._waiting if self._moment is None else [self._moment, *self._waiting]
            self._moment, self._waiting = triangular_factor(torch.cat(parts, dim=1)), []


_CHUNK = 2**19
"""Numbers that are turned to float64 at a time."""

_STRIP = 128
"""A square is summed in strips of so many rows, from the diagonal rightwards: the rest is its mirror image."""


def _add_square(moment: Float[Tensor, "g o o"], rows: Float[Tensor, "g r o"]) -> None:
    """Add ``rowsᵀ rows`` on and above the diagonal (below it, only in part), in place."""
    width = rows.shape[-1]
    for start in range(0, width, _STRIP):
        stop = min(start + _STRIP, width)
        target = moment[:, start:stop, start:]
        if len(moment) == 1:
            target[0].addmm_(rows[0, :, start:stop].mT, rows[0, :, start:])
        else:
            target.baddbmm_(rows[..., start:stop].mT, rows[..., start:])


def _mirror(moment: Float[Tensor, "g o o"]) -> Float[Tensor, "g o o"]:
    """Copy what is above the diagonal below it, in place, strip by strip."""
    width = moment.shape[-1]
    for start in range(0, width, _STRIP):
        stop = min(start + _STRIP, width)
        square = moment[:, start:stop, start:stop]
        square.copy_(square.triu() + square.triu(1).mT)
        moment[:, stop:, start:stop] = moment[:, start:stop, stop:].mT
    return moment


def _form(sums: GradientSums) -> str:
    return "factor" if sums.is_factor else "gram"


def _size(sums: GradientSums) -> tuple[int, int]:
    return sums.by_output.shape[0], sums.by_output.shape[1] * sums.by_output.shape[2]
