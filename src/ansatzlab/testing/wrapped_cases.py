"""What is done around a network's layers: their weights computed, shared or frozen, the network compiled or cast."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from ansatzlab.measurement.outputs import Outputs
from ansatzlab.testing.cases import Called, Case, Wrapped, generator, make_case, mlp, normal

BRAIN = 2e-2
"""Relative tolerance of a network that computes in bfloat16: a few of its eps."""


def wrapped_cases() -> list[Case]:
    """Return wrapped networks that must be measured, in float64 unless the case is about that, from fixed seeds."""
    return [*_computed_weights(), *_ways_to_run(), *_coarse(), *_outputs()]


def _computed_weights() -> list[Case]:
    x = normal(12, 5)
    computed = {"parametrizations.weight": "computed from"}
    beside = {"0.parametrizations.weight": "computed from"}
    spectral = parametrizations.spectral_norm
    return [
        make_case("weight norm alone", _weight_norm, [x], skipped=computed),
        make_case("weight norm beside a plain layer", lambda: _then_plain(_weight_norm()), [x], skipped=beside),
        make_case("spectral norm alone", lambda: spectral(nn.Linear(5, 6)), [x], skipped=computed),
        make_case(
            "spectral norm beside a plain layer",
            lambda: _then_plain(spectral(nn.Linear(5, 6))),
            [x],
            skipped=beside,
        ),
        make_case(
            "weight norm of a convolution",
            lambda: nn.Sequential(parametrizations.weight_norm(nn.Conv1d(2, 3, 3)), nn.Tanh(), nn.Flatten()),
            [normal(4, 2, 5)],
            skipped=beside,
        ),
        make_case("weight norm of a recurrent layer", _normed_lstm, [normal(3, 4, 5)], skipped=_COMPUTED_LSTM),
        make_case("spectral norm of all recurrent weights", _normed_gru, [normal(3, 4, 5)], skipped=_COMPUTED_GRU),
        make_case("an adapter beside a frozen layer", _Adapted, [x]),
        make_case("embedding and output head tied", _TiedHead, [torch.randint(7, (3, 4), generator=generator())]),
        make_case("a weight kept as inputs by outputs", lambda: nn.Sequential(Conv1D(6, 5), nn.Tanh()), [x]),
        make_case("frozen but for the head", _only_head_trained, [x]),
    ]


def _weight_norm() -> nn.Module:
    found: nn.Module = parametrizations.weight_norm(nn.Linear(5, 6))
    return found


def _normed_lstm() -> nn.Module:
    return Called(parametrizations.weight_norm(nn.LSTM(5, 4, batch_first=True), "weight_hh_l0"), _first_of_pair)


def _normed_gru() -> nn.Module:
    layer = nn.GRU(5, 4, batch_first=True)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        parametrizations.spectral_norm(layer, name)
    return Called(layer, _first_of_pair)


def _first_of_pair(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(input=x)[0][:, -1]
    return found


_COMPUTED_LSTM = {"layer.parametrizations.weight_hh_l0": "computed from"}
_COMPUTED_GRU = {**_COMPUTED_LSTM, "layer.parametrizations.weight_ih_l0": "computed from"}


def _then_plain(layer: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(6, 3))


class _Adapted(nn.Module):
    """A frozen layer with a trained one of low rank beside it, as LoRA does."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(5, 6).requires_grad_(False)
        self.down, self.up, self.last = nn.Linear(5, 2, bias=False), nn.Linear(2, 6, bias=False), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.tanh(self.base(x) + 0.5 * self.up(self.down(x))))
        return found


class _TiedHead(nn.Module):
    """A language model's first and last layer hold one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.inner, self.head = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.head(torch.tanh(self.inner(self.embed(tokens))))
        return found


class Conv1D(nn.Module):
    """A dense layer with the name, the attributes and the transposed weight that it has in Hugging Face's GPT-2."""

    def __init__(self, nf: int, nx: int) -> None:
        """Build the layer.

        Args:
            nf: The number of its outputs.
            nx: The number of its inputs.
        """
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply, and add the bias."""
        return torch.addmm(self.bias, x.reshape(-1, self.nx), self.weight).reshape(*x.shape[:-1], self.nf)


def _only_head_trained() -> nn.Module:
    model = mlp((5, 6, 7, 3))
    model[:-1].requires_grad_(False)
    return model


def _ways_to_run() -> list[Case]:
    x = normal(12, 5)
    saved_hooks = "cannot differentiate.*backend='hooks'"
    return [
        make_case("checkpointed", _Checkpointed, [x], probes_refusal=saved_hooks),
        make_case("compiled", lambda: torch.compile(mlp().double(), backend="eager"), [x]),  # type: ignore[arg-type, return-value]
        make_case("compiled in place", _compiled_in_place, [x]),
        make_case("a hook that doubles the output", _doubled, [x]),
        make_case("a hook that keeps the output for later", _Kept, [x]),
        make_case("a padded transformer", _Padded, [normal(6, 5, 8)], skipped=_NORMS),
        make_case(
            "a padded transformer, frozen", lambda: _Padded().requires_grad_(False), [normal(6, 5, 8)], skipped=_NORMS
        ),
        make_case("a part compiled", lambda: nn.Sequential(_compiled_in_place(), nn.Tanh(), nn.Linear(4, 2)), [x]),
    ]


class _Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = mlp((5, 6, 4)), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(checkpoint(self.inner, x, use_reentrant=False))
        return found


def _doubled() -> nn.Module:
    model = mlp()
    model[0].register_forward_hook(lambda _module, _inputs, output: output * 2)
    return model


class _Kept(nn.Module):
    """A layer's output is used a second time, from where a hook put it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(5, 4), nn.Linear(4, 3), nn.Linear(4, 3)
        self.first.register_forward_hook(self.keep)

    def keep(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self.kept = output

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.second(torch.tanh(self.first(x))) + self.third(vars(self).pop("kept"))
        return found


class _Padded(nn.Module):
    """torch's fused path would set the padded positions, which are outputs here, to zero."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 6, batch_first=True), 1)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        padding = x.new_zeros(x.shape[:2], dtype=torch.bool)
        padding[:, 3:] = True
        found: Tensor = self.head(self.body(x, src_key_padding_mask=padding))
        return found


_NORMS = {f"body.layers.0.norm{index}": "scales each feature by itself" for index in (1, 2)}


def _compiled_in_place() -> nn.Module:
    model = mlp()
    model.compile(backend="eager")
    return model


def _coarse() -> list[Case]:
    x = normal(12, 5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        brain, cast = mlp((5, 6, 4)).bfloat16(), _Cast()
    return [
        Case("bfloat16", brain, [x.bfloat16()], tolerance=BRAIN),
        Case("autocast to bfloat16", cast, [x.float()], tolerance=BRAIN),
    ]


class _Cast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp((5, 6, 4)).float()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            found: Tensor = self.inner(x)
        return found


def _outputs() -> list[Case]:
    x = normal(3, 4, 5)
    whole: Callable[[], nn.Module] = lambda: mlp((5, 6, 2))  # noqa: E731
    several = [
        make_case(f"a sequence of outputs, {positions}", whole, [x], output=Outputs(positions=positions))
        for positions in ("each", "last", "mean")
    ]
    return [
        *several,
        make_case("a sequence of outputs, the second", whole, [x], output=Outputs(positions=1)),
        make_case("positions flattened before a layer", _Flattened, [x]),
        make_case("an output object", _HuggingFaceLike, [x], output=lambda result: result.logits),
        make_case("an output by attribute and key", _HuggingFaceLike, [x], output=Outputs("logits", "last")),
        make_case("two outputs, the second", lambda: Wrapped(whole(), lambda y: (y.sin(), y.cos())), [x], output=1),
    ]


class _Flattened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(torch.tanh(self.first(x.reshape(-1, x.shape[-1]))))
        return found.reshape(*x.shape[:2], -1).sum(1)


class _ModelOutput(dict[str, Tensor | None]):
    """A mapping whose keys are attributes too, in the style of Hugging Face."""

    def __getattr__(self, name: str) -> Tensor | None:
        return self[name]


class _HuggingFaceLike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden=6)
        self.body, self.head = nn.Linear(5, self.config.hidden), nn.Linear(self.config.hidden, 3)

    def forward(self, x: Tensor) -> _ModelOutput:
        hidden = torch.tanh(self.body(x))
        return _ModelOutput(loss=None, logits=self.head(hidden), last_hidden_state=hidden)
