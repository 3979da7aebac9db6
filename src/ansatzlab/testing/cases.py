"""Networks on which a measurement is easily wrong, with their data: some to be measured, some to be refused.

Here are the general ones that must be measured. `ansatzlab.testing.layer_cases` goes through the layer kinds,
`ansatzlab.testing.wrapped_cases` through what is done around layers, and `ansatzlab.testing.refused_cases` holds those
that must be refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from ansatzlab.measurement.outputs import Batch, OutputPicker
from ansatzlab.testing.compare import TOLERANCE


@dataclass(frozen=True)
class Case:
    """A network, its data, and how its output is picked.

    Attributes:
        name: What is awkward about it.
        model: The network, in float64 and at rest.
        batches: The data.
        output: How the output tensor is found.
        refusal: A pattern of the error that measuring it must raise; empty if it must be measured.
        skipped: For each module that must be skipped a pattern of the reason.
        probes_refusal: A pattern of the error that the probes backend must raise; empty if it must agree.
        tolerance: Relative tolerance, wider where the network itself computes coarsely.
    """

    name: str
    model: nn.Module
    batches: list[Batch] | tuple[Tensor, ...] = field(repr=False)
    output: OutputPicker = None
    refusal: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict)
    probes_refusal: str = ""
    tolerance: float = TOLERANCE[torch.float64]


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


Call = Callable[[nn.Module, Tensor], Tensor]


class Called(nn.Module):
    """A layer called in a way of its own."""

    def __init__(self, layer: nn.Module, run: Call) -> None:
        """Keep the layer and the way."""
        super().__init__()
        self.layer, self._run = layer, run

    def forward(self, x: Tensor) -> Tensor:
        """Call it so."""
        return self._run(self.layer, x)


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
    x = normal(12, 5)
    frozen = mlp()
    frozen.requires_grad_(False)
    return [
        make_case("biases", lambda: mlp(), [x[:8], x[8:]]),
        make_case("no bias", lambda: mlp(bias=False), [x]),
        make_case("linear on centred inputs", lambda: mlp((5, 6, 4), nn.Identity(), bias=False), [x - x.mean(0)]),
        make_case("in-place activation", lambda: mlp(activation=nn.ReLU(inplace=True)), [x]),
        make_case("leaky in-place, deep", lambda: mlp((5, 7, 6, 5, 4), nn.LeakyReLU(0.1, inplace=True)), [x]),
        make_case("a module used twice", UsedTwice, [normal(9, 4)]),
        make_case("tied weights", Tied, [normal(9, 4)]),
        make_case("residual", Residual, [x]),
        make_case("one output", lambda: mlp((5, 6, 1)), [x]),
        make_case("vector output", lambda: Wrapped(mlp((5, 6, 1)), lambda y: y[:, 0]), [x]),
        make_case("many outputs", lambda: mlp((5, 6, 11)), [x]),
        make_case("one example", mlp, [x[:1]]),
        make_case("one example a batch", mlp, list(x[:4].split(1))),
        make_case("1×1 layers", lambda: mlp((1, 1, 1)), [normal(6, 1)]),
        make_case("wide then narrow", lambda: mlp((5, 20, 2, 9, 3)), [x]),
        make_case("tokens, integer inputs", Tokens, [torch.randint(7, (6, 5), generator=generator())]),
        make_case("positions kept in the output", lambda: nn.Linear(5, 2), [normal(3, 4, 5)]),
        make_case("non-contiguous input", mlp, [normal(5, 12).T]),
        make_case("tuple batches", mlp, [(x, torch.zeros(12))]),
        make_case("dict output", lambda: Wrapped(mlp(), lambda y: {"logits": y, "other": 1}), [x], output="logits"),
        make_case("tuple output", lambda: Wrapped(mlp(), lambda y: (y, None)), [x], output=0),
        make_case("picked output", lambda: Wrapped(mlp(), lambda y: [y]), [x], output=lambda r: r[0][:, :2]),
        make_case("keyword inputs", KeywordInputs, [{"pixels": x, "scale": torch.full((12, 1), 2.0, dtype=x.dtype)}]),
        Case("frozen parameters", frozen, [x]),
        make_case("a part frozen", _partly_frozen, [x]),
        make_case("batch norm at rest", lambda: with_between(nn.BatchNorm1d(6)), [x]),
        make_case("dropout at rest", lambda: with_between(nn.Dropout(0.5)), [x]),
        make_case("a dead layer for one output", _half_connected, [x]),
        make_case("a layer that never runs", _never_run, [x], skipped={"spare": "never ran as a module"}),
        make_case("an unused layer", _unused, [x], skipped={"spare": "the outputs do not depend on it"}),
        make_case("rounded", lambda: with_between(_Round()), [x]),
        make_case("a layer called by keyword", _CalledByKeyword, [x]),
    ]


class _CalledByKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(input=x))


class _Round(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x.round()


def make_case(
    name: str,
    build: Callable[[], nn.Module],
    batches: list[Batch] | tuple[Tensor, ...],
    output: OutputPicker = None,
    refusal: str = "",
    skipped: Mapping[str, str] | None = None,
    probes_refusal: str = "",
) -> Case:
    """Build a network from a fixed seed, in float64 and at rest, and make a case of it (see `Case`)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(len(name))
        return Case(name, rest(build()), batches, output, refusal, skipped or {}, probes_refusal)


def rest(model: nn.Module) -> nn.Module:
    """Return a network in float64 and in evaluation mode."""
    return model.double().eval()


def mlp(
    widths: tuple[int, ...] = (5, 6, 4), activation: nn.Module | None = None, *, bias: bool = True
) -> nn.Sequential:
    """Build a dense network, tanh between its layers unless told otherwise."""
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers += [nn.Linear(width, following, bias=bias), activation or nn.Tanh()]
    return nn.Sequential(*layers[:-1]).double()


def with_between(module: nn.Module) -> nn.Sequential:
    """Build a dense network with a module between its layers."""
    return nn.Sequential(nn.Linear(5, 6), module, nn.Tanh(), nn.Linear(6, 3))


def _partly_frozen() -> nn.Sequential:
    model = mlp((5, 6, 7, 3))
    model[0].requires_grad_(False)
    return model


def _never_run() -> nn.Module:
    model = Wrapped(mlp(), lambda y: y)
    model.add_module("spare", nn.Linear(2, 2))
    return model


def _unused() -> nn.Module:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.spare = mlp(), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> object:
            return {"logits": self.inner(x), "spare": self.spare(x)}["logits"]

    return Unused()


def _half_connected() -> nn.Module:
    class HalfConnected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(5, 2), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([torch.tanh(self.left(x)), torch.sin(self.right(x))], dim=1)

    return HalfConnected()


def generator() -> torch.Generator:
    """Return a generator in its first state."""
    return torch.Generator().manual_seed(0)


def normal(*shape: int) -> Tensor:
    """Return normal numbers in float64, the same ones for the same shape."""
    return torch.randn(*shape, dtype=torch.float64, generator=generator())
