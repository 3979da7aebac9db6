"""Stacked training against the same networks trained one by one, and against plain loops of torch.optim."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice

import pytest
import torch
from torch import Tensor, nn

from ansatzlab.data.dataset import Dataset
from ansatzlab.data.registry import load
from ansatzlab.errors import DivergedError, InputError
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.testing.compare import assert_close
from ansatzlab.training import stack as stack_module
from ansatzlab.training.dynamics import Optimizer, SharpnessRate
from ansatzlab.training.loop import train
from ansatzlab.training.objective import (
    StackedLinearSquareLoss,
    StackedNetworkLoss,
    objective_for,
    stacked_objective_for,
)
from ansatzlab.training.stack import STACKABLE, StackedSnapshot, train_stack

STEPS = 200
WIDTHS = [4, 6, 5, 3]

# Rates at which none of them leaves the stable regime: beyond it a training multiplies rounding by ten every few steps.
OPTIMIZERS: dict[str, tuple[str, float, dict[str, object]]] = {
    "gd": ("SGD", 0.05, {}),
    "heavy ball": ("SGD", 0.02, {"momentum": 0.9}),
    "dampened": ("SGD", 0.05, {"momentum": 0.5, "dampening": 0.3}),
    "nesterov": ("SGD", 0.02, {"momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", 0.01, {}),
    "amsgrad": ("Adam", 0.01, {"amsgrad": True, "betas": (0.8, 0.99)}),
    "adamw": ("AdamW", 0.01, {}),
    "rmsprop": ("RMSprop", 0.001, {}),
    "centred rmsprop": ("RMSprop", 0.001, {"centered": True, "momentum": 0.5, "eps": 1e-2}),
    "adagrad": ("Adagrad", 0.05, {"lr_decay": 0.01, "initial_accumulator_value": 0.1}),
    "adadelta": ("Adadelta", 0.1, {}),
    "adamax": ("Adamax", 0.01, {}),
    "nadam": ("NAdam", 0.003, {}),
    "radam": ("RAdam", 0.005, {}),
}
NETWORKS: dict[str, Callable[[], DeepLinear | MLP]] = {
    "linear": lambda: DeepLinear(WIDTHS),
    "linear with biases": lambda: DeepLinear(WIDTHS, bias=True),
    "relu": lambda: MLP(WIDTHS, activation="relu"),
    "tanh": lambda: MLP(WIDTHS, activation="tanh", bias=False),
}
BATCHES = {"full": None, "minibatch": 8}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are fastest on one thread; several that wait for each other can cost seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def data(seed: int = 0) -> Dataset:
    return load("low_rank_linear", seed=seed, size=26, input_dim=4, output_dim=3, noise=0.3)


@dataclass(frozen=True)
class Runs:
    """Trainings that can be stacked; every one has its own weights and its own batches."""

    make: Callable[[], DeepLinear | MLP]
    dynamics: Sequence[Optimizer]
    datasets: Sequence[Dataset] = field(default_factory=lambda: [data()])
    scheme: str = "gaussian"

    @property
    def seeds(self) -> list[int]:
        return [10 + place for place in range(len(self.dynamics))]

    def network(self, place: int) -> DeepLinear | MLP:
        model = self.make()
        initialize(model, self.scheme, seed=self.seeds[place])
        return model

    def data(self, place: int) -> Dataset:
        return self.datasets[place % len(self.datasets)]

    def parameters(self) -> list[Tensor]:
        each = [self.network(place).parameters() for place in range(len(self.dynamics))]
        return [torch.stack(same).detach() for same in zip(*each, strict=True)]

    def stacked(self, parameters: Sequence[Tensor], *, snapshots: int = 4) -> Iterator[StackedSnapshot]:
        objective = stacked_objective_for(self.make(), self.datasets)
        return train_stack(parameters, objective, self.dynamics, seeds=self.seeds, snapshots=snapshots)


def dynamics_of(key: str, batch_size: int | None, steps: int = STEPS) -> list[Optimizer]:
    """Trainings by one optimiser at different rates: without decay, with coupled and with decoupled decay."""
    name, rate, options = OPTIMIZERS[key]
    settings = [(rate, 0.0, "coupled"), (2 * rate, 0.1, "coupled"), (1.5 * rate, 0.2, "decoupled")]
    return [
        Optimizer(
            name=name,
            learning_rate=rate,
            steps=steps,
            schedule="constant" if batch_size is None else "cosine",
            weight_decay=decay,
            decay="decoupled" if name == "AdamW" else coupling,
            batch_size=batch_size,
            options=options,
        )
        for rate, decay, coupling in settings
    ]


def plain_rows(examples: int, size: int | None, seed: int) -> Iterator[Tensor | slice]:
    """The rows of one step after another: passes over the data, each shuffled, without what is left of a pass."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(examples, generator=generator)
        yield from [slice(None)] if size is None else order.split(size)[: examples // size]


def plain_loop(model: nn.Module, dataset: Dataset, dynamics: Optimizer, seed: int) -> list[Tensor]:
    """Train as torch's documentation does it: its optimisers, their own weight decay, its scheduler, autograd."""
    kind = getattr(torch.optim, dynamics.name)
    by_torch = dynamics.decay == "coupled" or dynamics.name == "AdamW"
    optimizer = kind(
        model.parameters(),
        lr=dynamics.learning_rate,
        weight_decay=dynamics.weight_decay if by_torch else 0.0,
        **dynamics.options,
    )
    constant = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=dynamics.steps)
    scheduler = cosine if dynamics.schedule == "cosine" else constant
    rows = plain_rows(len(dataset.inputs), dynamics.batch_size, seed)
    for batch in islice(rows, dynamics.steps):
        optimizer.zero_grad()
        outputs, targets = model(dataset.inputs[batch]), dataset.targets[batch]
        (0.5 * (outputs - targets).pow(2).sum(dim=1).mean()).backward()
        if not by_torch:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= scheduler.get_last_lr()[0] * dynamics.weight_decay * parameter
        optimizer.step()
        scheduler.step()
    return [parameter.detach() for parameter in model.parameters()]


# --- stacked = one by one = the plain loop -------------------------------------------------------------------------


def test_every_stackable_optimiser_is_tried() -> None:
    assert {name for name, _, _ in OPTIMIZERS.values()} == STACKABLE


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_stack_is_plain_loops_over_its_networks(network: str, optimizer: str, batch: str) -> None:
    runs = Runs(NETWORKS[network], dynamics_of(optimizer, BATCHES[batch]))
    parameters = runs.parameters()
    start = [parameter.clone() for parameter in parameters]
    list(runs.stacked(parameters))
    moved = [(end - begin).flatten(1) for end, begin in zip(parameters, start, strict=True)]
    assert torch.cat(moved, dim=1).norm(dim=1).min() > 0.1
    for place, dynamics in enumerate(runs.dynamics):
        plain = plain_loop(runs.network(place), data(), dynamics, runs.seeds[place])
        for got, wanted in zip(parameters, plain, strict=True):
            assert_close(got[place], wanted, what=f"network {place}")


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("optimizer", ["nesterov", "adamw", "rmsprop"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_stack_shows_what_its_networks_show_trained_one_by_one(network: str, optimizer: str, batch: str) -> None:
    runs = Runs(NETWORKS[network], dynamics_of(optimizer, BATCHES[batch]))
    parameters = runs.parameters()
    scale = float(parameters[0].norm())
    snapshots = [replace(each, losses=each.losses.clone()) for each in runs.stacked(parameters, snapshots=8)]
    for place, dynamics in enumerate(runs.dynamics):
        model = runs.network(place)
        objective = objective_for(model, data())
        singles = list(train(model, objective, dynamics, snapshots=8, seed=runs.seeds[place]))
        for got, alone in zip(parameters, model.parameters(), strict=True):
            assert_close(got[place], alone.detach(), what=f"network {place}")
        for ours, single in zip(snapshots, singles, strict=True):
            assert (ours.index, ours.step, dict(ours.lost)) == (single.index, single.step, {})
            assert float(ours.flow_times[place]) == pytest.approx(single.flow_time, rel=1e-14)
            assert float(ours.losses[place]) == pytest.approx(single.loss, rel=1e-10)
            for got, gradient in zip(ours.gradients, single.gradients, strict=True):
                assert_close(got[place], gradient, what=f"gradient of {place} at {single.step}", scale=scale)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_of_a_stack_may_have_its_own_data(network: str, batch: str) -> None:
    dynamics = dynamics_of("heavy ball", BATCHES[batch])
    runs = Runs(NETWORKS[network], dynamics, [data(seed) for seed in range(len(dynamics))])
    parameters = runs.parameters()
    losses = list(runs.stacked(parameters))[-1].losses
    for place, each in enumerate(dynamics):
        model = runs.network(place)
        plain = plain_loop(model, runs.data(place), each, runs.seeds[place])
        for got, wanted in zip(parameters, plain, strict=True):
            assert_close(got[place], wanted, what=f"network {place}")
        assert float(losses[place]) == pytest.approx(objective_for(model, runs.data(place))(plain)[0], rel=1e-10)


@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
def test_every_loss_is_the_loss_of_each_network(loss: str) -> None:
    runs = Runs(NETWORKS["relu"], dynamics_of("gd", None))
    one_hot = torch.eye(3, dtype=torch.float64)[torch.arange(26) % 3]
    dataset = Dataset("classes", inputs=data().inputs, targets=one_hot, description="")
    losses, gradients = stacked_objective_for(runs.make(), [dataset], loss)(runs.parameters())
    for place in range(len(runs.dynamics)):
        model = runs.network(place)
        wanted_loss, wanted = objective_for(model, dataset, loss)([p.detach() for p in model.parameters()])
        assert float(losses[place]) == pytest.approx(wanted_loss, rel=1e-13)
        for got, gradient in zip(gradients, wanted, strict=True):
            assert_close(got[place], gradient, what="gradient", tolerance=1e-13)


def test_linear_networks_are_trained_from_statistics_where_these_are_all_that_counts() -> None:
    assert isinstance(stacked_objective_for(DeepLinear(WIDTHS), [data()]), StackedLinearSquareLoss)
    for model, loss in (
        (DeepLinear(WIDTHS, bias=True), "square"),
        (DeepLinear(WIDTHS), "cross_entropy"),
        (MLP(WIDTHS, bias=False), "square"),
    ):
        assert isinstance(stacked_objective_for(model, [data()], loss), StackedNetworkLoss)


# --- one diverging network and its neighbours ----------------------------------------------------------------------


def observed(runs: Runs, *, poison_at: int | None = None, place: int = 1) -> list[tuple[Tensor, ...]]:
    """Everything that a training shows of all networks but one, step by step; that one can be poisoned on the way."""
    parameters = runs.parameters()
    others = [each for each in range(len(runs.dynamics)) if each != place]
    shown = []
    for snapshot in runs.stacked(parameters, snapshots=10**6):
        shown.append(tuple(t[others].clone() for t in (*parameters, snapshot.losses, *snapshot.gradients)))
        if snapshot.step == poison_at:
            for parameter in parameters:
                parameter[place] = float("nan")
    return shown


@pytest.mark.parametrize("datasets", [1, 3])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("optimizer", ["nesterov", "adam", "rmsprop"])
@pytest.mark.parametrize("network", NETWORKS)
def test_nan_in_one_network_leaves_the_others_as_they_were_to_the_last_bit(
    network: str, optimizer: str, batch: str, datasets: int
) -> None:
    dynamics = dynamics_of(optimizer, BATCHES[batch], steps=12)
    runs = Runs(NETWORKS[network], dynamics, [data(seed) for seed in range(datasets)])
    healthy = observed(runs)
    for poison_at in (0, 5):
        for got, wanted in zip(observed(runs, poison_at=poison_at), healthy, strict=True):
            assert all(map(torch.equal, got, wanted))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("network", NETWORKS)
def test_diverging_networks_stop_where_they_stop_alone_and_say_the_same(network: str, batch: str) -> None:
    rates = [0.01, 100.0, 0.02, 1e4, 0.01]
    base = dynamics_of("gd", BATCHES[batch], steps=400)
    dynamics = [each.model_copy(update={"learning_rate": rate}) for each, rate in zip(cycle(base), rates, strict=False)]
    runs = Runs(NETWORKS[network], dynamics)
    alone: dict[int, DivergedError] = {}
    for place, each in enumerate(dynamics):
        model = runs.network(place)
        try:
            list(train(model, objective_for(model, data()), each, seed=runs.seeds[place], snapshots=6))
        except DivergedError as error:
            alone[place] = error
    if network != "tanh":
        assert 3 in alone
    assert not {0, 2, 4} & alone.keys()
    parameters = runs.parameters()
    *_, last = runs.stacked(parameters, snapshots=6)
    assert {place: (str(e), e.step) for place, e in last.lost.items()} == {
        place: (str(e), e.step) for place, e in alone.items()
    }
    assert last.step == 400
    for place in {0, 2, 4}:
        wanted = plain_loop(runs.network(place), data(), dynamics[place], runs.seeds[place])
        for got, parameter in zip(parameters, wanted, strict=True):
            assert_close(got[place], parameter, what=f"network {place}")


def test_snapshots_before_a_divergence_do_not_count_the_network_as_lost() -> None:
    dynamics = [each.model_copy(update={"learning_rate": 1e4}) for each in dynamics_of("gd", None, steps=50)[:1]]
    dynamics.append(dynamics[0].model_copy(update={"learning_rate": 0.01}))
    runs = Runs(NETWORKS["linear"], dynamics)
    snapshots = list(runs.stacked(runs.parameters(), snapshots=10**6))
    step = snapshots[-1].lost[0].step
    assert 0 < step < 50
    assert [snapshot.step for snapshot in snapshots] == list(range(51))
    assert all(set(snapshot.lost) == ({0} if snapshot.step >= step else set()) for snapshot in snapshots)


def test_when_the_last_network_diverges_one_more_snapshot_says_so_and_training_ends() -> None:
    dynamics = [each.model_copy(update={"learning_rate": 1e4}) for each in dynamics_of("gd", None, steps=1000)]
    runs = Runs(NETWORKS["linear"], dynamics)
    *before, last = runs.stacked(runs.parameters(), snapshots=500)
    assert set(last.lost) == {0, 1, 2}
    assert max(error.step for error in last.lost.values()) == last.step
    assert all(len(snapshot.lost) < 3 for snapshot in before)


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LBFGS", "Muon", "Rprop", "ASGD", "Adafactor"])
def test_other_optimisers_are_refused(name: str) -> None:
    runs = Runs(NETWORKS["linear"], [Optimizer(name=name, learning_rate=0.01, steps=3)] * 2)
    with pytest.raises(
        InputError, match=f"train_stack: got {name}; wanted one of Adadelta, .*SGD, .*train the others one by"
    ):
        list(runs.stacked(runs.parameters()))


@pytest.mark.parametrize(
    "changes", [{"steps": 4}, {"batch_size": 3}, {"schedule": "cosine"}, {"options": {"momentum": 0.9}}]
)
def test_settings_that_a_stack_shares_must_agree(changes: dict[str, object]) -> None:
    one = Optimizer(learning_rate=0.01, steps=3)
    runs = Runs(NETWORKS["linear"], [one, one.model_copy(update=changes)])
    with pytest.raises(InputError, match=r"train_stack: got 2 different optimisers .*SGD.* wanted the same but for"):
        list(runs.stacked(runs.parameters()))


def test_numbers_must_match() -> None:
    runs = Runs(NETWORKS["linear"], dynamics_of("gd", None))
    objective = stacked_objective_for(runs.make(), runs.datasets)
    with pytest.raises(InputError, match=r"got 3 networks, 3 optimisers and 4 seeds; wanted one of each"):
        list(train_stack(runs.parameters(), objective, runs.dynamics, seeds=range(4)))


def test_a_rate_that_is_still_a_rule_is_refused() -> None:
    runs = Runs(NETWORKS["linear"], [Optimizer(learning_rate=SharpnessRate(), steps=3)])
    with pytest.raises(InputError, match=r"the learning rate is still a rule"):
        list(runs.stacked(runs.parameters()))


# --- the test of the tests -----------------------------------------------------------------------------------------


def no_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    column = stack_module._column
    monkeypatch.setattr(stack_module, "_column", lambda values, like: column([values[0]] * len(values), like))


def one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = stack_module.draw_batches
    monkeypatch.setattr(stack_module, "draw_batches", lambda examples, size, _: draw(examples, size, 10))


def no_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "rate_factor", lambda *_: 1.0)


def late_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    factor = stack_module.rate_factor
    monkeypatch.setattr(stack_module, "rate_factor", lambda schedule, step, steps: factor(schedule, step + 1, steps))


def directions_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The direction is added to the one before: harmless to the first step only."""
    monkeypatch.setattr(torch.Tensor, "zero_", lambda tensor: tensor)


def coupled_as_decoupled(monkeypatch: pytest.MonkeyPatch) -> None:
    decays = stack_module._Advance._decays
    swapped = {"coupled": "decoupled", "decoupled": "coupled"}
    monkeypatch.setattr(stack_module._Advance, "_decays", lambda self, all_, kind: decays(self, all_, swapped[kind]))


@pytest.mark.parametrize(
    "fault", [no_rates, one_seed, no_schedule, late_schedule, directions_kept, coupled_as_decoupled]
)
def test_faults_in_the_stack_are_seen(fault: Callable[[pytest.MonkeyPatch], None]) -> None:
    test_a_stack_is_plain_loops_over_its_networks("relu", "adam", "minibatch")
    with pytest.MonkeyPatch.context() as monkeypatch:
        fault(monkeypatch)
        with pytest.raises(AssertionError):
            test_a_stack_is_plain_loops_over_its_networks("relu", "adam", "minibatch")


def test_a_sum_over_networks_where_each_should_be_alone_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = stack_module._note_divergence

    def spread(lost: dict[int, DivergedError], losses: Tensor, step: int) -> None:
        noted(lost, losses + 0 * losses.sum(), step)

    monkeypatch.setattr(stack_module, "_note_divergence", spread)
    with pytest.raises(AssertionError):
        test_diverging_networks_stop_where_they_stop_alone_and_say_the_same("linear", "full")
