"""The layer kinds that can be measured, one row each.

A kind says which linear maps are inside a module of its class: where each map's weight is, and how what goes in and
comes out reads as rows that this weight connects.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import ismethod
from math import prod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ansatzlab.measurement.attention import attention_rows, trace_attention
from ansatzlab.measurement.recurrent import recurrent_rows, trace_recurrent
from ansatzlab.measurement.trace import Trace

Blocks = Float[Tensor, "g o i"]
"""A weight as g independent blocks: one, but for grouped convolutions."""

InputRows = Float[Tensor, "n s g i"] | Int[Tensor, "n s 1 1"]
"""What goes into the blocks, or the places of the ones where that is one-hot."""

OutputRows = Float[Tensor, "n s g o"]


@dataclass(frozen=True)
class LinearMap:
    """A linear map inside a module: at every position ``z = W h + b``.

    Attributes:
        suffix: What is added to the module's name, behind a dot; empty for a module that is one linear map.
        kind: The name of its kind in tables.
        parameter: The attribute of the module that holds the weight, dotted where it lies deeper.
        matrix: Reads that parameter as W.
        inputs: Reads what goes in, (n, …), as rows that W multiplies.
        outputs: Reads what comes out, (n, …), or its gradient, as rows. Its adjoint puts rows together again.
        parts: Named ranges of rows of W, such as heads and gates.
        kept_gradient: What autograd keeps of the gradient of W (an embedding drops that of its padding).
        one_hot: Whether the rows that go in are one-hot; of each only the index is kept, as a row of one number.
    """

    suffix: str
    kind: str
    parameter: str
    matrix: Callable[[Tensor], Blocks]
    inputs: Callable[[Tensor], InputRows]
    outputs: Callable[[Tensor], OutputRows]
    parts: Mapping[str, slice] = field(default_factory=dict)
    kept_gradient: Callable[[Tensor], Tensor] = field(default=lambda gradient: gradient)
    one_hot: bool = False

    def products(self, weight: Blocks, inputs: InputRows) -> OutputRows:
        """Multiply every row that goes in by a weight."""
        if self.one_hot:
            return functional.embedding(inputs[..., 0], weight[0].mT)
        return torch.einsum("goi,nsgi->nsgo", weight, inputs.to(weight))

    def outer_products(self, weight: Blocks, outputs: OutputRows, inputs: InputRows) -> tuple[Blocks, float]:
        """Sum ``b hᵀ`` over all rows, of the shape of a weight; return it with the sum of these products' norms."""
        norms = outputs.norm(dim=-1)
        if self.one_hot:
            columns = weight[0].mT.new_zeros(weight.shape[:0:-1], dtype=outputs.dtype)
            columns.index_add_(0, inputs.flatten(), outputs.flatten(0, 2))
            return columns.mT[None], float(norms.sum())
        inputs = inputs.to(outputs)
        return torch.einsum("nsgo,nsgi->goi", outputs, inputs), float((norms * inputs.norm(dim=-1)).sum())


@dataclass(frozen=True)
class LayerKind:
    """How to read one class of module.

    Attributes:
        matches: Whether a module is of this kind.
        maps: The linear maps inside such a module.
        trace: For a module whose maps run inside one call: computes that call again, each map visible. None where the
            module's own input and output are the map's.
    """

    matches: Callable[[nn.Module], bool]
    maps: Callable[[Any], tuple[LinearMap, ...]]
    trace: Trace | None = None


def adjoint(reading: Callable[[Tensor], Tensor], like: Tensor, rows: Tensor) -> Tensor:
    """Put rows together again: apply the adjoint of a linear reading of a tensor.

    Args:
        reading: A `LinearMap`'s ``matrix``, ``inputs`` or ``outputs``.
        like: A tensor of the shape that it reads.
        rows: What to put together; may be differentiated through.

    Returns:
        A tensor of the shape of ``like``. Where the reading only rearranges, this is its inverse; where it cuts
        overlapping patches, they are added.
    """
    leaf = torch.zeros_like(like, dtype=rows.dtype).requires_grad_()
    with torch.enable_grad():
        read = reading(leaf)
    return torch.autograd.grad(read, leaf, grad_outputs=rows, create_graph=rows.requires_grad)[0]


def kind_of(module: nn.Module) -> LayerKind | None:
    """Return the module's kind, or None if it is no linear map that is known here."""
    if _unreal(module):
        return None
    return next((kind for kind in KINDS if kind.matches(module)), None)


def why_not(module: nn.Module) -> str:
    """Say why a module without a kind is not measured."""
    unreal = _unreal(module) or ["packed"] * is_packed(module)
    if unreal:
        return f"{type(module).__name__} keeps {', '.join(unreal)} weights; wanted real floating-point ones"
    if isinstance(module, nn.Embedding):
        return "this Embedding rescales its weight while it runs (max_norm), or its gradient (scale_grad_by_freq)"
    reason = next((reason for classes, reason in _REASONS if isinstance(module, classes)), "")
    return f"{type(module).__name__} {reason or 'is not a linear map of features known here'}"


def is_packed(module: nn.Module) -> bool:
    """Whether a module keeps its weight out of sight, behind a method, as torch's quantised modules do."""
    return ismethod(getattr(module, "weight", None))


def _unreal(module: nn.Module) -> list[str]:
    """Name the dtypes of a module's own parameters in which real numbers are not kept as they are."""
    held = {parameter.dtype for parameter in module.parameters(recurse=False)}
    return sorted(str(dtype).removeprefix("torch.") for dtype in held if not dtype.is_floating_point)


_REASONS: tuple[tuple[Any, str], ...] = (
    (
        (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._BatchNorm),
        "scales each feature by itself: a diagonal, not a linear map of features",
    ),
    ((nn.Bilinear,), "is linear in a product of two inputs, not in features"),
    ((nn.EmbeddingBag,), "sums its embeddings before it returns them; use torch.nn.Embedding and sum outside"),
    ((nn.utils.parametrize.ParametrizationList,), "holds what a layer's weight is computed from"),
)


def _last_dimension_rows(tensor: Tensor) -> Float[Tensor, "n s 1 f"]:
    """Read any dimensions between the first and the last as positions."""
    return tensor.reshape(len(tensor), -1, 1, tensor.shape[-1])


def _linear(_: nn.Module) -> tuple[LinearMap, ...]:
    rows = _last_dimension_rows
    return (LinearMap("", "linear", "weight", lambda weight: weight[None], rows, rows),)


def _transposed_linear(_: nn.Module) -> tuple[LinearMap, ...]:
    """Read a layer that keeps its weight as (inputs, outputs)."""
    rows = _last_dimension_rows
    return (LinearMap("", "linear", "weight", lambda weight: weight.mT[None], rows, rows),)


def _embedding(module: nn.Embedding) -> tuple[LinearMap, ...]:
    """Read an embedding as ``W = Eᵀ`` on one-hot inputs over the whole vocabulary."""

    def indices(tokens: Tensor) -> Tensor:
        return tokens.long().reshape(len(tokens), -1, 1, 1)

    def without_padding(gradient: Tensor) -> Tensor:
        if module.padding_idx is None:
            return gradient
        return gradient.index_fill(-1, torch.tensor(module.padding_idx, device=gradient.device), 0.0)

    rows = _last_dimension_rows
    return (
        LinearMap(
            "",
            "embedding",
            "weight",
            lambda weight: weight.mT[None],
            indices,
            rows,
            kept_gradient=without_padding,
            one_hot=True,
        ),
    )


def _convolution(module: nn.modules.conv._ConvNd) -> tuple[LinearMap, ...]:
    """Read a convolution as the same W on every patch, one block per group."""
    groups = module.groups
    patches = partial(
        _patches,
        groups=groups,
        kernel=module.kernel_size,
        stride=module.stride,
        dilation=module.dilation,
        padding=tuple(module._reversed_padding_repeated_twice),
        mode="constant" if module.padding_mode == "zeros" else module.padding_mode,
    )
    return (
        LinearMap(
            "",
            f"conv{len(module.kernel_size)}d",
            "weight",
            lambda weight: weight.reshape(groups, len(weight) // groups, -1),
            patches,
            partial(_channel_rows, groups=groups),
        ),
    )


def _transposed_convolution(module: nn.modules.conv._ConvTransposeNd) -> tuple[LinearMap, ...]:
    """Read a transposed convolution as W from each input position to the patch of outputs that it adds to."""
    groups = module.groups
    padding = tuple(size for size in reversed(module.padding) for _ in range(2) if isinstance(size, int))
    patches = partial(
        _patches,
        groups=groups,
        kernel=module.kernel_size,
        stride=module.stride,
        dilation=module.dilation,
        padding=padding,
        surplus=tuple(more // step for more, step in zip(module.output_padding, module.stride, strict=True)),
    )
    return (
        LinearMap(
            "",
            f"conv_transpose{len(module.kernel_size)}d",
            "weight",
            lambda weight: weight.reshape(groups, len(weight) // groups, -1).mT,
            partial(_channel_rows, groups=groups),
            patches,
        ),
    )


def _channel_rows(tensor: Tensor, *, groups: int) -> Float[Tensor, "n s g f"]:
    """Read (n, channels, …) with every place as a position."""
    return tensor.reshape(len(tensor), groups, tensor.shape[1] // groups, -1).movedim(-1, 1)


def _patches(
    tensor: Tensor,
    *,
    groups: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    padding: tuple[int, ...],
    mode: str = "constant",
    surplus: tuple[int, ...] = (0, 0, 0),
) -> Float[Tensor, "n s g f"]:
    """Cut (n, channels, …) into the patches that a kernel sees, channels first within a patch.

    Of these so many as ``surplus`` says are left out at the end of each dimension.
    """
    windows = functional.pad(tensor, padding, mode=mode) if any(padding) else tensor
    for place, (size, step, spread) in enumerate(zip(kernel, stride, dilation, strict=True), start=2):
        windows = windows.unfold(place, spread * (size - 1) + 1, step)[..., ::spread]
        windows = windows.narrow(place, 0, windows.shape[place] - surplus[place - 2])
    count, channels = tensor.shape[:2]
    positions = prod(windows.shape[2 : 2 + len(kernel)])
    grouped = windows.reshape(count, groups, channels // groups, positions, prod(kernel))
    return grouped.movedim(3, 1).reshape(count, positions, groups, -1)


def _attention(module: nn.MultiheadAttention) -> tuple[LinearMap, ...]:
    rows = _last_dimension_rows
    return tuple(
        LinearMap(suffix, kind, parameter, matrix, rows, rows, parts=parts)
        for suffix, kind, parameter, matrix, parts in attention_rows(module)
    )


def _recurrent(module: nn.RNNBase | nn.RNNCellBase) -> tuple[LinearMap, ...]:
    rows = _last_dimension_rows
    return tuple(
        LinearMap(name, kind, name, lambda weight: weight[None], rows, rows, parts=parts)
        for name, kind, parts in recurrent_rows(module)
    )


def _is(*classes: type[nn.Module]) -> Callable[[nn.Module], bool]:
    return lambda module: isinstance(module, classes)


def _is_plain_embedding(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding) and module.max_norm is None and not module.scale_grad_by_freq


def _is_transposed_linear(module: nn.Module) -> bool:
    """Whether this is the layer that GPT-2 of the Hugging Face library uses for its linear maps."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf") and getattr(module, "weight", None) is not None


KINDS: tuple[LayerKind, ...] = (
    LayerKind(_is(nn.Linear), _linear),
    LayerKind(_is(nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    LayerKind(_is(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _transposed_convolution),
    LayerKind(_is_plain_embedding, _embedding),
    LayerKind(_is_transposed_linear, _transposed_linear),
    LayerKind(_is(nn.MultiheadAttention), _attention, trace=trace_attention),
    LayerKind(_is(nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell), _recurrent, trace=trace_recurrent),
)
