"""What the law asks of a network: one output, matrices without biases, homogeneous in each of them."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.func import functional_call

from ansatzlab.errors import ModelError
from ansatzlab.laws.kuzborskij2025lowrank.descent import ACTIVATIONS, forward

FACTOR = 1024.0
"""By what a matrix is multiplied to see how the outputs answer: large, to leave where tanh looks linear, and a power of
two, which rounding does not see."""

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3}
"""How far outputs that should agree may be from one another, relative to the largest."""


DRAWS = 64
"""How many random draws of weights are tried until one is found at which a network's outputs are not zero."""


@dataclass(frozen=True)
class Network:
    """A homogeneous network, as the law sees it.

    Attributes:
        weights: The parameters by name, first to last, detached.
        trained: The names of those that require gradients.
        degrees: For each trained one the power p by which the outputs grow with it: ``f(c W) = c^p f(W)``.
        activation: If the network is ``W_K σ(… σ(W_1 x))`` with one output and σ of
            `ansatzlab.laws.kuzborskij2025lowrank.descent.ACTIVATIONS`, the name of σ; else empty.
    """

    weights: Mapping[str, Tensor]
    trained: tuple[str, ...]
    degrees: Mapping[str, int]
    activation: str

    @property
    def matrices(self) -> list[Tensor]:
        """All parameters in order; of a chain they are its matrices."""
        return list(self.weights.values())


class SquaredReLU(nn.Module):
    """``relu(z)²``, of degree 2."""

    def forward(self, z: Tensor) -> Tensor:
        """Return the value."""
        return z.clamp_min(0).square()


MODULES: dict[str, type[nn.Module]] = {"identity": nn.Identity, "relu": nn.ReLU, "relu_squared": SquaredReLU}


def chain_module(weights: Sequence[Tensor], activation: str, frozen: Collection[int] = ()) -> nn.Sequential:
    """Return the network ``W_K σ(… σ(W_1 x))`` with copies of the given matrices.

    Args:
        weights: The matrices.
        activation: A name in `MODULES`.
        frozen: The places of matrices that do not require gradients.

    Returns:
        Linear layers without biases, with the activation between them.
    """
    modules: list[nn.Module] = []
    for place, weight in enumerate(weights):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
        layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=place not in frozen)
        modules += [*([MODULES[activation]()] if place else []), layer]
    return nn.Sequential(*modules)


def evaluate(model: nn.Module, inputs: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Float[Tensor, " n"]:
    """Return a network's outputs at given parameters; neither it nor torch's generator is changed.

    Args:
        model: The network.
        inputs: The examples.
        parameters: Parameters by name that stand for its own; None for its own.

    Returns:
        One output an example.

    Raises:
        ModelError: If it cannot be evaluated on the inputs or has more than one output.
    """
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        try:
            outputs = functional_call(model, {**buffers, **(parameters or {})}, (inputs,))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise ModelError(
                f"{type(model).__name__}: cannot be evaluated on inputs of dtype {inputs.dtype} and shape "
                f"{tuple(inputs.shape)}: {' '.join(str(error).split())}"
            ) from error
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) not in ((len(inputs),), (len(inputs), 1)):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ModelError(
            f"{type(model).__name__}: got outputs of shape {shape} for {len(inputs)} examples; wanted one number an "
            "example, whose sign is the class; the law is about networks with one output."
        )
    return outputs.reshape(-1)


@contextmanager
def naming(which: str) -> Iterator[None]:
    """Say of which of several networks a refusal is."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{which}: {error}") from error


def widened(model: nn.Module, inputs: Tensor) -> tuple[nn.Module, Tensor]:
    """Return a network and inputs in at least float32: themselves, or a copy where a parameter is narrower.

    Singular values are not to be had in half precision, and its sums of squares overflow.
    """
    narrow = any(p.is_floating_point() and p.dtype.itemsize < torch.float32.itemsize for p in model.parameters())
    return (deepcopy(model).float(), inputs.float()) if narrow else (model, inputs)


def plain(value: Mapping[str, object]) -> dict[str, object]:
    """Return a record, nested or not, as what JSON can hold: tuples as lists, a number that is not finite as None."""

    def told(each: object) -> object:
        if isinstance(each, Mapping):
            return plain(each)
        if isinstance(each, list | tuple):
            return [told(item) for item in each]
        return None if isinstance(each, float) and not math.isfinite(each) else each

    return {name: told(each) for name, each in value.items()}


def read_network(model: nn.Module, inputs: Tensor) -> Network:
    """Check that a network is one that the law speaks of, and read its parameters.

    Conventions:
        Whether it is homogeneous is tried out and not read off its modules: the network is evaluated at random matrices
        of its shapes, with each in turn multiplied by `FACTOR`, on the inputs scaled to size one. So a module of the
        user's own will do, whatever it calls.

    Args:
        model: The network; it is not changed.
        inputs: Examples that it accepts.

    Returns:
        The network's parameters and degrees.

    Raises:
        ModelError: If it has biases or other trained parameters that are no matrices, nothing that is trained, weights
            that are not finite, more than one output, outputs that differ from call to call, or is not homogeneous in
            one of its matrices.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 1, bias=False))
        >>> found = read_network(model, torch.ones(2, 3))
        >>> found.degrees, found.activation
        ({'0.weight': 1, '2.weight': 1}, 'relu')
    """
    where = type(model).__name__
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    trained = tuple(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    flat = [name for name in trained if parameters[name].ndim < 2]
    if flat or not trained:
        raise ModelError(
            f"{where}: got {'the trained parameters ' + ', '.join(flat) if flat else 'no trained parameter'}; wanted "
            "trained weight matrices and no biases, which break the homogeneity that the law rests on; build the "
            "layers with bias=False."
        )
    broken = [name for name, parameter in parameters.items() if not bool(parameter.isfinite().all())]
    if broken:
        raise ModelError(f"{where}: got weights that are not finite: {', '.join(broken)}; wanted finite ones.")
    probe = inputs / inputs.square().mean().sqrt().clamp_min(torch.finfo(inputs.dtype).tiny)
    with torch.no_grad():
        drawn, base = _drawn(model, probe, parameters, trained)
        twice = evaluate(model, torch.cat([probe, probe]), drawn).view(2, -1)
        if not float((twice - base).abs().max()) <= _tolerance(base):
            raise ModelError(f"{where}: its outputs differ for the same input; wanted fixed ones; call model.eval().")
        degrees = {name: _degree(model, name, probe, drawn, base) for name in trained}
        return Network(parameters, trained, degrees, _activation(list(drawn.values()), probe, base))


def _tolerance(outputs: Tensor) -> float:
    return TOLERANCES.get(outputs.dtype, 0.05) * float(outputs.abs().max())


def _drawn(
    model: nn.Module, probe: Tensor, parameters: Mapping[str, Tensor], trained: Sequence[str]
) -> tuple[dict[str, Tensor], Tensor]:
    """Return random weights at which the outputs are not all zero, as a thin ReLU network's are at many, and these."""
    for seed in range(DRAWS):
        drawn = {**parameters, **_random_like({name: parameters[name] for name in trained}, seed)}
        base = evaluate(model, probe, drawn)
        if bool(base.any()):
            return drawn, base
    raise ModelError(
        f"{type(model).__name__}: its outputs are zero on all inputs, with random weights too; give other inputs."
    )


def _random_like(weights: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    generator = Generator().manual_seed(seed)
    return {
        name: (torch.randn(weight.shape, generator=generator) * math.prod(weight.shape[1:]) ** -0.5).to(weight)
        for name, weight in weights.items()
    }


def _degree(model: nn.Module, name: str, probe: Tensor, drawn: Mapping[str, Tensor], base: Tensor) -> int:
    grown = evaluate(model, probe, {**drawn, name: FACTOR * drawn[name]})
    ratio = float(grown.norm() / base.norm())
    degree = round(math.log(ratio, FACTOR)) if 0 < ratio < math.inf else 0
    if degree < 1 or not float((grown - FACTOR**degree * base).abs().max()) <= _tolerance(grown):
        raise ModelError(
            f"{type(model).__name__}: is not homogeneous in {name}: with it multiplied by {FACTOR:g} the outputs are "
            f"multiplied by no one positive power of that (their norm by {ratio:.4g}); wanted layers without biases, "
            "with activations such as ReLU or none; the law does not speak of others, such as tanh."
        )
    return degree


def _activation(weights: Sequence[Tensor], probe: Tensor, outputs: Tensor) -> str:
    """Return the activation with which a chain of these matrices gives these outputs; empty if there is none."""
    chained = all(weight.ndim == 2 for weight in weights) and all(
        a.shape[0] == b.shape[1] for a, b in pairwise(weights)
    )
    if not chained or probe.ndim != 2 or weights[0].shape[1] != probe.shape[1] or weights[-1].shape[0] != 1:
        return ""
    for name in ACTIVATIONS:
        if float((forward(weights, probe, name)[-1][:, 0] - outputs).abs().max()) <= _tolerance(outputs):
            return name
    return ""
