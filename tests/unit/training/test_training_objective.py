import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import UnknownNameError
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.training import objective as objective_module
from ansatzlab.training.objective import (
    LOSSES,
    LinearSquareLoss,
    NetworkLoss,
    Objective,
    StackedLinearSquareLoss,
    StackedNetworkLoss,
    StackedObjective,
    objective_for,
    square_loss,
)

PRECISION = {"rtol": 1e-12, "atol": 1e-12}
WIDTHS = [[5, 4, 3], [5, 7, 2, 3], [5, 1, 6, 4, 3], [5, 8, 8, 8, 3], [3, 4, 5], [3, 6, 2, 4, 5], [4, 4, 4]]


def data(examples: int = 11, inputs: int = 5, outputs: int = 3) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    return Dataset(
        "random",
        inputs=torch.randn(examples, inputs, dtype=torch.float64, generator=generator),
        targets=torch.rand(examples, outputs, dtype=torch.float64, generator=generator),
        description="",
    )


def deep_linear(widths: list[int]) -> DeepLinear:
    model = DeepLinear(widths)
    initialize(model, "gaussian", seed=0)
    return model


def weights_of(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


ROWS = [None, torch.tensor([3]), torch.tensor([7, 0, 2, 9])]


@pytest.mark.parametrize("rows", ROWS, ids=["all", "one", "batch"])
@pytest.mark.parametrize("widths", WIDTHS)
def test_sufficient_statistics_give_what_autograd_gives(widths: list[int], rows: Tensor | None) -> None:
    model, dataset = deep_linear(widths), data(inputs=widths[0], outputs=widths[-1])
    fast = LinearSquareLoss(dataset)(weights_of(model), rows)
    assert_close(fast, NetworkLoss(model, dataset, square_loss)(weights_of(model), rows), **PRECISION)


@pytest.mark.parametrize("rows", ROWS, ids=["all", "one", "batch"])
@pytest.mark.parametrize("widths", WIDTHS)
def test_square_loss_and_gradient_by_definition(widths: list[int], rows: Tensor | None) -> None:
    """½ mean over examples of the squared error summed over outputs, written out and differentiated by autograd."""
    model, dataset = deep_linear(widths), data(inputs=widths[0], outputs=widths[-1])
    leaves = [w.requires_grad_() for w in weights_of(model)]
    kept = list(range(len(dataset.inputs))) if rows is None else rows.tolist()
    loss = torch.zeros((), dtype=torch.float64)
    for index in kept:
        h = dataset.inputs[index]
        for W in leaves:
            h = W @ h
        loss = loss + 0.5 * ((h - dataset.targets[index]) ** 2).sum() / len(kept)
    expected = (float(loss.detach()), list(torch.autograd.grad(loss, leaves)))
    assert_close(objective_for(model, dataset)(weights_of(model), rows), expected, **PRECISION)


def test_cross_entropy_by_definition() -> None:
    model, dataset = MLP([5, 6, 3], activation="tanh"), data()
    initialize(model, "he", seed=0)
    loss, gradients = objective_for(model, dataset, "cross_entropy")(weights_of(model), torch.tensor([1, 4]))
    outputs = model(dataset.inputs[[1, 4]])
    wanted = -(dataset.targets[[1, 4]] * outputs.log_softmax(1)).sum(1).mean()
    assert_close(loss, float(wanted.detach()), **PRECISION)
    assert_close(gradients, list(torch.autograd.grad(wanted, list(model.parameters()))), **PRECISION)


def test_gradients_are_those_of_the_given_parameters_and_not_of_the_network() -> None:
    model, dataset = MLP([5, 6, 3]), data()
    initialize(model, "he", seed=0)
    shifted = [w + 0.1 for w in weights_of(model)]
    before = weights_of(model)
    loss, gradients = NetworkLoss(model, dataset, square_loss)(shifted)
    assert_close(weights_of(model), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), shifted, strict=True):
            parameter.copy_(value)
    wanted = square_loss(model(dataset.inputs), dataset.targets)
    assert_close(
        (loss, gradients), (float(wanted.detach()), list(torch.autograd.grad(wanted, list(model.parameters()))))
    )


def test_gradients_agree_with_finite_differences() -> None:
    model, dataset = deep_linear([5, 4, 3]), data()
    objective, weights = objective_for(model, dataset), weights_of(model)
    _, gradients = objective(weights)
    direction = [torch.ones_like(w) for w in weights]
    step = 1e-6
    up, _ = objective([w + step * v for w, v in zip(weights, direction, strict=True)])
    down, _ = objective([w - step * v for w, v in zip(weights, direction, strict=True)])
    slope = sum(float((g * v).sum()) for g, v in zip(gradients, direction, strict=True))
    assert_close((up - down) / (2 * step), slope, rtol=1e-8, atol=0)


def test_the_cheapest_exact_form_is_chosen() -> None:
    dataset = data()
    chosen = {
        "deep linear": objective_for(DeepLinear([5, 4, 3]), dataset),
        "with bias": objective_for(DeepLinear([5, 4, 3], bias=True), dataset),
        "nonlinear": objective_for(MLP([5, 4, 3]), dataset),
        "other loss": objective_for(DeepLinear([5, 4, 3]), dataset, "cross_entropy"),
    }
    assert {name: type(objective) for name, objective in chosen.items()} == {
        "deep linear": LinearSquareLoss,
        "with bias": NetworkLoss,
        "nonlinear": NetworkLoss,
        "other loss": NetworkLoss,
    }
    for objective in chosen.values():
        assert isinstance(objective, Objective)
        assert objective.examples == 11


# --- stacks ------------------------------------------------------------------------------------------------------

NETWORKS = {
    "linear": lambda: DeepLinear([5, 4, 6, 3]),
    "linear with biases": lambda: DeepLinear([5, 4, 6, 3], bias=True),
    "relu": lambda: MLP([5, 4, 6, 3]),
    "any other": lambda: nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 3)).double(),
}


def check_stack(
    objective: StackedObjective, stacked: list[Tensor], model: nn.Module, datasets: list[Dataset], rows: Tensor | None
) -> None:
    """Compare each network of a stack with itself alone."""
    losses, gradients = objective(stacked, rows)
    assert losses.shape == stacked[0].shape[:1]
    for place in range(len(losses)):
        alone = NetworkLoss(model, datasets[place % len(datasets)], square_loss)
        got = (float(losses[place]), [gradient[place] for gradient in gradients])
        assert_close(got, alone([p[place] for p in stacked], None if rows is None else rows[place]), **PRECISION)


@pytest.mark.parametrize("minibatch", [False, True], ids=["all", "batch"])
@pytest.mark.parametrize("count", [1, 9], ids=["shared data", "own data"])
@pytest.mark.parametrize("at_once", [1, 4, 9, 50])
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_of_a_stack_is_itself_however_many_are_done_at_once(
    network: str, at_once: int, count: int, *, minibatch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = NETWORKS[network]()
    stacked = [torch.randn(9, *p.shape, dtype=torch.float64) for p in model.parameters()]
    datasets = [data() for _ in range(count)]
    datasets = [Dataset("own", inputs=d.inputs + i, targets=d.targets, description="") for i, d in enumerate(datasets)]
    rows = torch.stack([torch.randperm(11)[:4] for _ in range(9)]) if minibatch else None
    widest = max(p.shape[0] for p in model.parameters())
    monkeypatch.setattr(objective_module, "CACHED", at_once * 8 * widest * (4 if minibatch else 11))
    check_stack(StackedNetworkLoss(model, datasets, square_loss), stacked, model, datasets, rows)
    if network == "linear":
        check_stack(StackedLinearSquareLoss(datasets), stacked, model, datasets, rows)


def test_unknown_loss_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown loss 'sqare'; did you mean 'square'"):
        objective_for(DeepLinear([5, 4, 3]), data(), "sqare")
    assert sorted(LOSSES) == ["cross_entropy", "square"]
