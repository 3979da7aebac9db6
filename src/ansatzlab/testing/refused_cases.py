"""Networks and data that a measurement must refuse, with a message that names the trouble."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from ansatzlab.measurement.outputs import Outputs
from ansatzlab.testing.cases import Called, Case, Wrapped, generator, make_case, mlp, normal, rest, with_between


def refused_cases() -> list[Case]:
    """Return the cases that must be refused with a message that names the trouble."""
    return [*_refused_networks(), *_refused_data_and_outputs(), *_refused_layers()]


def _refused_networks() -> list[Case]:
    x = normal(12, 5)
    return [
        make_case("no parameters", nn.ReLU, [x], refusal="has no layer to measure"),
        make_case("weight used around its module", _Reused, [normal(9, 4)], refusal="outside the module's own forward"),
        Case("batch norm in training", rest(with_between(nn.BatchNorm1d(6))).train(), [x], refusal="in training mode"),
        Case("dropout in training", rest(with_between(nn.Dropout(0.5))).train(), [x], refusal="in training mode"),
        make_case("interacting examples", lambda: with_between(_Centre()), [x], refusal="depends on other examples"),
        make_case(
            "a leak from earlier examples", lambda: with_between(_Leak()), [x], refusal="depends on other examples"
        ),
        make_case("a layer that sees some examples", _Routed, [x, x], refusal="examples in the first dimension"),
        make_case("a subclass that adds its input", lambda: _AddsInput(5, 5), [x], refusal="does not compute W h"),
        make_case("a weight kept the other way round", lambda: _Transposed(5, 4), [x], refusal="does not compute W h"),
        make_case("a loop over examples, one row each", partial(_Looped, 1), [x], refusal="all examples in the first"),
        make_case("a loop over examples, without rows", partial(_Looped, 0), [x], refusal="all examples in the first"),
        make_case(
            "one more example behind the first", lambda: with_between(_Centre()), [x[:1], x], refusal="depends on"
        ),
        make_case("a shared input behind the first", _Generated, [x[:1], x[:3]], refusal="layer 'wide' the output for"),
        make_case("copies on several devices", lambda: nn.DataParallel(mlp()), [x], refusal="pass its .module"),
        make_case("no weights yet", lambda: nn.Sequential(nn.LazyLinear(3)), [x], refusal="'0.weight' has no shape"),
        make_case("no values", lambda: mlp().to("meta"), [x], refusal="'0.weight' has no values"),
        make_case(
            "made in inference mode", torch.inference_mode()(mlp), [x], refusal="'0.weight' was made in inference"
        ),
        make_case(
            "a buffer that counts", lambda: with_between(_Counter()), [x], refusal="changes the buffer '1.calls'"
        ),
    ]


def _refused_data_and_outputs() -> list[Case]:
    x = normal(12, 5)
    return [
        make_case("inputs and targets without a list", mlp, (x, x[:, 0]), refusal="goes into a list"),
        make_case("random outputs", lambda: with_between(_Noise()), [x], refusal="two forward passes"),
        make_case(
            "detached", lambda: with_between(_Detach()), [x], refusal="no differentiable path leads from layer '0'"
        ),
        make_case("no gradient at all", lambda: Wrapped(mlp(), lambda y: y.detach()), [x], refusal="differentiably"),
        make_case("integer output", lambda: Wrapped(mlp(), lambda y: y.argmax(1)), [x], refusal="int64 tensor"),
        make_case("output that is no tensor", lambda: Wrapped(mlp(), lambda y: [y]), [x], refusal="returns a list"),
        make_case("scalar output", lambda: Wrapped(mlp(), lambda y: y.sum()), [x], refusal="examples in the first"),
        make_case("wrong key", lambda: Wrapped(mlp(), lambda y: {"a": y}), [x], "logits", "finds nothing"),
        make_case("overflow", lambda: Wrapped(mlp(), lambda y: y / 0), [x], refusal="outputs are not finite"),
        make_case("NaN input", mlp, [x.clone().fill_(float("nan"))], refusal="entries that are not finite"),
        make_case("a position that is not there", mlp, [normal(3, 4, 5)], Outputs(positions=4), "position 4 of 4"),
        make_case("positions of a matrix", mlp, [x], Outputs(positions="last"), "wanted positions in its second"),
        make_case("no batch", mlp, [], refusal="got no batch"),
        make_case("empty batch", mlp, [x[:0]], refusal="without a tensor of examples"),
        make_case("data made in inference mode", mlp, [_inference(x)], refusal="batch 0 was made in inference mode"),
    ]


def _refused_layers() -> list[Case]:
    x, tokens = normal(3, 4, 6), torch.randint(7, (3, 4), generator=generator())
    attention = partial(nn.MultiheadAttention, 6, 2, batch_first=True)
    drops = Called(attention(dropout=0.5), lambda layer, x: layer(x, x, x)[0])
    forgets = Called(nn.GRU(6, 4, 2, batch_first=True, dropout=0.5), lambda layer, x: layer(x)[0])
    seq_first = partial(Called, nn.Linear(6, 2), lambda layer, x: layer(x.transpose(0, 1)).transpose(0, 1))
    table: tuple[tuple[str, Callable[[], nn.Module], Tensor, str], ...] = (
        ("embedding bag alone", lambda: nn.EmbeddingBag(7, 4), tokens, "EmbeddingBag sums its embeddings"),
        ("bilinear alone", _Squared, x, "Bilinear is linear in a product of two inputs"),
        ("embedding with max_norm alone", lambda: nn.Embedding(7, 4, max_norm=1.0), tokens, "rescales its weight"),
        ("packed sequences", lambda: Called(nn.GRU(6, 4, batch_first=True), _packed), x, "pad the sequences instead"),
        ("attention without examples", lambda: Called(attention(), _without_examples), x, "add the batch dimension"),
        ("time before examples", seq_first, normal(3, 4, 6), "examples in the first dimension"),
        ("time before examples, as many", seq_first, normal(4, 4, 6), "depends on other examples"),
        ("a class of the greatest", lambda: Called(nn.Linear(6, 2), _greatest), x, "does not depend differentiably"),
    )
    return [
        *(make_case(name, build, [data], refusal=refusal) for name, build, data, refusal in table),
        Case("attention dropout in training", drops.double().train(), [x], refusal="in training mode"),
        Case("recurrent dropout in training", forgets.double().train(), [x], refusal="in training mode"),
    ]


def _packed(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(pack_padded_sequence(x, [4, 4, 4], batch_first=True))[1][0]
    return found


def _without_examples(layer: nn.Module, x: Tensor) -> Tensor:
    return torch.stack([layer(row, row, row)[0] for row in x])


def _greatest(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(x)
    return found.argmax(-1) + 0.0 * x.sum(-1)


class _Squared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.product = nn.Bilinear(6, 6, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.product(x, x)
        return found


class _Centre(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class _Leak(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(0)


class _Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return x


class _AddsInput(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class _Routed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.expert = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.expert(x[:4]), x[4:, :2]])


class _Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class _Detach(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class _Reused(nn.Module):
    """A module's weight used again outside the module, unseen by its hook."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Use the weight once through the module and once around it."""
        found: Tensor = self.last(functional.linear(torch.tanh(self.first(x)), self.first.weight))
        return found


class _Transposed(nn.Linear):
    """A layer that keeps its weight as inputs by outputs, under the name of one that does not."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Build the layer, and turn its weight."""
        super().__init__(inputs, outputs)
        self.weight = nn.Parameter(self.weight.detach().mT.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by the weight as it is."""
        return x @ self.weight + self.bias


class _Looped(nn.Module):
    """A layer that sees one example at a time, as a row or as a vector."""

    def __init__(self, rows: int) -> None:
        """Build the layers."""
        super().__init__()
        self.rows, self.first, self.last = rows, nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Go through the examples."""
        found = [self.first(one[None] if self.rows else one).reshape(1, -1) for one in x]
        last: Tensor = self.last(torch.tanh(torch.cat(found)))
        return last


class _Generated(nn.Module):
    """A layer on something that examples share, of three rows."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.shared, self.first, self.wide = torch.ones(3, 5).double(), nn.Linear(5, 4), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Use what comes of the shared input as a weight."""
        found: Tensor = self.first(x) @ self.wide(self.shared).mT
        return found


def _inference(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return x.clone()
