"""One network while it is being measured: its layers, and their sums as they grow."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ansatzlab.errors import ModelError
from ansatzlab.measurement.gram import Accumulation, GradientSums, RunningSums
from ansatzlab.measurement.hooks import Use, differentiate, gradients_of, refuse_constant, visiting, watch
from ansatzlab.measurement.kinds import Blocks
from ansatzlab.measurement.layers import Layer
from ansatzlab.measurement.outputs import Batch, OutputPicker, call, describe, one_example, output_tensor, wider
from ansatzlab.measurement.probes import probe_gradients
from ansatzlab.measurement.seeds import Exact, Output, Seeds, Signs, cotangents, count_directions, for_outputs
from ansatzlab.measurement.selfcheck import check_batch

Backend = Literal["hooks", "probes"]

TALL = 4
"""A layer with at least so many times more outputs than inputs is summed in its column space, which is smaller."""


@dataclass
class Subject:
    """A network, its layers and their sums so far.

    Attributes:
        model: The network.
        layers: Its layers that are measured.
        initial: W₀ of each layer, where it was given.
        seeds: What to differentiate.
        output: How the outputs are found.
        accumulation: What to keep of the second moments.
        backend: How the output gradients are found.
        may_drop: Whether a layer that the outputs do not depend on is skipped, with the reason, instead of refused.
        skipped: The reasons.
        outputs: Which outputs were differentiated, in words.
        bases: For each tall layer an orthonormal basis of its column space, shape (o, q).
        coarsest: The coarsest dtype in which a layer computed.
        last: Under random signs, the layers whose output gradients are the signs themselves: K is a multiple of the
            identity but for the signs' error.
    """

    model: nn.Module
    layers: dict[str, Layer]
    initial: Mapping[str, Blocks]
    seeds: Seeds
    output: OutputPicker
    accumulation: Accumulation
    backend: Backend
    may_drop: bool
    skipped: dict[str, str] = field(default_factory=dict)
    outputs: str = ""
    bases: dict[str, Tensor] = field(default_factory=dict)
    coarsest: torch.dtype = torch.float64
    last: set[str] = field(default_factory=set)
    _sums: dict[str, RunningSums] = field(default_factory=dict)
    _count: int = 0
    _connected: set[str] = field(default_factory=set)
    _direction: Tensor = field(default_factory=lambda: torch.zeros(0, 0))

    def forward(self, batch: Batch, size: int, index: int) -> Tensor:
        """Compute the tensor of outputs on a batch."""
        return output_tensor(call(self.model, batch), self.output, size, index)

    def measure(self, batch: Batch, size: int, index: int, weights: Float[Tensor, " n"] | None, *, check: bool) -> None:
        """Add a batch to the sums, after checking it if asked to.

        Raises:
            ModelError: If the network cannot be measured as it is.
        """
        with watch(self.layers) as watched:
            picked = self.forward(batch, size, index)
        outputs = picked.reshape(size, -1)
        if not self._sums:
            self._begin(
                watched, size, describe(picked, self.output), outputs.shape[1], self._shared(watched, batch, size)
            )
        self._refuse_other_outputs(outputs.shape[1], index)
        uses = {name: watched[name] for name in self.layers}
        self._refuse_unread(uses, size)
        refuse_constant(outputs)
        if check:
            check_batch(
                self.model, lambda model: self._outputs(model, batch, size, index), self.layers, outputs.detach()
            )
        directions = self._noted(cotangents(self.seeds, outputs, picked, batch, index))
        gradients: Iterator[tuple[Tensor | None, ...]]
        count = count_directions(self.seeds, outputs.shape[1])
        if self.backend == "probes":
            probed = probe_gradients(
                lambda: self._outputs(self.model, batch, size, index), self.layers, uses, directions
            )
            gradients = _where_reached(probed, outputs, uses)
        else:
            handles = [use.outputs for found in uses.values() for use in found]
            gradients = differentiate(outputs, directions, count, handles)
        self._accumulate(gradients, uses, size, weights)
        self._drop_unconnected(lambda: self._outputs(self.model, batch, size, index))
        for name, sums in self._sums.items():
            if not sums.finite:
                raise ModelError(
                    f"measure: the output gradients at layer {name!r} are not finite in batch {index}; wanted finite "
                    "numbers; look for a division by zero or a square root at zero behind the layer"
                    f"{wider(outputs.dtype) or ', or scale the outputs down'}."
                )

    def finish(self) -> Mapping[str, GradientSums]:
        """Return the sums of every layer."""
        return {name: sums.finish() for name, sums in self._sums.items()}

    def weight(self, name: str) -> tuple[Blocks, Blocks | None]:
        """Return W and W₀ of a layer as they are kept: of a tall layer in the basis of its column space."""
        found = self.layers[name].blocks.clone(), self.initial.get(name)
        if name not in self.bases:
            return found
        basis = self.bases[name]
        first, second = (None if blocks is None else basis.mT @ blocks.to(basis) for blocks in found)
        assert first is not None
        return first, second

    def _noted(self, directions: Iterator[Tensor]) -> Iterator[Tensor]:
        for direction in directions:
            self._direction = direction
            yield direction

    def _outputs(self, model: object, batch: Batch, size: int, index: int) -> Float[Tensor, "n c"]:
        assert callable(model)
        return output_tensor(call(model, batch), self.output, size, index).reshape(size, -1)

    def _shared(self, uses: Mapping[str, list[Use]], batch: Batch, size: int) -> set[str]:
        """Name the layers that run on something that examples share, though its rows may fit the examples.

        They are told by one example alone: what they return stays as long, and is returned as often. So are the layers
        of a network that goes through its examples in a loop told from these.
        """
        doubtful = {
            name: layer
            for name, layer in self.layers.items()
            if size > 1
            and any(
                len(use.outputs) == 1
                or use.outputs.ndim < max(layer.parameter.ndim, 2 + (layer.map.kind == "embedding"))
                for use in uses[name]
            )
        }
        if not doubtful or not self.may_drop:
            return set()
        with watch(doubtful) as alone, torch.no_grad():
            call(self.model, one_example(batch, size))
        return {
            name
            for name in doubtful
            if [use.outputs.shape for use in alone[name]] == [use.outputs.shape for use in uses[name]]
        }

    def _begin(self, uses: Mapping[str, list[Use]], size: int, outputs: str, count: int, shared: set[str]) -> None:
        self.outputs, self.seeds, self._count = outputs, for_outputs(self.seeds, count), count
        for name, layer in list(self.layers.items()):
            reason = _why_unusable(layer, uses[name], size, name in shared) if self.may_drop else ""
            if reason:
                self.skipped[name] = reason
                del self.layers[name]
        if not self.layers:
            raise ModelError(
                f"measure: none of the layers {', '.join(uses)} ran as a module in the forward pass; wanted at least "
                "one; call modules rather than their weights."
            )
        directions = count_directions(self.seeds, count)
        self.last = set(self.layers) if isinstance(self.seeds, Signs) else set()
        self._sums = {name: RunningSums(directions, self.accumulation) for name in self.layers}
        for name, layer in self.layers.items():
            stacked = torch.cat([layer.blocks, *([self.initial[name]] if name in self.initial else [])], dim=-1)
            if len(stacked) == 1 and not layer.map.parts and stacked.shape[1] >= TALL * stacked.shape[2]:
                self.bases[name] = torch.linalg.qr(stacked[0].double()).Q

    def _refuse_other_outputs(self, count: int, index: int) -> None:
        """Refuse another number of outputs than in the first batch where an output has to be the same everywhere."""
        fixed = isinstance(self.seeds, Exact | Output) or (isinstance(self.seeds, Signs) and self.seeds.shared)
        if count != self._count and fixed:
            raise ModelError(
                f"measure: the model has {count} outputs in batch {index} and {self._count} in the first; wanted the "
                "same outputs for every example; take one position with output=Outputs(positions=…), pad the batches, "
                f"or use Signs(k), not shared, with k below {self._count}: from there on they are Exact()."
            )

    def _refuse_unread(self, uses: Mapping[str, list[Use]], size: int) -> None:
        for name, found in uses.items():
            if not found:
                raise ModelError(
                    f"measure: layer {name!r} was selected but never ran in the forward pass; wanted every selected "
                    "layer to be called as a module; leave it out with layers=, or call the module rather than its "
                    "weight."
                )
            for use in found:
                if use.outputs.ndim < self.layers[name].parameter.ndim or len(use.outputs) % size:
                    raise ModelError(
                        f"measure: layer {name!r} gives an output of shape {tuple(use.outputs.shape)} for {size} "
                        "examples; wanted all examples in the first dimension; move the batch dimension first "
                        "inside the model, call the layer on a whole batch, or leave it out with layers=."
                    )

    def _accumulate(
        self,
        gradients: Iterator[tuple[Tensor | None, ...]],
        uses: Mapping[str, list[Use]],
        size: int,
        weights: Float[Tensor, " n"] | None,
    ) -> None:
        for name, found in uses.items():
            shapes = [self._shape(name, use, size) for use in found]
            positions = sum(shape[1] for shape in shapes)
            self._sums[name].begin((size, positions, *shapes[0][2:]), weights)
            self.coarsest = max(self.coarsest, *(use.outputs.dtype for use in found), key=_coarseness)
        for direction, at_outputs in enumerate(gradients):
            at = iter(at_outputs)
            for name, calls in uses.items():
                for use in calls:
                    gradient = next(at)
                    if gradient is not None:
                        self._connected.add(name)
                    tensor = torch.zeros_like(use.outputs) if gradient is None else gradient.detach()
                    rows = self.layers[name].output_rows(tensor, size)
                    if name in self.last and not _is_multiple(rows, self._direction):
                        self.last.remove(name)
                    self._sums[name].add(self._in_basis(name, rows), direction)
        for sums in self._sums.values():
            sums.close(size)

    def _shape(self, name: str, use: Use, size: int) -> tuple[int, int, int, int]:
        """Return the shape of the rows of a use."""
        _, positions, groups, width = self.layers[name].output_rows(use.outputs.detach(), size).shape
        return size, positions, groups, self.bases[name].shape[1] if name in self.bases else width

    def _in_basis(self, name: str, rows: Float[Tensor, "n s g o"]) -> Float[Tensor, "n s g _q"]:
        basis = self.bases.get(name)
        return rows if basis is None else rows.double() @ basis.to(rows.device)

    def _drop_unconnected(self, outputs: object) -> None:
        """Deal with layers from which no gradient came: skip one that the outputs do not depend on at all."""
        assert callable(outputs)
        for name in [name for name in self.layers if name not in self._connected]:
            layer = self.layers[name]
            with torch.no_grad():
                plain = outputs()
                with visiting({name: layer}, lambda _layer, _inputs, output: output + output.abs().mean() + 1):
                    moved = outputs()
            if not self.may_drop or not torch.equal(plain, moved):
                raise ModelError(
                    f"measure: no differentiable path leads from layer {name!r} to the network's output; wanted one; "
                    "leave the layer out with layers=, or look for detach() or a non-differentiable step behind it."
                )
            self.skipped[name] = "the outputs do not depend on it"
            del self.layers[name], self._sums[name]
            self.bases.pop(name, None)


def _where_reached(
    probed: Iterator[tuple[Tensor, ...]], outputs: Float[Tensor, "n c"], uses: Mapping[str, list[Use]]
) -> Iterator[tuple[Tensor | None, ...]]:
    """Put None, as autograd does, where no path leads; a probe has a zero gradient there."""
    handles = [use.outputs for found in uses.values() for use in found]
    reached = gradients_of(outputs.sum(), handles)
    for gradients in probed:
        yield tuple(found if way is not None else None for found, way in zip(gradients, reached, strict=True))


def _is_multiple(rows: Float[Tensor, "n s g o"], direction: Float[Tensor, "n c"]) -> bool:
    """Whether the gradient at every position is a multiple of the signs of all outputs, or of that position's own."""
    _, positions, groups, width = rows.shape
    if groups > 1 or direction.shape[1] not in (width, positions * width):
        return False
    wanted = direction.to(rows).reshape(len(rows), -1, width)
    factors = (rows[:, :, 0] * wanted).mean(-1, keepdim=True) / wanted.square().mean(-1, keepdim=True)
    distances = (rows[:, :, 0] - factors * wanted).abs().amax(-1)
    return bool((distances <= 4 * torch.finfo(rows.dtype).eps * rows[:, :, 0].abs().amax(-1)).all())


def _coarseness(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def _why_unusable(layer: Layer, uses: list[Use], size: int, shared: bool) -> str:
    if not uses:
        return "never ran as a module in the forward pass"
    if shared or (layer.map.kind == "embedding" and any(len(use.outputs) % size for use in uses)):
        return "runs once for all examples, on an input that they share"
    return ""
