"""The four linear maps inside `torch.nn.MultiheadAttention`, which runs them without calling a module."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ansatzlab.errors import ModelError
from ansatzlab.measurement.trace import Visit

_PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def attention_rows(
    module: nn.MultiheadAttention,
) -> Iterator[tuple[str, str, str, Callable[[Tensor], Tensor], Mapping[str, slice]]]:
    """Yield suffix, kind, parameter, reading of the parameter and heads of each linear map.

    Q, K and V are maps of their own, packed or not: each has its own copy of the input. A head is a range of rows of
    these; of the output map, whose *columns* belong to heads, there is only the whole.
    """
    size = module.head_dim
    heads = {f"head{index}": slice(index * size, (index + 1) * size) for index in range(module.num_heads)}
    packed = module.in_proj_weight is not None
    for index, suffix in enumerate(_PROJECTIONS):
        parameter = "in_proj_weight" if packed else f"{suffix}_weight"
        matrix = partial(_third, index=index) if packed else partial(_third, index=0, count=1)
        yield suffix, "attention", parameter, matrix, heads
    yield "out_proj", "attention", "out_proj.weight", partial(_third, index=0, count=1), {}


def _third(weight: Tensor, *, index: int, count: int = 3) -> Tensor:
    return weight.chunk(count)[index][None]


def trace_attention(
    module: nn.Module, arguments: tuple[object, ...], keywords: Mapping[str, object], visit: Visit
) -> tuple[Tensor, Tensor | None]:
    """Compute attention again, with the four linear maps in the open and torch's own attention between them.

    torch's function is called with identities for projections, so that masks, extra keys and weights stay its own.

    Raises:
        ModelError: If the input has no dimension of examples.
    """
    assert isinstance(module, nn.MultiheadAttention)
    bound = inspect.signature(nn.MultiheadAttention.forward).bind(module, *arguments, **keywords)
    bound.apply_defaults()
    given = bound.arguments
    if given["query"].ndim != 3:
        raise ModelError(
            f"measure: a MultiheadAttention was called with a query of shape {tuple(given['query'].shape)}; wanted "
            "three dimensions, one of them the examples; add the batch dimension."
        )

    def swap(tensor: Tensor) -> Tensor:
        """Exchange the module's order of dimensions and examples-first, where they differ."""
        return tensor if module.batch_first else tensor.transpose(0, 1)

    projected = []
    for suffix, name, weight, bias in zip(_PROJECTIONS, ("query", "key", "value"), *_weights(module), strict=True):
        inputs = swap(given[name])
        projected.append(visit(suffix, inputs, functional.linear(inputs, weight, bias)).transpose(0, 1))
    eye = torch.eye(module.embed_dim, dtype=projected[0].dtype, device=projected[0].device)
    names = ("key_padding_mask", "need_weights", "attn_mask", "average_attn_weights", "is_causal")
    options: dict[str, Any] = {name: given[name] for name in names} | {
        "embed_dim_to_check": module.embed_dim,
        "num_heads": module.num_heads,
        "in_proj_weight": None,
        "in_proj_bias": None,
        "bias_k": module.bias_k,
        "bias_v": module.bias_v,
        "add_zero_attn": module.add_zero_attn,
        "dropout_p": module.dropout,
        "out_proj_weight": eye,
        "out_proj_bias": None,
        "training": module.training,
        "use_separate_proj_weight": True,
        "q_proj_weight": eye,
        "k_proj_weight": eye,
        "v_proj_weight": eye,
    }
    query, key, value = projected
    attended, attention = functional.multi_head_attention_forward(query, key, value, **options)
    inputs = attended.transpose(0, 1)
    outputs = visit("out_proj", inputs, functional.linear(inputs, module.out_proj.weight, module.out_proj.bias))
    return swap(outputs), attention


def _weights(module: nn.MultiheadAttention) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
    if module.in_proj_weight is not None:
        weights = module.in_proj_weight.chunk(3)
    else:
        weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    bias = module.in_proj_bias
    return weights, (None, None, None) if bias is None else bias.chunk(3)
