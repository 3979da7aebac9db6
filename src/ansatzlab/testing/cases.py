"""Networks on which a measurement is easily wrong, with their data: some to be measured, some to be refused."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ansatzlab.measurement.outputs import Batch, OutputPicker


@dataclass(frozen=True)
class Case:
    """A network, its data, and how its output is picked.

    Attributes:
        name: What is awkward about it.
        model: The network, in float64 and at rest.
        batches: The data.
        output: How the output tensor is found.
        refusal: A pattern of the error that measuring it must raise; empty if it must be measured.
    """

    name: str
    model: nn.Module
    batches: list[Batch] | tuple[Tensor, ...] = field(repr=False)
    output: OutputPicker = None
    refusal: str = ""


class Residual(nn.Module):
    """A block whose input also goes around it: the layer's own copy of the input is not all of the input."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Add the block to its input."""
        return x + self.second(torch.tanh(self.first(x)))


class UsedTwice(nn.Module):
    """One module called twice in a forward pass."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.shared, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Call the shared layer twice."""
        return self.last(torch.tanh(self.shared(torch.tanh(self.shared(x)))))


class Tied(nn.Module):
    """Two modules that hold one weight."""

    def __init__(self) -> None:
        """Build the layers and tie them."""
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        """Call both."""
        return self.second(torch.tanh(self.first(x)))


class Reused(nn.Module):
    """A module's weight used again outside the module, unseen by its hook."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Use the weight once through the module and once around it."""
        return self.last(functional.linear(torch.tanh(self.first(x)), self.first.weight))


class Tokens(nn.Module):
    """A network on sequences: every layer acts on each token, the outputs are means over tokens."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.embed, self.first, self.last = nn.Embedding(7, 4), nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        """Average the tokens' outputs."""
        return self.last(torch.relu(self.first(self.embed(tokens)))).mean(dim=1)


class Wrapped(nn.Module):
    """A network inside one that returns something else than its output."""

    def __init__(self, inner: nn.Module, wrap: Callable[[Tensor], object]) -> None:
        """Keep the network and the wrapping."""
        super().__init__()
        self.inner, self._wrap = inner, wrap

    def forward(self, x: Tensor) -> object:
        """Wrap the inner output."""
        return self._wrap(self.inner(x))


class KeywordInputs(nn.Module):
    """A network whose input is a keyword."""

    def __init__(self) -> None:
        """Build the layer."""
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, *, pixels: Tensor, scale: Tensor) -> Tensor:
        """Scale the outputs."""
        return self.linear(pixels) * scale


def measured_cases() -> list[Case]:
    """Return the cases that must be measured, in float64, from fixed seeds."""
    x = _normal(12, 5)
    frozen = _mlp()
    frozen.requires_grad_(False)
    return [
        _case("biases", lambda: _mlp(), [x[:8], x[8:]]),
        _case("no bias", lambda: _mlp(bias=False), [x]),
        _case("linear on centred inputs", lambda: _mlp((5, 6, 4), nn.Identity(), bias=False), [x - x.mean(0)]),
        _case("in-place activation", lambda: _mlp(activation=nn.ReLU(inplace=True)), [x]),
        _case("leaky in-place, deep", lambda: _mlp((5, 7, 6, 5, 4), nn.LeakyReLU(0.1, inplace=True)), [x]),
        _case("a module used twice", UsedTwice, [_normal(9, 4)]),
        _case("tied weights", Tied, [_normal(9, 4)]),
        _case("residual", Residual, [x]),
        _case("one output", lambda: _mlp((5, 6, 1)), [x]),
        _case("vector output", lambda: Wrapped(_mlp((5, 6, 1)), lambda y: y[:, 0]), [x]),
        _case("many outputs", lambda: _mlp((5, 6, 11)), [x]),
        _case("one example", _mlp, [x[:1]]),
        _case("one example a batch", _mlp, list(x[:4].split(1))),
        _case("1×1 layers", lambda: _mlp((1, 1, 1)), [_normal(6, 1)]),
        _case("wide then narrow", lambda: _mlp((5, 20, 2, 9, 3)), [x]),
        _case("tokens, integer inputs", Tokens, [torch.randint(7, (6, 5), generator=_generator())]),
        _case("positions kept in the output", lambda: nn.Linear(5, 2), [_normal(3, 4, 5)]),
        _case("non-contiguous input", _mlp, [_normal(5, 12).T]),
        _case("tuple batches", _mlp, [(x, torch.zeros(12))]),
        _case("dict output", lambda: Wrapped(_mlp(), lambda y: {"logits": y, "other": 1}), [x], output="logits"),
        _case("tuple output", lambda: Wrapped(_mlp(), lambda y: (y, None)), [x], output=0),
        _case("picked output", lambda: Wrapped(_mlp(), lambda y: [y]), [x], output=lambda r: r[0][:, :2]),
        _case("keyword inputs", KeywordInputs, [{"pixels": x, "scale": torch.full((12, 1), 2.0, dtype=x.dtype)}]),
        Case("frozen parameters", frozen, [x]),
        _case("a part frozen", _partly_frozen, [x]),
        _case("batch norm at rest", lambda: _with(nn.BatchNorm1d(6)), [x]),
        _case("dropout at rest", lambda: _with(nn.Dropout(0.5)), [x]),
        _case("a dead layer for one output", _half_connected, [x]),
        _case("a layer that never runs", _never_run, [x]),
        _case("a parametrised weight beside a plain one", lambda: nn.Sequential(_weight_norm(), nn.Linear(6, 3)), [x]),
        _case("a layer called by keyword", _CalledByKeyword, [x]),
        _case("checkpointed", _Checkpointed, [x]),
        _case("a parametrised weight alone", _weight_norm, [x]),
        _case("attention", _Attention, [_normal(3, 4, 6)]),
    ]


def refused_cases() -> list[Case]:
    """Return the cases that must be refused with a message that names the trouble."""
    x = _normal(12, 5)
    return [
        _case("no parameters", nn.ReLU, [x], refusal="has no layer to measure"),
        _case("weight used around its module", Reused, [_normal(9, 4)], refusal="outside the module's own forward"),
        Case("batch norm in training", _double(_with(nn.BatchNorm1d(6))).train(), [x], refusal="in training mode"),
        Case("dropout in training", _double(_with(nn.Dropout(0.5))).train(), [x], refusal="in training mode"),
        _case("interacting examples", lambda: _with(_Centre()), [x], refusal="depends on other examples"),
        _case("a leak from earlier examples", lambda: _with(_Leak()), [x], refusal="depends on other examples"),
        _case("a layer that sees some examples", _Routed, [x, x], refusal="examples in the first dimension"),
        _case("a subclass that adds its input", lambda: _AddsInput(5, 5), [x], refusal="does not compute W h"),
        _case("a hook that doubles the output", _hooked, [x], refusal="does not compute W h"),
        _case("a buffer that counts", lambda: _with(_Counter()), [x], refusal="changes the buffer '1.calls'"),
        _case("inputs and targets without a list", _mlp, (x, x[:, 0]), refusal="goes into a list"),
        _case("random outputs", lambda: _with(_Noise()), [x], refusal="two forward passes"),
        _case("detached", lambda: _with(_Detach()), [x], refusal="no differentiable path leads from layer '0'"),
        _case("no gradient at all", lambda: Wrapped(_mlp(), lambda y: y.detach()), [x], refusal="differentiably"),
        _case("integer output", lambda: Wrapped(_mlp(), lambda y: y.argmax(1)), [x], refusal="int64 tensor"),
        _case("output that is no tensor", lambda: Wrapped(_mlp(), lambda y: [y]), [x], refusal="returns a list"),
        _case("scalar output", lambda: Wrapped(_mlp(), lambda y: y.sum()), [x], refusal="examples in the first"),
        _case("wrong key", lambda: Wrapped(_mlp(), lambda y: {"a": y}), [x], "logits", "finds nothing"),
        _case("overflow", lambda: Wrapped(_mlp(), lambda y: y / 0), [x], refusal="outputs are not finite"),
        _case("NaN input", _mlp, [x.clone().fill_(float("nan"))], refusal="entries that are not finite"),
        _case("no batch", _mlp, [], refusal="got no batch"),
        _case("empty batch", _mlp, [x[:0]], refusal="without a tensor of examples"),
    ]


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


class _CalledByKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(input=x))


class _Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = _mlp((5, 6, 4)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(checkpoint(self.inner, x, use_reentrant=False))


class _Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class _Detach(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        attended: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return attended.mean(1)


def _case(
    name: str,
    build: Callable[[], nn.Module],
    batches: list[Batch] | tuple[Tensor, ...],
    output: OutputPicker = None,
    refusal: str = "",
) -> Case:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(name))
        return Case(name, _double(build()), batches, output, refusal)


def _double(model: nn.Module) -> nn.Module:
    return model.double().eval()


def _mlp(
    widths: tuple[int, ...] = (5, 6, 4), activation: nn.Module | None = None, *, bias: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers += [nn.Linear(width, following, bias=bias), activation or nn.Tanh()]
    return nn.Sequential(*layers[:-1]).double()


def _with(module: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 6), module, nn.Tanh(), nn.Linear(6, 3))


def _partly_frozen() -> nn.Sequential:
    model = _mlp((5, 6, 7, 3))
    model[0].requires_grad_(False)
    return model


def _weight_norm() -> nn.Module:
    return nn.utils.parametrizations.weight_norm(nn.Linear(5, 6))


def _hooked() -> nn.Module:
    model = _mlp()
    model[0].register_forward_hook(lambda _module, _inputs, output: output * 2)
    return model


def _never_run() -> nn.Module:
    model = Wrapped(_mlp(), lambda y: y)
    model.add_module("spare", nn.Linear(2, 2))
    return model


def _half_connected() -> nn.Module:
    class HalfConnected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(5, 2), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([torch.tanh(self.left(x)), torch.sin(self.right(x))], dim=1)

    return HalfConnected()


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=_generator())
