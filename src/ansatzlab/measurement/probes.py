"""Output gradients as a pure function: a zero tensor, a probe, is added to each layer's output and differentiated by.

Composes with `torch.func.vmap`, over stacked networks for example, where hooks that keep tensors do not.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from ansatzlab.errors import ModelError
from ansatzlab.linalg.psd import triangular_factor
from ansatzlab.measurement.hooks import Use, visiting, watch
from ansatzlab.measurement.layers import Layer, Selector, select_layers
from ansatzlab.measurement.outputs import Batch, OutputPicker, batch_size, call, output_tensor


def probe_gradients(
    outputs: Callable[[], Float[Tensor, "n c"]],
    layers: Mapping[str, Layer],
    uses: Mapping[str, list[Use]],
    directions: Iterable[Float[Tensor, "n c"]],
) -> Iterator[tuple[Tensor, ...]]:
    """Differentiate the outputs along each direction by a probe at every use of every layer.

    Args:
        outputs: Computes the outputs.
        layers: The layers by name.
        uses: Their uses in one such computation, for the shapes.
        directions: Directions in output space.

    Yields:
        For each direction the gradients, in the order of the layers and their uses.

    Raises:
        ModelError: If the network does what `torch.func` cannot differentiate.
    """
    pull = _pull(outputs, layers, uses)
    for direction in directions:
        yield pull(direction)


def output_grams(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    inputs: Batch,
    *,
    layers: Selector = None,
    output: OutputPicker = None,
) -> dict[str, Float[Tensor, "g o o"]]:
    """Compute K, the mean second moment of the output gradients, of every layer, as a pure function of the parameters.

    Definition:
        ``K = (1/n) Σ_x Σ_c Σ_p b bᵀ``, as `ansatzlab.measure` sums it with `Exact` seeds; the AGOP is ``Wᵀ K W``.

    Args:
        model: The network, for its structure; its own parameters are not used in the result.
        parameters: Its parameters (and buffers) by name.
        inputs: One batch.
        layers: As for `measure`.
        output: As for `measure`.

    Returns:
        For each layer K, shape (g, o, o), in the model's dtype.

    Raises:
        ModelError: If the network does what `torch.func` cannot differentiate.

    Cost:
        One forward pass for the shapes and one, with c backward passes at once, for the gradients.

    Example:
        >>> nets = [nn.Linear(3, 2).double() for _ in range(4)]
        >>> stacked, _ = torch.func.stack_module_state(nets)
        >>> grams = vmap(lambda parameters: output_grams(nets[0], parameters, torch.ones(5, 3).double()))(stacked)
        >>> grams[""].shape
        torch.Size([4, 1, 2, 2])
    """
    rows = _output_rows(model, parameters, inputs, layers, output)
    return {name: part.mT @ part for name, part in rows.items()}


def output_factors(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    inputs: Batch,
    *,
    layers: Selector = None,
    output: OutputPicker = None,
) -> dict[str, Float[Tensor, "g p o"]]:
    """Compute the triangular R with ``RᵀR = K`` of every layer (see `output_grams`): K's small modes survive in it.

    Args:
        model: The network, for its structure.
        parameters: Its parameters (and buffers) by name.
        inputs: One batch.
        layers: As for `measure`.
        output: As for `measure`.

    Returns:
        For each layer R, shape (g, p, o), in the model's dtype.

    Raises:
        ModelError: If the network does what `torch.func` cannot differentiate.
    """
    rows = _output_rows(model, parameters, inputs, layers, output)
    return {name: triangular_factor(part) for name, part in rows.items()}


def _output_rows(
    model: nn.Module, parameters: Mapping[str, Tensor], inputs: Batch, layers: Selector, output: OutputPicker
) -> dict[str, Float[Tensor, "g r o"]]:
    """Return every layer's output gradients over √n: of all examples, outputs, positions and uses, one a row."""
    size = batch_size(inputs, 0, check=False)
    chosen, _ = select_layers(model, layers)

    def outputs_of(network: Callable[..., Any]) -> Tensor:
        return output_tensor(call(network, inputs), output, size, 0, check=False).reshape(size, -1)

    with watch(chosen) as uses:
        count = outputs_of(model).shape[1]
    ran = {name: layer for name, layer in chosen.items() if uses[name]}
    found = {name: uses[name] for name in ran}

    def outputs() -> Tensor:
        return outputs_of(lambda *args, **kwargs: functional_call(model, dict(parameters), args, kwargs))

    pull = _pull(outputs, ran, found)
    like = next(use.outputs for calls in found.values() for use in calls)
    directions = torch.eye(count, dtype=like.dtype, device=like.device)[:, None].expand(count, size, count)
    gradients = iter(vmap(pull)(directions))
    rows = {}
    for name, calls in found.items():
        parts = [vmap(lambda g, layer=ran[name]: layer.output_rows(g, size))(next(gradients)) for _ in calls]
        rows[name] = torch.cat([part.movedim(3, 0).flatten(1, 3) for part in parts], dim=1) / size**0.5
    return rows


def _pull(
    outputs: Callable[[], Tensor], layers: Mapping[str, Layer], uses: Mapping[str, list[Use]]
) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Return what takes a direction in output space to the gradient at each probe."""
    probes = tuple(torch.zeros_like(use.outputs) for found in uses.values() for use in found)
    try:
        pull: Callable[[Tensor], tuple[Tensor, ...]] = vjp(
            lambda *given: _with_probes(outputs, layers, uses, given), *probes
        )[1]
    except RuntimeError as error:
        if not any(words in str(error) for words in _NOT_IN_FUNC):
            raise
        raise ModelError(
            f"measure(backend='probes'): torch.func cannot differentiate this model ({' '.join(str(error).split())}); "
            "wanted no checkpointing and no autograd.Function without setup_context in it; switch these off, or "
            "measure with backend='hooks'."
        ) from error
    return pull


_NOT_IN_FUNC = ("saved tensor hooks", "functorch", "torch.func")
"""Words of torch's own refusals, by which they are told from errors inside the model."""


def _with_probes(
    outputs: Callable[[], Tensor],
    layers: Mapping[str, Layer],
    uses: Mapping[str, list[Use]],
    probes: tuple[Tensor, ...],
) -> Tensor:
    waiting: dict[str, list[Tensor]] = {}
    at = iter(probes)
    for name, calls in uses.items():
        waiting[name] = [next(at) for _ in calls]

    def add(layer: Layer, _inputs: Tensor, output: Tensor) -> Tensor:
        return output + waiting[layer.name].pop(0)

    with visiting(layers, add):
        return outputs()
