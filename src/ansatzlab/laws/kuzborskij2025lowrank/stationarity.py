"""How close a network is to a stationary point of logistic loss with decay, and what its weights are like there."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ansatzlab.errors import InputError
from ansatzlab.laws.kuzborskij2025lowrank.network import Network, evaluate, plain, read_network, widened
from ansatzlab.laws.kuzborskij2025lowrank.structure import Structure, read_structure
from ansatzlab.laws.kuzborskij2025lowrank.tasks import check_labels

LARGEST_PULL = 0.2784645427610738
"""The largest value of ``m/(1 + e^m)``, Lambert's W of 1/e; so a stationary ``‖W_k‖² ≤ p_k`` times it over 2λ."""

COLLAPSED = 1e-3
"""A network has collapsed when every matrix is below this share of the norm that a stationary one can have at most."""

ALIGNED, BALANCED = 1e-3, 1e-2
"""A cosine further than this from 1 is not alignment; Euler residuals below this are what a stationary point has."""

BALANCING_TIMES = 5.0
"""How many times ``1/(4λ)`` a training needs until the imbalance of its start is forgotten, ``e^{−5}``."""


@dataclass(frozen=True)
class StationarityReport:
    """How close a network is to a stationary point of ``L(θ) + λ‖θ‖²``, L the mean of log(1 + e^{−y f(x)}).

    Attributes:
        decay: λ; torch calls 2λ ``weight_decay``.
        loss: L.
        accuracy: The share of labels that are the sign of the output.
        least_margin: The smallest ``m_i = y_i f(x_i)``.
        cosine: ``cos(θ, −∂L/∂θ)`` over all trained parameters; nan where the network has collapsed.
        residual: ``‖∂L/∂θ + 2λθ‖ / ‖2λθ‖``; likewise.
        pull: ``S = (1/n) Σ m_i/(1 + e^{m_i})``. By Euler's identity ``⟨W_k, ∂L/∂W_k⟩ = −p_k S`` at any weights, so at a
            stationary point ``2λ‖W_k‖² = p_k S`` for every k.
        euler_residuals: For each trained matrix ``2λ‖W_k‖²/(p_k S) − 1``; nan where the network has collapsed.
        structure: What the weights are like.
        averaged: Whether the gradient was given, as an average over steps.
        collapsed: Whether decay has driven all weights to zero.
        not_balanced_yet: Whether the training was too short to forget its start; None if its length was not told.
    """

    decay: float
    loss: float
    accuracy: float
    least_margin: float
    cosine: float
    residual: float
    pull: float
    euler_residuals: tuple[float, ...]
    structure: Structure
    averaged: bool
    collapsed: bool
    not_balanced_yet: bool | None

    @property
    def worst_euler_residual(self) -> float:
        """The largest Euler residual in size; nan if one is."""
        return _largest(self.euler_residuals)

    def statement(self) -> str:
        """Say in a sentence or two what was found."""
        if self.collapsed:
            return f"Collapsed: λ = {self.decay:g} is too large, all weights went to zero; nothing else can be said."
        what = "averaged gradient" if self.averaged else "gradient"
        ranks = ", ".join(f"{layer.name} {layer.stable_rank:.3g}" for layer in self.structure.layers)
        kinked = not self.averaged and self.cosine < 1 - ALIGNED and self.worst_euler_residual < BALANCED
        if kinked:
            ranks += (
                ". The norms are those of a stationary point and the gradient is not: of a ReLU network, which ends at "
                "kinks, average it over the last steps"
            )
        young = " Too early to be balanced: the training is shorter than 5/(4λ)." if self.not_balanced_yet else ""
        return (
            f"cos(θ, −{what}) = {self.cosine:.6g}, relative residual {self.residual:.2g}; 2λ‖W‖² differs from what is "
            f"stationary by {self.worst_euler_residual:.2g} at most; stable ranks: {ranks}.{young}"
        )

    def to_dict(self) -> dict[str, object]:
        """Return it as what JSON can hold; a missing number is None."""
        return plain(asdict(self))


def stationarity_report(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    decay: float,
    *,
    gradients: Mapping[str, Tensor] | None = None,
    flow_time: float | None = None,
) -> StationarityReport:
    """Say how close a network is to a stationary point of logistic loss with decay, and what its weights are like.

    Conventions:
        The penalty is ``λ‖θ‖²`` over the trained parameters, so its gradient is 2λθ and torch's ``weight_decay`` is 2λ.
        A ReLU network ends at kinks, where the gradient that autograd returns jumps to and fro and only its average is
        the element of the subdifferential that balances the decay: give that as ``gradients``.

    Args:
        model: A network without biases, homogeneous in every trained matrix, with one output; it is not changed.
        inputs: The training examples.
        labels: −1 or +1 for each.
        decay: λ, positive.
        gradients: The gradient of L (without the penalty) by every trained parameter, by name, as an average over the
            last steps; None for the gradient at the weights as they are.
        flow_time: For how long it was trained, steps times learning rate; None if that is not known.

    Returns:
        The report.

    Raises:
        InputError: If the decay is not positive, a label is neither −1 nor +1, or the gradients do not fit.
        ModelError: If the network has biases, weights that are not finite or more than one output, or is not
            homogeneous.

    Precision:
        The network's own dtype, but at least float32.

    Cost:
        One forward and one backward pass on all inputs, and a forward pass for each trained matrix, twice.

    Source:
        Derived for this project from Euler's identity of homogeneous functions; alignment, norm preservation and low
        rank are the claims of kuzborskij2025lowrank.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
        >>> _ = [parameter.data.fill_(1.0) for parameter in model.parameters()]
        >>> report = stationarity_report(model, torch.ones(1, 1).double(), torch.ones(1), decay=0.1344707)
        >>> round(report.cosine, 9), report.residual < 1e-6, report.structure.spread
        (1.0, True, 0.0)
    """
    if not 0 < decay < math.inf:
        raise InputError(
            f"stationarity_report: got decay {decay}; wanted a positive number: without decay nothing is stationary "
            "but at infinity; for norms and stable ranks alone use structure_of."
        )
    model, inputs = widened(model, inputs)
    labels = check_labels(labels, inputs, "stationarity_report")
    network = read_network(model, inputs)
    margins, at_weights = _margins_and_slopes(model, network, inputs, labels)
    slopes = at_weights if gradients is None else _checked(gradients, network)
    structure = read_structure(network, inputs, labels * margins)
    pull = float((margins * torch.sigmoid(-margins)).mean())
    theta = torch.cat([network.weights[name].reshape(-1) for name in network.trained])
    g = torch.cat([slopes[name].reshape(-1).to(theta) for name in network.trained])
    size, slope = float(theta.norm()), float(g.norm())
    collapsed = all(
        layer.squared_norm < COLLAPSED**2 * layer.degree * LARGEST_PULL / (2 * decay) for layer in structure.layers
    )
    return StationarityReport(
        decay=decay,
        loss=float(softplus(-margins).mean()),
        accuracy=float((margins > 0).double().mean()),
        least_margin=float(margins.min()),
        cosine=math.nan if collapsed or not slope else -float(theta @ g) / (size * slope),
        residual=math.nan if collapsed else float((g + 2 * decay * theta).norm()) / (2 * decay * size),
        pull=pull,
        euler_residuals=tuple(
            math.nan if collapsed or not pull else 2 * decay * layer.squared_norm / (layer.degree * pull) - 1
            for layer in structure.layers
        ),
        structure=structure,
        averaged=gradients is not None,
        collapsed=collapsed,
        not_balanced_yet=None if flow_time is None else flow_time < BALANCING_TIMES / (4 * decay),
    )


def _margins_and_slopes(
    model: nn.Module, network: Network, inputs: Tensor, labels: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    leaves = {name: network.weights[name].clone().requires_grad_(True) for name in network.trained}
    with torch.enable_grad():
        margins = labels * evaluate(model, inputs, leaves)
        slopes = torch.autograd.grad(softplus(-margins).mean(), list(leaves.values()))
    return margins.detach(), dict(zip(leaves, slopes, strict=True))


def _checked(gradients: Mapping[str, Tensor], network: Network) -> Mapping[str, Tensor]:
    for name in network.trained:
        got = gradients.get(name)
        if got is None or got.shape != network.weights[name].shape or not bool(got.isfinite().all()):
            shape = "nothing" if got is None else f"shape {tuple(got.shape)}, finite or not"
            raise InputError(
                f"stationarity_report: got {shape} for the gradient of {name}; wanted a finite tensor of shape "
                f"{tuple(network.weights[name].shape)} for each of {', '.join(network.trained)}."
            )
    return gradients


def _largest(values: tuple[float, ...]) -> float:
    return math.nan if any(math.isnan(value) for value in values) else max(map(abs, values), default=math.nan)
