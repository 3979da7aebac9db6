import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ansatzlab.data.registry import load
from ansatzlab.errors import DivergedError, InputError, UnknownNameError
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.training.dynamics import GradientFlow, Optimizer
from ansatzlab.training.loop import train
from ansatzlab.training.objective import objective_for

DATA = load("low_rank_linear", size=20, input_dim=4, output_dim=3, noise=0.1)


def network(scale: float = 1.0) -> DeepLinear:
    model = DeepLinear([4, 5, 3])
    initialize(model, "gaussian", seed=0, scale=scale)
    return model


def final_weights(dynamics: GradientFlow | Optimizer, *, snapshots: int = 3, seed: int = 0) -> list[Tensor]:
    model = network()
    for _ in train(model, objective_for(model, DATA), dynamics, snapshots=snapshots, seed=seed):
        pass
    return [parameter.detach() for parameter in model.parameters()]


class Spy:
    """An objective that writes down the rows it was asked for; its loss is what it is told to say."""

    def __init__(self, examples: int, losses: Sequence[float] = ()) -> None:
        self.examples = examples
        self.rows: list[list[int] | None] = []
        self._losses = list(losses)

    def __call__(self, parameters: Sequence[Tensor], rows: Tensor | None = None) -> tuple[float, list[Tensor]]:
        self.rows.append(None if rows is None else rows.tolist())
        loss = self._losses.pop(0) if self._losses else 1.0
        return loss, [torch.zeros_like(parameter) for parameter in parameters]


def batches(examples: int, size: int, steps: int, seed: int = 0) -> list[list[int]]:
    """The rows of every step of a training, without those that snapshots look at."""
    spy = Spy(examples)
    training = train(network(), spy, Optimizer(learning_rate=0.1, steps=steps, batch_size=size), snapshots=2, seed=seed)
    next(training)
    del spy.rows[:]
    for _ in training:
        pass
    return [rows for rows in spy.rows[:steps] if rows is not None]


# --- batches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("examples", "size"), [(12, 4), (12, 1), (12, 12), (13, 5), (7, 4)])
def test_every_pass_over_the_data_shows_each_example_at_most_once(examples: int, size: int) -> None:
    per_pass = examples // size
    seen = batches(examples, size, 4 * per_pass)
    assert len(seen) == 4 * per_pass
    for epoch in range(4):
        rows = [row for batch in seen[epoch * per_pass : (epoch + 1) * per_pass] for row in batch]
        assert len(rows) == len(set(rows)) == per_pass * size
        assert set(rows) <= set(range(examples))


def test_passes_are_shuffled_differently() -> None:
    seen = batches(12, 12, 4)
    assert len({tuple(rows) for rows in seen}) == 4


def test_batches_depend_on_the_seed_and_on_nothing_else() -> None:
    torch.manual_seed(1)
    first = batches(12, 4, 9, seed=3)
    torch.manual_seed(2)
    assert batches(12, 4, 9, seed=3) == first
    assert batches(12, 4, 9, seed=4) != first


def test_looking_more_often_does_not_change_the_training() -> None:
    descent = Optimizer(learning_rate=0.05, steps=30, batch_size=4)
    assert_close(final_weights(descent, snapshots=31), final_weights(descent, snapshots=2), rtol=0, atol=0)


def test_without_a_batch_size_every_step_sees_all_examples() -> None:
    spy = Spy(6)
    list(train(network(), spy, Optimizer(learning_rate=0.1, steps=3), snapshots=2))
    assert set(map(str, spy.rows)) == {"None"}


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(InputError, match="train: got batch_size=21 for 20 examples; wanted at most that many"):
        final_weights(Optimizer(learning_rate=0.1, steps=3, batch_size=21))


# --- snapshots ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 6])
def test_a_descent_is_seen_at_its_start_and_its_end(count: int) -> None:
    model = network()
    descent = Optimizer(learning_rate=0.05, steps=40)
    seen = list(train(model, objective_for(model, DATA), descent, snapshots=count))
    assert len(seen) == count
    assert [snapshot.index for snapshot in seen] == list(range(count))
    assert (seen[0].step, seen[-1].step) == (0, 40)
    assert_close(seen[-1].flow_time, 2.0)
    assert_close([p.detach() for p in model.parameters()], final_weights(descent), rtol=0, atol=0)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_a_flow_is_seen_at_its_start_and_its_end(count: int) -> None:
    model = network()
    seen = list(train(model, objective_for(model, DATA), GradientFlow(flow_time=2.0), snapshots=count))
    assert [snapshot.index for snapshot in seen] == list(range(count))
    assert (seen[0].flow_time, seen[-1].flow_time) == (0.0, 2.0)
    assert {snapshot.step for snapshot in seen} == {None}
    losses = [snapshot.loss for snapshot in seen]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("dynamics", [GradientFlow(flow_time=1.0), Optimizer(learning_rate=0.1, steps=3)])
def test_one_snapshot_is_refused(dynamics: GradientFlow | Optimizer) -> None:
    with pytest.raises(InputError, match="train: got snapshots=1; wanted at least 2, the start and the end"):
        final_weights(dynamics, snapshots=1)


@pytest.mark.parametrize("dynamics", [GradientFlow(flow_time=1.0), Optimizer(learning_rate=0.1, steps=3)])
def test_the_first_snapshot_holds_the_initial_weights(dynamics: GradientFlow | Optimizer) -> None:
    model = network()
    next(train(model, objective_for(model, DATA), dynamics, snapshots=2))
    assert_close([p.detach() for p in model.parameters()], [p.detach() for p in network().parameters()], rtol=0, atol=0)


# --- hygiene -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dynamics",
    [
        GradientFlow(flow_time=1.0),
        Optimizer(learning_rate=0.05, steps=5, batch_size=4),
        Optimizer(name="Adam", learning_rate=0.05, steps=5),
        Optimizer(name="LBFGS", learning_rate=0.5, steps=3),
    ],
    ids=["flow", "SGD", "Adam", "LBFGS"],
)
def test_training_leaves_every_global_random_state_alone(dynamics: GradientFlow | Optimizer) -> None:
    model = network()
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(train(model, objective_for(model, DATA), dynamics, snapshots=3))
    assert_close(torch.get_rng_state(), states[0], rtol=0, atol=0)
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])


@pytest.mark.parametrize("dynamics", [GradientFlow(flow_time=1.0), Optimizer(learning_rate=0.05, steps=5)])
def test_the_parameters_stay_the_networks_own(dynamics: GradientFlow | Optimizer) -> None:
    model = network()
    own = list(model.parameters())
    list(train(model, objective_for(model, DATA), dynamics, snapshots=3))
    assert all(a is b for a, b in zip(model.parameters(), own, strict=True))
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in own)


def test_a_float32_network_can_flow() -> None:
    model = DeepLinear([4, 5, 3], dtype=torch.float32)
    initialize(model, "gaussian", seed=0)
    *_, last = train(model, objective_for(model, DATA), GradientFlow(flow_time=1.0), snapshots=3)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert_close(
        [p.detach().double() for p in model.parameters()],
        final_weights(GradientFlow(flow_time=1.0)),
        rtol=1e-5,
        atol=1e-6,
    )
    assert math.isfinite(last.loss)


# --- what cannot be trained --------------------------------------------------------------------------------------


def test_a_loss_that_stops_being_finite_is_reported_with_its_step() -> None:
    spy = Spy(6, losses=[1.0, 1.0, 1.0, math.nan])  # the first snapshot, then the steps 0, 1 and 2
    with pytest.raises(DivergedError, match=r"stopped being finite at step 2; .* lower the learning rate") as caught:
        list(train(network(), spy, Optimizer(learning_rate=0.1, steps=9), snapshots=2))
    assert caught.value.step == 2


def test_descent_with_a_huge_step_diverges_where_its_loss_overflows() -> None:
    """The step is that of the first loss that is not finite, by a loop written here."""
    model = network()
    weights = [p.detach().clone() for p in model.parameters()]
    step = 0
    while True:
        loss, gradients = objective_for(model, DATA)(weights)
        if not math.isfinite(loss):
            break
        weights = [w - 50.0 * g for w, g in zip(weights, gradients, strict=True)]
        step += 1
    with pytest.raises(DivergedError) as caught:
        list(train(model, objective_for(model, DATA), Optimizer(learning_rate=50.0, steps=1000), snapshots=2))
    assert caught.value.step == step > 1


def test_a_network_that_diverges_in_its_last_step_is_not_returned() -> None:
    """Steps 0 … n − 1 have a finite loss and only the final weights have not: the last snapshot must notice."""
    model = network()
    with pytest.raises(DivergedError) as caught:
        list(train(model, objective_for(model, DATA), Optimizer(learning_rate=50.0, steps=1000), snapshots=2))
    model = network()
    with pytest.raises(DivergedError):
        list(
            train(
                model, objective_for(model, DATA), Optimizer(learning_rate=50.0, steps=caught.value.step), snapshots=2
            )
        )


@pytest.mark.parametrize("dynamics", [GradientFlow(flow_time=1.0), Optimizer(learning_rate=0.1, steps=3)])
def test_a_start_whose_loss_overflows_is_refused_at_once(dynamics: GradientFlow | Optimizer) -> None:
    model = network(scale=1e160)
    with pytest.raises(DivergedError, match=r"stopped being finite at (flow time|step) 0; wanted finite numbers"):
        list(train(model, objective_for(model, DATA), dynamics, snapshots=2))


def test_a_flow_that_cannot_be_followed_is_reported() -> None:
    class Cliff(Spy):
        """A slope that is not finite anywhere but at the start."""

        def __call__(self, parameters: Sequence[Tensor], rows: Tensor | None = None) -> tuple[float, list[Tensor]]:
            loss, gradients = super().__call__(parameters, rows)
            fill = 1.0 if len(self.rows) <= 2 else math.nan
            return loss, [torch.full_like(gradient, fill) for gradient in gradients]

    with pytest.raises(DivergedError, match="stopped being finite at flow time") as caught:
        list(train(network(), Cliff(6), GradientFlow(flow_time=1.0), snapshots=2))
    assert caught.value.step > 1


def test_unknown_optimiser_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="unknown optimiser 'Adm'; did you mean 'Adam'"):
        final_weights(Optimizer(name="Adm", learning_rate=0.1, steps=3))
    for name in ("Optimizer", "lr_scheduler", "functional"):
        with pytest.raises(UnknownNameError, match="unknown optimiser"):
            final_weights(Optimizer(name=name, learning_rate=0.1, steps=3))


@pytest.mark.parametrize("options", [{"momentum": -1.0}, {"momentun": 0.9}])
def test_an_option_that_torch_refuses_is_named(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"train: torch.optim.SGD refuses learning rate 0.1 with the options .*moment"):
        final_weights(Optimizer(learning_rate=0.1, steps=3, options=options))
