"""The truth that the fast measurement is tested against: slow, in float64, by definition.

One example at a time, one output at a time, the gradient by a shift of what **enters** each layer. Shared with the fast
path are the choice of layers and how a kind reads rows; the identity ``G = Wᵀ K W`` and the sums are not.
"""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ansatzlab.linalg.psd import direct_sum
from ansatzlab.measurement.hooks import running_plainly, visiting
from ansatzlab.measurement.kinds import adjoint
from ansatzlab.measurement.layers import Layer, Selector, detached_copy, select_layers
from ansatzlab.measurement.outputs import Batch, OutputPicker, as_batches, batch_size, call, one_example, output_tensor
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
    twin = detached_copy(model).double()
    chosen, _ = select_layers(twin, list(select_layers(model, layers)[0]))
    shifts: dict[str, list[Tensor]] = {}

    def shift_copy(layer: Layer, _: Tensor, outputs: Tensor) -> Tensor:
        """Move the copies of the input rows that enter this map, all places at once, by a shift that is zero."""
        rows = layer.map.outputs(outputs)
        shift = rows.new_zeros(*rows.shape[:3], layer.blocks.shape[-1]).requires_grad_()
        shifts[layer.name].append(shift)
        return outputs + adjoint(layer.map.outputs, outputs, torch.einsum("nsgi,goi->nsgo", shift, layer.blocks))

    squares: dict[str, Tensor] = {}
    means: dict[str, Tensor] = {}
    examples = 0
    with running_plainly(twin), visiting(chosen, shift_copy):
        for index, batch in enumerate(as_batches(batches)):
            size = batch_size(batch, index)
            for example in range(size):
                shifts.update({name: [] for name in chosen})
                outputs = output_tensor(
                    call(twin, _double(one_example(batch, size, example))), output, 1, index
                ).reshape(-1)
                examples += 1
                for name, found in {name: tuple(found) for name, found in shifts.items() if found}.items():
                    jacobian = torch.stack([_gradient_rows(value, found) for value in outputs])
                    squares[name] = squares.get(name, 0.0) + torch.einsum("cpgi,cpgj->gij", jacobian, jacobian)
                    means[name] = means.get(name, 0.0) + jacobian.sum(1) / jacobian.shape[1] ** 0.5
    removed = {
        name: torch.einsum("cgi,cgj->gij", mean, mean) / examples**2 if centered else 0.0
        for name, mean in means.items()
    }
    return {name: direct_sum(square / examples - removed[name]) for name, square in squares.items()}


def _gradient_rows(value: Tensor, shifts: tuple[Tensor, ...]) -> Float[Tensor, "p g i"]:
    gradients = torch.autograd.grad(value, shifts, retain_graph=True, materialize_grads=True)
    return torch.cat([gradient.flatten(0, 1) for gradient in gradients])


def _double(batch: Batch) -> Batch:
    if isinstance(batch, Mapping):
        return {key: _double(value) if isinstance(value, Tensor) else value for key, value in batch.items()}
    if isinstance(batch, Tensor):
        return batch.double() if batch.is_floating_point() else batch
    return tuple(map(_double, batch))
