"""The mergeable sums that a measurement is made of."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import InputError
from ansatzlab.shapes import OutputFactor, OutputGram

Accumulation = Literal["gram", "factor"]


@dataclass(frozen=True)
class GradientSums:
    """Sums over examples of one layer's output gradients ``b`` (the gradient of one network output at the layer's own).

    Attributes:
        second_moment: ``Σ w b bᵀ`` over examples, outputs, positions and uses, shape (o, o); or, with
            ``is_factor``, the triangular R with ``RᵀR`` equal to it, which does not square the condition number.
        is_factor: Which of the two ``second_moment`` is.
        by_output: ``Σ w b`` over examples, positions and uses, for each network output, shape (c, o).
        weight_total: ``Σ w`` over examples: their number unless they carry weights.
        position_total: ``Σ w P``, P the number of positions (times uses) of the layer in that example.
        examples: The number of examples.
    """

    second_moment: Float[Tensor, "p o"]
    is_factor: bool
    by_output: Float[Tensor, "c o"]
    weight_total: float
    position_total: float
    examples: int

    def __add__(self, other: "GradientSums") -> "GradientSums":
        """Merge two sets of sums over different examples.

        Raises:
            InputError: If they were accumulated differently or belong to layers or outputs of another size.
        """
        if self.is_factor != other.is_factor or self.by_output.shape != other.by_output.shape:
            raise InputError(
                f"merging measurements: got sums of (outputs, layer outputs) {tuple(self.by_output.shape)} as "
                f"{_form(self)} and {tuple(other.by_output.shape)} as {_form(other)}; wanted the same network measured "
                "the same way; measure both parts with the same arguments."
            )
        if self.is_factor:
            moment = triangular_factor(torch.cat([self.second_moment, other.second_moment]))
        else:
            moment = self.second_moment + other.second_moment
        return GradientSums(
            second_moment=moment,
            is_factor=self.is_factor,
            by_output=self.by_output + other.by_output,
            weight_total=self.weight_total + other.weight_total,
            position_total=self.position_total + other.position_total,
            examples=self.examples + other.examples,
        )

    def mean_gram(self, *, centered: bool = False) -> OutputGram:
        """Return K, the mean second moment of the output gradients.

        Definition:
            ``K = Σ w b bᵀ / Σ w``; centred: ``K − (1/P) Σ_c b̄_c b̄_cᵀ`` with ``b̄_c = Σ w b / Σ w`` and P the mean
            number of positions of an example. Without the 1/P it would not be positive semi-definite.

        Args:
            centered: Whether each output's mean gradient is taken out.

        Returns:
            K, shape (o, o).
        """
        moment = self.second_moment.mT @ self.second_moment if self.is_factor else self.second_moment
        if centered:
            moment = moment - self.by_output.mT @ self.by_output / self.position_total
        return moment / self.weight_total

    def mean_factor(self) -> OutputFactor | None:
        """Return R with ``RᵀR = K``, shape (p, o), if the sums were accumulated as a factor, else None."""
        return self.second_moment / self.weight_total**0.5 if self.is_factor else None


def sum_gradients(
    uses: list[Float[Tensor, "c n _s o"]], weights: Float[Tensor, " n"] | None, accumulation: Accumulation
) -> GradientSums:
    """Sum one batch of output gradients.

    Args:
        uses: For each use of the layer the gradients of every output at every example and position. The uses of a
            module count as positions: their outer products are summed, not their gradients.
        weights: One weight ≥ 0 per example, or None for 1 each.
        accumulation: ``"gram"`` sums ``b bᵀ``; ``"factor"`` keeps a triangular factor (slower, more exact).

    Returns:
        The sums, in float64.
    """
    rows = torch.cat([use.double() for use in uses], dim=2)
    outputs, examples, positions, width = rows.shape
    weighted = rows if weights is None else rows * weights.double()[None, :, None, None]
    rooted = rows if weights is None else rows * weights.double().sqrt()[None, :, None, None]
    flat = rooted.reshape(-1, width)
    total = float(examples) if weights is None else float(weights.double().sum())
    return GradientSums(
        second_moment=triangular_factor(flat) if accumulation == "factor" else flat.mT @ flat,
        is_factor=accumulation == "factor",
        by_output=weighted.sum(dim=(1, 2)).reshape(outputs, width),
        weight_total=total,
        position_total=total * positions,
        examples=examples,
    )


def triangular_factor(rows: Float[Tensor, "m o"]) -> Float[Tensor, "p o"]:
    """Return the triangular R, shape (min(m, o), o), with ``RᵀR`` equal to ``rowsᵀ rows``."""
    triangle: Tensor = torch.linalg.qr(rows, mode="r").R
    return triangle


def _form(sums: GradientSums) -> str:
    return "factor" if sums.is_factor else "gram"
