"""What an optimiser does to the weights in one step, as far as the balance of layers is concerned."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ansatzlab.errors import InputError

Rule = Literal["descent", "momentum", "adaptive"]
Decay = Literal["coupled", "decoupled"]

RULES: Mapping[str, tuple[Rule, Decay]] = {
    "SGD": ("descent", "coupled"),
    "Adadelta": ("adaptive", "coupled"),
    "Adafactor": ("adaptive", "decoupled"),
    "Adagrad": ("adaptive", "coupled"),
    "Adam": ("adaptive", "coupled"),
    "AdamW": ("adaptive", "decoupled"),
    "Adamax": ("adaptive", "coupled"),
    "Muon": ("adaptive", "decoupled"),
    "NAdam": ("adaptive", "coupled"),
    "RAdam": ("adaptive", "coupled"),
    "RMSprop": ("adaptive", "coupled"),
}
"""torch's optimisers: what their step is a function of, and how their ``weight_decay`` acts."""


@dataclass(frozen=True)
class Update:
    """One step's settings.

    Definition:
        *descent*: ``W ← (1 − ηλ) W − η g``, whether the decay is coupled or not. *momentum*: a running sum of gradients
        in place of g. *adaptive*: anything whose direction is not that of the gradients (Adam and its like). A
        *coupled* decay is part of the gradient; a *decoupled* one multiplies the weights by 1 − ηλ.

    Attributes:
        learning_rate: η.
        weight_decay: λ of the penalty (λ/2)‖θ‖².
        rule: What the step is a function of.
        decay: How the decay acts.
        momentum: μ of the momentum rule.
        bias_decay: λ of the biases; None for the same.
    """

    learning_rate: float
    weight_decay: float = 0.0
    rule: Rule = "descent"
    decay: Decay = "coupled"
    momentum: float = 0.0
    bias_decay: float | None = None

    def __post_init__(self) -> None:
        """Refuse a rule, a decay or a number that no step can have."""
        numbers = (self.learning_rate, self.weight_decay, self.bias_decay or 0.0)
        if min(numbers) < 0 or not 0 <= self.momentum < 1:
            raise InputError(f"{self}: wanted rate and decay not negative and a momentum in [0, 1).")
        if (self.rule, self.decay) not in {(rule, decay) for rule in _RULES for decay in _DECAYS}:
            raise InputError(f"{self}: wanted a rule of {', '.join(_RULES)} and a decay of {', '.join(_DECAYS)}.")

    @property
    def effective_rate(self) -> float:
        """The flow time of one step: η, and η/(1 − μ) with momentum."""
        return self.learning_rate / (1 - self.momentum)

    @property
    def kept(self) -> float:
        """The share of a weight that the decay leaves in one step, ``1 − ηλ``."""
        return 1 - self.effective_rate * self.weight_decay

    @property
    def decay_of_biases(self) -> float:
        """λ of the biases, which is that of the weights unless said."""
        return self.weight_decay if self.bias_decay is None else self.bias_decay


_RULES: tuple[Rule, ...] = ("descent", "momentum", "adaptive")
_DECAYS: tuple[Decay, ...] = ("coupled", "decoupled")


def read_update(
    optimizer: torch.optim.Optimizer, weights: Iterable[Tensor], biases: Iterable[Tensor] = (), *, penalty: float = 0.0
) -> Update:
    """Read a step's settings off a torch optimiser, as they are at this moment.

    Args:
        optimizer: One of torch's own optimisers, or a subclass of one.
        weights: The weight matrices it concerns.
        biases: Their biases.
        penalty: λ of a penalty (λ/2)‖θ‖² that is part of the loss itself.

    Returns:
        The settings.

    Raises:
        InputError: If the optimiser is none of torch's that are known here, maximises, dampens its momentum, does not
            hold a parameter, or treats the weights (or the biases) differently from one another.

    Example:
        >>> W = torch.nn.Parameter(torch.eye(2))
        >>> read_update(torch.optim.AdamW([W], lr=0.1, weight_decay=0.01), [W])  # doctest: +ELLIPSIS
        Update(learning_rate=0.1, weight_decay=0.01, rule='adaptive', decay='decoupled', ...)
    """
    known = next((each.__name__ for each in type(optimizer).__mro__ if each.__name__ in RULES), None)
    if known is None:
        raise InputError(
            f"balance account: got the optimiser {type(optimizer).__name__}; wanted one of torch's "
            f"({', '.join(RULES)}); say what it does with an ansatzlab.training.update.Update in its place."
        )
    group = _one_group(optimizer, list(weights), "weights")
    held = list(biases)
    bias_group = _one_group(optimizer, held, "biases") if held else group
    if _number(group, "lr") != _number(bias_group, "lr"):
        raise InputError("balance account: weights and biases have different learning rates; wanted one for both.")
    rule, decay = RULES[known]
    if group.get("decoupled_weight_decay"):
        decay = "decoupled"
    momentum = _number(group, "momentum") if known == "SGD" else 0.0
    if group.get("maximize") or (momentum and _number(group, "dampening")):
        raise InputError(
            "balance account: got an optimiser that maximises, or dampens its momentum; wanted plain descent, momentum "
            "or an adaptive rule."
        )
    if penalty and decay == "decoupled" and _number(group, "weight_decay"):
        raise InputError(
            "balance account: got a penalty in the loss and a decoupled decay; wanted one of them, as they act "
            "differently."
        )
    return Update(
        learning_rate=_number(group, "lr"),
        weight_decay=_number(group, "weight_decay") + penalty,
        rule="momentum" if momentum else rule,
        decay="coupled" if penalty else decay,
        momentum=momentum,
        bias_decay=_number(bias_group, "weight_decay") + penalty,
    )


def _one_group(optimizer: torch.optim.Optimizer, parameters: list[Tensor], what: str) -> Mapping[str, object]:
    """Return the settings that all the parameters share."""
    found: list[Mapping[str, object]] = []
    for parameter in parameters:
        groups = [group for group in optimizer.param_groups if any(each is parameter for each in group["params"])]
        found += [group for group in groups[:1] if not any(group is each for each in found)]
        if not groups:
            raise InputError(
                f"balance account: {what} of shape {tuple(parameter.shape)} are in no group of the optimiser; wanted "
                "the optimiser that trains this model; name the layers that it trains."
            )
    if len(found) == 1:
        return found[0]
    names = ("lr", "weight_decay", "momentum")
    settings = {tuple(_number(group, name) for name in names) for group in found}
    if len(settings) > 1:
        raise InputError(
            f"balance account: the {what} of neighbouring layers are trained differently (lr, weight_decay, momentum: "
            f"{sorted(settings)}), so that nothing is conserved between them; wanted one setting; name layers that "
            "share theirs."
        )
    return found[0]


def _number(group: Mapping[str, object], name: str) -> float:
    value = group.get(name, 0.0)
    return float(value) if isinstance(value, int | float | Tensor) else 0.0
