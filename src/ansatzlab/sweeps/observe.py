"""What runs record at a snapshot: a table of observers, each giving every layer of every run a few columns.

Observers look at a stack of networks; a single run is a stack of one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from torch import Tensor, nn
from torch.func import vmap

from ansatzlab.linalg.null import rotated_factor
from ansatzlab.linalg.reduction import reduce_weight
from ansatzlab.linalg.spectrum import decompose
from ansatzlab.measurement.layer import is_isotropic
from ansatzlab.measurement.probes import output_factors
from ansatzlab.measurement.run import measure
from ansatzlab.sweeps.spec import Observable, RunSpec
from ansatzlab.training.balance import imbalance, next_imbalance
from ansatzlab.training.dynamics import GradientFlow, Optimizer
from ansatzlab.training.schedule import rate_factor
from ansatzlab.training.stack import StackedSnapshot

Columns = list[dict[str, object]]
"""For each layer of one run, from the first to the last, its columns."""

NULL_DRAWS = 20
"""How many rotations the structural null is estimated from."""

Observer = Callable[[StackedSnapshot], list[Columns]]
"""Gives the columns of every run of a stack; those of a run that is lost mean nothing."""


@dataclass(frozen=True)
class Stack:
    """Runs of one architecture that are looked at together.

    Attributes:
        specs: The runs.
        dynamics: How each is trained, its learning rate a number.
        model: A network of the architecture.
        parameters: The parameters by name, stacked, shape (r, …); training changes them in place.
        inputs: The network inputs, shape (n, i), or (r, n, i) where every run has its own.
    """

    specs: tuple[RunSpec, ...]
    dynamics: tuple[GradientFlow | Optimizer, ...]
    model: nn.Module
    parameters: Mapping[str, Tensor]
    inputs: Tensor

    @property
    def weights(self) -> dict[str, Tensor]:
        """The linear layers' weights, stacked, by the layers' names."""
        return {
            name: self.parameters[f"{name}.weight"]
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear)
        }


def ansatz(stack: Stack) -> Observer:
    """Observe every layer's AGOP against its weight Gram matrix.

    The output gradients are kept as a triangular factor, so that small modes of a deep network's AGOP survive. The
    measurement checks itself on the first run at the first snapshot.
    """
    probe = stack.inputs[..., : stack.specs[0].probe_examples, :]

    def observe(snapshot: StackedSnapshot) -> list[Columns]:
        if snapshot.index == 0:
            _check(stack, probe)
        factors = _factors(stack, probe)
        last = list(factors)[-1]
        return [
            []
            if place in snapshot.lost
            else [
                _spectral_columns(name, stack.weights[name][place : place + 1], factor[place], is_last=name == last)
                for name, factor in factors.items()
            ]
            for place in range(len(stack.specs))
        ]

    return observe


def _factors(stack: Stack, probe: Tensor) -> dict[str, Tensor]:
    """Return the triangular factors of every layer, stacked (r, g, p, o)."""
    if probe.ndim == 2:
        return vmap(lambda parameters: output_factors(stack.model, parameters, probe))(dict(stack.parameters))
    # One by one: the probes learn the shapes from a pass with hooks, which cannot look at inputs under vmap.
    each = [
        output_factors(stack.model, {name: values[place] for name, values in stack.parameters.items()}, inputs)
        for place, inputs in enumerate(probe)
    ]
    return {name: torch.stack([factors[name] for factors in each]) for name in each[0]}


def _spectral_columns(name: str, weight: Tensor, factor: Tensor, *, is_last: bool) -> dict[str, object]:
    spectrum, _ = decompose(weight, factor=factor)
    return {
        "layer": name,
        **spectrum.columns(),
        "tautological": float(is_last or is_isotropic(factor.mT @ factor)),
    }


def _check(stack: Stack, probe: Tensor) -> None:
    """Measure the first run's network with the measurement's own checks, which raise where it cannot be measured."""
    values = {name: parameter[0] for name, parameter in stack.parameters.items()}
    stack.model.load_state_dict(values)
    measure(stack.model, probe[0] if probe.ndim == 3 else probe, check="first")


def balance(stack: Stack) -> Observer:
    """Observe the imbalance ‖D_l‖ of every pair of neighbouring layers, in the row of the lower one."""

    def observe(_: StackedSnapshot) -> list[Columns]:
        weights = list(stack.weights.values())
        sizes = [_norms(weight) for weight in weights]
        norms: list[list[float] | list[None]] = [*map(_norms, imbalance(weights)), [None] * len(stack.specs)]
        return [
            [
                {"weight_norm": size[place], "imbalance_norm": norm[place]}
                for size, norm in zip(sizes, norms, strict=True)
            ]
            for place in range(len(stack.specs))
        ]

    return observe


def discrete_balance(stack: Stack) -> Observer:
    """Observe how far the imbalance is from what the exact discrete law predicts from the start, step by step.

    The prediction is carried along from the first snapshot with the gradients of each step, so its error accumulates;
    every step must be a snapshot. Relative to ‖W_l W_lᵀ‖.
    """
    optimizers = [each for each in stack.dynamics if isinstance(each, Optimizer)]
    assert len(optimizers) == len(stack.specs), "planned for a discrete dynamics"
    rates = torch.tensor([each.rate for each in optimizers], dtype=torch.float64)[:, None, None]
    decays = torch.tensor([each.weight_decay for each in optimizers], dtype=torch.float64)[:, None, None]
    first = optimizers[0]
    predicted: list[Tensor] = []

    def observe(snapshot: StackedSnapshot) -> list[Columns]:
        nonlocal predicted
        weights = list(stack.weights.values())
        current = imbalance(weights)
        if snapshot.index == 0:
            predicted = current
        errors: list[list[float] | list[None]] = [
            [error / size for error, size in zip(_norms(d - p), _norms(weight @ weight.mT), strict=True)]
            for d, p, weight in zip(current, predicted, weights, strict=False)
        ]
        errors.append([None] * len(stack.specs))
        assert snapshot.step is not None
        rate = rates * rate_factor(first.schedule, snapshot.step, first.steps)
        predicted = next_imbalance(predicted, snapshot.gradients, learning_rate=rate, weight_decay=decays)
        return [[{"discrete_balance_error": error[place]} for error in errors] for place in range(len(stack.specs))]

    return observe


def stationarity(stack: Stack) -> Observer:
    """Observe how far each layer is from a stationary point of the penalised loss: ``‖g_l + λW_l‖ / (λ‖W_l‖)``.

    g is the gradient of the data loss. Null without decay, and where steps see batches: their gradient is not the
    loss's.
    """
    decays = torch.tensor([each.weight_decay for each in stack.dynamics], dtype=torch.float64)
    whole = all(isinstance(each, GradientFlow) or each.batch_size is None for each in stack.dynamics)

    def observe(snapshot: StackedSnapshot) -> list[Columns]:
        gradients = dict(zip(stack.parameters, snapshot.gradients, strict=True))
        shares: list[list[float]] = []
        for name, weight in stack.weights.items():
            pull = decays[:, None, None] * weight
            shares.append((_norms_of(gradients[f"{name}.weight"] + pull) / _norms_of(pull)).tolist())
        return [
            [{"stationarity": share[place] if whole and decays[place] > 0 else None} for share in shares]
            for place in range(len(stack.specs))
        ]

    return observe


def null(stack: Stack) -> Observer:
    """Observe at the end what geometry alone gives: the residual at 1/(L − l + 1) with the output gradients turned.

    See `ansatzlab.measurement.verdict.StructuralNull`. Earlier snapshots have nothing there.
    """
    probe = stack.inputs[..., : stack.specs[0].probe_examples, :]
    depth = len(stack.weights)

    def observe(snapshot: StackedSnapshot) -> list[Columns]:
        if not _is_last(snapshot, stack):
            return [[{} for _ in range(depth)] for _ in stack.specs]
        factors = _factors(stack, probe)
        return [
            []
            if place in snapshot.lost
            else [
                _null_columns(stack.weights[name][place : place + 1], factor[place], 1 / (depth - index))
                for index, (name, factor) in enumerate(factors.items())
            ]
            for place in range(len(stack.specs))
        ]

    return observe


def _null_columns(weight: Tensor, factor: Tensor, exponent: float) -> dict[str, object]:
    generator, reduced = torch.Generator().manual_seed(0), reduce_weight(weight)
    turned = (decompose(reduced, factor=rotated_factor(factor, generator))[0] for _ in range(NULL_DRAWS))
    residuals = [spectrum.residual(exponent) for spectrum in turned]
    return {"null_residual": fmean(residuals), "null_residual_sd": stdev(residuals)}


def _is_last(snapshot: StackedSnapshot, stack: Stack) -> bool:
    dynamics = stack.dynamics[0]
    if isinstance(dynamics, Optimizer):
        return snapshot.step == dynamics.steps
    return snapshot.index == stack.specs[0].snapshots - 1


OBSERVERS: Mapping[Observable, Callable[[Stack], Observer]] = {
    "ansatz": ansatz,
    "balance": balance,
    "discrete_balance": discrete_balance,
    "stationarity": stationarity,
    "null": null,
}


def _norms(matrices: Tensor) -> list[float]:
    norms: list[float] = _norms_of(matrices).tolist()
    return norms


def _norms_of(matrices: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.matrix_norm(matrices)
    return norms
