"""What runs record of stationarity and of the structural null, against autograd and against a measurement."""

import pytest
import torch

from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.verdict import Criteria, structural_null
from ansatzlab.sweeps.observe import NULL_DRAWS
from ansatzlab.sweeps.run import run, run_stack
from ansatzlab.sweeps.spec import DataSpec, InitSpec, ModelSpec, RunSpec
from ansatzlab.training.dynamics import GradientFlow, Optimizer
from ansatzlab.training.objective import square_loss

DECAY = 0.1


def spec(dynamics, seed=0):
    return RunSpec(
        experiment="observed",
        data=DataSpec(name="linnerud"),
        model=ModelSpec(hidden=(4, 3)),
        init=InitSpec(scheme="gaussian"),
        dynamics=dynamics,
        seed=seed,
        snapshots=2,
        observe=("stationarity", "null"),
    )


def descent(**changes):
    return Optimizer(**({"learning_rate": 1e-9, "steps": 1, "weight_decay": DECAY} | changes))


def column(rows, name, snapshot):
    return [row.get(name) for row in rows if row["snapshot"] == snapshot]


def test_stationarity_is_the_penalised_gradient_over_the_pull_of_the_decay():
    chosen = spec(descent())
    data = chosen.data.load()
    model = chosen.start(data)
    square_loss(model(data.inputs), data.targets).backward()
    expected = [float((w.grad + DECAY * w.detach()).norm() / (DECAY * w.detach().norm())) for w in model.parameters()]
    for rows in (run(chosen), run_stack([chosen])):
        assert column(rows, "stationarity", 0) == pytest.approx(expected)


@pytest.mark.parametrize("changes", [{"weight_decay": 0.0}, {"batch_size": 5}], ids=["no decay", "batches"])
def test_where_it_does_not_exist_it_is_null(changes):
    assert column(run(spec(descent(**changes))), "stationarity", 0) == [None] * 3


@pytest.mark.parametrize("dynamics", [descent(), GradientFlow(flow_time=1e-9)], ids=["descent", "flow"])
def test_the_null_is_that_of_a_measurement(dynamics):
    chosen = spec(dynamics)
    rows = run(chosen)
    assert column(rows, "null_residual", 0) == [None] * 3
    data = chosen.data.load()
    measured = measure(chosen.start(data), data.inputs[: chosen.probe_examples], accumulation="factor")
    for index, layer in enumerate(list(measured.values())[:-1]):
        alignment = layer.read(Convention(exponent=1 / (3 - index)))
        null = structural_null(layer, alignment, Criteria(draws=NULL_DRAWS, seed=0))
        assert column(rows, "null_residual", 1)[index] == pytest.approx(null.residual_mean, rel=1e-6)
        assert column(rows, "null_residual_sd", 1)[index] == pytest.approx(null.residual_sd, rel=1e-6)


def test_a_stack_gives_every_run_its_own():
    singles = [run(spec(descent(), seed)) for seed in range(3)]
    stacked = run_stack([spec(descent(), seed) for seed in range(3)])
    for name, snapshot in (("stationarity", 1), ("null_residual", 1)):
        together = column(stacked, name, snapshot)
        alone = [value for rows in singles for value in column(rows, name, snapshot)]
        assert torch.tensor(together) == pytest.approx(torch.tensor(alone), rel=1e-9)
