"""The parts of the balance account: what it says, which layers it finds, what it reads off an optimiser."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.training.account import BalanceAccount
from ansatzlab.training.chain import joints
from ansatzlab.training.ledger import RecentMean
from ansatzlab.training.statement import Balance, conclusion, statement, status
from ansatzlab.training.update import Update, read_update

PLAIN = Update(learning_rate=0.1, weight_decay=0.01)
ADAM = replace(PLAIN, rule="adaptive")
NAN = float("nan")

DECAYING = Balance(
    lower="fc1",
    upper="fc2",
    kind="linear",
    degree=1,
    update=PLAIN,
    records=1001,
    flow_time=100.0,
    clock=2.0,
    first=0.64,
    current=0.11,
    opening=0.1,
    exchange=0.0,
    noise=0.002,
    unexplained=1e-15,
    tolerance=1.5e-8,
    level=0.3,
    predicted_level=0.002,
    level_error=0.9,
    window=700,
    stationarity=0.3,
)


def other(**changes: object) -> Balance:
    return replace(DECAYING, **changes)


# --- the words ----------------------------------------------------------------------------------------------------

SAID = [
    (
        DECAYING,
        "decaying: the first imbalance of 0.64 falls as e^(−2λt), by now to 0.14 of itself; relative to the weights it "
        "is 0.11. 196 more time units (sums of η) until 0.002.",
    ),
    (
        other(update=Update(learning_rate=0.1), opening=0.6, current=0.61, predicted_level=NAN, level_error=NAN),
        "kept: there is no decay, so the first imbalance of 0.64 (relative) stays for ever; it is 0.61 now, of which "
        "the step size made 0.002.",
    ),
    (
        other(update=Update(learning_rate=0.1), first=1e-16, opening=1e-16, current=0.0021, predicted_level=NAN),
        "drifting: there is no decay and the start was balanced (to 1e-16); the size of the steps has made an "
        "imbalance of 0.0021 and will make more. Halve η to halve it.",
    ),
    (
        other(opening=1e-6, current=0.0025, level=0.0022, predicted_level=0.0021, level_error=0.05),
        "at its noise floor: predicted 0.0021, measured 0.0022 (mean over 700 steps). Halve η to halve it.",
    ),
    (
        other(opening=0.001, current=0.004, level=0.01, predicted_level=0.0021),
        "approaching its floor: the imbalance is 0.004, its mean over 700 steps 0.01; by the gradients of these "
        "steps the floor at the present η = 0.1 is 0.0021. The distance to it falls to 1/e in 1/(2ηλ) = 5e+02 steps.",
    ),
    (
        other(update=replace(PLAIN, learning_rate=0.0), predicted_level=0.0),
        "stopped: the learning rate is zero, so the imbalance stays at 0.11 (relative); 0.14 of the first one of 0.64 "
        "is left in it.",
    ),
    (
        other(update=Update(learning_rate=0.0), clock=0.0, predicted_level=NAN, level_error=NAN),
        "stopped: the learning rate is zero, so the imbalance stays at 0.11 (relative); 1 of the first one of 0.64 "
        "is left in it.",
    ),
    (
        other(update=replace(PLAIN, learning_rate=0.0), current=5e-4, predicted_level=0.0),
        "balanced: the relative imbalance is 0.0005; its level by the recent gradients is 0.",
    ),
    (
        other(opening=1e-6, current=4e-4, predicted_level=3e-4),
        "balanced: the relative imbalance is 0.0004; its level by the recent gradients is 0.0003.",
    ),
    (
        other(kind="general", exchange=0.09, current=0.1, opening=0.01, predicted_level=0.08),
        "fed: the activation between the layers (or whatever else stands there) moves the imbalance, so far by "
        "0.09; with all else it is 0.1. No decay and no smaller step brings it to zero; its level by the recent "
        "gradients is 0.08.",
    ),
    (
        other(unexplained=0.02),
        "off the books: the weights moved otherwise than gradient descent with η = 0.1, λ = 0.01 moves them (relative "
        "imbalance off by 0.02; 1e-08 would be rounding). Check that record() is called before every step and sees the "
        "gradient that the step uses, and that rate and decay are these.",
    ),
    (
        other(update=replace(PLAIN, rule="momentum", momentum=0.9), unexplained=0.02),
        "decaying: the first imbalance of 0.64 falls as e^(−2λt), by now to 0.14 of itself; relative to the weights it "
        "is 0.11. 196 more time units (sums of η) until 0.002. With momentum this is approximate: the books are off by "
        "up to 0.02.",
    ),
    (
        other(update=replace(ADAM, weight_decay=0.0), stationarity=NAN),
        "moved: no decay and an adaptive optimiser: nothing keeps the imbalance and nothing drives it to zero. It was "
        "0.64 and is 0.11 (relative).",
    ),
    (
        other(update=replace(ADAM, decay="decoupled")),
        "undriven: decoupled decay with an adaptive optimiser: nothing drives the imbalance to zero, not even at a "
        "stationary point. It was 0.64 and is 0.11 (relative). Coupled decay would change that.",
    ),
    (
        other(update=ADAM),
        "not there yet: coupled decay, adaptive optimiser: balanced only at a stationary point. The gradient of the "
        "penalised loss is still 0.3 of the decay term, the relative imbalance 0.11.",
    ),
    (
        other(update=ADAM, current=1e-5, stationarity=1e-6),
        "balanced: coupled decay, adaptive optimiser: the relative imbalance is 1e-05, the gradient of the penalised "
        "loss 1e-06 of the decay term.",
    ),
    (
        other(update=ADAM, current=0.004, stationarity=0.002),
        "hovering: coupled decay, adaptive optimiser: the gradient of the penalised loss is 0.002 of the decay term, "
        "the relative imbalance 0.004. A constant learning rate keeps it from settling: let it decay to zero.",
    ),
]


@pytest.mark.parametrize(
    ("balance", "said"), SAID, ids=[said.split(":")[0] + str(i) for i, (_, said) in enumerate(SAID)]
)
def test_a_balance_is_put_in_words(balance: Balance, said: str) -> None:
    assert statement(balance) == said
    assert status(balance) == said.split(":")[0]


def test_a_weight_that_is_not_a_number_is_off_the_books() -> None:
    assert status(other(unexplained=NAN)) == "off the books"


def test_the_conclusion_is_of_the_worst_pair_and_of_linear_networks_only() -> None:
    small = other(current=2e-4, lower="fc2", upper="fc3")
    assert conclusion([small]) == (
        "The largest relative imbalance is 0.0002 (fc2 → fc3): W₁ᵀW₁ ∝ AGOP^(1/L) is to be expected up to about that."
    )
    assert "0.11 (fc1 → fc2): W₁ᵀW₁ ∝ AGOP^(1/L) is not to be expected" in conclusion([small, DECAYING])
    assert "balance neither implies nor excludes the ansatz" in conclusion([small, other(kind="homogeneous")])


# --- the layers ---------------------------------------------------------------------------------------------------


def pairs(model: nn.Module, layers: list[str] | None = None) -> list[tuple[str, str]]:
    return [(joint.lower, joint.upper) for joint in joints(model, layers)]


def test_chains_end_where_widths_do_not_match_where_others_hold_parameters_and_where_nothing_is_trained() -> None:
    assert pairs(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.Linear(5, 2))) == [
        ("0", "2"),
        ("2", "3"),
    ]
    assert pairs(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4))) == [("0", "1")]
    assert pairs(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(5, 4))) == [("0", "1")]
    frozen = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    frozen[0].requires_grad_(False)
    assert pairs(frozen) == [("1", "2")]


def test_named_layers_are_taken_in_their_order() -> None:
    model = nn.ModuleDict({"last": nn.Linear(4, 2), "norm": nn.LayerNorm(4), "first": nn.Linear(3, 4)})
    assert pairs(model, ["first", "last"]) == [("first", "last")]


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        (["first", "frist"], "unknown layer 'frist'; did you mean 'first'?"),
        (["first", "norm"], "'norm' is a LayerNorm; wanted a trained torch.nn.Linear"),
        (["last", "first"], "'last' has 2 outputs and 'first' 3 inputs"),
        (["first", "first"], "wanted at least two names, each once"),
        (["first"], "wanted at least two names"),
        ("first", "wanted at least two names"),
    ],
    ids=["unknown", "of another kind", "in the wrong order", "twice", "one", "a string"],
)
def test_layers_that_cannot_be_a_chain_are_refused(layers: list[str], told: str) -> None:
    model = nn.ModuleDict({"first": nn.Linear(3, 4), "norm": nn.LayerNorm(4), "last": nn.Linear(4, 2)})
    with pytest.raises((InputError, UnknownNameError), match=re.escape(told)):
        joints(model, layers)


def test_a_model_without_a_pair_and_layers_that_share_a_weight_are_refused() -> None:
    with pytest.raises(InputError, match="no two trained linear layers"):
        joints(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)))
    tied = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    tied[2].weight = tied[0].weight
    with pytest.raises(InputError, match="share one weight"):
        joints(tied)


# --- the optimiser ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "rule", "decay"),
    [
        ("SGD", {}, "descent", "coupled"),
        ("SGD", {"momentum": 0.9, "nesterov": True}, "momentum", "coupled"),
        ("Adam", {}, "adaptive", "coupled"),
        ("Adam", {"decoupled_weight_decay": True}, "adaptive", "decoupled"),
        ("AdamW", {}, "adaptive", "decoupled"),
        ("RMSprop", {}, "adaptive", "coupled"),
    ],
    ids=["SGD", "Nesterov", "Adam", "Adam decoupled", "AdamW", "RMSprop"],
)
def test_settings_are_read_off_torch_optimisers(name: str, settings: dict[str, object], rule: str, decay: str) -> None:
    W = nn.Parameter(torch.eye(2))
    optimizer = getattr(torch.optim, name)([W], lr=0.1, weight_decay=0.02, **settings)
    update = read_update(optimizer, [W])
    assert (update.rule, update.decay, update.weight_decay) == (rule, decay, 0.02)
    assert update.effective_rate == pytest.approx(1.0 if rule == "momentum" else 0.1)


def test_a_subclass_of_a_torch_optimiser_is_that_optimiser() -> None:
    class Mine(torch.optim.Adam):
        pass

    W = nn.Parameter(torch.eye(2))
    assert read_update(Mine([W], lr=0.1), [W]).rule == "adaptive"


class Unknown(torch.optim.Optimizer):
    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 0.1})


W, V = nn.Parameter(torch.eye(2)), nn.Parameter(torch.eye(2))
TWO = [{"params": [W], "lr": 0.1}, {"params": [V], "lr": 0.2}]
SGD = torch.optim.SGD


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        (Unknown([W, V]), "got the optimiser Unknown; wanted one of torch's"),
        (SGD([W], lr=0.1), "weights of shape (2, 2) are in no group of the optimiser"),
        (SGD(TWO), "are trained differently"),
        (SGD([W, V], lr=0.1, maximize=True), "maximises"),
        (SGD([W, V], lr=0.1, momentum=0.9, dampening=0.5), "dampens"),
        (torch.optim.AdamW([W, V], lr=0.1), "a penalty in the loss and a decoupled decay"),
    ],
    ids=["unknown", "another model's", "two rates", "maximises", "dampens", "two decays"],
)
def test_an_optimiser_whose_steps_cannot_be_told_is_refused(optimizer: torch.optim.Optimizer, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        read_update(optimizer, [W, V], penalty=0.1)


@pytest.mark.parametrize(
    "settings",
    [{"learning_rate": -1.0}, {"momentum": 1.0}, {"weight_decay": -0.1}, {"bias_decay": -0.1}],
    ids=["rate", "momentum", "decay", "bias decay"],
)
def test_an_impossible_update_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="wanted rate and decay not negative"):
        Update(**{"learning_rate": 0.1, **settings})


# --- the account --------------------------------------------------------------------------------------------------


def test_an_account_without_records_and_a_record_without_gradients_are_refused() -> None:
    account = BalanceAccount(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), PLAIN)
    with pytest.raises(InputError, match="nothing was recorded"):
        account.statement()
    with pytest.raises(InputError, match=re.escape("call record() after loss.backward() and before optimizer.step()")):
        account.record()


def test_layers_that_start_at_zero_break_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False))
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[1].weight)
    account = BalanceAccount(model, PLAIN)
    model(torch.ones(5, 3)).square().sum().backward()
    account.record()
    account.record()
    assert account.balances[0].unexplained == 0
    assert "nan" in account.statement()


def test_the_recent_mean_is_over_the_last_half_to_three_quarters() -> None:
    recent, values = RecentMean(), torch.arange(200.0)
    for count, value in enumerate(values, start=1):
        recent.add(value, 2 * value)
        window = values[count - recent.count : count]
        mean, twice = recent.mean()
        torch.testing.assert_close(mean, window.mean())
        torch.testing.assert_close(twice, 2 * window.mean())
        assert count / 2 <= recent.count <= 0.75 * (count + 1)
