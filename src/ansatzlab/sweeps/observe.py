"""What a run records at a snapshot: a table of observers, each giving every layer a few columns."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ansatzlab.data.dataset import Dataset
from ansatzlab.measurement.run import measure
from ansatzlab.sweeps.spec import Observable, RunSpec
from ansatzlab.training.balance import imbalance, next_imbalance
from ansatzlab.training.dynamics import Optimizer
from ansatzlab.training.loop import Snapshot

Columns = list[dict[str, object]]
"""For each layer, from the first to the last, its columns."""

Observer = Callable[[Snapshot], Columns]


def ansatz(spec: RunSpec, model: nn.Module, data: Dataset) -> Observer:
    """Observe every layer's AGOP against its weight Gram matrix.

    The sums are accumulated as a triangular factor, so that small modes of a deep network's AGOP survive. The
    measurement checks itself at the first snapshot.
    """
    probe = data.inputs[: spec.probe_examples]

    def observe(snapshot: Snapshot) -> Columns:
        measured = measure(model, probe, accumulation="factor", check="never" if snapshot.index else "first")
        return [
            {
                "layer": name,
                "eigenvalues": spectrum.eigenvalues.tolist(),
                "energies": spectrum.energies.tolist(),
                "sums": spectrum.sums.tolist(),
                "off_energy": spectrum.off_energy,
                "trace": spectrum.trace,
                "total": spectrum.total,
                "dimension": float(spectrum.dimension),
                "cut": spectrum.cut,
                "tautological": float(layer.tautological),
            }
            for name, layer in measured.items()
            for spectrum in [layer.spectrum()]
        ]

    return observe


def balance(spec: RunSpec, model: nn.Module, data: Dataset) -> Observer:  # noqa: ARG001 - the observers' one signature
    """Observe the imbalance ‖D_l‖ of every pair of neighbouring layers, in the row of the lower one."""

    def observe(_: Snapshot) -> Columns:
        weights = _weights(model)
        norms = [float(d.norm()) for d in imbalance(weights)]
        return [
            {"weight_norm": float(weight.norm()), "imbalance_norm": norm}
            for weight, norm in zip(weights, [*norms, None], strict=True)
        ]

    return observe


def discrete_balance(spec: RunSpec, model: nn.Module, data: Dataset) -> Observer:  # noqa: ARG001
    """Observe how far the imbalance is from what the exact discrete law predicts from the start, step by step.

    The prediction is carried along from the first snapshot with the gradients of each step, so its error accumulates;
    every step must be a snapshot. Relative to ‖W_l W_lᵀ‖.
    """
    dynamics = spec.dynamics
    assert isinstance(dynamics, Optimizer), "planned for a discrete dynamics"
    predicted: list[Tensor] = []

    def observe(snapshot: Snapshot) -> Columns:
        nonlocal predicted
        weights = _weights(model)
        current = imbalance(weights)
        if snapshot.index == 0:
            predicted = current
        errors = [
            float((d - p).norm() / (weight @ weight.mT).norm())
            for d, p, weight in zip(current, predicted, weights, strict=False)
        ]
        predicted = next_imbalance(
            predicted, snapshot.gradients, learning_rate=dynamics.learning_rate, weight_decay=dynamics.weight_decay
        )
        return [{"discrete_balance_error": error} for error in [*errors, None]]

    return observe


OBSERVERS: Mapping[Observable, Callable[[RunSpec, nn.Module, Dataset], Observer]] = {
    "ansatz": ansatz,
    "balance": balance,
    "discrete_balance": discrete_balance,
}


def _weights(model: nn.Module) -> list[Tensor]:
    return [module.weight.detach() for module in model.modules() if isinstance(module, torch.nn.Linear)]
