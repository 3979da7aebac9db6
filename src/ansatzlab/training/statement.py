"""What the books of a pair of layers say, in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ansatzlab.training.ledger import Kind
from ansatzlab.training.update import Update

Word = Literal[
    "off the books",
    "kept",
    "drifting",
    "fed",
    "balanced",
    "stopped",
    "decaying",
    "at its noise floor",
    "approaching its floor",
    "moved",
    "undriven",
    "not there yet",
    "hovering",
]

SMALL = 1e-3
"""A relative imbalance up to this is called balanced."""

SETTLED = 0.2
"""A mean imbalance is at its level if it differs from the predicted one by no more than this, relative to itself."""

STATIONARY = 0.01
"""A gradient of the penalised loss up to this share of the decay term is called zero."""


@dataclass(frozen=True)
class Balance:
    """How a pair of consecutive layers stands, before the step that was recorded last.

    All sizes are relative to ``‖W_l W_lᵀ‖`` (its diagonal where only that is conserved) of the same moment.

    Attributes:
        lower: The first layer's name.
        upper: The second layer's name.
        kind: What is conserved between them, as found from their gradients.
        degree: k of a homogeneous activation.
        update: The optimiser's settings.
        records: How many steps were recorded.
        flow_time: The sum of the learning rates of the steps taken between them.
        clock: The sum of ``2ηλ`` over those since ``first``.
        first: The imbalance when the books were opened: at the first record, or where an activation was found to be
            homogeneous of degree 2 or 3, or no longer to be.
        current: The imbalance now.
        opening: What is left of the first one.
        exchange: What the layers in between (their activation) added and the decay left.
        noise: What the finite size of the steps added and the decay left.
        unexplained: The largest difference so far between the imbalance and the sum of these three.
        tolerance: Up to where that is rounding.
        level: The mean imbalance over the recent steps.
        predicted_level: Where it would settle if η and λ stayed as they are now: η/(2λ − ηλ²) times the mean of
            ``g_{l+1}ᵀg_{l+1} − g_l g_lᵀ`` over the recent steps, and the exchange likewise; nan without decay.
        level_error: The difference of the two, relative to the first of them.
        window: How many recent steps these are.
        stationarity: ``‖g + λW‖/(λ‖W‖)``, of the last batch or of the mean over the recent steps, whichever is smaller;
            nan without decay.
    """

    lower: str
    upper: str
    kind: Kind
    degree: int
    update: Update
    records: int
    flow_time: float
    clock: float
    first: float
    current: float
    opening: float
    exchange: float
    noise: float
    unexplained: float
    tolerance: float
    level: float
    predicted_level: float
    level_error: float
    window: int
    stationarity: float


def status(balance: Balance) -> Word:
    """Say in a word how a pair of layers stands.

    Args:
        balance: The record.

    Returns:
        The word; `statement` explains it.
    """
    if balance.update.rule == "adaptive":
        return _adaptive_status(balance)
    if balance.update.rule == "descent" and not balance.unexplained <= balance.tolerance:
        return "off the books"
    fed = balance.kind == "general" and balance.exchange >= max(balance.opening, balance.noise)
    if fed and balance.current > SMALL:
        return "fed"
    if not balance.update.learning_rate:
        return "balanced" if balance.current <= SMALL else "stopped"
    if not balance.update.weight_decay:
        return "kept" if balance.opening > max(SMALL, balance.noise) else "drifting"
    if balance.current <= SMALL:
        return "balanced"
    if balance.opening >= balance.current / 2:
        return "decaying"
    return "at its noise floor" if balance.level_error <= SETTLED else "approaching its floor"


def _adaptive_status(balance: Balance) -> Word:
    if not balance.update.weight_decay:
        return "moved"
    if balance.update.decay == "decoupled":
        return "undriven"
    if balance.kind != "general" and balance.current <= SMALL:
        return "balanced"
    return "not there yet" if balance.stationarity > STATIONARY else "hovering"


def statement(balance: Balance) -> str:
    """Explain in words how a pair of layers stands, why, and what would change it.

    Args:
        balance: The record.

    Returns:
        One sentence or a few.
    """
    word = status(balance)
    if balance.update.rule == "adaptive":
        return f"{word}: {_ADAPTIVE[word].format(**_numbers(balance))}"
    approximate = f" With momentum this is approximate: the books are off by up to {_short(balance.unexplained)}."
    return f"{word}: {_DESCENT[word].format(**_numbers(balance))}{approximate if balance.update.momentum else ''}"


def conclusion(balances: Sequence[Balance]) -> str:
    """Say whether the ansatz is to be expected of the network.

    Conventions:
        Only in a chain of linear layers does balance imply the ansatz, and lack of balance its failure.

    Args:
        balances: Its pairs of layers, at least one.

    Returns:
        One sentence.
    """
    worst = max(balances, key=lambda balance: balance.current)
    size = f"{worst.current:.2g} ({worst.lower} → {worst.upper})"
    if any(balance.kind != "linear" for balance in balances):
        return (
            f"The largest relative imbalance is {size}. With activations in between, balance neither implies nor "
            "excludes the ansatz: measure it."
        )
    if worst.current <= SMALL:
        return f"The largest relative imbalance is {size}: W₁ᵀW₁ ∝ AGOP^(1/L) is to be expected up to about that."
    return (
        f"The largest relative imbalance is {size}: W₁ᵀW₁ ∝ AGOP^(1/L) is not to be expected to better than about that."
    )


_DESCENT: dict[Word, str] = {
    "off the books": "the weights moved otherwise than gradient descent with η = {rate}, λ = {decay} moves them "
    "(relative imbalance off by {unexplained}; {tolerance} would be rounding). Check that record() is called before "
    "every step and sees the gradient that the step uses, and that rate and decay are these.",
    "kept": "there is no decay, so the first imbalance of {first} (relative) stays for ever; it is {current} now, of "
    "which the step size made {noise}.",
    "drifting": "there is no decay and the start was balanced (to {first}); the size of the steps has made an "
    "imbalance of {current} and will make more. Halve η to halve it.",
    "fed": "the activation between the layers (or whatever else stands there) moves the imbalance, "
    "so far by {exchange}; with all else it is {current}. No decay and no smaller step brings it to zero{level}.",
    "balanced": "the relative imbalance is {current}{level}.",
    "decaying": "the first imbalance of {first} falls as e^(−2λt), by now to {share} of itself; relative to the "
    "weights it is {current}. {more} more time units (sums of η) until {target}.",
    "stopped": "the learning rate is zero, so the imbalance stays at {current} (relative); {share} of the first one of "
    "{first} is left in it.",
    "at its noise floor": "predicted {predicted}, measured {measured} (mean over {window} steps). Halve η to halve it.",
    "approaching its floor": "the imbalance is {current}, its mean over {window} steps {measured}; by the "
    "gradients of these steps the floor at the present η = {rate} is {predicted}. The distance to it falls to 1/e in "
    "1/(2ηλ) = {relaxation} steps.",
}

_ADAPTIVE: dict[Word, str] = {
    "moved": "no decay and an adaptive optimiser: nothing keeps the imbalance and nothing drives it to zero. It was "
    "{first} and is {current} (relative).",
    "undriven": "decoupled decay with an adaptive optimiser: nothing drives the imbalance to zero, not even at a "
    "stationary point. It was {first} and is {current} (relative). Coupled decay would change that.",
    "balanced": "coupled decay, adaptive optimiser: the relative imbalance is {current}, the gradient of the penalised "
    "loss {stationarity} of the decay term.",
    "not there yet": "coupled decay, adaptive optimiser: balanced only at a stationary point. The gradient of the "
    "penalised loss is still {stationarity} of the decay term, the relative imbalance {current}.",
    "hovering": "coupled decay, adaptive optimiser: the gradient of the penalised loss is {stationarity} of the decay "
    "term, the relative imbalance {current}. A constant learning rate keeps it from settling: let it decay to zero.",
}


def _numbers(balance: Balance) -> dict[str, str]:
    update = balance.update
    target = max(SMALL, balance.predicted_level if balance.kind != "general" else SMALL)
    wait = math.log(balance.opening / target) / (2 * update.weight_decay) if _waits(balance, target) else 0.0
    speed = 2 * update.effective_rate * update.weight_decay
    level = (
        ""
        if math.isnan(balance.predicted_level)
        else f"; its level by the recent gradients is {_short(balance.predicted_level)}"
    )
    return {
        "rate": f"{update.learning_rate:g}",
        "decay": f"{update.weight_decay:g}",
        "first": _short(balance.first),
        "current": _short(balance.current),
        "noise": _short(balance.noise),
        "exchange": _short(balance.exchange),
        "unexplained": _short(balance.unexplained),
        "tolerance": f"{balance.tolerance:.0e}",
        "share": _short(math.exp(-balance.clock)),
        "relaxation": f"{1 / speed:.2g}" if speed else "∞",
        "more": f"{wait:.3g}",
        "target": f"{target:.1g}",
        "predicted": _short(balance.predicted_level),
        "measured": _short(balance.level),
        "window": str(balance.window),
        "stationarity": _short(balance.stationarity),
        "level": level,
    }


def _waits(balance: Balance, target: float) -> bool:
    return balance.update.weight_decay > 0 and balance.opening > target


def _short(value: float) -> str:
    return f"{value:.2g}"
