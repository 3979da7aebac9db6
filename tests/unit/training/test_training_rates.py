import pytest
import torch
from torch import Tensor
from torch.func import jacrev

from ansatzlab.data.dataset import Dataset
from ansatzlab.data.registry import load
from ansatzlab.errors import InputError
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.training.dynamics import GradientFlow, Optimizer, SharpnessRate
from ansatzlab.training.loop import train
from ansatzlab.training.objective import objective_for
from ansatzlab.training.rates import sharpness_bound, with_rate

SINGULAR_VALUES = (1.7, 0.8, 0.3)


def white_data() -> Dataset:
    """Four examples with XᵀX/n = 1 and a linear teacher whose singular values are known."""
    generator = torch.Generator().manual_seed(0)
    U, V = (torch.linalg.qr(torch.randn(n, 3, dtype=torch.float64, generator=generator)).Q for n in (3, 4))
    inputs = 2 * torch.eye(4, dtype=torch.float64)
    teacher = (U * torch.tensor(SINGULAR_VALUES, dtype=torch.float64)) @ V.mT
    return Dataset("white", inputs=inputs, targets=inputs @ teacher.mT, description="")


def coloured_data() -> Dataset:
    return load("low_rank_linear", size=30, input_dim=4, output_dim=3, noise=0.1)


def network(depth: int, scheme: str = "gaussian", scale: float = 1.0) -> DeepLinear:
    model = DeepLinear([4, *[4] * (depth - 1), 3])
    initialize(model, scheme, seed=depth, scale=scale)
    return model


def weights_of(model: DeepLinear) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def flat(weights: list[Tensor]) -> Tensor:
    return torch.cat([weight.flatten() for weight in weights])


def outputs(vector: Tensor, like: list[Tensor], data: Dataset) -> Tensor:
    product = None
    for part, weight in zip(vector.split([w.numel() for w in like]), like, strict=True):
        layer = part.view_as(weight)
        product = layer if product is None else layer @ product
    assert product is not None
    return data.inputs @ product.mT


def curvature(weights: list[Tensor], data: Dataset, decay: float = 0.0) -> float:
    """The largest eigenvalue of the Hessian of the loss with its penalty, formed entry by entry."""

    def loss(vector: Tensor) -> Tensor:
        misfit = outputs(vector, weights, data) - data.targets
        return misfit.square().sum() / (2 * len(data.inputs)) + decay / 2 * vector.square().sum()

    return float(torch.linalg.eigvalsh(jacrev(jacrev(loss))(flat(weights)))[-1])


def gauss_newton(weights: list[Tensor], data: Dataset) -> float:
    jacobian = jacrev(lambda vector: outputs(vector, weights, data).flatten())(flat(weights))
    return float(torch.linalg.matrix_norm(jacobian, ord=2)) ** 2 / len(data.inputs)


def trained(depth: int, data: Dataset, flow_time: float = 60.0) -> list[Tensor]:
    model = network(depth, "balanced", scale=0.5)
    for _ in train(model, objective_for(model, data), GradientFlow(flow_time=flow_time, tolerance=1e-10), snapshots=2):
        pass
    return weights_of(model)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_curvature_of_a_balanced_minimum_is_the_closed_form(depth: int) -> None:
    data = white_data()
    weights = trained(depth, data)
    wanted = depth * SINGULAR_VALUES[0] ** (2 - 2 / depth)
    assert curvature(weights, data) == pytest.approx(wanted, rel=1e-6)
    assert sharpness_bound(weights, data) == pytest.approx(wanted, rel=1e-6)
    assert sharpness_bound([0.1 * weight for weight in weights], data) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_bound_holds_at_a_minimum_of_any_data(depth: int) -> None:
    data = coloured_data()
    weights = trained(depth, data)
    bound = sharpness_bound(weights, data)
    assert 0.3 * bound < curvature(weights, data) <= bound * (1 + 1e-9)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("scale", [1.5, 3.0])
def test_large_initial_weights_are_bounded_by_their_own_curvature(depth: int, scale: float) -> None:
    data = white_data()
    weights = weights_of(network(depth, scale=scale))
    bound, largest = sharpness_bound(weights, data), gauss_newton(weights, data)
    assert bound / depth <= largest <= bound * (1 + 1e-12)


def test_the_start_counts_only_where_it_is_the_sharper_of_the_two() -> None:
    data, weights = white_data(), weights_of(network(3, scale=4.0))
    assert sharpness_bound(weights, data) > 10 * sharpness_bound([0 * weight for weight in weights], data)


@pytest.mark.parametrize(("fraction", "stays"), [(0.97, True), (1.03, False)])
def test_descent_at_the_minimum_is_stable_below_the_rule_and_not_above(*, fraction: float, stays: bool) -> None:
    data = white_data()
    model = network(3)
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), trained(3, data), strict=True):
            parameter.copy_(weight * (1 + 1e-5))
    rule = Optimizer(learning_rate=SharpnessRate(fraction=fraction), steps=150)
    objective = objective_for(model, data)
    losses = [each.loss for each in train(model, objective, with_rate(rule, model, data, "square"), snapshots=2)]
    assert (losses[-1] < losses[0]) == stays


@pytest.mark.parametrize("scheme", ["gaussian", "he", "orthogonal", "small", "balanced"])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_the_loss_never_rises_at_the_default_fraction(depth: int, scheme: str) -> None:
    data, model = coloured_data(), network(depth, scheme)
    dynamics = with_rate(Optimizer(learning_rate=SharpnessRate(), steps=100), model, data, "square")
    losses = torch.tensor([each.loss for each in train(model, objective_for(model, data), dynamics, snapshots=101)])
    assert (losses.diff() <= 1e-12).all()


@pytest.mark.parametrize(("decay", "penalty"), [("coupled", 0.7), ("decoupled", 0.0)])
def test_coupled_decay_adds_to_the_curvature(decay: str, penalty: float) -> None:
    data, model = white_data(), network(3)
    rule = Optimizer(learning_rate=SharpnessRate(fraction=0.5), steps=7, weight_decay=0.7, decay=decay)
    given = with_rate(rule, model, data, "square")
    assert given.rate == pytest.approx(1 / (sharpness_bound(weights_of(model), data) + penalty), rel=1e-14)
    assert given.model_copy(update={"learning_rate": rule.learning_rate}) == rule
    weights = trained(3, data)
    assert curvature(weights, data, decay=0.7) == pytest.approx(curvature(weights, data) + 0.7, rel=1e-9)


def test_a_number_is_left_alone() -> None:
    dynamics = Optimizer(learning_rate=0.125, steps=3)
    assert with_rate(dynamics, network(2), white_data(), "square") is dynamics


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (DeepLinear([4, 4, 3], bias=True), "square"),
        (DeepLinear([4, 4, 3]), "cross_entropy"),
        (MLP([4, 4, 3], bias=False), "square"),
    ],
)
def test_what_has_no_theory_is_refused(model: DeepLinear | MLP, loss: str) -> None:
    rule = Optimizer(learning_rate=SharpnessRate(), steps=3)
    with pytest.raises(
        InputError, match=r"learning_rate: the sharpness rule knows deep linear networks without biases"
    ):
        with_rate(rule, model, white_data(), loss)


def test_inputs_without_curvature_are_refused() -> None:
    zeros = torch.zeros(4, 4, dtype=torch.float64)
    with pytest.raises(InputError, match="the inputs are all zero, so that the loss has no curvature"):
        sharpness_bound(weights_of(network(2)), Dataset("zeros", inputs=zeros, targets=zeros[:, :3], description=""))
