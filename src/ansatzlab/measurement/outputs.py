"""From a batch to the matrix of network outputs that is differentiated."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ansatzlab.errors import InputError, ModelError, UnknownNameError

Batch = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]
"""An input tensor, a tuple whose first item is the input, or keywords for the model."""

Pick = Callable[[Any], Tensor] | str | int | None
"""How a tensor is found in what the model returns: by a function, a key or an index; None takes the result itself."""

Positions = Literal["each", "last", "mean"]


@dataclass(frozen=True)
class Outputs:
    """Which numbers that the model returns are the network's outputs.

    Attributes:
        pick: How the tensor is found in what the model returns.
        positions: Of an output of shape (n, positions, c), such as a language model's: ``"each"`` entry is an output,
            or only those at the ``"last"`` position or at one index, or their ``"mean"`` over positions.
    """

    pick: Pick = None
    positions: Positions | int = "each"

    def __post_init__(self) -> None:
        """Refuse an unknown word."""
        if isinstance(self.positions, str) and self.positions not in get_args(Positions):
            raise UnknownNameError("positions= of Outputs", self.positions, get_args(Positions))


OutputPicker = Pick | Outputs


def as_batches(batches: Iterable[Batch] | Batch) -> Iterable[Batch]:
    """Read a single tensor or dict as one batch, anything else as an iterable of batches.

    Raises:
        InputError: If it is neither, or a tuple or list of tensors of different shapes: that may be one batch of inputs
            and targets.
    """
    if isinstance(batches, Tensor | Mapping):
        return [batches]
    if isinstance(batches, tuple | list) and len({part.shape[1:] for part in batches if isinstance(part, Tensor)}) > 1:
        raise InputError(
            f"measure(batches=): got a {type(batches).__name__} of tensors of different shapes, "
            f"{[tuple(part.shape) for part in batches if isinstance(part, Tensor)]}; wanted an iterable of batches; a "
            "single batch of inputs and targets goes into a list, [(inputs, targets)]; batches of several lengths go "
            "into an iterator, iter(batches)."
        )
    if not isinstance(batches, Iterable):
        raise InputError(
            f"measure(batches=): got a {type(batches).__name__}; wanted a tensor, a dict of tensors, or an iterable of "
            "batches."
        )
    return batches


def batch_size(batch: Batch, index: int, *, check: bool = True) -> int:
    """Return the number of examples of a batch.

    Args:
        batch: The batch.
        index: Its place, for the message.
        check: Whether to look at the numbers, which cannot be done under `torch.func.vmap`.

    Returns:
        The length of its first tensor that has one.

    Raises:
        InputError: If it holds no tensor or no example, or its input is not finite.
    """
    tensors = [value for value in _inputs(batch) if isinstance(value, Tensor)]
    sizes = [len(tensor) for tensor in tensors if tensor.ndim]
    if not sizes or sizes[0] == 0:
        raise InputError(
            f"measure(batches=): batch {index} is a {type(batch).__name__} without a tensor of examples; wanted a "
            "tensor, a tuple whose first item is one, or a dict of them, with the examples in the first dimension."
        )
    for tensor in tensors if check else ():
        if tensor.is_inference():
            raise InputError(
                f"measure(batches=): batch {index} was made in inference mode; wanted tensors that can be "
                "differentiated through; clone them outside torch.inference_mode()."
            )
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise InputError(
                f"measure(batches=): the input of batch {index} has {bad} entries that are not finite; wanted finite "
                "numbers; clean the data first."
            )
    return sizes[0]


def _inputs(batch: object) -> Iterable[object]:
    """Return what the model is called with."""
    if isinstance(batch, Mapping):
        return batch.values()
    return batch[:1] if isinstance(batch, tuple | list) else [batch]


def call(network: Callable[..., object], batch: Batch) -> object:
    """Call the network on a batch: a mapping as keywords, of a sequence the first item."""
    if isinstance(batch, Tensor):
        return network(batch)
    return network(**batch) if isinstance(batch, Mapping) else network(batch[0])


def one_example(batch: Batch, size: int, place: int = 0) -> Batch:
    """Return one of so many examples; what has no row for each of them stays as it is."""
    only = slice(place, place + 1)
    if isinstance(batch, Tensor):
        return batch[only]
    if not isinstance(batch, Mapping):
        return (batch[0][only],)
    return {
        key: value[only] if isinstance(value, Tensor) and value.shape[:1] == (size,) else value
        for key, value in batch.items()
    }


def output_tensor(result: object, picker: OutputPicker, examples: int, index: int, *, check: bool = True) -> Tensor:
    """Find the tensor of outputs in what the model returned.

    Args:
        result: What the model returned.
        picker: How the tensor is found in it.
        examples: The number of examples that went in.
        index: The batch's place, for the message.
        check: Whether to look at the numbers, which cannot be done under `torch.func.vmap`.

    Returns:
        The outputs, examples first.

    Raises:
        InputError: If the picker finds nothing there.
        ModelError: If the output is no floating-point tensor, has another number of rows, or is not finite.
    """
    chosen = picker if isinstance(picker, Outputs) else Outputs(picker)
    pick = chosen.pick
    try:
        picked = result if pick is None else pick(result) if callable(pick) else result[pick]  # type: ignore[index]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(
            f"measure(output=): {pick!r} finds nothing in the {type(result).__name__} that the model returns "
            f"({error!r}); wanted a function, key or index that picks its output tensor{_choices(result)}."
        ) from error
    if not isinstance(picked, Tensor) or not picked.is_floating_point():
        got = f"a {picked.dtype} tensor" if isinstance(picked, Tensor) else f"a {type(picked).__name__}"
        raise ModelError(
            f"measure: the model returns {got}; wanted a tensor of real numbers; pick one with output= (a function, a "
            f"key or an index){_choices(picked)}."
        )
    if picked.ndim == 0 or len(picked) != examples:
        raise ModelError(
            f"measure: the model returns shape {tuple(picked.shape)} for {examples} examples; wanted the examples in "
            "the first dimension; pick or move it with output=."
        )
    if check and not bool(torch.isfinite(picked).all()):
        raise ModelError(
            f"measure: the model's outputs are not finite in batch {index}; wanted finite numbers; check the weights "
            f"and the scale of the data{wider(picked.dtype)}."
        )
    return _at_positions(picked, chosen.positions)


def wider(dtype: torch.dtype) -> str:
    """Advise a wider dtype, if there is one."""
    return "" if dtype == torch.float64 else ", or measure in float64"


def describe(tensor: Tensor, picker: OutputPicker) -> str:
    """Say in words which outputs an example has, and where in what the model returns they were found."""
    chosen = picker if isinstance(picker, Outputs) else Outputs(picker)
    shape = tensor.shape[1:]
    count = prod(shape)
    words = f"{count} output{'' if count == 1 else 's'}"
    if len(shape) > 1:
        words += f" ({' × '.join(map(str, shape))}, each entry one)"
    if chosen.positions != "each":
        named = {"last": "at the last position", "mean": "as their mean over positions"}
        words += f" {named.get(str(chosen.positions), f'at position {chosen.positions}')}"
    if chosen.pick is not None:
        words += " picked by a function" if callable(chosen.pick) else f" of {chosen.pick!r}"
    return words


def _at_positions(picked: Tensor, positions: Positions | int) -> Tensor:
    if positions == "each":
        return picked
    if picked.ndim < 3:
        raise InputError(
            f"measure(output=Outputs(positions={positions!r})): the output has shape {tuple(picked.shape)}; wanted "
            "positions in its second dimension and outputs behind; leave positions= out."
        )
    if positions == "mean":
        return picked.mean(1)
    place = -1 if positions == "last" else int(positions)
    if not -picked.shape[1] <= place < picked.shape[1]:
        raise InputError(f"measure(output=): got position {place} of {picked.shape[1]}.")
    return picked[:, place]


def _choices(result: object) -> str:
    """Name what could be picked from a structured result."""
    if isinstance(result, Mapping):
        found = {key: value for key, value in result.items() if isinstance(value, Tensor)}
    elif isinstance(result, tuple | list):
        found = {place: value for place, value in enumerate(result) if isinstance(value, Tensor)}
    else:
        return ""
    told = ", ".join(f"{key!r} {tuple(value.shape)}" for key, value in found.items())
    return f"; tensors in it: {told}" if told else ""
