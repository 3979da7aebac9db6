"""Sums of a loss's gradients and of what goes into each layer: what FACT, eNFA and the plain Gram are read from."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ansatzlab.measurement.hooks import gradients_of, running_plainly, watch
from ansatzlab.measurement.layers import Layer, Selector, detached_copy, select_layers
from ansatzlab.measurement.outputs import Batch, OutputPicker, as_batches, batch_size, call, output_tensor
from ansatzlab.measurement.seeds import LossGradient, cotangents

Loss = Callable[[Tensor, Any], Tensor]
"""From the outputs and the batch to one loss per example, shape (n,)."""

WIDEST = 4096
"""Of a layer with more inputs than this the second moment of what goes in is not formed."""


@dataclass(frozen=True)
class LossSums:
    """One layer's means over examples, b the gradient of an example's loss at the layer's output, h what goes in.

    Attributes:
        weight: W, shape (g, o, i).
        second_moment: ``Σ b bᵀ / n`` over examples and positions, shape (g, o, o).
        gradient: ``Σ b hᵀ / n``: the gradient of the mean loss by this use of W, shape (g, o, i).
        inputs: ``Σ h hᵀ / n``, shape (g, i, i); None of one-hot inputs, and of more inputs than `WIDEST`.
        centered_inputs: ``Σ (h − h̄)(h − h̄)ᵀ / n``, h̄ the mean over examples and positions; None likewise.
        dtype: The dtype in which the network computed.
    """

    weight: Float[Tensor, "g o i"]
    second_moment: Float[Tensor, "g o o"]
    gradient: Float[Tensor, "g o i"]
    inputs: Float[Tensor, "g i i"] | None
    centered_inputs: Float[Tensor, "g i i"] | None
    dtype: torch.dtype


def sum_losses(
    model: nn.Module, batches: Iterable[Batch] | Batch, loss: Loss, *, layers: Selector, output: OutputPicker = None
) -> Mapping[str, LossSums]:
    """Run the network and its loss once over the data and sum, for every layer, what the rivals are read from.

    Conventions:
        The gradient is that by the copy of the input that enters this layer, times what went in: of a weight that is
        used elsewhere too, its other uses are not in it.

    Args:
        model: The network; a copy of it is differentiated.
        batches: As for `ansatzlab.measurement.run.measure`.
        loss: One loss per example, from the outputs and the batch.
        layers: The layers.
        output: Picks the output tensor from what the model returns.

    Returns:
        The sums by the layers' names, float64.

    Raises:
        InputError: If the batches or the loss are not usable.
        ModelError: If the network cannot be differentiated.

    Cost:
        A forward and a backward pass a batch; i² numbers a layer for what goes in.
    """
    twin = detached_copy(model)
    chosen, _ = select_layers(twin, layers)
    running = {name: _Running(layer) for name, layer in chosen.items()}
    seen = 0
    with ExitStack() as stack:
        stack.enter_context(running_plainly(twin))
        stack.enter_context(torch.random.fork_rng(devices=_devices(twin)))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for index, batch in enumerate(as_batches(batches)):
            size = batch_size(batch, index)
            seen += size
            with watch(chosen, keep_inputs=True) as uses:
                picked = output_tensor(call(twin, batch), output, size, index)
            outputs = picked.reshape(size, -1)
            (direction,) = cotangents(LossGradient(loss), outputs, picked, batch, index)
            handles = [use.outputs for found in uses.values() for use in found]
            gradients = iter(gradients_of((outputs * direction).sum(), handles, keep_graph=False))
            for name, found in uses.items():
                for use in found:
                    gradient = next(gradients)
                    running[name].add(use.inputs, torch.zeros_like(use.outputs) if gradient is None else gradient, size)
    return {name: sums.finish(seen) for name, sums in running.items()}


class _Running:
    """The sums of one layer while batches pass."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        groups, height, width = layer.blocks.shape
        zeros = layer.blocks.new_zeros
        self._moment = zeros(groups, height, height, dtype=torch.float64)
        self._gradient = zeros(groups, height, width, dtype=torch.float64)
        dense = not layer.map.one_hot and width <= WIDEST
        self._inputs = zeros(groups, width, width, dtype=torch.float64) if dense else None
        self._mean = zeros(groups, width, dtype=torch.float64)
        self._rows = 0

    def add(self, inputs: Tensor, gradient: Tensor, size: int) -> None:
        layer = self._layer
        went_in = layer.input_rows(inputs, size)
        b = layer.output_rows(gradient.detach(), size).double()
        self._rows += b.shape[0] * b.shape[1]
        self._moment += torch.einsum("nsgo,nsgp->gop", b, b)
        self._gradient += layer.map.outer_products(layer.blocks.double(), b, went_in)[0]
        if self._inputs is not None:
            h = went_in.double()
            self._inputs += torch.einsum("nsgi,nsgj->gij", h, h)
            self._mean += h.sum((0, 1))

    def finish(self, examples: int) -> LossSums:
        inputs = centered = None
        if self._inputs is not None:
            inputs = self._inputs / examples
            centered = inputs - torch.einsum("gi,gj->gij", self._mean, self._mean) / (self._rows * examples)
        return LossSums(
            weight=self._layer.blocks.double(),
            second_moment=self._moment / examples,
            gradient=self._layer.map.kept_gradient(self._gradient) / examples,
            inputs=inputs,
            centered_inputs=centered,
            dtype=self._layer.blocks.dtype,
        )


def _devices(model: nn.Module) -> list[int]:
    return sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
