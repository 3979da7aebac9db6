"""Merging two networks of one shape by the sum of their weights."""

from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ansatzlab.errors import InputError, ModelError


@dataclass(frozen=True)
class MergedState:
    """The sum of two networks' weights.

    Attributes:
        tensors: The merged weights by name.
        summed: The names whose tensors were added.
        kept: The names that both networks have alike, bit for bit, and the merged one too.
    """

    tensors: Mapping[str, Tensor]
    summed: tuple[str, ...]
    kept: tuple[str, ...]


def merge_states(a: Mapping[str, Tensor], b: Mapping[str, Tensor], *, frozen: Collection[str] = ()) -> MergedState:
    """Merge two state dicts of one network.

    Definition:
        ``θ_A + θ_B``, a sum and not an average. What is the same in both, bit for bit, was not trained and is kept.

    Args:
        a: The weights of one network.
        b: Those of the other.
        frozen: Names that have to be the same in both; others may be.

    Returns:
        The merged weights, tensors of their own.

    Raises:
        ModelError: If names, shapes or dtypes differ, a frozen tensor does, both networks are the same, a trained
            tensor is a bias (has fewer than two dimensions) or holds no floating numbers, or a sum is not finite.
        InputError: If a name in ``frozen`` is not there.

    Example:
        >>> readout = torch.ones(1, 2)
        >>> a, b = ({"hidden": torch.eye(2) * each, "readout": readout} for each in (1.0, 2.0))
        >>> merged = merge_states(a, b)
        >>> merged.tensors["hidden"], merged.kept
        (tensor([[3., 0.],
                [0., 3.]]), ('readout',))
    """
    _refuse_other_shapes(a, b)
    unknown = [name for name in frozen if name not in a]
    if unknown:
        raise InputError(f"merge: got frozen names {unknown}; wanted names of the networks: {', '.join(a)}.")
    kept = tuple(name for name in a if torch.equal(a[name], b[name]))
    differing = [name for name in frozen if name not in kept]
    if differing:
        raise ModelError(
            f"merge: the frozen {', '.join(differing)} differ between the networks; wanted the same, bit for bit: "
            "a sum of networks with different readouts is no sum of their functions; train both with the same ones."
        )
    summed = tuple(name for name in a if name not in kept)
    if not summed:
        raise ModelError("merge: both networks have the same weights; wanted two that were trained on two tasks.")
    odd = [name for name in summed if a[name].ndim < 2 or not a[name].is_floating_point()]
    if odd:
        raise ModelError(
            f"merge: {', '.join(odd)} differ and are no weight matrices; wanted biases and buffers that are "
            "the same in both: they break the homogeneity that merging by a sum rests on; train without biases."
        )
    tensors = {name: (a[name] + b[name] if name in summed else a[name]).detach().clone() for name in a}
    broken = [name for name in summed if not bool(tensors[name].isfinite().all())]
    if broken:
        raise ModelError(f"merge: the sums {', '.join(broken)} are not finite; wanted finite weights in both networks.")
    return MergedState(tensors, summed, kept)


def merge(a: nn.Module, b: nn.Module, *, frozen: Collection[str] = ()) -> nn.Module:
    """Merge two networks of one architecture.

    Definition:
        See `merge_states`; parameters that do not require gradients count as frozen. Buffers are no weights: they have
        to be the same in both.

    Args:
        a: One network; it is not changed.
        b: The other; likewise.
        frozen: Names of further parameters that were not trained.

    Returns:
        A copy of the first, with the merged weights.

    Raises:
        ModelError: If their modules or buffers differ, or their weights do not go together (see `merge_states`).
        InputError: If a name in ``frozen`` is not there.

    Example:
        >>> a, b = (nn.Linear(2, 1, bias=False) for _ in range(2))
        >>> x = torch.ones(1, 2)
        >>> torch.testing.assert_close(merge(a, b)(x), a(x) + b(x))
    """
    _refuse_other_modules(a, b)
    _refuse_other_buffers(a, b)
    untrained = {name for each in (a, b) for name, p in each.named_parameters() if not p.requires_grad}
    merged = deepcopy(a)
    merged.load_state_dict(dict(merge_states(a.state_dict(), b.state_dict(), frozen={*frozen, *untrained}).tensors))
    return merged


def _refuse_other_shapes(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> None:
    only = [f"{name} only in {where}" for where, x, y in (("A", a, b), ("B", b, a)) for name in x if name not in y]
    shapes = [
        f"{name} is {_form(a[name])} in A and {_form(b[name])} in B"
        for name in a
        if name in b and _form(a[name]) != _form(b[name])
    ]
    if only or shapes:
        raise ModelError(
            f"merge: the networks differ: {'; '.join([*only, *shapes])}; wanted two of one depth, with the same shapes "
            "and dtypes."
        )


def _form(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _refuse_other_modules(a: nn.Module, b: nn.Module) -> None:
    told = [
        {name: f"{type(module).__name__}({module.extra_repr()})" for name, module in each.named_modules()}
        for each in (a, b)
    ]
    names = [name for name in {**told[0], **told[1]} if told[0].get(name) != told[1].get(name)]
    if names:
        first = names[0]
        raise ModelError(
            f"merge: the networks differ in {', '.join(name or 'the whole' for name in names)}: "
            f"{told[0].get(first, 'nothing')} in A, {told[1].get(first, 'nothing')} in B; wanted one architecture."
        )


def _refuse_other_buffers(a: nn.Module, b: nn.Module) -> None:
    others = dict(b.named_buffers())
    names = [
        name
        for name, buffer in a.named_buffers()
        if name not in others or not torch.equal(buffer, others[name].to(buffer))
    ]
    if names:
        raise ModelError(
            f"merge: the buffers {', '.join(names)} differ; wanted the same in both networks: they are not trained, "
            "and a sum of them belongs to neither."
        )
