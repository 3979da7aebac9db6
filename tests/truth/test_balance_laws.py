"""The balance of linear networks: conserved, decaying, stepping exactly, and what it implies for the ansatz."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ansatzlab.data.dataset import Dataset
from ansatzlab.measurement.run import measure
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.training.balance import imbalance, next_imbalance
from ansatzlab.training.dynamics import GradientFlow, Optimizer
from ansatzlab.training.loop import Snapshot, train
from ansatzlab.training.objective import LOSSES, objective_for

LOSS_NAMES = sorted(LOSSES)
WIDTHS = {2: [6, 4, 3], 3: [6, 5, 4, 3], 4: [6, 5, 7, 4, 3]}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are fastest on one thread; several that wait for each other can cost seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def classes() -> Dataset:
    """Inputs with one-hot targets, which both losses take."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(24, 6, dtype=torch.float64, generator=generator)
    labels = (inputs @ torch.randn(6, 3, dtype=torch.float64, generator=generator)).argmax(1)
    return Dataset("classes", inputs=inputs, targets=torch.eye(3, dtype=torch.float64)[labels], description="")


def network(depth: int, scheme: str) -> DeepLinear:
    model = DeepLinear(WIDTHS[depth])
    initialize(model, scheme, seed=depth)
    return model


def weights_of(model: DeepLinear) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def along(model: DeepLinear, dynamics: GradientFlow | Optimizer, loss: str, snapshots: int) -> Iterator[Snapshot]:
    return train(model, objective_for(model, classes(), loss), dynamics, snapshots=snapshots)


# --- gradient flow -----------------------------------------------------------------------------------------------


CASES = [(2, "square"), (3, "square"), (4, "square"), (3, "cross_entropy")]


@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize(("depth", "loss"), CASES)
def test_the_imbalance_is_conserved_and_decays_at_twice_the_decay(depth: int, decay: float, loss: str) -> None:
    """``D_l(t) = e^{−2λt} D_l(0)``, entry by entry, while the weights themselves move."""
    model = network(depth, "gaussian")
    dynamics = GradientFlow(flow_time=2.0 if loss == "square" else 0.5, weight_decay=decay)
    start, first = imbalance(weights_of(model)), weights_of(model)
    assert min(float(d.norm()) for d in start) > 0.5, "an imbalance of zero would show nothing"
    for snapshot in along(model, dynamics, loss, 3):
        shrunk = [np.exp(-2 * decay * snapshot.flow_time) * d for d in start]
        assert_close(imbalance(weights_of(model)), shrunk, rtol=0, atol=1e-10)
    assert float((weights_of(model)[0] - first[0]).norm()) > 0.05, "the weights moved"


@pytest.mark.parametrize(("depth", "loss"), CASES)
def test_a_balanced_flow_obeys_the_ansatz_at_every_layer_and_every_time(depth: int, loss: str) -> None:
    """``M_l = G_l^{1/(L−l+1)}`` with constant 1, as measured; for the first layer ``G₁ = M₁^L``."""
    model = network(depth, "balanced")
    inputs = torch.randn(7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    for _ in along(model, GradientFlow(flow_time=3.0 if loss == "square" else 0.5), loss, 3):
        measured = measure(model, inputs, accumulation="factor")
        for position, layer in enumerate(measured.values()):
            exponent = 1 / (depth - position)
            assert layer.spectrum().relative_error(exponent) < 1e-10
            if position < depth - 1:
                assert layer.fit_exponent().value == pytest.approx(exponent, abs=1e-8)
                assert layer.spectrum().residual(1 / (depth - position + 1)) > 0.03, "a neighbouring exponent"
        first = measured["layers.0"]
        power = torch.linalg.matrix_power(first.weight_gram(), depth)
        assert_close(first.agop(), power, rtol=0, atol=1e-11)


def test_the_ansatz_does_not_hold_from_an_unbalanced_start() -> None:
    model = network(3, "gaussian")
    for _ in along(model, GradientFlow(flow_time=5.0), "square", 3):
        assert measure(model, classes().inputs)["layers.0"].spectrum().residual(1 / 3) > 0.1


# --- descent -----------------------------------------------------------------------------------------------------


def discrete_errors(dynamics: Optimizer, loss: str = "square", depth: int = 3) -> list[float]:
    """How far each step's imbalance is from `next_imbalance` of the step before, relative to ‖W_l W_lᵀ‖."""
    model = network(depth, "gaussian")
    predicted: list[Tensor] = []
    errors = []
    for snapshot in along(model, dynamics, loss, dynamics.steps + 1):
        current = imbalance(weights_of(model))
        for d, p, w in zip(current, predicted, weights_of(model), strict=False):
            errors.append(float((d - p).norm() / (w @ w.mT).norm()))
        predicted = next_imbalance(
            current, snapshot.gradients, learning_rate=dynamics.learning_rate, weight_decay=dynamics.weight_decay
        )
    assert len(errors) == dynamics.steps * (depth - 1)
    return errors


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("depth", [2, 4])
def test_every_step_of_descent_obeys_the_discrete_law(
    depth: int, decay: float, batch_size: int | None, loss: str
) -> None:
    dynamics = Optimizer(learning_rate=0.1, steps=10, weight_decay=decay, batch_size=batch_size)
    assert max(discrete_errors(dynamics, loss, depth)) < 1e-12


def test_the_discrete_law_holds_for_decoupled_decay_of_plain_descent_which_is_the_same_step() -> None:
    dynamics = Optimizer(learning_rate=0.1, steps=20, weight_decay=0.1, decay="decoupled", batch_size=5)
    assert max(discrete_errors(dynamics)) < 1e-12


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"momentum": 0.9}},
        {"options": {"momentum": 0.9}, "decay": "decoupled"},
        {"name": "Adam"},
        {"name": "Adam", "decay": "decoupled"},
    ],
    ids=["momentum", "momentum, decoupled", "Adam", "AdamW"],
)
def test_the_discrete_law_is_of_plain_descent_alone(changes: dict[str, object]) -> None:
    dynamics = Optimizer.model_validate({"learning_rate": 0.1, "steps": 20, "weight_decay": 0.1, **changes})
    assert max(discrete_errors(dynamics)) > 1e-3


def test_the_discrete_law_needs_its_own_rate_and_decay() -> None:
    """Teeth: the prediction with another λ, or the gradients of another batch, misses by far more than rounding."""
    model = network(3, "gaussian")
    snapshots = along(model, Optimizer(learning_rate=0.1, steps=1, weight_decay=0.1, batch_size=5), "square", 2)
    first = next(snapshots)
    before = imbalance(weights_of(model))
    _, full_gradients = objective_for(model, classes())(weights_of(model))
    next(snapshots)
    after = imbalance(weights_of(model))
    assert_close(next_imbalance(before, first.gradients, learning_rate=0.1, weight_decay=0.1), after)
    for gradients, decay in ((first.gradients, 0.11), (full_gradients, 0.1)):
        with pytest.raises(AssertionError, match="not close"):
            assert_close(next_imbalance(before, gradients, learning_rate=0.1, weight_decay=decay), after)


def test_descent_drifts_off_balance_in_proportion_to_its_step() -> None:
    rates = [0.04, 0.02, 0.01]
    drifts = []
    for rate in rates:
        model = network(3, "balanced")
        steps = along(model, Optimizer(learning_rate=rate, steps=round(2 / rate)), "square", 20)
        drifts.append(max(float(imbalance(weights_of(model))[0].norm()) for _ in steps))
    slope = np.polyfit(np.log(rates), np.log(drifts), 1)[0]
    assert abs(slope - 1) < 0.05


# --- the definition ----------------------------------------------------------------------------------------------


def test_imbalance_by_its_entries() -> None:
    W1 = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    W2 = torch.tensor([[3.0, -1.0]], dtype=torch.float64)
    # W₂ᵀW₂ = [[9, −3], [−3, 1]] and W₁W₁ᵀ = [[5, 2], [2, 2]].
    assert_close(imbalance([W1, W2]), [torch.tensor([[4.0, -5.0], [-5.0, -1.0]], dtype=torch.float64)])
    assert imbalance([W1]) == []


def test_next_imbalance_by_its_entries() -> None:
    D = [torch.tensor([[2.0]], dtype=torch.float64)]
    gradients = [torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([[5.0]], dtype=torch.float64)]
    # (1 − 0.1·0.5)² · 2 + 0.1² (25 − 9)
    assert_close(next_imbalance(D, gradients, learning_rate=0.1, weight_decay=0.5)[0].item(), 1.965)


def test_next_imbalance_wants_a_gradient_for_every_layer() -> None:
    D = [torch.eye(2, dtype=torch.float64)]
    with pytest.raises(ValueError, match="zip"):
        next_imbalance(D, [torch.eye(2, dtype=torch.float64)], learning_rate=0.1, weight_decay=0.0)
