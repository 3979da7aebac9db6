"""Replicas trained as one stacked network, against a plain PyTorch loop: one network after the other."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ansatzlab.data.dataset import Dataset
from ansatzlab.data.registry import load
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.sweeps.run import run_stack
from ansatzlab.sweeps.spec import DataSpec, InitSpec, ModelSpec, RunSpec
from ansatzlab.training.dynamics import Optimizer
from ansatzlab.training.objective import (
    LOSSES,
    StackedNetworkLoss,
    StackedObjective,
    square_loss,
    stacked_objective_for,
)
from ansatzlab.training.stack import train_stack
from benchmarks.timing import Case, Row, compare, median_seconds

Network = DeepLinear | MLP

EXAMPLES = 256
OUTPUTS = 10
DEPTH = 4
GD = Optimizer(name="SGD", learning_rate=1e-3, steps=50)
ADAM = Optimizer(name="Adam", learning_rate=1e-3, steps=50)
FEW = GD.model_copy(update={"steps": 10, "learning_rate": 1e-5})
CLOSE = {torch.float64: 1e-10, torch.float32: 1e-4}


@dataclass(frozen=True)
class Setting:
    """Networks that differ in their initial weights, and how they are trained."""

    make: type[DeepLinear] | type[MLP]
    dynamics: Optimizer
    statistics: bool = False
    width: int = 32
    replicas: int = 64
    dtype: torch.dtype = torch.float64

    def network(self, seed: int = 0) -> Network:
        widths = [*[self.width] * DEPTH, OUTPUTS]
        network: Network = self.make(widths, bias=False, dtype=self.dtype)
        initialize(network, "gaussian", seed=seed)
        return network

    def networks(self) -> list[Network]:
        return [self.network(seed) for seed in range(self.replicas)]

    def data(self) -> Dataset:
        return load("low_rank_linear", size=EXAMPLES, input_dim=self.width, output_dim=OUTPUTS)

    def objective(self, network: Network, data: Dataset) -> StackedObjective:
        if self.statistics:
            return stacked_objective_for(network, [data])
        return StackedNetworkLoss(network, [data], LOSSES["square"])

    @property
    def case(self) -> str:
        how = "statistics" if self.statistics else "autograd"
        kind = str(self.dtype).removeprefix("torch.")
        return f"{self.replicas} × {self.make.__name__}, depth {DEPTH}, width {self.width}, {kind}, {how}"


def run() -> Iterator[Row]:
    for setting in (Setting(DeepLinear, GD, True), Setting(DeepLinear, GD), Setting(MLP, GD)):
        yield against_loop(setting)
        yield against_loop(replace(setting, dynamics=ADAM))
        yield against_loop(replace(setting, dtype=torch.float32))
        yield against_loop(replace(setting, width=512, replicas=4, dynamics=FEW))
    for replicas in (1, 4, 16, 64, 256):
        yield scaling(Setting(DeepLinear, GD, True, replicas=replicas))
    for name in ("SGD", "Adam"):
        yield part_of_a_grid(name)


def against_loop(setting: Setting) -> Row:
    networks, data, dynamics = setting.networks(), setting.data(), setting.dynamics
    objective = setting.objective(networks[0], data)
    trained = one_by_one(networks, setting, data)
    for ours, *theirs in zip(stacked(networks, objective, dynamics), *trained, strict=True):
        close = CLOSE[setting.dtype]
        torch.testing.assert_close(ours, torch.stack(theirs), rtol=close, atol=close)
    return compare(
        Case(
            f"{dynamics.steps} steps of {dynamics.name}",
            f"{setting.case}, n = {EXAMPLES}",
            slow=lambda: one_by_one(networks, setting, data),
            ours=lambda: stacked(networks, objective, dynamics),
        )
    )


def stacked(networks: list[Network], objective: StackedObjective, dynamics: Optimizer) -> list[Tensor]:
    """Return the trained parameters, stacked; the networks keep theirs."""
    parameters = [torch.stack(each).detach() for each in zip(*(n.parameters() for n in networks), strict=True)]
    count = len(networks)
    for _ in train_stack(parameters, objective, [dynamics] * count, seeds=range(count), snapshots=2):
        pass
    return parameters


def one_by_one(networks: list[Network], setting: Setting, data: Dataset) -> list[list[Tensor]]:
    """Return every network's trained parameters, by the loop that one writes without a library."""
    inputs, targets = data.inputs.to(setting.dtype), data.targets.to(setting.dtype)
    trained = []
    for network in deepcopy(networks):
        optimizer = getattr(torch.optim, setting.dynamics.name)(network.parameters(), lr=setting.dynamics.rate)
        for _ in range(setting.dynamics.steps):
            optimizer.zero_grad()
            square_loss(network(inputs), targets).backward()
            optimizer.step()
        trained.append([parameter.detach() for parameter in network.parameters()])
    return trained


def scaling(setting: Setting) -> Row:
    networks, data = setting.networks(), setting.data()
    objective = setting.objective(networks[0], data)
    seconds = median_seconds(lambda: stacked(networks, objective, setting.dynamics))
    per_step = seconds / setting.dynamics.steps / setting.replicas
    return {
        "benchmark": f"scaling, {setting.dynamics.steps} steps of {setting.dynamics.name}",
        "case": setting.case,
        "our_seconds": seconds,
        "notes": {"µs a step and network": per_step * 1e6},
    }


def part_of_a_grid(name: str) -> Row:
    """Time a batch of a sweep on digits, with and without its measurements."""
    dynamics = Optimizer(name=name, learning_rate=1e-3, steps=400)
    specs = [
        RunSpec(
            experiment="benchmark",
            data=DataSpec(name="digits"),
            model=ModelSpec(hidden=(32,) * (DEPTH - 1)),
            init=InitSpec(scheme="gaussian"),
            dynamics=dynamics.model_copy(update={"weight_decay": 1e-3 * (seed % 4)}),
            seed=seed,
            snapshots=10,
        )
        for seed in range(64)
    ]
    unmeasured = [spec.model_copy(update={"observe": ("balance",), "snapshots": 2}) for spec in specs]
    whole, training = (median_seconds(lambda runs=runs: run_stack(runs), repeats=3) for runs in (specs, unmeasured))
    return {
        "benchmark": "a batch of a sweep: 64 runs, 400 steps, 10 measured snapshots",
        "case": f"digits, linear network of depth {DEPTH} and width 32, {name}",
        "our_seconds": whole,
        "notes": {
            "training, s": training,
            "measuring, s": whole - training,
            "2,400 runs on one core, min": whole * 2400 / 64 / 60,
        },
    }
