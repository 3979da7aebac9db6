"""Finding out that a sweep cannot work before it runs: what a run is made of is made once."""

import json
from collections.abc import Sequence

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import AnsatzError, InputError
from ansatzlab.sweeps.spec import RunSpec
from ansatzlab.training.dynamics import OPTIMIZERS, GradientFlow, Optimizer, SharpnessRate
from ansatzlab.training.loop import torch_optimizer
from ansatzlab.training.rates import with_rate


def rehearse(specs: Sequence[RunSpec], where: str) -> None:
    """Load every data set of some specs, and make every network, start and optimiser, once for each kind.

    Args:
        specs: The specs.
        where: What they are, for the message.

    Raises:
        InputError: If anything cannot be made, as a data set that is not installed; the message says what.

    Cost:
        Each data set is loaded once; the rest takes milliseconds a network and start.
    """
    by_data: dict[str, list[RunSpec]] = {}
    for spec in specs:
        by_data.setdefault(spec.data.model_dump_json(), []).append(spec)
    try:
        for group in by_data.values():
            _rehearse(group, group[0].data.load())
    except (AnsatzError, OSError) as error:
        raise InputError(f"{where}: {error}") from error


def _rehearse(specs: Sequence[RunSpec], data: Dataset) -> None:
    starts = {(spec.model.model_dump_json(), spec.init.model_dump_json()): spec for spec in specs}
    for spec in starts.values():
        spec.start(data)
    trainings = {(*_network_kind(spec), *_dynamics_kind(spec.dynamics), *spec.observe): spec for spec in specs}
    for spec in trainings.values():
        _check_dynamics(spec, data)


def _network_kind(spec: RunSpec) -> tuple[object, ...]:
    return spec.model.kind, spec.model.bias, spec.loss


def _dynamics_kind(dynamics: GradientFlow | Optimizer) -> tuple[object, ...]:
    """Return what decides whether an optimiser can be made; its numbers are right already."""
    if isinstance(dynamics, GradientFlow):
        return (dynamics.kind,)
    by_rule = isinstance(dynamics.learning_rate, SharpnessRate)
    return dynamics.name, by_rule, dynamics.batch_size, json.dumps(dynamics.options)


def _check_dynamics(spec: RunSpec, data: Dataset) -> None:
    dynamics = spec.dynamics
    if isinstance(dynamics, GradientFlow):
        if "discrete_balance" in spec.observe:
            raise InputError("got observe = discrete_balance for a gradient_flow; wanted an optimiser; leave it out.")
        return
    if dynamics.batch_size is not None and dynamics.batch_size > len(data.inputs):
        raise InputError(
            f"got batch_size = {dynamics.batch_size} for the {len(data.inputs)} examples of {spec.data.name}; wanted "
            "at most that many (sgd takes 32 unless it is told); lower it."
        )
    model = spec.start(data)
    rated = with_rate(dynamics, model, data, spec.loss)
    if rated.options not in [standard.get("options", {}) for standard in OPTIMIZERS.values()]:
        torch_optimizer(list(model.parameters()), rated.name, rated.rate, rated.options)
