"""Convolutions against a truth that shares no code with the layer kinds.

Each is rebuilt here from its definition, what enters it (the patches; of a transposed one the input vectors) is a leaf,
and its Jacobian is autograd's.
"""

import itertools
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from ansatzlab.measurement.run import measure
from ansatzlab.testing.cases import normal
from ansatzlab.testing.compare import assert_close

EXAMPLES = 2

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


class Readout(nn.Module):
    """Two outputs that depend on every entry of a layer's output, unequally and not linearly."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return read(self.layer(x))


def read(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    weights = torch.cos(torch.arange(1, 2 * flat.shape[1] + 1, dtype=flat.dtype)).reshape(2, -1)
    return torch.tanh(flat + 0.3 * flat.square()) @ weights.T


def jacobian_gram(output: Tensor, leaves: Tensor) -> Tensor:
    """Sum over outputs and rows of g gᵀ, for leaves of shape (rows, features)."""
    gradients = torch.stack([torch.autograd.grad(value, leaves, retain_graph=True)[0] for value in output])
    return torch.einsum("cpi,cpj->ij", gradients, gradients)


def padded(example: Tensor, module: nn.Module) -> Tensor:
    """Pad (channels, …) by the definition of ``padding`` and ``padding_mode``, one index at a time."""
    sides = []
    for size, kernel, dilation, index in zip(
        example.shape[1:], module.kernel_size, module.dilation, itertools.count(), strict=False
    ):
        if module.padding == "same":
            total = dilation * (kernel - 1)
            left, right = total // 2, total - total // 2
        else:
            left = right = module.padding[index]
        places = range(-left, size + right)
        if module.padding_mode == "circular":
            sides.append([place % size for place in places])
        elif module.padding_mode == "replicate":
            sides.append([min(max(place, 0), size - 1) for place in places])
        elif module.padding_mode == "reflect":
            sides.append([(size - 1) - abs((size - 1) - abs(place)) for place in places])
        else:
            sides.append([place if 0 <= place < size else None for place in places])
    grown = example.new_zeros(example.shape[0], *map(len, sides))
    for target in itertools.product(*(range(len(side)) for side in sides)):
        source = [side[place] for side, place in zip(sides, target, strict=True)]
        if None not in source:
            grown[(slice(None), *target)] = example[(slice(None), *source)]
    return grown


def convolution_agop(module: nn.Module, batch: Tensor) -> Tensor:
    """Cut the patches with loops, multiply each by the group's weights, and differentiate by the patches."""
    groups, kernel = module.groups, module.kernel_size
    inside, outside = module.in_channels // groups, module.out_channels // groups
    width = inside * math.prod(kernel)
    weight = module.weight.detach().reshape(groups, outside, width)
    total = batch.new_zeros(groups * width, groups * width)
    for example in batch:
        grown = padded(example, module)
        counts = [
            (size - dilation * (taps - 1) - 1) // stride + 1
            for size, taps, stride, dilation in zip(
                grown.shape[1:], kernel, module.stride, module.dilation, strict=True
            )
        ]
        patches = []
        for place in itertools.product(*map(range, counts)):
            for group in range(groups):
                rows = []
                for channel in range(group * inside, (group + 1) * inside):
                    for tap in itertools.product(*map(range, kernel)):
                        at = [
                            p * s + t * d for p, s, t, d in zip(place, module.stride, tap, module.dilation, strict=True)
                        ]
                        rows.append(grown[(channel, *at)])
                patches.append(torch.stack(rows))
        leaves = torch.stack(patches).requires_grad_()  # (places · groups, width)
        features = torch.einsum("pgi,goi->gop", leaves.reshape(-1, groups, width), weight).reshape(-1, *counts)
        if module.bias is not None:
            features = features + module.bias.detach().reshape(-1, *[1] * len(counts))
        torch.testing.assert_close(features[None], module(example[None]))
        gradients = [torch.autograd.grad(value, leaves, retain_graph=True)[0] for value in read(features[None])[0]]
        for gradient in gradients:
            for group, block in enumerate(gradient.reshape(-1, groups, width).unbind(1)):
                span = slice(group * width, (group + 1) * width)
                total[span, span] += block.T @ block
    return total / len(batch)


def transposed_agop(module: nn.Module, batch: Tensor) -> Tensor:
    """Differentiate by the input vector at each place, scattered into the output with loops."""
    groups = module.groups
    inside, outside = module.in_channels // groups, module.out_channels // groups
    weight = module.weight.detach()
    total = batch.new_zeros(module.in_channels, module.in_channels)
    for example in batch:
        sizes = example.shape[1:]
        lengths = [
            (size - 1) * s - 2 * p + d * (k - 1) + more + 1
            for size, s, p, d, k, more in zip(
                sizes,
                module.stride,
                module.padding,
                module.dilation,
                module.kernel_size,
                module.output_padding,
                strict=True,
            )
        ]
        places = list(itertools.product(*map(range, sizes)))
        leaves = torch.stack([example[(slice(None), *place)] for place in places]).requires_grad_()
        columns = {}
        for vector, place in zip(leaves, places, strict=True):
            for tap in itertools.product(*map(range, module.kernel_size)):
                at = tuple(
                    place[a] * module.stride[a] + tap[a] * module.dilation[a] - module.padding[a]
                    for a in range(len(sizes))
                )
                if all(0 <= where < length for where, length in zip(at, lengths, strict=True)):
                    kernel = weight[(..., *tap)].reshape(groups, inside, outside)
                    sent = torch.einsum("gi,gio->go", vector.reshape(groups, inside), kernel).reshape(-1)
                    columns[at] = columns.get(at, 0.0) + sent
        zero = 0.0 * leaves.sum() * weight.new_ones(module.out_channels)  # a place that no input reaches
        found = [columns.get(at, zero) for at in itertools.product(*map(range, lengths))]
        features = torch.stack(found, dim=1).reshape(module.out_channels, *lengths)
        if module.bias is not None:
            features = features + module.bias.detach().reshape(-1, *[1] * len(sizes))
        torch.testing.assert_close(features[None], module(example[None]))
        for value in read(features[None])[0]:
            gradient = torch.autograd.grad(value, leaves, retain_graph=True)[0]
            for group, block in enumerate(gradient.reshape(-1, groups, inside).unbind(1)):
                span = slice(group * inside, (group + 1) * inside)
                total[span, span] += block.T @ block
    return total / len(batch)


def seeded(build, *arguments, **options) -> nn.Module:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using padding='same'")
        torch.manual_seed(0)
        return build(*arguments, **options).double().eval()


@st.composite
def convolutions(draw: st.DrawFn, dims: int):
    """Draw a convolution and an input on which it has at least one output."""
    groups = draw(st.sampled_from([1, 2, 3]))
    inside, outside = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    largest = 3 if dims < 3 else 2
    kernel = tuple(draw(st.integers(1, largest)) for _ in range(dims))
    dilation = tuple(draw(st.integers(1, largest)) for _ in range(dims))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(dims))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "circular", "replicate"]))
    same = draw(st.booleans()) and mode == "zeros"
    padding = tuple(draw(st.integers(0, 1 if mode == "reflect" else 2)) for _ in range(dims))
    sizes = []
    for k, d, p in zip(kernel, dilation, padding, strict=True):
        smallest = max(1, d * (k - 1) + 1 - (0 if same else 2 * p), 1 if same else p + (mode == "reflect"))
        sizes.append(smallest + draw(st.integers(0, 2 if dims < 3 else 1)))
    module = seeded(
        CONVOLUTIONS[dims],
        groups * inside,
        groups * outside,
        kernel,
        stride=1 if same else stride,
        padding="same" if same else padding,
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=mode,
    )
    return module, normal(EXAMPLES, groups * inside, *sizes)


@st.composite
def transposed_convolutions(draw: st.DrawFn, dims: int):
    groups = draw(st.sampled_from([1, 2, 3]))
    inside, outside = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    largest = 3 if dims < 3 else 2
    kernel = tuple(draw(st.integers(1, largest)) for _ in range(dims))
    dilation = tuple(draw(st.integers(1, largest)) for _ in range(dims))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(dims))
    more = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    sizes = [draw(st.integers(1, 3 if dims < 3 else 2)) for _ in range(dims)]
    padding = []
    for size, k, d, s, extra in zip(sizes, kernel, dilation, stride, more, strict=True):
        length = (size - 1) * s + d * (k - 1) + extra + 1
        padding.append(draw(st.integers(0, min(2, (length - 1) // 2))))
    module = seeded(
        TRANSPOSED[dims],
        groups * inside,
        groups * outside,
        kernel,
        stride=stride,
        padding=tuple(padding),
        output_padding=more,
        groups=groups,
        bias=draw(st.booleans()),
        dilation=dilation,
    )
    return module, normal(EXAMPLES, groups * inside, *sizes)


def check(module: nn.Module, batch: Tensor, truth: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using padding='same'")
        measured = measure(Readout(module), batch)["layer"]
    assert_close(measured.agop(), truth, what=repr(module))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_convolution_is_its_patches(dims: int):
    @settings(max_examples=60 if dims < 3 else 30, deadline=None, derandomize=True)
    @given(drawn=convolutions(dims))
    def all_combinations(drawn) -> None:
        module, batch = drawn
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Using padding='same'")
            truth = convolution_agop(module, batch)
        check(module, batch, truth)

    all_combinations()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_transposed_convolution_is_the_vectors_that_it_spreads(dims: int):
    @settings(max_examples=60 if dims < 3 else 30, deadline=None, derandomize=True)
    @given(drawn=transposed_convolutions(dims))
    def all_combinations(drawn) -> None:
        module, batch = drawn
        check(module, batch, transposed_agop(module, batch))

    all_combinations()


def test_an_unfolded_convolution_agrees_with_the_loops():
    """A second way: torch's own unfold."""
    module = seeded(nn.Conv2d, 3, 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2))
    batch = normal(EXAMPLES, 3, 6, 5)
    total = torch.zeros(18, 18, dtype=torch.float64)
    for example in batch:
        patches = functional.unfold(example[None], (3, 2), dilation=(1, 2), padding=(1, 2), stride=(2, 1))[0].T
        leaves = patches.clone().requires_grad_()
        features = (leaves @ module.weight.detach().reshape(4, -1).T + module.bias.detach()).T[None]
        total += jacobian_gram(read(features)[0], leaves)
    check(module, batch, total / EXAMPLES)
