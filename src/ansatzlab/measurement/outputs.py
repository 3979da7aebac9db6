"""From a batch to the matrix of network outputs that is differentiated."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import InputError, ModelError

Batch = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]
"""An input tensor, a tuple whose first item is the input, or keywords for the model."""

OutputPicker = Callable[[Any], Tensor] | str | int | None
"""How the output tensor is found in what the model returns."""


def as_batches(batches: Iterable[Batch] | Batch) -> Iterable[Batch]:
    """Read a single tensor or dict as one batch, anything else as an iterable of batches.

    Raises:
        InputError: If a tuple or list holds tensors of different shapes: one batch of inputs and targets, not several.
    """
    if isinstance(batches, Tensor | Mapping):
        return [batches]
    if isinstance(batches, tuple | list) and len({part.shape[1:] for part in batches if isinstance(part, Tensor)}) > 1:
        raise InputError(
            f"measure(batches=): got a {type(batches).__name__} of tensors of different shapes, "
            f"{[tuple(part.shape) for part in batches if isinstance(part, Tensor)]}; wanted an iterable of batches; a "
            "single batch of inputs and targets goes into a list: [(inputs, targets)]."
        )
    return batches


def batch_size(batch: Batch, index: int) -> int:
    """Return the number of examples of a batch.

    Args:
        batch: The batch.
        index: Its place, for the message.

    Returns:
        The length of its first tensor.

    Raises:
        InputError: If it holds no tensor or no example, or its input is not finite.
    """
    values = [batch] if isinstance(batch, Tensor) else list(batch.values() if isinstance(batch, Mapping) else batch[:1])
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors or tensors[0].ndim == 0 or len(tensors[0]) == 0:
        raise InputError(
            f"measure(batches=): batch {index} is a {type(batch).__name__} without a tensor of examples; wanted a "
            "tensor, a tuple whose first item is one, or a dict of them, with the examples in the first dimension."
        )
    for tensor in tensors:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise InputError(
                f"measure(batches=): the input of batch {index} has {bad} entries that are not finite; wanted finite "
                "numbers; clean the data first."
            )
    return len(tensors[0])


def call(network: Callable[..., object], batch: Batch) -> object:
    """Call the network on a batch: a mapping as keywords, of a sequence the first item."""
    if isinstance(batch, Tensor):
        return network(batch)
    return network(**batch) if isinstance(batch, Mapping) else network(batch[0])


def output_matrix(result: object, picker: OutputPicker, examples: int, index: int) -> Float[Tensor, "n c"]:
    """Turn what the model returned into a matrix of outputs, examples by outputs.

    Args:
        result: What the model returned.
        picker: How the tensor is found in it.
        examples: The number of examples that went in.
        index: The batch's place, for the message.

    Returns:
        The outputs, shape (n, c); a vector becomes one column, further dimensions are flattened.

    Raises:
        InputError: If the picker finds nothing there.
        ModelError: If the output is no floating-point tensor, has another number of rows, or is not finite.
    """
    try:
        picked = result if picker is None else picker(result) if callable(picker) else result[picker]  # type: ignore[index]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(
            f"measure(output=): {picker!r} finds nothing in the {type(result).__name__} that the model returns "
            f"({error!r}); wanted a function, key or index that picks its output tensor."
        ) from error
    if not isinstance(picked, Tensor) or not picked.is_floating_point():
        got = f"a {picked.dtype} tensor" if isinstance(picked, Tensor) else f"a {type(picked).__name__}"
        raise ModelError(
            f"measure: the model returns {got}; wanted a tensor of real numbers; pick one with output= (a function, a "
            "key or an index)."
        )
    if picked.ndim == 0 or len(picked) != examples:
        raise ModelError(
            f"measure: the model returns shape {tuple(picked.shape)} for {examples} examples; wanted the examples in "
            "the first dimension; pick or move it with output=."
        )
    if not bool(torch.isfinite(picked).all()):
        raise ModelError(
            f"measure: the model's outputs are not finite in batch {index}; wanted finite numbers; check the weights "
            "and the scale of the data, or measure in float64."
        )
    return picked.reshape(examples, -1)
