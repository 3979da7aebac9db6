"""The dynamics a network can be trained by, as validated records."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

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


class Optimizer(BaseModel):
    """An optimiser of ``torch.optim`` by name, with weight decay made explicit.

    Conventions:
        *Coupled* decay adds λθ to the gradient before the optimiser sees it (torch's ``weight_decay`` in ``SGD`` and
        ``Adam``): the penalty (λ/2)‖θ‖² is part of the loss. *Decoupled* decay multiplies the weights by 1 − ηλ in
        every step, outside the optimiser (``AdamW``). The decay is applied here and never by torch, so that the two
        are told apart for every optimiser alike. ``SGD`` without options is plain gradient descent.

    Attributes:
        name: A class of ``torch.optim``, for example ``SGD``, ``Adam`` or ``RMSprop``.
        learning_rate: η.
        steps: The number of steps.
        weight_decay: λ.
        decay: Coupled or decoupled.
        batch_size: Examples a step, drawn without replacement in shuffled passes; None for all of them.
        options: Further keywords of the torch class, for example ``{"momentum": 0.9}``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["optimizer"] = "optimizer"
    name: str = "SGD"
    learning_rate: PositiveFloat
    steps: PositiveInt
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
        return self


Dynamics = Annotated[GradientFlow | Optimizer, Field(discriminator="kind")]
