"""The books of one pair of layers: what its imbalance is made of, step by step."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import DivergedError
from ansatzlab.training.chain import Reading
from ansatzlab.training.update import Update

Kind = Literal["linear", "homogeneous", "general"]
"""What is conserved between two layers: the matrix D, its diagonal, or nothing."""

DEGREES = (1, 2, 3)
"""The degrees of homogeneity that are looked for."""

Form = Float[Tensor, "m m"] | Float[Tensor, " m"]


def form(first: Reading, second: Reading, kind: Kind, degree: int) -> Form:
    """Return the bilinear form whose square on the weights is the imbalance.

    Definition:
        ``B(X, Y) = ½ (X_{l+1}ᵀY_{l+1} − X_l Y_lᵀ) + transposed`` for linear layers, otherwise its diagonal, in which
        the second layer counts k-fold: ``k (X_{l+1}ᵀY_{l+1})_jj − (X_l Y_lᵀ)_jj``. Biases are part of X_l. So
        ``D = B(W, W)``, ``S = B(g, g)``, and along the gradient D changes at the rate ``−2 B(W, g)``.

    Args:
        first: Weights or gradients of the pair.
        second: Likewise.
        kind: What is conserved.
        degree: k.

    Returns:
        The form's value, (m, m) or (m,).
    """
    if kind != "linear":
        return degree * (first.above * second.above).sum(0) - (first.below * second.below).sum(1)
    product: Tensor = first.above.mT @ second.above - first.below @ second.below.mT
    return (product + product.mT) / 2


def incoming(weights: Reading, kind: Kind) -> Form:
    """Return ``W_l W_lᵀ`` with the bias, or its diagonal: what an imbalance is compared with."""
    if kind == "linear":
        return weights.below @ weights.below.mT
    return weights.below.square().sum(1)


@dataclass(frozen=True)
class _Drive:
    """What moves the imbalance in a step, ``η·source + η²·(curvature + noise)``, free of the rate."""

    source: Tensor
    curvature: Tensor
    noise: Tensor


@dataclass
class _Parts:
    """What the imbalance is made of: the rest of the first one, and what activations and the steps' size added."""

    opening: Tensor
    exchange: Tensor
    noise: Tensor

    def total(self) -> Tensor:
        return self.opening + self.exchange + self.noise


class RecentMean:
    """The mean over the last part of a series, between its last half and its last three quarters.

    Blocks of doubling length are kept, the latest full one and the one being filled: so the beginning is forgotten
    without a window having to be chosen.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._full: tuple[Tensor, ...] = ()
        self._filling: tuple[Tensor, ...] = ()
        self._in_full, self._in_filling, self._length = 0, 0, 1

    @property
    def count(self) -> int:
        """How many values the mean is over."""
        return self._in_full + self._in_filling

    def add(self, *values: Tensor) -> None:
        """Add the next value, which may be several tensors."""
        if self._in_filling == self._length:
            self._full, self._in_full = self._filling, self._in_filling
            self._filling, self._in_filling, self._length = (), 0, 2 * self._length
        self._filling = tuple(map(torch.add, self._filling, values)) if self._filling else values
        self._in_filling += 1

    def mean(self) -> tuple[Tensor, ...]:
        """Return the mean, one tensor per tensor of a value."""
        sums = tuple(map(torch.add, self._full, self._filling)) if self._full else self._filling
        return tuple(total / self.count for total in sums)

    def map_diagonals(self) -> None:
        """Keep the diagonals of what was added so far."""
        self._full = tuple(each.diagonal().clone() for each in self._full)
        self._filling = tuple(each.diagonal().clone() for each in self._filling)


class Ledger:
    """The books of one pair of layers.

    Definition:
        With κ = 1 − ηλ a step of descent changes the imbalance ``D = B(W, W)`` (see `form`) exactly to
        ``κ² D − 2ηκ B(W, g) + η² B(g, g)``. Three accounts are kept, each multiplied by κ² in every step: the
        *opening* balance, the *exchange* −2ηκ B(W, g), and the *noise* η² B(g, g). For linear and for homogeneous
        activations the exchange is zero by theorem and is left out; so their sum is a prediction from the gradients
        alone, which the weights are compared with.

    Conventions:
        What kind a pair is, is found out: it starts as linear and loses a law as soon as its ``B(W, g)`` exceeds
        rounding. With momentum η/(1 − μ) stands for η, which is an approximation. Adaptive steps are booked as descent
        would be; what they did otherwise remains *unexplained*.

    Attributes:
        kind: What is conserved, as far as seen.
        degree: k of a homogeneous activation.
        unexplained: The largest difference so far between the imbalance and the accounts, relative to `incoming`, as a
            tensor without dimensions.
        flow_time: The sum of the rates of the steps taken.
        clock: The sum of ``2ηλ`` over the steps taken since the books were opened.
        recent: Recent means of the imbalance and of what drives it in first and in second order of η.
        now: The imbalance and `incoming` at the last record.
        start: The same when the books were opened: at the first record, or at one that showed the quantity that the
            books were kept of to be another (of another degree).
    """

    def __init__(self, tolerance: float) -> None:
        """Open nothing yet.

        Args:
            tolerance: How large ``B(W, g)`` may be, relative to the largest ``‖W‖‖g‖`` so far, and be called rounding.
        """
        self.kind: Kind = "linear"
        self.degree = 1
        self.flow_time, self.clock, self.unexplained = 0.0, 0.0, torch.zeros(())
        self.recent = RecentMean()
        self._tolerance, self._largest, self._seen = tolerance, 0.0, False
        self._parts: _Parts | None = None
        self.now: tuple[Tensor, ...] = ()
        self.start: tuple[Tensor, ...] = ()
        self._pending: tuple[Update, float, Tensor, Tensor] | None = None

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """The accounts opening, exchange and noise, as of the last record."""
        assert self._parts is not None, "read after a record"
        return self._parts.opening, self._parts.exchange, self._parts.noise

    def record(self, step: int, weights: Reading, gradients: Reading, update: Update) -> None:
        """Book the step that is about to be taken, after comparing the accounts with the weights before it.

        Args:
            step: Its number, from 0.
            weights: The weights.
            gradients: The gradients of the data loss.
            update: What the optimiser is about to do.

        Raises:
            DivergedError: If a weight or a gradient is not finite.
        """
        self._settle()
        self._recognise(step, weights, gradients)
        D = form(weights, weights, self.kind, self.degree)
        gram = incoming(weights, self.kind)
        if self._parts is None:
            self._parts = _Parts(D.clone(), torch.zeros_like(D), torch.zeros_like(D))
            self.clock, self.start, self.unexplained = 0.0, (D, gram), torch.zeros_like(D[..., 0].sum())
        else:
            difference = (D - self._parts.total()).norm() / gram.norm()
            self.unexplained = torch.fmax(self.unexplained, difference)  # fmax, as all weights may be zero
        drive = self._drive(weights, gradients, update)
        self._pending = (update, *self._entries(drive, update))
        self.recent.add(D, drive.source, drive.curvature + drive.noise)
        self.now = (D, gram)

    def levels(self, update: Update) -> tuple[Tensor, Tensor]:
        """Return the recent mean imbalance, and where a constant ``update`` would bring it with the recent gradients.

        Definition:
            With the recent means a and c of what drives D, ``ηa + η²c`` a step, and κ² of D left by a step, it settles
            at ``(ηa + η²c)/(1 − κ²) = (a + ηc)/(2λ − ηλ²)``; nan without decay. The rate of the steps that the
            gradients were met in has no part in it, so that a schedule may have changed it since.

        Args:
            update: The settings.

        Returns:
            The mean and the level.
        """
        mean, first, second = self.recent.mean()
        rate, decay = update.effective_rate, update.weight_decay
        loss = 2 * decay - rate * decay**2
        return mean, (first + rate * second) / loss if loss else torch.full_like(mean, torch.nan)

    def _settle(self) -> None:
        """Book the step that was taken since the last record."""
        if self._pending is None or self._parts is None:
            return
        update, kept, exchange, noise = self._pending
        self.flow_time += update.effective_rate
        self.clock += 2 * update.effective_rate * update.weight_decay
        parts = self._parts
        self._parts = _Parts(kept * parts.opening, kept * parts.exchange + exchange, kept * parts.noise + noise)

    def _drive(self, weights: Reading, gradients: Reading, update: Update) -> _Drive:
        """Return what these gradients add to the imbalance, free of the rate."""
        decay, noise = update.weight_decay, form(gradients, gradients, self.kind, self.degree)
        source, curvature = torch.zeros_like(noise), torch.zeros_like(noise)
        if self.kind == "general":
            source = -2 * form(weights, gradients, self.kind, self.degree)
            curvature = -decay * source
        if weights.biased and update.decay_of_biases != decay:
            first, second = self._of_bias(weights, gradients, update)
            source, curvature = source + first, curvature + second
        return _Drive(source, curvature, noise)

    def _entries(self, drive: _Drive, update: Update) -> tuple[float, Tensor, Tensor]:
        """Return κ² and what the step adds to the exchange and to the noise."""
        rate = update.effective_rate
        return update.kept**2, rate * drive.source + rate**2 * drive.curvature, rate**2 * drive.noise

    def _of_bias(self, weights: Reading, gradients: Reading, update: Update) -> tuple[Tensor, Tensor]:
        """Return what a bias adds that decays at another rate than the weights, in first and second order of η."""
        b, g = weights.below[:, -1], gradients.below[:, -1]
        decay, other = update.weight_decay, update.decay_of_biases
        squares, crossed = torch.outer(b, b), torch.outer(b, g)
        first = 2 * (other - decay) * squares
        second = (decay - other) * ((decay + other) * squares + crossed + crossed.mT)
        if self.kind == "linear":
            return first, second
        return first.diagonal().clone(), second.diagonal().clone()

    def _recognise(self, step: int, weights: Reading, gradients: Reading) -> None:
        """Give up the laws that these gradients refute."""
        sizes = [w.norm() * g.norm() for w, g in ((weights.above, gradients.above), (weights.below, gradients.below))]
        above, below = torch.stack(sizes).tolist()
        if not math.isfinite(above + below):
            raise DivergedError(
                f"balance account: a weight or gradient is not finite at step {step}; wanted finite numbers; lower the "
                "learning rate.",
                step,
            )
        self._largest = max(self._largest, above, below)

        def conserved(kind: Kind, degree: int) -> bool:
            return float(form(weights, gradients, kind, degree).norm()) <= self._tolerance * self._largest

        if self.kind == "general" or conserved(self.kind, self.degree):
            self._seen = self._seen or self._largest > 0
            return
        was_linear = self.kind == "linear"
        degrees = DEGREES if not self._seen else DEGREES[:1] if was_linear else ()
        degree = next((k for k in degrees if conserved("homogeneous", k)), None)
        self._seen = True
        if was_linear and self._parts is not None:
            self._keep_diagonals()
        if self.degree > 1 or (degree or 1) > 1:
            self._parts = None  # the books were of another quantity
            self.recent = RecentMean()
        self.kind, self.degree = ("general", 1) if degree is None else ("homogeneous", degree)

    def _keep_diagonals(self) -> None:
        opening, exchange, noise = (part.diagonal().clone() for part in self.parts)
        self._parts = _Parts(opening, exchange, noise)
        self.start = tuple(each.diagonal().clone() for each in self.start)
        self.recent.map_diagonals()
