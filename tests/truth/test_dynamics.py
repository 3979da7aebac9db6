"""Training against closed forms of gradient flow, and against torch's own optimisers step by step."""

from collections.abc import Callable, Iterator, Sequence

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from ansatzlab.data.dataset import Dataset
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.training.dynamics import GradientFlow, Optimizer
from ansatzlab.training.loop import Snapshot, train
from ansatzlab.training.objective import NetworkLoss, objective_for, square_loss

# --- gradient flow: problems whose modes decouple ----------------------------------------------------------------

TARGETS = (2.0, 1.2, 0.7)
STARTS = (0.6, 0.4, 0.2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are fastest on one thread; several that wait for each other can cost seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def decoupled_problem(depth: int) -> tuple[DeepLinear, Dataset, Tensor, Tensor]:
    """A balanced network on white inputs whose target map shares its singular vectors U, V, with singular values σ.

    Every layer is ``U_l diag(a) U_{l−1}ᵀ`` and stays so: each mode obeys ``ȧ = (σ − a^L) a^{L−1} − λ a`` by itself.
    """
    model = DeepLinear([5, *[4] * (depth - 1), 3])
    initialize(model, "balanced", seed=depth, singular_values=STARTS)
    U, s, Vt = torch.linalg.svd(model.end_to_end().detach(), full_matrices=False)
    assert_close(s, torch.tensor(STARTS, dtype=torch.float64) ** depth)
    inputs = 5**0.5 * torch.eye(5, dtype=torch.float64)  # XᵀX/n = I
    teacher = (U * torch.tensor(TARGETS, dtype=torch.float64)) @ Vt
    return model, Dataset("modes", inputs=inputs, targets=inputs @ teacher.mT, description=""), U, Vt


def modes_along(dynamics: GradientFlow, depth: int, snapshots: int) -> Iterator[tuple[float, Tensor]]:
    """The flow time and the three modes of the end-to-end map, which must be diagonal in its starting basis."""
    model, data, U, Vt = decoupled_problem(depth)
    for snapshot in train(model, objective_for(model, data), dynamics, snapshots=snapshots):
        modes = U.mT @ model.end_to_end().detach() @ Vt.mT
        assert_close(modes, torch.diag(modes.diagonal()), rtol=0, atol=1e-11)
        yield snapshot.flow_time, modes.diagonal()


def logistic(time: float, decay: float) -> Tensor:
    """The solution for L = 2: s = a² obeys ``ṡ = 2 s (κ − s)`` with κ = σ − λ."""
    start = np.array(STARTS) ** 2
    capacity = np.array(TARGETS) - decay
    growth = np.expm1(2 * capacity * time)
    return torch.from_numpy(start * (1 + growth) / (1 + start * growth / capacity))


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_depth_two_follows_the_logistic_solution(decay: float) -> None:
    seen = 0
    for time, modes in modes_along(GradientFlow(flow_time=6.0, weight_decay=decay), 2, 12):
        assert_close(modes, logistic(time, decay), rtol=0, atol=1e-10)
        seen += 1
    assert seen == 12


@pytest.mark.parametrize("depth", [3, 4])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_deeper_flows_take_the_time_that_the_quadrature_says(depth: int, decay: float) -> None:
    """``t = ∫ da / ȧ(a)`` from a(0) to a(t), by mpmath; an error in t counts as one in a through ȧ."""
    for time, modes in modes_along(GradientFlow(flow_time=2.0, weight_decay=decay), depth, 5):
        for start, sigma, mode in zip(STARTS, TARGETS, modes.tolist(), strict=True):

            def speed(a: mpmath.mpf, sigma: float = sigma) -> mpmath.mpf:
                return (sigma - a**depth) * a ** (depth - 1) - decay * a

            reached = mpmath.root(mode, depth)
            needed = mpmath.quad(lambda a: 1 / speed(a), mpmath.linspace(start, reached, 5))
            assert abs((needed - time) * speed(reached)) < 1e-10


def test_an_unbalanced_scalar_flow_conserves_and_converges() -> None:
    """L = 2 scalars: a² − b² = c is conserved, so ``p = ab`` obeys ``ṗ = (1 − p) sqrt(c² + 4p²)``."""
    data = Dataset("one", inputs=torch.ones(1, 1).double(), targets=torch.ones(1, 1).double(), description="")
    model = DeepLinear([1, 1, 1])
    with torch.no_grad():
        model.layers[0].weight.fill_(1.5)
        model.layers[1].weight.fill_(-0.5)
    conserved = 1.5**2 - 0.5**2
    for snapshot in train(model, objective_for(model, data), GradientFlow(flow_time=1.0), snapshots=5):
        a, b = (float(layer.weight.detach()) for layer in model.layers)
        assert abs(a * a - b * b - conserved) < 1e-11
        needed = mpmath.quad(lambda p: 1 / ((1 - p) * mpmath.sqrt(conserved**2 + 4 * p * p)), [-0.75, a * b])
        assert abs(needed - snapshot.flow_time) < 1e-10
        assert_close(snapshot.loss, (1 - a * b) ** 2 / 2)


def test_a_smaller_tolerance_makes_a_smaller_error() -> None:
    errors = []
    for tolerance in (1e-3, 1e-5, 1e-7, 1e-9, 1e-11):
        *_, (time, modes) = modes_along(GradientFlow(flow_time=3.0, tolerance=tolerance), 2, 2)
        errors.append(float((modes - logistic(time, 0.0)).abs().max()))
        assert errors[-1] < 10 * tolerance
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e3 * errors[-1], "the tolerance reaches the solver"


def test_snapshots_stop_the_solver_and_do_not_interpolate() -> None:
    """A coarse flow would show an interpolation of lower order between its long steps; here each stop is solved for."""
    ends = []
    for snapshots in (2, 9, 40):
        *_, (_, modes) = modes_along(GradientFlow(flow_time=5.0), 3, snapshots)
        ends.append(modes)
    assert_close(ends[1], ends[0], rtol=0, atol=1e-10)
    assert_close(ends[2], ends[0], rtol=0, atol=1e-10)
    coarse = GradientFlow(flow_time=4.0, tolerance=1e-6)
    for time, modes in modes_along(coarse, 2, 40):
        assert_close(modes, logistic(time, 0.0), rtol=0, atol=1e-5)


# --- optimisers: torch's own loop, step by step ------------------------------------------------------------------

RATE, DECAY, STEPS = 0.03, 0.2, 25
ALIKE = {"rtol": 0.0, "atol": 1e-14}


def regression() -> tuple[MLP, Dataset]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(12, 4, dtype=torch.float64, generator=generator)
    targets = torch.randn(12, 2, dtype=torch.float64, generator=generator)
    model = MLP([4, 6, 2], activation="tanh")
    initialize(model, "pytorch_default", seed=1)
    return model, Dataset("noise", inputs=inputs, targets=targets, description="")


def weights_of(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def ours(dynamics: Optimizer) -> tuple[list[list[Tensor]], list[Snapshot]]:
    model, data = regression()
    path, moments = [], []
    for snapshot in train(model, NetworkLoss(model, data, square_loss), dynamics, snapshots=dynamics.steps + 1):
        path.append(weights_of(model))
        moments.append(snapshot)
    assert [moment.step for moment in moments] == list(range(dynamics.steps + 1))
    return path, moments


def torchs(
    make: Callable[..., torch.optim.Optimizer],
    before_step: Callable[[Sequence[Tensor]], None] = lambda _: None,
    **options: object,
) -> list[list[Tensor]]:
    """The weights after every step of the loop that everyone writes."""
    model, data = regression()
    optimizer = make(model.parameters(), lr=RATE, **options)
    path = [weights_of(model)]
    for _ in range(STEPS):
        optimizer.zero_grad()
        ((model(data.inputs) - data.targets).square().sum() / (2 * len(data.inputs))).backward()
        with torch.no_grad():
            before_step(list(model.parameters()))
        optimizer.step()
        path.append(weights_of(model))
    return path


def optimizer(name: str, *, decay: str = "coupled", weight_decay: float = DECAY, **options: object) -> Optimizer:
    return Optimizer(
        name=name, learning_rate=RATE, steps=STEPS, weight_decay=weight_decay, decay=decay, options=options
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {}),
        ("SGD", {"momentum": 0.9}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("Adam", {}),
        ("Adam", {"betas": (0.8, 0.99), "eps": 1e-6}),
        ("Adam", {"amsgrad": True}),
        ("RMSprop", {"alpha": 0.9, "momentum": 0.5}),
        ("Adagrad", {}),
    ],
)
def test_coupled_decay_is_torchs_weight_decay(name: str, options: dict[str, object]) -> None:
    path, _ = ours(optimizer(name, **options))
    assert_close(path, torchs(getattr(torch.optim, name), weight_decay=DECAY, **options), **ALIKE)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_without_decay_the_optimiser_is_torchs_bit_for_bit(name: str) -> None:
    path, _ = ours(optimizer(name, weight_decay=0.0))
    assert_close(path, torchs(getattr(torch.optim, name)), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam_with_decoupled_decay_is_torchs_adamw(name: str) -> None:
    path, _ = ours(optimizer(name, decay="decoupled"))
    assert_close(path, torchs(torch.optim.AdamW, weight_decay=DECAY), **ALIKE)


def test_adamw_without_decay_is_adam_and_not_torchs_default_decay() -> None:
    path, _ = ours(optimizer("AdamW", decay="decoupled", weight_decay=0.0))
    assert_close(path, torchs(torch.optim.Adam), **ALIKE)


def test_decoupled_decay_shrinks_the_weights_outside_any_optimiser() -> None:
    def shrink(parameters: Sequence[Tensor]) -> None:
        for parameter in parameters:
            parameter.mul_(1 - RATE * DECAY)

    path, _ = ours(optimizer("SGD", decay="decoupled", momentum=0.9))
    assert_close(path, torchs(torch.optim.SGD, shrink, momentum=0.9), **ALIKE)


def test_coupled_and_decoupled_are_told_apart() -> None:
    """Teeth: they agree for plain descent, and only there."""
    for name, options, alike in (("SGD", {}, True), ("SGD", {"momentum": 0.9}, False), ("Adam", {}, False)):
        coupled, _ = ours(optimizer(name, **options))
        decoupled, _ = ours(optimizer(name, decay="decoupled", **options))
        gap = max(float((a - b).abs().max()) for a, b in zip(coupled[-1], decoupled[-1], strict=True))
        assert (gap < 1e-14) if alike else (gap > 1e-3)


def test_plain_descent_converges_to_the_flow_at_first_order() -> None:
    """Halving η at a fixed time halves the distance to gradient flow with the same decay."""
    model, data = regression()
    *_, _ = train(model, objective_for(model, data), GradientFlow(flow_time=1.5, weight_decay=DECAY), snapshots=2)
    limit = weights_of(model)
    errors = []
    for rate in (0.03, 0.015, 0.0075):
        model, data = regression()
        descent = Optimizer(learning_rate=rate, steps=round(1.5 / rate), weight_decay=DECAY)
        *_, _ = train(model, objective_for(model, data), descent, snapshots=2)
        errors.append(sum(float((a - b).square().sum()) for a, b in zip(weights_of(model), limit, strict=True)) ** 0.5)
    slopes = -np.diff(np.log2(errors))
    np.testing.assert_allclose(slopes, 1.0, atol=0.05)


def test_the_snapshot_is_of_the_weights_in_hand() -> None:
    """Loss on all examples, gradients on the next batch, at the weights that the network holds."""
    model, data = regression()
    objective = NetworkLoss(model, data, square_loss)
    previous: list[Tensor] | None = None
    for snapshot in train(model, objective, Optimizer(learning_rate=RATE, steps=5, batch_size=4), snapshots=6):
        assert_close(snapshot.loss, float(square_loss(model(data.inputs).detach(), data.targets)))
        assert_close(snapshot.flow_time, (snapshot.step or 0) * RATE)
        if previous is not None:
            assert_close(weights_of(model), previous, **ALIKE)
        previous = [w - RATE * g for w, g in zip(weights_of(model), snapshot.gradients, strict=True)]
    assert previous is not None


@pytest.mark.parametrize("options", [{}, {"line_search_fn": "strong_wolfe"}], ids=["plain", "line search"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lbfgs_finds_a_stationary_point_of_the_loss_with_its_penalty(decay: float, options: dict[str, str]) -> None:
    """A line search that is shown the loss without its penalty stops far from stationary."""
    model, data = regression()
    dynamics = Optimizer(name="LBFGS", learning_rate=0.5, steps=20, weight_decay=decay, options=options)
    first, *_, last = train(model, objective_for(model, data), dynamics, snapshots=4)
    assert last.loss < 0.5 * first.loss
    slopes = [gradient + decay * w for gradient, w in zip(last.gradients, weights_of(model), strict=True)]
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-3
