"""What the system of kuzborskij2025lowrank takes and refuses: networks, labels, decays, states."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import DivergedError, InputError, ModelError
from ansatzlab.laws.kuzborskij2025lowrank.descent import Descent, descend, gaussian_chain
from ansatzlab.laws.kuzborskij2025lowrank.fitting import fit
from ansatzlab.laws.kuzborskij2025lowrank.merge_report import merge_report
from ansatzlab.laws.kuzborskij2025lowrank.merging import merge, merge_states
from ansatzlab.laws.kuzborskij2025lowrank.network import SquaredReLU, chain_module, read_network
from ansatzlab.laws.kuzborskij2025lowrank.stationarity import stationarity_report
from ansatzlab.laws.kuzborskij2025lowrank.structure import structure_of
from ansatzlab.laws.kuzborskij2025lowrank.tasks import Task, coherence, read_task, task_of
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.mlp import MLP

X = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.where(X[:, 0] < 0, -1, 1)


def chain(*between: nn.Module, bias: bool = False, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(0)
    first, last = nn.Linear(4, 6, bias=bias, dtype=dtype), nn.Linear(6, 1, bias=False, dtype=dtype)
    return nn.Sequential(first, *between, last)


class Functional(nn.Module):
    """A network of the user's own, with a functional activation."""

    def __init__(self, activation):
        super().__init__()
        self.fc1 = nn.Linear(4, 6, bias=False, dtype=torch.float64)
        self.fc2 = nn.Linear(6, 1, bias=False, dtype=torch.float64)
        self.activation = activation

    def forward(self, x):
        return self.fc2(self.activation(self.fc1(x))).squeeze(1)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.square = nn.Linear(4, 4, bias=False, dtype=torch.float64)

    def forward(self, x):
        return self.square(functional.relu(self.square(x))).sum(1)


@pytest.mark.parametrize(
    ("model", "degrees", "activation"),
    [
        (chain(nn.ReLU()), [1, 1], "relu"),
        (chain(nn.ReLU(), dtype=torch.float32), [1, 1], "relu"),
        (chain(nn.Identity()), [1, 1], "identity"),
        (chain(SquaredReLU()), [2, 1], "relu_squared"),
        (chain(nn.LeakyReLU()), [1, 1], ""),
        (chain(nn.ReLU(), nn.Dropout(0.5)).eval(), [1, 1], "relu"),
        (MLP([4, 6, 5, 1], activation="relu", bias=False), [1, 1, 1], "relu"),
        (MLP([4, 6, 5, 1], activation="quadratic", bias=False), [4, 2, 1], ""),
        (DeepLinear([4, 6, 5, 1]), [1, 1, 1], "identity"),
        (Functional(functional.relu), [1, 1], "relu"),
        (Tied(), [2], ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_homogeneous_network_is_read_whatever_it_calls(model, degrees, activation):
    found = read_network(model, X.to(next(model.parameters()).dtype))
    assert (list(found.degrees.values()), found.activation) == (degrees, activation)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (chain(nn.ReLU(), bias=True), "trained parameters 0.bias"),
        (chain(nn.Tanh()), "is not homogeneous in 0.weight"),
        (chain(nn.GELU()), "is not homogeneous"),
        (chain(nn.Softplus()), "is not homogeneous"),
        (chain(nn.Hardtanh(-50, 50)), "is not homogeneous"),
        (chain(nn.LayerNorm(6, elementwise_affine=False, dtype=torch.float64)), "is not homogeneous"),
        (chain(nn.PReLU(dtype=torch.float64)), "trained parameters 1.weight"),
        (Functional(torch.sin), "is not homogeneous in fc1.weight"),
        (chain(nn.ReLU(), nn.Dropout(0.5)), "differ for the same input"),
        (MLP([4, 6, 3], activation="relu", bias=False), r"outputs of shape \(9, 3\)"),
        (MLP([7, 6, 1], activation="relu", bias=False), "cannot be evaluated on inputs"),
        (chain(nn.ReLU()).requires_grad_(False), "no trained parameter"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_network_that_the_law_does_not_speak_of_is_refused(model, message):
    with pytest.raises(ModelError, match=message):
        stationarity_report(model, X, Y, 0.01)


@pytest.mark.parametrize("widths", [(4, 1, 1, 1), (4, 1, 1, 1, 1, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_a_thin_network_that_most_weights_silence_is_read(widths, seed):
    weights = [weight.abs() for weight in gaussian_chain(widths, seed)]
    assert read_network(chain_module(weights, "relu"), X).activation == "relu"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value):
    model, other = chain(nn.ReLU()), chain(nn.ReLU())
    with torch.no_grad():
        model[2].weight[0, 1] = value
    for call in (
        lambda: stationarity_report(model, X, Y, 0.01),
        lambda: structure_of(model, X),
        lambda: merge_report(other, model, Task("A", X, Y), Task("B", X, Y)),
    ):
        with pytest.raises(ModelError, match=r"not finite.*2\.weight|2\.weight.*not finite"):
            call()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_narrow_network_is_told_of_as_its_float32_copy(dtype):
    narrow = chain(nn.ReLU(), dtype=torch.float32).to(dtype)
    wide = chain(nn.ReLU(), dtype=torch.float32)
    wide.load_state_dict({name: weight.float() for name, weight in narrow.state_dict().items()})
    x = X.to(dtype)
    assert stationarity_report(narrow, x, Y, 0.01) == stationarity_report(wide, x.float(), Y, 0.01)
    assert structure_of(narrow, x) == structure_of(wide, x.float())
    gradients = {name: torch.ones_like(weight) for name, weight in narrow.named_parameters()}
    assert 0 < stationarity_report(narrow, x, Y, 0.01, gradients=gradients).residual < math.inf
    assert {weight.dtype for weight in narrow.parameters()} == {dtype}
    other = chain(nn.ReLU(), dtype=torch.float32).to(dtype)
    with torch.no_grad():
        other[0].weight.neg_()
        other[0].weight[0] = 1.0
    report = merge_report(narrow, other, Task("A", x, Y), Task("B", x, Y))
    assert math.isfinite(report.accounts[0].bound)
    assert 0 < report.accounts[0].bound_share <= 1


def test_a_frozen_bias_breaks_homogeneity_too():
    model = chain(nn.ReLU(), bias=True)
    model[0].bias.requires_grad_(False)
    with pytest.raises(ModelError, match=r"is not homogeneous in 0\.weight"):
        structure_of(model, X)


@pytest.mark.parametrize("decay", [0.0, -1.0, math.nan, math.inf])
def test_a_decay_that_is_not_positive_is_refused(decay):
    with pytest.raises(InputError, match="wanted a positive number"):
        stationarity_report(chain(nn.ReLU()), X, Y, decay)


@pytest.mark.parametrize(
    ("labels", "message"),
    [(torch.arange(9), "neither −1 nor \\+1, the first is 0"), (Y[:5], "one for each"), (0 * Y, "neither")],
)
def test_labels_that_are_no_signs_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        stationarity_report(chain(nn.ReLU()), X, labels, 0.01)


def test_labels_may_be_a_column_of_integers():
    flat, column = (stationarity_report(chain(nn.ReLU()), X, each, 0.01) for each in (Y, Y[:, None].long()))
    assert flat == column
    assert flat.to_dict()["structure"]["layers"][0]["name"] == "0.weight"


@pytest.mark.parametrize(
    "gradients", [{}, {"0.weight": torch.zeros(6, 4), "2.weight": torch.zeros(2)}, {"0.weight": torch.zeros(6, 4)}]
)
def test_gradients_that_do_not_fit_are_refused(gradients):
    with pytest.raises(InputError, match="for the gradient of"):
        stationarity_report(chain(nn.ReLU()), X, Y, 0.01, gradients=gradients)


@pytest.mark.parametrize(
    "options",
    [
        {"decay": 0.5, "learning_rate": 1.0, "steps": 1},
        {"decay": -0.1, "learning_rate": 0.1, "steps": 1},
        {"decay": 0.1, "learning_rate": 0.0, "steps": 1},
        {"decay": 0.1, "learning_rate": 0.1, "steps": 3, "average": 4},
    ],
)
def test_a_descent_that_cannot_go_well_is_refused(options):
    with pytest.raises(InputError, match="wanted"):
        Descent(**options)


def test_a_descent_that_diverges_is_stopped():
    weights = [1e200 * weight for weight in gaussian_chain((4, 6, 1), 0)]
    with pytest.raises(DivergedError):
        list(descend(weights, (X, Y.double()), "relu", Descent(0.0, 1.0, 5), range(5)))
    huge = chain(nn.Identity())
    with torch.no_grad():
        huge[0].weight.mul_(1e200)
        huge[2].weight.mul_(1e200)
    with pytest.raises(DivergedError):
        fit(huge, Task("huge", X, -Y), Descent(0.0, 1.0, 5))


def test_a_fit_stops_where_it_is_stationary_and_copies():
    model = chain(nn.Identity())
    before = model[0].weight.clone()
    found = fit(model, Task("t", X, Y), Descent(0.02, 0.3, 3000, 50), tolerance=1e-4)
    assert found.steps < 3000
    assert found.flow_time == pytest.approx(0.3 * found.steps)
    report = stationarity_report(found.model, X, Y, 0.02, gradients=found.gradients, flow_time=found.flow_time)
    assert report.residual < 1e-3
    assert torch.equal(model[0].weight, before)


def test_states_are_summed_and_what_is_alike_is_kept():
    a, b = chain(nn.ReLU()), chain(nn.ReLU())
    with torch.no_grad():
        b[0].weight.copy_(torch.ones(6, 4))
    merged = merge(a, b)
    assert torch.equal(merged[0].weight, a[0].weight + 1)
    assert torch.equal(merged[2].weight, a[2].weight)
    state = merge_states(a.state_dict(), b.state_dict(), frozen=["2.weight"])
    assert (state.summed, state.kept) == (("0.weight",), ("2.weight",))
    state.tensors["2.weight"].zero_()
    assert bool(a[2].weight.any())


def changed(**tensors: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"hidden": torch.eye(3), "readout": torch.ones(1, 3), **tensors}


@pytest.mark.parametrize(
    ("other", "frozen", "message"),
    [
        (changed(hidden=torch.eye(4)), (), r"hidden is \(3, 3\) float32 in A and \(4, 4\) float32 in B"),
        (changed(hidden=torch.eye(3).double()), (), "float64 in B"),
        (changed(second=torch.eye(3)), (), "second only in B"),
        ({"hidden": torch.eye(3)}, (), "readout only in A"),
        (changed(hidden=2 * torch.eye(3), readout=torch.zeros(1, 3)), ("readout",), "the frozen readout differ"),
        (changed(), (), "the same weights"),
    ],
)
def test_states_that_do_not_go_together_are_refused(other, frozen, message):
    with pytest.raises(ModelError, match=message):
        merge_states(changed(), other, frozen=frozen)


def test_biases_that_differ_and_unknown_names_are_refused():
    with pytest.raises(ModelError, match="bias differ and are no weight matrices"):
        merge_states(changed(bias=torch.zeros(3)), changed(bias=torch.ones(3)))
    with pytest.raises(ModelError, match="count differ"):
        merge_states(changed(count=torch.zeros(3, 3).long()), changed(count=torch.ones(3, 3).long()))
    with pytest.raises(InputError, match="frozen names"):
        merge_states(changed(), changed(hidden=torch.zeros(3, 3)), frozen=["head"])


class Whitened(nn.Module):
    """A network with a matrix of its own that is not trained, and may not be in its state."""

    def __init__(self, seed, persistent):
        super().__init__()
        torch.manual_seed(seed)
        self.fc = nn.Linear(4, 1, bias=False, dtype=torch.float64)
        self.register_buffer("whitener", torch.randn(4, 4, dtype=torch.float64), persistent=persistent)

    def forward(self, x):
        return self.fc(x @ self.whitener)


@pytest.mark.parametrize("persistent", [True, False])
def test_buffers_are_not_summed(persistent):
    a, b = (Whitened(seed, persistent) for seed in (0, 1))
    with pytest.raises(ModelError, match="the buffers whitener differ"):
        merge(a, b)
    b.whitener.copy_(a.whitener)
    assert torch.equal(merge(a, b).whitener, a.whitener)
    assert torch.equal(merge(a, b).fc.weight, a.fc.weight + b.fc.weight)


def test_a_sum_that_is_not_finite_is_refused():
    large = torch.full((3, 3), 6e4, dtype=torch.float16)
    state = {"readout": torch.ones(1, 3)}
    with pytest.raises(ModelError, match="the sums hidden are not finite"):
        merge_states(state | {"hidden": large}, state | {"hidden": large.tril()})


def test_a_refusal_of_one_of_two_networks_says_which():
    a, b = chain(nn.ReLU()), chain(nn.ReLU())
    with torch.no_grad():
        b[0].weight.mul_(2.0)
    good, wide = Task("good", X, Y), Task("wide", torch.cat([X, X], dim=1), Y)
    with pytest.raises(ModelError, match="network A: Sequential: cannot be evaluated"):
        merge_report(a, b, wide, good)
    with pytest.raises(ModelError, match="network B: Sequential: cannot be evaluated"):
        merge_report(a, b, good, wide)
    with torch.no_grad():
        b[0].weight.mul_(1e200)
        b[2].weight.mul_(1e200)
    with pytest.raises(ModelError, match="network B on task good: got outputs that are not finite"):
        merge_report(a, b, good, Task("other", X, Y))


def test_tasks_of_other_sizes_have_no_coherence():
    with pytest.raises(InputError, match="inputs of 4 and of 3 numbers"):
        coherence(X, X[:, :3])


def test_modules_of_other_activations_or_frozen_parameters_are_refused():
    with pytest.raises(ModelError, match="differ in 1: ReLU"):
        merge(chain(nn.ReLU()), chain(nn.Identity()))
    with pytest.raises(ModelError, match="differ in the whole"):
        merge(MLP([4, 6, 1], activation="relu", bias=False), MLP([4, 6, 1], activation="identity", bias=False))
    a, b = chain(nn.ReLU()), chain(nn.ReLU())
    with torch.no_grad():
        b[2].weight.add_(1.0)
    a[2].weight.requires_grad_(False)
    with pytest.raises(ModelError, match=r"the frozen 2\.weight differ"):
        merge(a, b)


def test_a_merge_outside_the_results_is_warned_of():
    tasks = [Task(name, X, Y) for name in "AB"]
    deep, other = (MLP([4, 6, 5, 1], activation="relu", bias=False) for _ in range(2))
    told = " ".join(merge_report(deep, other, *tasks).warnings)
    assert "a relu network of 3 layers of which 3 were added" in told
    assert "not orthogonal" in told
    leaky, soft = (Functional(functional.leaky_relu) for _ in range(2))
    report = merge_report(leaky, soft, *tasks)
    assert "no bound is known" in " ".join(report.warnings)
    assert math.isnan(report.accounts[0].bound)
    assert report.accounts[0].certified == 0
    assert report.to_dict()["accounts"][0]["bound"] is None


@pytest.mark.parametrize(
    ("targets", "labels"),
    [
        (torch.tensor([[0.0], [1.0]]), [-1.0, 1.0]),
        (torch.tensor([[1.0], [-1.0]]), [1.0, -1.0]),
        (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), [-1.0, 1.0]),
        (torch.tensor([[5.0], [3.0]]), [1.0, -1.0]),
    ],
)
def test_two_classes_are_read_as_signs(targets, labels):
    data = Dataset("d", inputs=X[:2], targets=targets.double(), description="")
    assert task_of(data).labels.tolist() == labels


@pytest.mark.parametrize(
    "targets", [torch.eye(3)[:2], torch.ones(2, 1), torch.ones(2, 2), torch.eye(2) + 1, torch.eye(2)[[1, 1]]]
)
def test_what_is_not_two_classes_is_refused(targets):
    with pytest.raises(InputError, match="wanted two classes"):
        task_of(Dataset("d", inputs=X[:2], targets=targets.double(), description=""))


@pytest.mark.parametrize("inputs", [X[:0], X.long(), X / 0, X[:, :0]])
def test_a_task_of_nothing_or_of_no_finite_numbers_is_refused(inputs):
    with pytest.raises(InputError, match="wanted finite floating numbers"):
        Task("t", inputs, torch.ones(len(inputs)))


def test_tasks_are_read_from_files_and_callables(tmp_path: Path):
    np.savez(tmp_path / "d.npz", inputs=X.numpy(), targets=np.where(Y.numpy() < 0, 4, 7))
    (tmp_path / "made.py").write_text(
        "import numpy as np, torch\nfrom ansatzlab.data.archive import read_npz\nfrom pathlib import Path\n"
        f"HERE = Path({str(tmp_path)!r})\n"
        "def dataset():\n    return read_npz(HERE / 'd.npz')\n"
        "def pair():\n    d = dataset()\n    return d.inputs.reshape(9, 2, 2).float(), d.targets[:, 1].numpy()\n"
        "def alone():\n    return torch.ones(3)\n"
    )
    for place in ("d.npz", "made.py:dataset", "made.py:pair"):
        task = read_task(f"{tmp_path}/{place}", "A")
        assert task.name == "A"
        assert task.labels.tolist() == Y.tolist()
    assert task.inputs.shape == (9, 2, 2)
    with pytest.raises(InputError, match="wanted inputs and targets"):
        read_task(f"{tmp_path}/made.py:alone", "A")
