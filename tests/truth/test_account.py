"""The balance account against closed forms, brute force and planted faults, on training loops as users write them."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from ansatzlab.data.synthetic import low_rank_linear
from ansatzlab.errors import DivergedError
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import ACTIVATIONS, MLP
from ansatzlab.training.account import BalanceAccount
from ansatzlab.training.balance import imbalance, next_imbalance
from ansatzlab.training.chain import Reading, joints, read
from ansatzlab.training.dynamics import GradientFlow
from ansatzlab.training.ledger import Ledger, form
from ansatzlab.training.loop import train
from ansatzlab.training.objective import objective_for
from ansatzlab.training.statement import Balance, statement, status
from ansatzlab.training.update import Update

DATA = low_rank_linear(seed=0, size=60, input_dim=6, output_dim=3, noise=0.3)
WIDTHS = [6, 5, 7, 3]
ROUNDING = 1e-12

Make = Callable[..., torch.optim.Optimizer]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are fastest on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(activation: str = "identity", *, bias: bool = False, seed: int = 0) -> MLP:
    model = MLP(WIDTHS, activation=activation, bias=bias)
    initialize(model, "pytorch_default" if bias else "gaussian", seed=seed)
    return model


def loss_of(model: nn.Module, rows: Tensor) -> Tensor:
    dtype = next(model.parameters()).dtype
    return (model(DATA.inputs[rows].to(dtype)) - DATA.targets[rows].to(dtype)).square().sum(1).mean() / 2


def batches(steps: int, size: int = 8) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        yield torch.randperm(60, generator=generator)[:size]


def trained(
    model: nn.Module, optimizer: torch.optim.Optimizer, *, steps: int = 60, size: int = 8, penalty: float = 0.0
) -> BalanceAccount:
    """A user's loop."""
    account = BalanceAccount(model, optimizer, penalty=penalty)
    for rows in batches(steps, size):
        optimizer.zero_grad()
        loss = loss_of(model, rows)
        if penalty:
            loss = loss + penalty / 2 * sum(p.square().sum() for p in model.parameters())
        loss.backward()
        account.record()
        optimizer.step()
    return account


def sgd(model: nn.Module, decay: float, rate: float = 0.05) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=rate, weight_decay=decay)


# --- the exact discrete law ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_the_accounts_of_a_linear_network_add_up_batch_by_batch(decay: float, bias: bool) -> None:
    model = network(bias=bias)
    for balance in trained(model, sgd(model, decay), steps=150).balances:
        assert balance.kind == "linear"
        assert balance.unexplained < ROUNDING
        assert balance.noise > 1e-4, "a step size that makes nothing would show nothing"
        assert balance.exchange == 0


def test_the_accounts_are_those_of_the_law_iterated_by_hand() -> None:
    model = network()
    optimizer, account, start, law = sgd(model, 0.05), None, [], []
    account = BalanceAccount(model, optimizer)
    for rows in batches(100):
        weights = [layer.weight.detach().clone() for layer in model.layers]
        law = law or imbalance(weights)
        start = start or imbalance(weights)
        optimizer.zero_grad()
        loss_of(model, rows).backward()
        account.record()
        before, shrunk = law, [(1 - 0.05 * 0.05) ** 2 * d for d in start]
        law = next_imbalance(law, [p.grad for p in model.parameters()], learning_rate=0.05, weight_decay=0.05)
        if rows is not None and account.balances[0].records < 100:
            start = shrunk
        optimizer.step()
    grams = [w @ w.mT for w in weights]
    for balance, d, s, gram in zip(account.balances, before, start, grams, strict=False):
        size = gram.norm()
        assert balance.current == pytest.approx(float(d.norm() / size), rel=1e-10)
        assert balance.opening == pytest.approx(float(s.norm() / size), rel=1e-10)
        assert balance.noise == pytest.approx(float((d - s).norm() / size), rel=1e-8)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize(("activation", "degree"), [("relu", 1), ("leaky_relu", 1), ("quadratic", 2)])
def test_the_accounts_of_a_homogeneous_network_add_up_neuron_by_neuron(
    activation: str, degree: int, decay: float, bias: bool
) -> None:
    """Exactly in every discrete step, not only for small ones: Euler's identity holds example by example."""
    model = network(activation, bias=bias)
    for balance in trained(model, sgd(model, decay, rate=0.05 if degree == 1 else 0.001)).balances:
        assert (balance.kind, balance.degree) == ("homogeneous", degree)
        assert balance.unexplained < ROUNDING
        assert balance.exchange == 0
        assert balance.noise > 1e-7


@pytest.mark.parametrize("activation", ["tanh", "gelu", "sigmoid", "silu"])
def test_the_accounts_of_other_activations_add_up_with_the_exchange(activation: str) -> None:
    model = network(activation, bias=True)
    for balance in trained(model, sgd(model, 0.05)).balances:
        assert balance.kind == "general"
        assert balance.unexplained < ROUNDING
        assert balance.exchange > 1e-3, "an exchange of zero would show nothing"


def test_biases_that_do_not_decay_are_booked_exactly() -> None:
    model = network("relu", bias=True)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.05},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    for balance in trained(model, torch.optim.SGD(groups, lr=0.05)).balances:
        assert balance.kind == "homogeneous"
        assert balance.unexplained < ROUNDING
        assert balance.exchange > 1e-4, "what the biases add"


def test_a_penalty_in_the_loss_is_the_same_as_coupled_decay() -> None:
    inside, outside = network(), network()
    accounts = (
        trained(inside, sgd(inside, 0.0), steps=50, penalty=0.05),
        trained(outside, sgd(outside, 0.05), steps=50),
    )
    assert accounts[0].balances[0].unexplained < ROUNDING
    for ours, theirs in zip(*(account.balances for account in accounts), strict=True):
        assert ours.update == theirs.update
        assert ours.noise == pytest.approx(theirs.noise, rel=1e-9)


def test_schedules_are_followed() -> None:
    model = network()
    optimizer = sgd(model, 0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
    account = BalanceAccount(model, optimizer)
    rates = []
    for rows in batches(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        loss_of(model, rows).backward()
        account.record()
        optimizer.step()
        schedule.step()
    (balance, _) = account.balances
    assert balance.unexplained < ROUNDING
    assert balance.flow_time == pytest.approx(sum(rates[:-1]))


def test_single_precision_stays_on_the_books() -> None:
    model = network("relu", bias=True).float()
    for balance in trained(model, sgd(model, 0.05)).balances:
        assert (balance.kind, status(balance)) == ("homogeneous", "decaying")
        assert 1e-12 < balance.unexplained < 1e-5


def test_each_pair_keeps_the_time_of_its_own_parameter_group() -> None:
    """Two chains in one model, of other rates and decays."""
    torch.manual_seed(0)
    widths = {"a1": (3, 4), "a2": (4, 2), "b1": (3, 5), "b2": (5, 3)}
    model = nn.ModuleDict({name: nn.Linear(*each, bias=False) for name, each in widths.items()}).double()
    groups = [
        {"params": [*model["a1"].parameters(), *model["a2"].parameters()], "lr": 0.01, "weight_decay": 0.0},
        {"params": [*model["b1"].parameters(), *model["b2"].parameters()], "lr": 0.05, "weight_decay": 0.1},
    ]
    optimizer = torch.optim.SGD(groups)
    chains = [BalanceAccount(model, optimizer, layers=[f"{chain}1", f"{chain}2"]) for chain in "ab"]
    account = BalanceAccount(model, optimizer)
    x = torch.eye(3, dtype=torch.float64)
    for _ in range(41):
        optimizer.zero_grad()
        sum((model[f"{chain}2"](model[f"{chain}1"](x)) - 1).square().sum() for chain in "ab").backward()
        for each in (account, *chains):
            each.record()
        optimizer.step()
    found = {(balance.lower, balance.upper): balance for balance in account.balances}
    for (lower, upper), time, clock in ((("a1", "a2"), 0.4, 0.0), (("b1", "b2"), 2.0, 0.4)):
        balance = found[lower, upper]
        assert balance.flow_time == pytest.approx(time)
        assert balance.clock == pytest.approx(clock)
        assert balance.unexplained < ROUNDING
    assert [each.balances[0].flow_time for each in chains] == pytest.approx([0.4, 2.0])


def test_the_share_that_is_left_counts_from_where_the_books_were_opened() -> None:
    """Batches without a signal teach nothing; the first one with a signal shows the degree and opens the books anew."""
    model = network("quadratic")
    optimizer = sgd(model, 0.5, rate=0.001)
    account, scales = BalanceAccount(model, optimizer), []
    for step, rows in enumerate(batches(50)):
        optimizer.zero_grad()
        (loss_of(model, rows) * (step >= 30)).backward()
        account.record()
        scales.append([float(layer.weight.detach().square().sum(1).norm()) for layer in model.layers[:-1]])
        optimizer.step()
    for pair, balance in enumerate(account.balances):
        assert balance.degree == 2
        assert balance.flow_time == pytest.approx(0.001 * 49)
        assert balance.clock == pytest.approx(2 * 0.001 * 0.5 * 19)
        left = balance.opening * scales[-1][pair] / (balance.first * scales[30][pair])
        assert left == pytest.approx((1 - 0.001 * 0.5) ** 38, rel=1e-9)
        assert left == pytest.approx(math.exp(-balance.clock), rel=1e-4)


# --- flows: the decay and the source term -------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["identity", "relu"])
def test_small_steps_decay_at_twice_the_decay(activation: str) -> None:
    """What is left of the first imbalance is (1 − ηλ)^2n of it, and e^(−2λt) up to O(η)."""
    errors = []
    for rate, steps in ((0.02, 50), (0.01, 100)):
        model = network(activation)
        first = diagonal_imbalance(model)
        (balance, _) = trained(model, sgd(model, 0.1, rate), steps=steps).balances
        assert balance.clock == pytest.approx(2 * 0.1 * rate * (steps - 1))
        left = diagonal_imbalance(model) / first
        errors.append(float((left / math.exp(-2 * 0.1 * rate * steps) - 1).abs().max()))
        assert balance.current == pytest.approx(balance.opening, rel=0.1)
    assert 0 < errors[1] < errors[0] < 0.2
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.2), "first order in the step"


def diagonal_imbalance(model: MLP) -> Tensor:
    return imbalance([layer.weight.detach() for layer in model.layers])[0].diagonal().clone()


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_what_the_gradients_give_is_the_source_term_of_the_activation(activation: str) -> None:
    """``B(W, g)_jj = Σ_i (∂loss/∂h_ij)(σ(z_ij) − σ'(z_ij) z_ij)``, the right side by autograd at the neurons."""
    model = network(activation, bias=True)
    entering, inside = DATA.inputs, []
    for layer in model.layers[:-1]:
        z = layer(entering)
        entering = ACTIVATIONS[activation](z)
        inside.append((z, entering))
    loss = (model.layers[-1](entering) - DATA.targets).square().sum(1).mean() / 2
    slopes = torch.autograd.grad(loss, [h for _, h in inside], retain_graph=True)
    loss.backward(retain_graph=True)
    for joint, (z, h), u in zip(joints(model), inside, slopes, strict=True):
        ones = torch.ones_like(z)
        (derivative,) = torch.autograd.grad(h, z, ones, retain_graph=True)
        source = (u * (h - derivative * z)).sum(0)
        found = form(read(joint), read(joint, gradients=True), "general", 1)
        assert_close(found, source.detach(), rtol=0, atol=1e-14)


def test_the_source_term_is_the_speed_of_the_imbalance_along_a_flow() -> None:
    model = network("tanh")
    for parameter in model.parameters():
        parameter.data.mul_(2)
    objective, step = objective_for(model, DATA), 1e-3
    diagonals = []
    for number, _ in enumerate(
        train(model, objective, GradientFlow(flow_time=2 * step, weight_decay=0.1), snapshots=2)
    ):
        diagonals.append([d.diagonal() for d in imbalance([p.detach().clone() for p in model.parameters()])])
        if number == 0:
            _, gradients = objective(list(model.parameters()))
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.grad = gradient
            speeds = [-2 * form(read(j), read(j, gradients=True), "general", 1) for j in joints(model)]
            start = [p.detach().clone() for p in model.parameters()]
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), start, strict=True):
            parameter.copy_(value)
    *_, _ = train(model, objective, GradientFlow(flow_time=step, weight_decay=0.1), snapshots=2)
    middle = [d.diagonal() for d in imbalance([p.detach() for p in model.parameters()])]
    for speed, before, between, after in zip(speeds, diagonals[0], middle, diagonals[1], strict=True):
        found = (-3 * before + 4 * between - after) / (2 * step)
        assert_close(found, speed - 2 * 0.1 * before, rtol=0, atol=1e-4)
        assert float(speed.norm()) > 0.01


# --- what kind of network it is -----------------------------------------------------------------------------------


class Functional(nn.Module):
    """Activations that no module shows, and dropout."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 9).double(), nn.Linear(9, 3).double()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.two(functional.dropout(self.act(self.one(x)), 0.3))


@pytest.mark.parametrize(
    ("act", "kind", "degree"),
    [(functional.relu, "homogeneous", 1), (lambda z: z.relu() ** 3, "homogeneous", 3), (torch.tanh, "general", 1)],
    ids=["relu", "relu cubed", "tanh"],
)
def test_what_stands_between_two_layers_is_found_from_the_gradients(act: Make, kind: str, degree: int) -> None:
    torch.manual_seed(0)
    model = Functional(act)
    (balance,) = trained(model, sgd(model, 0.05, rate=0.01), steps=30).balances
    assert (balance.kind, balance.degree) == (kind, degree)
    assert balance.unexplained < ROUNDING


def test_a_network_that_is_linear_at_first_gives_up_its_matrix_and_keeps_its_books() -> None:
    """All neurons fire until the biases are pulled down: the diagonal has been kept all along."""
    model = network("relu", bias=True)
    with torch.no_grad():
        model.layers[0].bias.fill_(20.0)
        model.layers[1].bias.fill_(100.0)
    optimizer = sgd(model, 0.0, rate=1e-4)
    account = BalanceAccount(model, optimizer)
    kinds = []
    for rows in batches(60):
        optimizer.zero_grad()
        loss_of(model, rows).backward()
        account.record()
        optimizer.step()
        kinds.append(account.balances[0].kind)
        if len(kinds) == 30:
            DATA.inputs.mul_(30.0)
    DATA.inputs.div_(30.0)
    assert (kinds[0], kinds[-1]) == ("linear", "homogeneous")
    assert account.balances[0].unexplained < ROUNDING


# --- other optimisers ---------------------------------------------------------------------------------------------


def test_adam_with_coupled_decay_is_balanced_where_it_is_stationary_and_adamw_is_not() -> None:
    found = {}
    for make in (torch.optim.Adam, torch.optim.AdamW):
        model = network(seed=1)
        optimizer = make(model.parameters(), lr=0.05, weight_decay=0.2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250)
        account, early = BalanceAccount(model, optimizer), None
        for step in range(250):
            optimizer.zero_grad()
            loss_of(model, torch.arange(60)).backward()
            account.record()
            optimizer.step()
            schedule.step()
            early = status(account.balances[0]) if step == 5 else early
        found[make.__name__] = (early, status(account.balances[0]), account.balances[0])
    assert found["Adam"][:2] == ("not there yet", "balanced")
    assert found["Adam"][2].current < 1e-4
    assert found["AdamW"][:2] == ("undriven", "undriven")
    assert found["AdamW"][2].current > 0.05
    assert found["AdamW"][2].unexplained > 0.05, "what the optimiser did is on no account"


def test_the_imbalance_is_bounded_by_the_gradient_of_the_penalised_loss_whatever_the_optimiser() -> None:
    """``λ D_l = W_{l+1}ᵀ r_{l+1} − r_l W_lᵀ`` with r = g + λW, at any weights: so balance certifies stationarity."""
    model, decay = network(), 0.05
    loss_of(model, torch.arange(60)).backward()
    weights = [layer.weight.detach() for layer in model.layers]
    slopes = [layer.weight.grad + decay * layer.weight.detach() for layer in model.layers]
    for d, (w, v), (r, q) in zip(imbalance(weights), pairwise(weights), pairwise(slopes), strict=True):
        assert_close(decay * d, v.mT @ q - r @ w.mT, rtol=0, atol=1e-14)


def test_momentum_is_booked_with_its_effective_rate_approximately() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002, momentum=0.9, weight_decay=0.05)
    (balance, _) = trained(model, optimizer, steps=150).balances
    assert balance.flow_time == pytest.approx(0.02 * 149)
    assert 1e-8 < balance.unexplained < 0.05
    assert balance.current == pytest.approx(balance.opening, rel=0.05)


# --- the noise floor ----------------------------------------------------------------------------------------------


def test_the_noise_floor_is_predicted_from_the_gradients_that_were_seen() -> None:
    model = DeepLinear([6, 3, 3])
    initialize(model, "balanced", seed=0)
    account = trained(model, sgd(model, 0.2, rate=0.1), steps=800, size=4)
    (balance,) = account.balances
    assert balance.level_error < 0.05
    assert balance.level == pytest.approx(balance.predicted_level, rel=0.05)
    assert balance.level > 1e-3
    assert status(balance) == "at its noise floor"
    assert "halve η to halve it" in account.statement().lower()


@pytest.mark.parametrize("activation", ["identity", "relu", "tanh"])
def test_the_predicted_level_is_the_fixed_point_of_the_next_steps_if_the_recent_gradients_recur(
    activation: str,
) -> None:
    """Brute force: the books of the window's gradients, iterated with the last rate and decay until nothing moves.

    Rate, decay and the decay of the biases all follow schedules; the weights of the window are those of the run.
    """
    model = network(activation, bias=True)
    groups = [{"params": [p for p in model.parameters() if p.ndim == n]} for n in (2, 1)]
    optimizer, met = torch.optim.SGD(groups, lr=0.05), []
    account = BalanceAccount(model, optimizer)
    for step, rows in enumerate(batches(60)):
        optimizer.zero_grad()
        loss_of(model, rows).backward()
        for group, decay in zip(optimizer.param_groups, (0.1, 0.02), strict=True):
            group.update(lr=0.05 * (1 + math.cos(math.pi * step / 70)), weight_decay=decay)
        account.record()
        met.append([(read(joint), read(joint, gradients=True)) for joint in joints(model)])
        met[-1] = [(_copy(w), g) for w, g in met[-1]]
        optimizer.step()
    rate = optimizer.param_groups[0]["lr"]
    for pair, balance in enumerate(account.balances):
        window = [each[pair] for each in met[-balance.window :]]
        inflow = torch.stack([_change(w, g, rate, balance.kind) for w, g in window]).mean(0)
        level, kept = torch.zeros_like(inflow), (1 - rate * 0.1) ** 2
        for _ in range(40_000):
            level = kept * level + inflow
        gram = met[-1][pair][0].below @ met[-1][pair][0].below.mT
        scale = float((gram if balance.kind == "linear" else gram.diagonal()).norm())
        assert balance.predicted_level == pytest.approx(float(level.norm()) / scale, rel=1e-9)


def _copy(weights: Reading) -> Reading:
    return Reading(weights.above.clone(), weights.below.clone(), weights.biased)


def _change(weights: Reading, gradients: Reading, rate: float, kind: str) -> Tensor:
    """D after a step less κ² D before it, by taking the step: decay 0.1, of the bias 0.02."""
    kept = torch.full_like(weights.below, 1 - rate * 0.1)
    kept[:, -1] = 1 - rate * 0.02
    after = Reading(
        (1 - rate * 0.1) * weights.above - rate * gradients.above, kept * weights.below - rate * gradients.below, True
    )
    change: Tensor = form(after, after, "linear", 1) - (1 - rate * 0.1) ** 2 * form(weights, weights, "linear", 1)
    return change if kind == "linear" else change.diagonal().clone()


Schedule = torch.optim.lr_scheduler.LRScheduler
SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], Schedule]] = {
    "step": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 450, gamma=0.01),
    "cosine": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500),
    "to zero": lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 450),
}


def floors_along(name: str) -> tuple[Balance, Balance]:
    """Train to the floor and on under a schedule; return how it stood after 450 and at the end of 500 steps."""
    model = DeepLinear([6, 3, 3])
    initialize(model, "balanced", seed=0)
    optimizer = sgd(model, 0.2, rate=0.1)
    schedule = SCHEDULES[name](optimizer)
    account, found = BalanceAccount(model, optimizer), []
    for step, rows in enumerate(batches(500, 4), start=1):
        optimizer.zero_grad()
        loss_of(model, rows).backward()
        account.record()
        optimizer.step()
        schedule.step()
        if step in (450, 500):
            found += account.balances
    return found[0], found[1]


def test_a_rate_that_drops_lowers_the_predicted_floor_by_as_much_and_not_the_imbalance_at_once() -> None:
    before, after = floors_along("step")
    assert status(before) == "at its noise floor"
    # η/(2λ − ηλ²) at 0.001 over that at 0.1, up to what the gradients of the last tenth change
    assert after.predicted_level / before.predicted_level == pytest.approx(0.01 * (2 - 0.02) / (2 - 2e-4), rel=0.2)
    assert after.current > 20 * after.predicted_level
    assert status(after) == "approaching its floor"
    assert "at the present η = 0.001 is" in statement(after)
    assert "1/(2ηλ) = 2.5e+03 steps" in statement(after)


def test_the_floor_foretold_after_a_drop_of_the_rate_is_the_one_that_is_reached() -> None:
    model = DeepLinear([6, 3, 3])
    initialize(model, "balanced", seed=0)
    optimizer = sgd(model, 0.2, rate=0.1)
    account, foretold = BalanceAccount(model, optimizer), []
    for step, rows in enumerate(batches(2000, 4)):
        if step == 400:
            optimizer.param_groups[0]["lr"] = 0.025
        optimizer.zero_grad()
        loss_of(model, rows).backward()
        account.record()
        if step == 400:
            foretold += account.balances
        optimizer.step()
    (reached,) = account.balances
    assert status(reached) == "at its noise floor"
    assert reached.level == pytest.approx(foretold[0].predicted_level, rel=0.25)


@pytest.mark.parametrize("name", ["cosine", "to zero"])
def test_a_rate_that_ends_at_zero_leaves_the_imbalance_where_it_is(name: str) -> None:
    _, after = floors_along(name)
    assert after.predicted_level < 1e-6
    assert after.current > 1e-3
    assert status(after) == ("stopped" if name == "to zero" else "approaching its floor")
    assert "the learning rate is zero" in statement(after) or name == "cosine"


# --- teeth --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["decay once", "first order", "no exchange", "no bias"])
def test_the_books_show_a_planted_fault(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Teeth: (1 − ηλ) for its square, η for η², a source left out, a bias left out of the imbalance."""
    right = Ledger._entries

    def wrong(self, drive, update):  # type: ignore[no-untyped-def]
        kept, exchange, noise = right(self, drive, update)
        if fault == "decay once":
            kept = kept**0.5
        if fault == "first order":
            noise = noise / update.learning_rate
        if fault == "no exchange":
            exchange = 0 * exchange
        return kept, exchange, noise

    model = network("tanh" if fault == "no exchange" else "relu", bias=True)
    monkeypatch.setattr(Ledger, "_entries", wrong)
    if fault == "no bias":
        monkeypatch.setattr("ansatzlab.training.chain.Joint.biases", ())
    (balance, _) = trained(model, sgd(model, 0.05), steps=50).balances
    noticed = balance.unexplained > 1e-4 or balance.kind == "general"
    assert noticed
    assert status(balance) == "off the books" or fault == "no bias"


@pytest.mark.parametrize("mistake", ["a step not recorded", "another decay", "gradients clipped afterwards"])
def test_a_mistake_in_the_loop_is_found(mistake: str) -> None:
    model = network()
    optimizer = sgd(model, 0.05)
    decay = 0.06 if mistake == "another decay" else 0.05
    account = BalanceAccount(model, Update(learning_rate=0.05, weight_decay=decay))
    for number, rows in enumerate(batches(20)):
        optimizer.zero_grad()
        loss_of(model, rows).backward()
        if mistake != "a step not recorded" or number != 10:
            account.record()
        if mistake == "gradients clipped afterwards":
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
    assert status(account.balances[0]) == "off the books"
    assert "Check that record() is called before every step" in account.statement()


def test_the_model_is_only_read() -> None:
    model = network("relu", bias=True)
    optimizer = sgd(model, 0.05)
    account = BalanceAccount(model, optimizer)
    loss_of(model, torch.arange(8)).backward()
    before = {name: (p.detach().clone(), p.grad.clone(), p.grad.data_ptr()) for name, p in model.named_parameters()}
    attributes, state = set(vars(model)), torch.random.get_rng_state()
    account.record()
    for name, p in model.named_parameters():
        assert_close(p.detach(), before[name][0], rtol=0, atol=0)
        assert_close(p.grad, before[name][1], rtol=0, atol=0)
        assert p.grad.data_ptr() == before[name][2]
    assert set(vars(model)) == attributes
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_training_that_diverges_is_said_so() -> None:
    model = network("quadratic")
    with pytest.raises(DivergedError, match="not finite at step"):
        trained(model, sgd(model, 0.0, rate=0.5))
