"""The truth that the fast measurement is tested against: slow, in float64, by definition.

One example at a time, one output at a time, the gradient by the **input** of each layer. Nothing is shared with the
fast path but the choice of layers: no weight matrix enters, and no identity is used.
"""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ansatzlab.measurement.layers import Selector, select_layers
from ansatzlab.measurement.outputs import Batch, OutputPicker, as_batches, batch_size, call, output_matrix
from ansatzlab.shapes import InputGram


def reference_agop(
    model: nn.Module,
    batches: Iterable[Batch] | Batch,
    *,
    layers: Selector = None,
    output: OutputPicker = None,
    centered: bool = False,
) -> dict[str, InputGram]:
    """Compute every layer's average gradient outer product from its definition.

    Definition:
        ``G = (1/n) Σ_x Σ_c Σ_p g gᵀ`` with g the gradient of output c at example x by **the copy of the input that
        enters this layer** at position (and use) p, its other uses held fixed. Centred:
        ``G − (1/P) Σ_c ḡ_c ḡ_cᵀ``, ``ḡ_c`` the mean over examples of the sum over positions, P positions an example.

    Args:
        model: The network; a float64 copy of it is differentiated.
        batches: As for `measure`.
        layers: As for `measure`.
        output: As for `measure`.
        centered: Whether each output's mean gradient is taken out.

    Returns:
        For each layer that ran its AGOP, shape (i, i), float64.

    Cost:
        n forward and n c backward passes, an i × i matrix per layer: for tests and small networks.

    Source:
        tansley2025nfa; the path-restricted reading is explained in docs/devdocs/identity.md.

    Example:
        >>> linear = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.constant_(linear.weight, 3.0)
        >>> reference_agop(linear, torch.ones(4, 2))[""]
        tensor([[9., 9.],
                [9., 9.]], dtype=torch.float64)
    """
    twin = copy.deepcopy(model).double()
    chosen, _ = select_layers(twin, layers)
    shifts: dict[str, list[Tensor]] = {}

    def shift_input(name: str) -> Callable[..., tuple[tuple[Tensor, ...], dict[str, Tensor]]]:
        def hook(
            _: nn.Module, inputs: tuple[Tensor, ...], keywords: dict[str, Tensor]
        ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
            first = inputs[0] if inputs else next(iter(keywords.values()))
            shift = torch.zeros_like(first, requires_grad=True)
            shifts[name].append(shift)
            return (first + shift, *inputs[1:]), {} if not inputs else keywords

        return hook

    for name, layer in chosen.items():
        layer.module.register_forward_pre_hook(shift_input(name), with_kwargs=True)
    squares: dict[str, Tensor] = {}
    means: dict[str, Tensor] = {}
    examples = positions = 0
    for index, batch in enumerate(as_batches(batches)):
        for example in range(batch_size(batch, index)):
            shifts.update({name: [] for name in chosen})
            outputs = output_matrix(call(twin, _example(batch, example)), output, 1, index)[0]
            examples += 1
            used = {
                name: tuple(found) for name, found in shifts.items() if found
            }  # a recomputing backward adds to them
            for name in used:
                jacobian = torch.stack([_gradient_rows(value, used[name]) for value in outputs])
                positions = jacobian.shape[1]
                squares[name] = squares.get(name, 0.0) + torch.einsum("cpi,cpj->ij", jacobian, jacobian)
                means[name] = means.get(name, 0.0) + jacobian.sum(1) / positions**0.5
    removed = {name: mean.mT @ mean / examples**2 if centered else 0.0 for name, mean in means.items()}
    return {name: squares[name] / examples - removed[name] for name in squares}


def _gradient_rows(value: Tensor, shifts: tuple[Tensor, ...]) -> Tensor:
    gradients = torch.autograd.grad(value, shifts, retain_graph=True, materialize_grads=True)
    return torch.cat([gradient.reshape(-1, gradient.shape[-1]) for gradient in gradients])


def _example(batch: Batch, index: int) -> Batch:
    if isinstance(batch, Tensor):
        return _double(batch[index : index + 1])
    if isinstance(batch, tuple | list):
        return (_double(batch[0][index : index + 1]),)
    return {
        key: _double(value[index : index + 1]) if isinstance(value, Tensor) else value for key, value in batch.items()
    }


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
