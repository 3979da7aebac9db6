"""The dynamics a network can be trained by, as validated records."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from ansatzlab.errors import InputError, UnknownNameError

Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class GradientFlow(BaseModel):
    """Gradient flow, ``dθ/dt = −∇loss(θ) − λ θ``, solved as an ordinary differential equation.

    Attributes:
        flow_time: How long it flows; the clock of a flow.
        weight_decay: λ of the penalty (λ/2)‖θ‖².
        tolerance: Relative tolerance of the eighth-order solver per step; its absolute tolerance is a hundredth of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["flow"] = "flow"
    flow_time: PositiveFloat
    weight_decay: Rate = 0.0
    tolerance: PositiveFloat = 1e-12

    @property
    def learning_rate(self) -> float | None:
        """A flow has none."""
        return None


class SharpnessRate(BaseModel):
    """A learning rate by a rule: a fraction of the largest with which gradient descent is stable.

    Definition:
        ``η = fraction · 2/λ``, λ a bound on the curvature of the loss (`ansatzlab.training.rates.sharpness_bound`).

    Attributes:
        fraction: The fraction, below 1 for a stable descent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sharpness"] = "sharpness"
    fraction: PositiveFloat = 0.25


class Optimizer(BaseModel):
    """An optimiser of ``torch.optim`` by name, with weight decay made explicit.

    Conventions:
        *Coupled* decay adds λθ to the gradient before the optimiser sees it (torch's ``weight_decay`` in ``SGD`` and
        ``Adam``): the penalty (λ/2)‖θ‖² is part of the loss. *Decoupled* decay multiplies the weights by 1 − ηλ in
        every step, outside the optimiser (``AdamW``). The decay is applied here and never by torch, so that the two
        are told apart for every optimiser alike. ``SGD`` without options is plain gradient descent.

    Attributes:
        name: A class of ``torch.optim``, for example ``SGD``, ``Adam`` or ``RMSprop``.
        learning_rate: η, a number, or for ``SGD`` a rule.
        steps: The number of steps.
        schedule: How η changes: ``constant``, or ``cosine``, ``η_t = η/2 (1 + cos(π t/T))``, which ends at zero. A
            decoupled decay follows it.
        weight_decay: λ.
        decay: Coupled or decoupled.
        batch_size: Examples a step, drawn without replacement in shuffled passes; None for all of them.
        options: Further keywords of the torch class, for example ``{"momentum": 0.9}``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["optimizer"] = "optimizer"
    name: str = "SGD"
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | SharpnessRate
    steps: PositiveInt
    schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: Rate = 0.0
    decay: Literal["coupled", "decoupled"] = "coupled"
    batch_size: PositiveInt | None = None
    options: dict[str, float | bool | str | tuple[float, ...]] = {}

    @model_validator(mode="after")
    def _name_says_what_decay_does(self) -> "Optimizer":
        if self.name == "AdamW" and self.decay == "coupled":
            raise ValueError("AdamW is Adam with decoupled decay: say decay='decoupled', or name Adam")
        if self.name == "LBFGS" and self.decay == "decoupled":
            raise ValueError("LBFGS searches along the loss it is given: say decay='coupled'")
        if "weight_decay" in self.options or "lr" in self.options:
            raise ValueError("options must not repeat lr or weight_decay: say learning_rate= and weight_decay=")
        if self.name != "SGD" and isinstance(self.learning_rate, SharpnessRate):
            raise ValueError(f"no theory gives {self.name} a rate by the curvature: give learning_rate as a number")
        return self

    @property
    def rate(self) -> float:
        """η as a number.

        Raises:
            InputError: If it is still a rule.
        """
        if isinstance(self.learning_rate, SharpnessRate):
            raise InputError(
                "train: the learning rate is still a rule, which needs the network and the data; resolve it with "
                "ansatzlab.training.rates.with_rate."
            )
        return self.learning_rate


Dynamics = Annotated[GradientFlow | Optimizer, Field(discriminator="kind")]

OPTIMIZERS: Mapping[str, Mapping[str, object]] = {
    "gd": {"name": "SGD"},
    "sgd": {"name": "SGD", "batch_size": 32},
    "heavy_ball": {"name": "SGD", "options": {"momentum": 0.9}},
    "nesterov": {"name": "SGD", "options": {"momentum": 0.9, "nesterov": True}},
    "adam": {"name": "Adam"},
    "adamw": {"name": "AdamW", "decay": "decoupled"},
    "rmsprop": {"name": "RMSprop"},
    "adagrad": {"name": "Adagrad"},
    "lbfgs": {"name": "LBFGS"},
    "muon": {"name": "Muon"},
}
"""The field's names of optimisers, and what each stands for; every setting can be changed."""

GRADIENT_FLOW = "gradient_flow"


def named_dynamics(name: str, **settings: object) -> GradientFlow | Optimizer:
    """Return the dynamics that the field calls by a name.

    Args:
        name: ``gradient_flow`` or a name in `OPTIMIZERS`.
        settings: Fields of `GradientFlow` or of `Optimizer`; they win over what the name stands for.

    Returns:
        The record.

    Raises:
        UnknownNameError: If the name is unknown.
        pydantic.ValidationError: If a setting is unknown, missing or has a value it cannot have.

    Example:
        >>> named_dynamics("heavy_ball", learning_rate=0.1, steps=100).options
        {'momentum': 0.9}
    """
    if name == GRADIENT_FLOW:
        return GradientFlow.model_validate(settings)
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimiser", name, (GRADIENT_FLOW, *OPTIMIZERS))
    return Optimizer.model_validate({**OPTIMIZERS[name], **settings})
