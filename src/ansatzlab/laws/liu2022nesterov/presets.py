"""Step size and momentum from the ends of a spectrum."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.laws.liu2022nesterov.jacobian_gram import Extremes

Rule = Literal["gd", "heavy_ball", "nesterov"]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class Tuning:
    """How a descent steps.

    Attributes:
        rule: Gradient descent, heavy ball or Nesterov's: which recursion.
        learning_rate: η.
        momentum: β.
        contraction: What a residual with the tuned spectrum shrinks by in a step, as long as it is linear; nan where it
            is not known.
    """

    rule: Rule
    learning_rate: float
    momentum: float
    contraction: float

    def __post_init__(self) -> None:
        """Refuse what no descent can step by.

        Raises:
            UnknownNameError: If there is no such rule.
            InputError: If β is not in [0, 1), or not 0 in gradient descent, or η is not a positive finite number.
        """
        if self.rule not in RULES:
            raise UnknownNameError("rule", self.rule, RULES)
        if not 0 <= self.momentum < 1 or (self.rule == "gd" and self.momentum):
            wanted = "no momentum" if self.rule == "gd" else "a number in [0, 1)"
            raise InputError(f"tuning: got momentum {self.momentum} for {self.rule}; wanted {wanted}; change it.")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(
                f"tuning: got learning_rate {self.learning_rate:g} for {self.rule}; wanted a positive finite number; "
                "change it."
            )

    def refuse_unstable(self, largest: float) -> None:
        """Refuse a learning rate from which on the recursion diverges (see `stability_limit`).

        Args:
            largest: λ_max.

        Raises:
            InputError: If it is one.
        """
        limit = stability_limit(self.rule, self.momentum, largest)
        if not self.learning_rate < limit:
            raise InputError(
                f"tuning: got learning_rate {self.learning_rate:g} for {self.rule} with λ_max = {largest:g}; wanted "
                f"one below {limit:g}, from which on it diverges; lower it."
            )


def gradient_descent(ends: Extremes) -> Tuning:
    """Return ``η = 1/λ_max``; contraction ``1 − 1/κ``."""
    return Tuning("gd", 1 / ends.largest, 0.0, 1 - 1 / ends.condition)


def heavy_ball(ends: Extremes) -> Tuning:
    """Return gradient descent's ``η = 1/λ_max`` with Polyak's ``β = ((√κ − 1)/(√κ + 1))²``.

    Its contraction is the larger root at λ_min, ``1 − O(1/√κ)`` with a worse constant than Nesterov's.
    """
    rate, beta = 1 / ends.largest, _polyak_root(ends) ** 2
    return Tuning("heavy_ball", rate, beta, spectral_radius("heavy_ball", rate, beta, ends.smallest))


def polyak(ends: Extremes) -> Tuning:
    """Return Polyak's ``η = 4/(√λ_max + √λ_min)²``, ``β = ((√κ − 1)/(√κ + 1))²``; contraction ``√β``.

    It is the best on a quadratic and stands at the edge: η is ``κ/(κ + 1)`` of the largest stable one, so that an H
    whose λ_max grows by a share 1/κ makes it diverge.
    """
    root = _polyak_root(ends)
    rate = 4 / (math.sqrt(ends.largest) + math.sqrt(ends.smallest)) ** 2
    return Tuning("heavy_ball", rate, root**2, root)


def nesterov(ends: Extremes) -> Tuning:
    """Return ``η = 1/λ_max``, ``β = (√κ − 1)/(√κ + 1)``; contraction ``1 − 1/√κ``, a double root at λ_min."""
    root = math.sqrt(ends.condition)
    return Tuning("nesterov", 1 / ends.largest, (root - 1) / (root + 1), 1 - 1 / root)


def lessard(ends: Extremes) -> Tuning:
    """Return ``η = 4/(3λ_max + λ_min)``, ``β = (√(3κ + 1) − 2)/(√(3κ + 1) + 2)``; contraction ``1 − 2/√(3κ + 1)``."""
    root = math.sqrt(3 * ends.condition + 1)
    return Tuning("nesterov", 4 / (3 * ends.largest + ends.smallest), (root - 2) / (root + 2), 1 - 2 / root)


PRESETS: dict[str, Callable[[Extremes], Tuning]] = {
    "gd": gradient_descent,
    "heavy_ball": heavy_ball,
    "polyak": polyak,
    "nesterov": nesterov,
    "lessard": lessard,
}
"""The presets by name."""


def tune(method: str, ends: Extremes, *, learning_rate: float | None = None, momentum: float | None = None) -> Tuning:
    """Return the tuning of a preset, or of its recursion with numbers of one's own.

    Args:
        method: A name of `PRESETS`.
        ends: The ends of the spectrum.
        learning_rate: η in place of the preset's.
        momentum: β in place of the preset's.

    Returns:
        The tuning; its contraction is that of the numbers it has.

    Raises:
        UnknownNameError: If there is no such preset.
        InputError: If β or η cannot be (see `Tuning`), or η is at least `stability_limit`, where the descent diverges.

    Example:
        >>> tune("nesterov", Extremes(largest=4.0, smallest=0.25))
        Tuning(rule='nesterov', learning_rate=0.25, momentum=0.6, contraction=0.75)
    """
    if method not in PRESETS:
        raise UnknownNameError("descent", method, PRESETS)
    preset = PRESETS[method](ends)
    rate = preset.learning_rate if learning_rate is None else learning_rate
    beta = preset.momentum if momentum is None else momentum
    contraction = max(spectral_radius(preset.rule, rate, beta, each) for each in (ends.largest, ends.smallest))
    tuning = Tuning(preset.rule, rate, beta, contraction)
    tuning.refuse_unstable(ends.largest)
    if method == "nesterov" and rate > (1 + 1e-12) / ends.largest:
        warnings.warn(
            f"tune: the learning rate {rate:g} is above 1/λ_max = {1 / ends.largest:g}, which the rate of nesterov is "
            "proved for; it may be slower than gradient descent.",
            UserWarning,
            stacklevel=2,
        )
    return preset if learning_rate is None and momentum is None else tuning


def stability_limit(rule: Rule, momentum: float, largest: float) -> float:
    """Return the learning rate from which on a recursion diverges along the largest eigenvalue.

    Definition:
        Where ``z = −1`` becomes a root: ``2/λ`` of gradient descent, ``2(1 + β)/λ`` of heavy ball,
        ``2(1 + β)/((1 + 2β) λ)`` of Nesterov's.

    Args:
        rule: The recursion.
        momentum: β.
        largest: λ_max.

    Returns:
        The learning rate.

    Example:
        >>> stability_limit("heavy_ball", 0.5, 1.0), stability_limit("nesterov", 0.5, 1.0)
        (3.0, 1.5)
    """
    widened = 2 * (1 + momentum) / largest
    return widened / (1 + 2 * momentum) if rule == "nesterov" else widened


def coefficients(rule: Rule, learning_rate: float, momentum: float, eigenvalue: float) -> tuple[float, float]:
    """Return p and q of ``x_{t+1} = p x_t − q x_{t−1}``, the residual along an eigenvector while it is linear."""
    if rule == "nesterov":
        kept = 1 - learning_rate * eigenvalue
        return (1 + momentum) * kept, momentum * kept
    return 1 + momentum - learning_rate * eigenvalue, momentum


def spectral_radius(rule: Rule, learning_rate: float, momentum: float, eigenvalue: float) -> float:
    """Return the larger modulus of the two roots of ``z² − p z + q`` (see `coefficients`).

    Example:
        >>> round(spectral_radius("nesterov", 0.25, 0.6, 0.25), 12)    # the double root at λ_min
        0.75
    """
    p, q = coefficients(rule, learning_rate, momentum, eigenvalue)
    discriminant = p * p - 4 * q
    if discriminant <= 0:
        return math.sqrt(q)
    return (abs(p) + math.sqrt(discriminant)) / 2


def _polyak_root(ends: Extremes) -> float:
    root = math.sqrt(ends.condition)
    return (root - 1) / (root + 1)
