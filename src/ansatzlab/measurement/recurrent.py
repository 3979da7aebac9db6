"""The linear maps inside recurrent modules: input-to-hidden and hidden-to-hidden, step by step."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ansatzlab.errors import ModelError
from ansatzlab.measurement.trace import Visit

_GATES: Mapping[str, tuple[str, ...]] = {"RNN": (), "GRU": ("r", "z", "n"), "LSTM": ("i", "f", "g", "o")}


def recurrent_rows(module: nn.RNNBase | nn.RNNCellBase) -> Iterator[tuple[str, str, Mapping[str, slice]]]:
    """Yield the name of each weight, its kind and its gates as ranges of rows."""
    family = _family(module)
    size = module.hidden_size
    gates = {gate: slice(index * size, (index + 1) * size) for index, gate in enumerate(_GATES[family])}
    maps = ("ih", "hh", "hr") if getattr(module, "proj_size", 0) else ("ih", "hh")
    for suffix in _suffixes(module):
        for name in maps:
            yield f"weight_{name}{suffix}", family.lower(), {} if name == "hr" else gates


def _suffixes(module: nn.RNNBase | nn.RNNCellBase) -> Iterator[str]:
    """Yield what stands behind the names of each layer's and direction's weights, which may be computed ones."""
    if isinstance(module, nn.RNNCellBase):
        yield ""
        return
    for layer in range(module.num_layers):
        yield from (f"_l{layer}", f"_l{layer}_reverse")[: 1 + module.bidirectional]


def trace_recurrent(
    module: nn.Module, arguments: tuple[object, ...], keywords: Mapping[str, object], visit: Visit
) -> object:
    """Compute a recurrent module again from its weights, every linear map at every step in the open.

    Raises:
        ModelError: If the input is packed or has no dimension of examples.
    """
    given = {**dict(zip(("input", "hx"), arguments, strict=False)), **keywords}
    inputs, state = given["input"], given.get("hx")
    wanted = 2 if isinstance(module, nn.RNNCellBase) else 3
    if not isinstance(inputs, Tensor) or inputs.ndim != wanted:
        got = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"
        raise ModelError(
            f"measure: a {type(module).__name__} was called with {got}; wanted a plain tensor with a dimension of "
            "examples; pad the sequences instead of packing them, and batch them."
        )
    if isinstance(module, nn.RNNCellBase):
        return _trace_cell(module, inputs, state, visit)
    assert isinstance(module, nn.RNNBase)
    return _trace_layers(module, inputs, state, visit)


def _trace_cell(module: nn.RNNCellBase, inputs: Tensor, state: object, visit: Visit) -> object:
    held = _states(state, 1)
    hidden = inputs.new_zeros(len(inputs), module.hidden_size) if held is None else held[0]
    memory = torch.zeros_like(hidden) if held is None or len(held) < 2 else held[1]
    from_input = visit("weight_ih", inputs, functional.linear(inputs, module.weight_ih, module.bias_ih))
    from_hidden = visit("weight_hh", hidden, functional.linear(hidden, module.weight_hh, module.bias_hh))
    hidden, memory = _step(module)(from_input, from_hidden, hidden, memory)
    return (hidden, memory) if _family(module) == "LSTM" else hidden


def _trace_layers(module: nn.RNNBase, inputs: Tensor, state: object, visit: Visit) -> object:
    sequence = inputs if module.batch_first else inputs.transpose(0, 1)
    held = _states(state, 2)
    last_hidden, last_memory = [], []
    for layer in range(module.num_layers):
        outputs = []
        for direction in range(1 + module.bidirectional):
            index = layer * (1 + module.bidirectional) + direction
            start = None if held is None else tuple(part[index] for part in held)
            suffix = f"_l{layer}" + "_reverse" * direction
            rows, hidden, memory = _run(module, suffix, sequence, start, visit)
            outputs.append(rows)
            last_hidden.append(hidden)
            last_memory.append(memory)
        sequence = torch.cat(outputs, dim=-1)
        if module.dropout and module.training and layer + 1 < module.num_layers:
            sequence = functional.dropout(sequence, module.dropout)
    final = torch.stack(last_hidden)
    end = (final, torch.stack(last_memory)) if _family(module) == "LSTM" else final
    return sequence if module.batch_first else sequence.transpose(0, 1), end


def _run(
    module: nn.RNNBase, suffix: str, sequence: Tensor, start: tuple[Tensor, ...] | None, visit: Visit
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer in one direction; return its outputs (n, t, h), last hidden state and last memory."""

    def linear(name: str, tensor: Tensor) -> Tensor:
        weight, bias = getattr(module, f"weight_{name}{suffix}"), getattr(module, f"bias_{name}{suffix}", None)
        return visit(f"weight_{name}{suffix}", tensor, functional.linear(tensor, weight, bias))

    size = getattr(module, "proj_size", 0) or module.hidden_size
    hidden = sequence.new_zeros(len(sequence), size) if start is None else start[0]
    memory = sequence.new_zeros(len(sequence), module.hidden_size) if start is None or len(start) < 2 else start[1]
    step = _step(module)
    from_input = linear("ih", sequence).unbind(dim=1)
    places = range(len(from_input))
    outputs = {}
    for place in reversed(places) if suffix.endswith("_reverse") else places:
        hidden, memory = step(from_input[place], linear("hh", hidden), hidden, memory)
        if getattr(module, "proj_size", 0):
            hidden = linear("hr", hidden)
        outputs[place] = hidden
    return torch.stack([outputs[place] for place in places], dim=1), hidden, memory


Step = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _step(module: nn.Module) -> Step:
    """Return the nonlinear rest of one step: (W_ih x + b, W_hh h + b, h, c) to the new (h, c)."""
    if _family(module) == "GRU":
        return _gru_step
    if _family(module) == "LSTM":
        return _lstm_step
    act = torch.relu if getattr(module, "nonlinearity", "tanh") == "relu" else torch.tanh
    return lambda x, h, _hidden, memory: (act(x + h), memory)


def _gru_step(x: Tensor, h: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    (x_r, x_z, x_n), (h_r, h_z, h_n) = x.chunk(3, dim=-1), h.chunk(3, dim=-1)
    reset, update = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    new = torch.tanh(x_n + reset * h_n)
    return (1 - update) * new + update * hidden, memory


def _lstm_step(x: Tensor, h: Tensor, _hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = (x + h).chunk(4, dim=-1)
    memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(memory), memory


def _family(module: nn.Module) -> str:
    return next(family for family in ("LSTM", "GRU", "RNN") if isinstance(module, _CLASSES[family]))


_CLASSES = {"RNN": (nn.RNN, nn.RNNCell), "GRU": (nn.GRU, nn.GRUCell), "LSTM": (nn.LSTM, nn.LSTMCell)}


def _states(state: object, dimensions: int) -> tuple[Tensor, ...] | None:
    """Read an initial state, given as a tensor or as a pair of them, or None; an unbatched one is broadcast."""
    if state is None:
        return None
    parts = state if isinstance(state, tuple | list) else (state,)
    assert all(isinstance(part, Tensor) and part.ndim >= dimensions for part in parts)
    return tuple(parts)
