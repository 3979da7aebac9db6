import math
import re

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.training.dynamics import (
    GRADIENT_FLOW,
    OPTIMIZERS,
    Dynamics,
    GradientFlow,
    Optimizer,
    SharpnessRate,
    named_dynamics,
)
from ansatzlab.training.loop import torch_optimizer

DYNAMICS = TypeAdapter(Dynamics)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "AdamW"}, "AdamW is Adam with decoupled decay: say decay='decoupled', or name Adam"),
        ({"name": "LBFGS", "decay": "decoupled"}, "LBFGS searches along the loss it is given: say decay='coupled'"),
        ({"options": {"lr": 0.1}}, "options must not repeat lr or weight_decay"),
        ({"options": {"weight_decay": 0.1}}, "options must not repeat lr or weight_decay"),
        ({"weight_decay": -0.1}, "greater than or equal to 0"),
        ({"weight_decay": math.inf}, "finite number"),
        ({"weight_decay": math.nan}, "weight_decay"),
        ({"learning_rate": 0.0}, "greater than 0"),
        ({"steps": 0}, "greater than 0"),
        ({"batch_size": 0}, "greater than 0"),
        ({"decay": "both"}, "'coupled' or 'decoupled'"),
        ({"schedule": "linear"}, "'constant' or 'cosine'"),
        ({"learning_rate": {"kind": "sharpness", "fraction": 0.0}}, "greater than 0"),
        ({"name": "Adam", "learning_rate": {"fraction": 0.5}}, "no theory gives Adam a rate by the curvature"),
        ({"momentum": 0.9}, "Extra inputs are not permitted"),
    ],
)
def test_optimizers_that_make_no_sense_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        Optimizer.model_validate({"learning_rate": 0.1, "steps": 5, **values})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flow_time": 0.0}, "greater than 0"),
        ({"flow_time": 1.0, "weight_decay": -1.0}, "greater than or equal to 0"),
        ({"flow_time": 1.0, "tolerance": 0.0}, "greater than 0"),
        ({"flow_time": 1.0, "learning_rate": 0.1}, "Extra inputs are not permitted"),
        ({}, "Field required"),
    ],
)
def test_flows_that_make_no_sense_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GradientFlow.model_validate(values)


def test_the_kind_tells_them_apart() -> None:
    flow, descent = GradientFlow(flow_time=1.0), Optimizer(learning_rate=0.1, steps=5)
    for dynamics in (flow, descent):
        assert DYNAMICS.validate_json(DYNAMICS.dump_json(dynamics)) == dynamics
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        DYNAMICS.validate_python({"kind": "langevin"})


def test_they_are_frozen() -> None:
    flow = GradientFlow(flow_time=1.0)
    with pytest.raises(ValidationError, match="frozen"):
        flow.flow_time = 2.0


def test_a_flow_has_no_learning_rate() -> None:
    assert GradientFlow(flow_time=1.0).learning_rate is None


def test_options_keep_their_types() -> None:
    options = {"nesterov": True, "momentum": 0.9, "betas": (0.9, 0.99), "line_search_fn": "strong_wolfe"}
    kept = Optimizer(learning_rate=0.1, steps=5, options=options).options
    assert kept == options
    assert kept["nesterov"] is True


def test_a_rule_is_kept_and_is_no_number_yet() -> None:
    rule = Optimizer(learning_rate=SharpnessRate(fraction=0.5), steps=5, schedule="cosine")
    assert DYNAMICS.validate_json(DYNAMICS.dump_json(rule)) == rule
    assert Optimizer(learning_rate=0.25, steps=5).rate == 0.25
    with pytest.raises(InputError, match=r"the learning rate is still a rule.*resolve it with .*with_rate"):
        _ = rule.rate


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("gd", Optimizer(name="SGD", learning_rate=0.1, steps=5)),
        ("sgd", Optimizer(name="SGD", learning_rate=0.1, steps=5, batch_size=32)),
        ("heavy_ball", Optimizer(name="SGD", learning_rate=0.1, steps=5, options={"momentum": 0.9})),
        ("nesterov", Optimizer(name="SGD", learning_rate=0.1, steps=5, options={"momentum": 0.9, "nesterov": True})),
        ("adam", Optimizer(name="Adam", learning_rate=0.1, steps=5)),
        ("adamw", Optimizer(name="AdamW", learning_rate=0.1, steps=5, decay="decoupled")),
        ("rmsprop", Optimizer(name="RMSprop", learning_rate=0.1, steps=5)),
        ("adagrad", Optimizer(name="Adagrad", learning_rate=0.1, steps=5)),
        ("lbfgs", Optimizer(name="LBFGS", learning_rate=0.1, steps=5)),
        ("muon", Optimizer(name="Muon", learning_rate=0.1, steps=5)),
    ],
)
def test_names_stand_for_records(name: str, wanted: Optimizer) -> None:
    assert named_dynamics(name, learning_rate=0.1, steps=5) == wanted


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_torch_has_every_named_optimiser_and_takes_its_options(name: str) -> None:
    dynamics = named_dynamics(name, learning_rate=0.1, steps=5)
    assert isinstance(dynamics, Optimizer)
    made = torch_optimizer([torch.zeros(2, 2)], dynamics.name, dynamics.rate, dynamics.options)
    assert type(made).__name__ == dynamics.name


def test_settings_win_over_what_a_name_stands_for() -> None:
    assert named_dynamics("sgd", learning_rate=0.1, steps=5, batch_size=8) == Optimizer(
        learning_rate=0.1, steps=5, batch_size=8
    )
    assert named_dynamics(GRADIENT_FLOW, flow_time=2.0) == GradientFlow(flow_time=2.0)


def test_unknown_names_and_settings_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown optimiser 'adan'; did you mean 'adam'.*gradient_flow.*muon"):
        named_dynamics("adan", learning_rate=0.1, steps=5)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        named_dynamics("gd", learning_rate=0.1, steps=5, momentum=0.9)
    with pytest.raises(ValidationError, match="Field required"):
        named_dynamics("gd", learning_rate=0.1)
