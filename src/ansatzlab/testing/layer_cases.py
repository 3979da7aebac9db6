"""At least one network for every layer kind, in the ways that the kind can be called."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ansatzlab.testing.cases import Call, Called, Case, generator, make_case, normal


def layer_cases() -> list[Case]:
    """Return networks of every layer kind that must be measured, in float64, from fixed seeds."""
    return [*_convolutions(), *_embeddings(), *_attentions(), *_recurrent(), *_cells()]


def _convolutions() -> list[Case]:
    """Convolutions on small (channels, …) inputs, with a tanh and a dense layer behind them."""
    table: tuple[tuple[str, Callable[[], nn.Module], tuple[int, ...]], ...] = (
        ("conv1d, stride and padding", lambda: nn.Conv1d(2, 3, 3, stride=2, padding=1), (2, 7)),
        ("conv1d, same, even kernel, dilation", lambda: nn.Conv1d(2, 3, 4, padding="same", dilation=2), (2, 7)),
        ("conv1d, no bias, kernel 1", lambda: nn.Conv1d(3, 4, 1, bias=False), (3, 5)),
        ("conv2d, unequal strides", lambda: nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 6, 5)),
        ("conv2d, dilation", lambda: nn.Conv2d(2, 3, 2, dilation=(2, 3)), (2, 5, 5)),
        ("conv2d, groups", lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), (4, 4, 4)),
        ("conv2d, depthwise", lambda: nn.Conv2d(3, 6, 3, groups=3), (3, 5, 4)),
        ("conv2d, circular", lambda: nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode="circular"), (2, 4, 4)),
        ("conv2d, reflected", lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 4, 4)),
        ("conv2d, replicated", lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="replicate"), (2, 4, 4)),
        ("conv2d, same", lambda: nn.Conv2d(2, 3, (3, 5), padding="same"), (2, 4, 4)),
        ("conv3d, groups and stride", lambda: nn.Conv3d(2, 4, 2, stride=(1, 2, 1), groups=2), (2, 3, 4, 3)),
        ("conv transpose 1d, stride and output padding", _transposed_1d, (3, 4)),
        ("conv transpose 2d, groups", lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 3, 3)),
        ("conv transpose 2d, dilation", lambda: nn.ConvTranspose2d(2, 3, (3, 2), dilation=(2, 1)), (2, 3, 4)),
        ("conv transpose 2d, more output", _transposed_2d, (2, 3, 3)),
        ("conv transpose 3d", lambda: nn.ConvTranspose3d(2, 2, 2, stride=2, bias=False), (2, 2, 2, 2)),
    )
    plain = [make_case(name, partial(_read_out, build, shape), [normal(4, *shape)]) for name, build, shape in table]
    return [*plain, make_case("conv2d, in-place activations", _in_place_convolutions, [normal(4, 2, 6, 6)])]


def _transposed_1d() -> nn.Module:
    return nn.ConvTranspose1d(3, 2, 4, stride=3, padding=1, output_padding=2)


def _transposed_2d() -> nn.Module:
    """More is added to the output than a step is wide in one direction, less in the other."""
    return nn.ConvTranspose2d(2, 4, 3, stride=(3, 1), padding=1, dilation=(1, 3), output_padding=(1, 2))


def _read_out(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> nn.Module:
    layer = build()
    width = layer(torch.zeros(1, *shape)).numel()
    return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(width, 2))


def _in_place_convolutions() -> nn.Module:
    body = (nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1))
    return nn.Sequential(*body, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def _called(build: Callable[[], nn.Module], run: Call) -> nn.Module:
    return Called(build(), run)


def _embeddings() -> list[Case]:
    tokens = torch.randint(7, (3, 5), generator=generator())
    shared = {"places": "runs once for all examples, on an input that they share"}
    return [
        make_case("embedding with padding", _padded, [torch.cat([tokens, torch.zeros_like(tokens)], dim=1)]),
        make_case("embedding of one token an example", lambda: Called(nn.Embedding(7, 4), _tanh), [tokens[:, 0]]),
        make_case("embedding, flattened", lambda: Called(nn.Embedding(7, 4), _flattened), [tokens]),
        make_case("position embedding, shared", _Placed, [tokens], skipped=shared),
        make_case("position embedding, as many places as examples", _Placed, [tokens[:, :3]], skipped=shared),
        make_case("position embedding, twice as many", _Placed, [tokens[:, :4][:2]], skipped=shared),
    ]


def _padded() -> nn.Module:
    return Called(nn.Embedding(7, 4, padding_idx=0), lambda layer, x: torch.tanh(layer(x)).mean(1))


def _tanh(layer: nn.Module, x: Tensor) -> Tensor:
    return torch.tanh(layer(x))


def _flattened(layer: nn.Module, x: Tensor) -> Tensor:
    return torch.tanh(layer(x.reshape(-1))).reshape(*x.shape, -1).mean(1)


class _Placed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places, self.last = nn.Embedding(7, 4), nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.last(torch.tanh(self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))))
        return found.mean(1)


def _attentions() -> list[Case]:
    x = normal(3, 4, 6)
    first = partial(nn.MultiheadAttention, 6, 2, batch_first=True)
    later = torch.ones(4, 4, dtype=torch.bool).triu(1)
    table: tuple[tuple[str, Callable[[], nn.Module], Call], ...] = (
        ("attention", first, lambda layer, x: layer(x, x, x, need_weights=False)[0].mean(1)),
        ("attention, examples second", lambda: nn.MultiheadAttention(6, 3), _examples_second),
        ("attention, no bias", partial(first, bias=False), lambda layer, x: layer(x, x, x)[0].mean(1)),
        ("attention to something else", first, lambda layer, x: layer(x[:, :2], x.sin(), value=x.cos())[0].mean(1)),
        ("attention, own widths of keys and values", partial(first, kdim=4, vdim=3), _other_widths),
        ("attention, extra keys", partial(first, add_bias_kv=True, add_zero_attn=True), _averaged),
        ("attention, causal", first, lambda layer, x: layer(x, x, x, attn_mask=later, need_weights=False)[0].mean(1)),
        ("attention, some keys masked", first, _masked),
        ("attention and its weights", first, lambda layer, x: torch.cat(layer(x, x, x), dim=-1).mean(1)),
        ("attention and its weights, each head's", first, _weights_of_heads),
        ("one head", lambda: nn.MultiheadAttention(6, 1, batch_first=True), _averaged),
    )
    plain = [make_case(name, partial(_called, build, run), [x]) for name, build, run in table]
    block = partial(nn.TransformerEncoderLayer, 6, 2, 7, batch_first=True)
    norms = {"layer.norm1": "scales each feature by itself", "layer.norm2": "scales each feature by itself"}
    return [
        *plain,
        make_case("encoder layer", lambda: Called(block(), _mean), [x], skipped=norms),
        make_case("encoder layer, norm first", lambda: Called(block(norm_first=True), _mean), [x], skipped=norms),
        make_case("encoder layer, frozen", lambda: Called(block(), _mean).requires_grad_(False), [x], skipped=norms),
    ]


def _averaged(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(x, x, x)[0]
    return found.mean(1)


def _mean(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(x)
    return found.mean(1)


def _examples_second(layer: nn.Module, x: Tensor) -> Tensor:
    turned = x.transpose(0, 1)
    found: Tensor = layer(query=turned, key=turned, value=turned)[0]
    return found.mean(0)


def _other_widths(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(x, x[..., :4], x[..., 3:])[0]
    return found.mean(1)


def _masked(layer: nn.Module, x: Tensor) -> Tensor:
    hidden = x[..., 0] > 0.5
    hidden[:, 0] = False
    found: Tensor = layer(x, x, x, key_padding_mask=hidden)[0]
    return found.mean(1)


def _weights_of_heads(layer: nn.Module, x: Tensor) -> Tensor:
    attended, weights = layer(x, x, x, average_attn_weights=False)
    return torch.cat([attended.mean(1), weights.square().sum((2, 3))], dim=-1)


def _recurrent() -> list[Case]:
    x = normal(3, 4, 3)
    first = {"batch_first": True}
    table: tuple[tuple[str, Callable[[], nn.Module], Call], ...] = (
        ("rnn", lambda: nn.RNN(3, 4, **first), _last_step),
        ("rnn, relu, no bias, two layers", lambda: nn.RNN(3, 4, 2, "relu", bias=False, **first), _last_step),
        ("gru", lambda: nn.GRU(3, 4, **first), _last_step),
        ("gru, two layers, both directions", lambda: nn.GRU(3, 2, 2, bidirectional=True, **first), _all_steps),
        ("lstm", lambda: nn.LSTM(3, 4, **first), _last_step),
        ("lstm, projected, both directions", lambda: nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2), _time_first),
        ("lstm, time first, one layer", lambda: nn.LSTM(3, 4), _time_first),
        ("gru from a state", lambda: nn.GRU(3, 4, **first), lambda layer, x: layer(x, _state(x))[0].mean(1)),
        ("gru, last state", lambda: nn.GRU(3, 4, **first), lambda layer, x: layer(x, hx=_state(x))[1][0]),
        ("lstm from a state", lambda: nn.LSTM(3, 4, **first), _from_two_states),
    )
    return [make_case(name, partial(_called, build, run), [x]) for name, build, run in table]


def _state(x: Tensor) -> Tensor:
    return torch.cat([x[:, 0], x[:, 1, :1]], dim=-1)[None]


def _last_step(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(x)[0]
    return found[:, -1]


def _all_steps(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(x)[0]
    return found.square().sum(1)


def _time_first(layer: nn.Module, x: Tensor) -> Tensor:
    found, (hidden, memory) = layer(x.transpose(0, 1))
    return torch.cat([found.square().sum(0), hidden[-1], memory[0]], dim=-1)


def _from_two_states(layer: nn.Module, x: Tensor) -> Tensor:
    found, (_, memory) = layer(x, (_state(x), _state(x.sin())))
    return torch.cat([found[:, -1], memory[0]], dim=-1)


def _cells() -> list[Case]:
    x = normal(3, 4, 3)
    states = {"from a state": True, "from zero": False}
    return [
        make_case(f"{name}, {told}", partial(_Stepped, build, given=given), [x])
        for name, build in (("rnn cell", nn.RNNCell), ("gru cell", nn.GRUCell), ("lstm cell", nn.LSTMCell))
        for told, given in states.items()
    ]


class _Stepped(nn.Module):
    """A cell called step by step."""

    def __init__(self, build: Callable[[int, int], nn.Module], *, given: bool) -> None:
        super().__init__()
        self.cell, self._given = build(3, 4), given

    def forward(self, x: Tensor) -> Tensor:
        start = _state(x)[0]
        state: Tensor | tuple[Tensor, Tensor] | None = None
        if self._given:
            state = (start, start.sin()) if isinstance(self.cell, nn.LSTMCell) else start
        for place in range(x.shape[1]):
            state = self.cell(x[:, place], state)
        assert state is not None
        return state[0] + state[1] if isinstance(state, tuple) else state
