import math
import re

import pytest
from pydantic import TypeAdapter, ValidationError

from ansatzlab.training.dynamics import Dynamics, GradientFlow, Optimizer

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
