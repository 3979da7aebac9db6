"""What people do around a network and its data that must not change, break or confuse a measurement."""

import inspect
import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ansatzlab.errors import InputError, ModelError
from ansatzlab.measurement.kinds import kind_of
from ansatzlab.measurement.layers import detached_copy, select_layers
from ansatzlab.measurement.outputs import as_batches, batch_size
from ansatzlab.measurement.reference import reference_agop
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import LossGradient
from ansatzlab.testing.cases import Wrapped, mlp, normal


class Built(nn.Module):
    """A dense layer, and a forward pass that a test gives."""

    def __init__(self, forward, **buffers):
        super().__init__()
        self.layer, self.run = nn.Linear(5, 3).double(), forward
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer)

    def forward(self, *inputs, **named):
        return self.run(self, *inputs, **named)


def plain(model, x):
    return model.layer(x)


def test_infinite_buffers_do_not_make_a_start_unfit():
    model = Built(plain, mask=torch.full((5, 5), float("-inf")).triu(1))
    assert measure(model, normal(6, 5), initial=model.state_dict())["layer"].start is not None
    state = {**model.state_dict(), "layer.bias": torch.full((3,), float("nan"))}
    with pytest.raises(InputError, match=r"for 'layer\.bias'; wanted finite numbers of shape"):
        measure(model, normal(6, 5), initial=state)
    with pytest.raises(InputError, match=r"got shape \(2,\) for 'mask'; wanted numbers of shape \(5, 5\)"):
        measure(model, normal(6, 5), initial={**model.state_dict(), "mask": torch.zeros(2)})


def test_a_state_that_is_no_tensor_does_not_make_a_start_unfit():
    class Stateful(Built):
        def get_extra_state(self):
            return {"version": 1}

        def set_extra_state(self, state):
            assert state == {"version": 1}

    model = Stateful(plain)
    assert measure(model, normal(6, 5), initial=model.state_dict())["layer"].start is not None


def test_a_predicate_may_compare_modules_of_the_users_own_network():
    model, x = mlp(), normal(6, 5)
    first = lambda _, module: module is model[0]  # noqa: E731
    measured = measure(model, x, layers=first, initial=model.state_dict())
    assert list(measured) == ["0"]
    assert list(reference_agop(model, x, layers=first)) == ["0"]
    torch.testing.assert_close(measured["0"].start.agop(), measured["0"].agop())


def test_names_may_come_from_a_generator():
    assert list(measure(mlp(), normal(6, 5), layers=(name for name in ["2"]), initial=mlp().state_dict())) == ["2"]


@pytest.mark.parametrize("check", ["first", "never"])
def test_one_example_first_does_not_hide_that_examples_depend_on_each_other(check):
    model = Built(lambda model, x: model.layer(x) / model.layer(x).norm())
    x = normal(6, 5)
    if check == "never":
        measure(model, [x[:1], x], check=check)
        return
    with pytest.raises(ModelError, match="depends on other examples"):
        measure(model, [x[:1], x[:1], x], check=check)


def test_the_check_is_made_once_where_it_can_be_made():
    model, x, calls = Built(lambda model, x: calls.append(len(x)) or model.layer(x)), normal(12, 5), []
    measure(model, [x[:1], x[1:2], x[2:5], x[5:8]])
    assert calls == [*[1] * 3, *[1], *[3] * 3, *[3]]


def test_a_lazy_network_stays_as_it_is():
    model = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2))
    with pytest.raises(ModelError, match=r"'0\.weight' has no shape before the first call"):
        measure(model, normal(6, 5))
    assert isinstance(model[0], nn.LazyLinear)


def test_a_buffer_that_the_first_call_fills_or_makes_is_taken_away_again():
    def fill(model, x):
        model.filled = torch.ones(3).double()
        model.register_buffer("made", torch.ones(3).double())
        return model.layer(x) * model.filled

    model = Built(fill, filled=None)
    measure(model, normal(6, 5))
    assert (model.filled, hasattr(model, "made")) == (None, False)


def test_backward_hooks_neither_run_nor_change_anything_and_stay():
    model, x, calls = mlp((5, 6, 4, 2)), normal(6, 5), []
    wanted = measure(model, x)["0"].agop()
    truth = reference_agop(model, x)["0"]
    model[2].register_full_backward_hook(lambda _, inputs, __: calls.append(1) or tuple(3 * g for g in inputs))
    model[2].register_full_backward_pre_hook(lambda _, outputs: calls.append(1) or tuple(3 * g for g in outputs))
    torch.testing.assert_close(measure(model, x)["0"].agop(), wanted, rtol=0, atol=0)
    torch.testing.assert_close(reference_agop(model, x)["0"], truth, rtol=0, atol=0)
    assert calls == []
    model(x.requires_grad_()).sum().backward()
    assert calls == [1, 1]


@pytest.mark.parametrize("usable", [True, False])
def test_the_fused_path_of_transformers_is_as_it_was(usable):
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(usable)
    try:
        measure(mlp(), normal(6, 5))
        assert torch.backends.mha.get_fastpath_enabled() is usable
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def test_a_number_in_a_batch_has_no_examples():
    model = Built(lambda model, scale, x: scale * model.layer(x))
    x = normal(6, 5)
    batch = {"scale": torch.tensor(2.0).double(), "x": x}
    assert batch_size(batch, 0) == 6
    got = measure(model, batch)["layer"].sums.mean_gram()[0]
    torch.testing.assert_close(got, 4 * torch.eye(3).double())
    truth = reference_agop(model, batch)["layer"]
    torch.testing.assert_close(measure(model, batch)["layer"].agop(), truth)


@pytest.mark.parametrize("got", [5, None])
def test_batches_that_are_none_are_refused(got):
    with pytest.raises(InputError, match=f"got a {type(got).__name__}; wanted a tensor, a dict"):
        inspect.unwrap(as_batches)(got)


def test_a_batch_that_is_none_is_refused():
    with pytest.raises(InputError, match="batch 3 is a object without a tensor of examples"):
        inspect.unwrap(batch_size)(object(), 3)


def test_batches_of_several_lengths_go_into_an_iterator():
    batches = [normal(2, 4, 5), normal(2, 7, 5)]
    model = Built(lambda model, x: model.layer(x).sum(1))
    with pytest.raises(InputError, match=r"batches of several lengths go into an iterator, iter\(batches\)"):
        measure(model, batches)
    assert measure(model, iter(batches))["layer"].sums.examples == 4


@pytest.mark.parametrize(
    ("then", "dtype", "advice"),
    [
        (lambda y: y * 1e200, torch.float64, "or scale the outputs down"),
        (lambda y: (0 * y).sqrt(), torch.float32, "or measure in float64"),
    ],
)
def test_the_advice_on_gradients_that_are_not_finite_can_be_followed(then, dtype, advice):
    with pytest.raises(ModelError, match=advice) as caught:
        measure(Wrapped(mlp(), then).to(dtype), normal(6, 5).to(dtype), check="never")
    assert ("float64" in str(caught.value)) == (dtype != torch.float64)


def test_outputs_that_overflow_in_float64_are_not_to_be_measured_in_float64():
    with pytest.raises(ModelError, match=r"the scale of the data\.$"):
        measure(Wrapped(mlp(), lambda y: y / 0), normal(6, 5))


def test_layers_whose_weights_are_not_real_are_skipped_with_the_reason():
    class Integer(nn.Linear):
        def __init__(self):
            super().__init__(5, 5)
            self.weight = nn.Parameter((100 * self.weight.detach()).to(torch.int8), requires_grad=False)

        def forward(self, x):
            return functional.linear(x, self.weight.to(x) / 100)

    class Complex(nn.Linear):
        def forward(self, x):
            return super().forward(x.to(torch.cdouble)).abs()

    class Packed(nn.Module):
        def weight(self):
            return torch.ones(3, 5)

        def forward(self, x):
            return functional.linear(x, self.weight().to(x))

    model = nn.Sequential(Integer(), Complex(5, 5, dtype=torch.cdouble), Packed(), nn.Linear(3, 2).double())
    measured = measure(model, normal(6, 5))
    assert list(measured) == ["3"]
    assert measured.skipped == {
        "0": "Integer keeps int8 weights; wanted real floating-point ones",
        "1": "Complex keeps complex128 weights; wanted real floating-point ones",
        "2": "Packed keeps packed weights; wanted real floating-point ones",
    }
    with pytest.raises(InputError, match="cannot be measured: Integer keeps int8 weights"):
        measure(model, normal(6, 5), layers="0")
    assert kind_of(nn.Linear(2, 2).bfloat16()) is not None


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpoints_are_refused():
    inner = mlp((3, 4, 2))
    model = Built(lambda model, x: checkpoint(inner, model.layer(x), use_reentrant=True))
    with pytest.raises(ModelError, match=r"recomputes its activations .* reentrantly; .*switch checkpointing off"):
        measure(model, normal(6, 5))
    with pytest.raises(ModelError, match="reentrantly"):
        measure(model, normal(6, 5), check="never")


@pytest.mark.parametrize("loss", [lambda y, _: torch.zeros(len(y)), lambda y, _: nn.Parameter(torch.ones(len(y)))])
def test_a_loss_that_does_not_depend_on_the_outputs_is_refused(loss):
    with pytest.raises(InputError, match="the loss does not depend on the outputs"):
        measure(mlp(), normal(6, 5), seeds=LossGradient(loss))


@pytest.mark.parametrize("span", [slice(3, 9), slice(2, 2)])
def test_rows_that_are_not_there_are_refused(span):
    layer = measure(Built(plain), normal(6, 5))["layer"]
    with pytest.raises(InputError, match="of 3; wanted at least one of them"):
        layer.rows(span)
    assert layer.rows(slice(1, 9)).height == 2


def test_a_layer_that_cannot_be_read_keeps_its_row():
    model = nn.Sequential(nn.Linear(4, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 2))
    rows = measure(model.bfloat16(), normal(6, 4).bfloat16()).rows()
    assert len({tuple(row) for row in rows}) == 1
    assert rows[0]["rank"] > 0
    for row in rows[1:]:
        assert (row["rank"], row["eigenvalues"], row["energies"]) == (0, [], [])
        assert math.isnan(row["off_energy"])
        assert math.isnan(row["best_exponent_error"])
        assert "resolve no spectrum of a layer of width 1024" in row["not_identifiable"]


def test_what_runs_on_a_shared_row_is_skipped_also_where_it_runs_often():
    model = Built(lambda model, x: x[:, :3] @ model.layer(x.new_ones(1, 5)).mT + model.layer(x.new_ones(1, 5)).sum())
    model.last, model.run = nn.Linear(1, 2).double(), lambda model, x, run=model.run: model.last(run(model, x))
    for count in (2, 5):
        shared = {"layer": "runs once for all examples, on an input that they share"}
        assert measure(model, normal(count, 5)).skipped == shared


def test_a_network_that_keeps_its_features_can_be_copied():
    model = Built(lambda model, x: model.kept.append({"h": model.layer(x)}) or model.kept[-1]["h"].tanh())
    model.kept = []
    model(normal(6, 5))
    copied = detached_copy(model)
    torch.testing.assert_close(copied.kept[0]["h"], model.kept[0]["h"].detach())
    assert list(measure(model, normal(6, 5), initial=model.state_dict())) == ["layer"]


def test_gru_cells_name_their_state_by_keyword():
    model = nn.ModuleDict({"cell": nn.GRUCell(5, 4), "head": nn.Linear(4, 2)}).double()
    model.forward = lambda x: model["head"](model["cell"](hx=x.new_ones(len(x), 4), input=x))
    assert list(measure(model, normal(6, 5))) == ["cell.weight_ih", "cell.weight_hh", "head"]


def test_the_self_check_writes_out_no_one_hot_rows():
    model = nn.Sequential(nn.Embedding(20_000, 2), nn.Flatten(), nn.Linear(2 * 64, 2))
    layer = select_layers(model, "0")[0]["0"]
    tokens = torch.randint(20_000, (8, 64))
    assert layer.input_rows(tokens, 8).shape == (8, 64, 1, 1)
    assert list(measure(model, tokens)) == ["0", "2"]


@pytest.mark.parametrize("offset", [0, 1])
def test_the_self_check_sees_an_embedding_that_looks_up_something_else(offset):
    class Shifted(nn.Embedding):
        def forward(self, tokens):
            return super().forward(tokens + offset)

    model = nn.Sequential(Shifted(9, 4), nn.Flatten(), nn.Tanh(), nn.Linear(8, 2)).double()
    tokens = torch.arange(12).reshape(6, 2) % 8
    if not offset:
        assert list(measure(model, tokens)) == ["0", "3"]
        return
    with pytest.raises(ModelError, match=r"layer '0' \(Shifted\) does not compute W h"):
        measure(model, tokens)
