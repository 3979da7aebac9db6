"""Initialisation schemes, among them exactly balanced weights."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.shapes import Weight

Scheme: TypeAlias = Callable[[Sequence[nn.Linear], Generator], None]
"""Fills the weights of all layers, in order; the biases are zero when it is called."""

WeightRule: TypeAlias = Callable[[Tensor, Generator], Tensor]
"""Fills one weight (o, i) in place and returns it."""


def initialize(
    model: nn.Module,
    scheme: str,
    *,
    seed: int,
    scale: float = 1.0,
    singular_values: Sequence[float] | None = None,
) -> None:
    """Overwrite the parameters of a network of linear layers, in place, from a seed.

    Definition:
        Weights ``W_l`` (o, i) by scheme, independent from layer to layer except for ``balanced``:

        - ``balanced``: see ``balanced``
        - ``gaussian``: N(0, 1/i); ``small``: N(0, 1e-4/i)
        - ``he``: N(0, 2/i); ``xavier``: N(0, 2/(i + o))
        - ``orthogonal``: Haar, orthonormal along the smaller side
        - ``identity``: ones on the diagonal, zero elsewhere
        - ``pytorch_default``: uniform in ±1/√i, weights and biases alike

        Then every parameter is multiplied by ``scale``. Biases are zero except under ``pytorch_default``.

    Conventions:
        ``he`` and ``xavier`` are the normal variants on the fan-in and on the mean fan; torch also offers uniform ones.
        ``pytorch_default`` draws in torch's own order: the same parameters as building the network in float64 after
        ``torch.manual_seed(seed)``.

    Args:
        model: A network whose parameters all belong to ``nn.Linear`` modules, taken in the order of ``modules()``.
        scheme: A name in ``SCHEMES``.
        seed: Seed of the generator; torch's global generator is left alone.
        scale: Factor on every parameter, finite and not negative.
        singular_values: For ``balanced`` only: the singular values, before ``scale``, that every layer gets.

    Raises:
        InputError: The scheme is unknown, the scale or the singular values are unusable, the model has parameters
            outside linear layers, or its layers do not form a chain (``balanced``).

    Precision:
        Drawn on the CPU in float64 and then rounded, so a float32 or CUDA network gets the same weights.

    Source:
        THEORY.md §3 (balanced); he: He et al. 2015; xavier: Glorot and Bengio 2010.

    Example:
        >>> from ansatzlab.models.deep_linear import DeepLinear
        >>> model = DeepLinear([5, 3, 4])
        >>> initialize(model, "balanced", seed=0, singular_values=[2.0, 1.0])
        >>> first, second = (layer.weight.detach() for layer in model.layers)
        >>> torch.testing.assert_close(second.mT @ second, first @ first.mT)
    """
    if scheme not in SCHEMES:
        raise UnknownNameError("initialisation", scheme, SCHEMES)
    if not (math.isfinite(scale) and scale >= 0):
        raise InputError(f"initialize: got scale {scale}; wanted a finite number that is not negative; change scale.")
    fill = SCHEMES[scheme]
    if singular_values is not None:
        if scheme != "balanced":
            raise InputError(
                f"initialize: got singular_values for scheme {scheme!r}; only 'balanced' takes them; leave them out."
            )
        fill = partial(balanced, singular_values=singular_values)
    layers = _only_linear(model)
    with torch.no_grad():
        for layer in layers:
            if layer.bias is not None:
                layer.bias.zero_()
        fill(layers, Generator().manual_seed(seed))
        for parameter in model.parameters():
            parameter.mul_(scale)


def _only_linear(model: nn.Module) -> list[nn.Linear]:
    """Return the linear layers in order, or refuse a model that has parameters elsewhere or no layer."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    foreign = [
        name
        for name, module in model.named_modules()
        if not isinstance(module, nn.Linear) and next(module.parameters(recurse=False), None) is not None
    ]
    if foreign or not layers:
        raise InputError(
            f"initialize: got a {type(model).__name__} with {len(layers)} linear layers and parameters of other kinds "
            f"in {foreign}; wanted linear layers only; use an MLP or a DeepLinear."
        )
    return layers


def balanced(
    layers: Sequence[nn.Linear], generator: Generator, *, singular_values: Sequence[float] | None = None
) -> None:
    """Fill a chain of linear layers with balanced weights.

    Definition:
        ``W_l = U_l diag(s) U_{l-1}ᵀ``, each ``U_l`` (m_l, k) Haar with orthonormal columns. So
        ``W_{l+1}ᵀ W_{l+1} = W_l W_lᵀ = U_l diag(s)² U_lᵀ`` whatever the widths, and ``W_L … W_1 = U_L diag(s)^L U_0ᵀ``.

    Args:
        layers: Linear layers, each as wide at its input as the one before at its output.
        generator: Source of the random bases.
        singular_values: ``s`` (k,), positive, at most as many as the narrowest width; None for
            ``geometric_spectrum`` of that width.

    Raises:
        InputError: The layers do not form a chain, or the singular values are too many, none or not positive.

    Precision:
        Imbalance of a few eps × max(s)².

    Cost:
        One QR of (m_l, k) a layer.

    Source:
        THEORY.md §3 (D_l = 0); the balanced start of tansley2025nfa, claim (i).
    """
    for number, (before, after) in enumerate(pairwise(layers), start=1):
        if before.out_features != after.in_features:
            raise InputError(
                f"balanced: got linear layer {number} with {before.out_features} outputs before one with "
                f"{after.in_features} inputs; wanted equal widths; use a network whose linear layers form a chain."
            )
    widths = [layers[0].in_features, *(layer.out_features for layer in layers)]
    narrowest = min(widths)
    s = geometric_spectrum(narrowest) if singular_values is None else _checked_spectrum(singular_values, narrowest)
    bases = (orthogonal(torch.empty(width, len(s), dtype=torch.float64), generator) for width in widths)
    for layer, (before_basis, after_basis) in zip(layers, pairwise(bases), strict=True):
        layer.weight.copy_((after_basis * s) @ before_basis.mT)


def _checked_spectrum(singular_values: Sequence[float], narrowest: int) -> Float[Tensor, " k"]:
    """Return the asked singular values as a tensor, or refuse them."""
    s = torch.tensor(singular_values, dtype=torch.float64)
    if not 1 <= len(s) <= narrowest or not bool((s.isfinite() & (s > 0)).all()):
        raise InputError(
            f"balanced: got singular_values {list(singular_values)}; wanted 1 to {narrowest} positive finite numbers "
            f"({narrowest} is the narrowest width); change them or widen the network."
        )
    return s


def geometric_spectrum(rank: int) -> Float[Tensor, " rank"]:
    """Return ``rank`` singular values from 0.8 down to 0.2 in equal ratios (0.8 alone for rank one).

    Args:
        rank: How many, at least one.

    Returns:
        The values (rank,), decreasing, float64.

    Example:
        >>> geometric_spectrum(3)
        tensor([0.8000, 0.4000, 0.2000], dtype=torch.float64)
    """
    return 0.8 * 0.25 ** torch.linspace(0, 1, rank, dtype=torch.float64)


def pytorch_default(layers: Sequence[nn.Linear], generator: Generator) -> None:
    """Fill weights and biases as ``nn.Linear`` does: uniform in ±1/√i, layer by layer, weight before bias."""
    for layer in layers:
        bound = layer.in_features**-0.5
        for parameter in layer.parameters():
            drawn = torch.empty(parameter.shape, dtype=torch.float64).uniform_(-bound, bound, generator=generator)
            parameter.copy_(drawn)


def gaussian(W: Weight, generator: Generator) -> Weight:
    """Fill ``W`` (o, i) with N(0, 1/i)."""
    return W.normal_(0.0, W.shape[1] ** -0.5, generator=generator)


def small(W: Weight, generator: Generator) -> Weight:
    """Fill ``W`` (o, i) with N(0, 1e-4/i): a start near the saddle at zero, where features are learnt."""
    return gaussian(W, generator).mul_(1e-2)


def he(W: Weight, generator: Generator) -> Weight:
    """Fill ``W`` (o, i) with N(0, 2/i)."""
    return nn.init.kaiming_normal_(W, nonlinearity="relu", generator=generator)


def xavier(W: Weight, generator: Generator) -> Weight:
    """Fill ``W`` (o, i) with N(0, 2/(i + o))."""
    return nn.init.xavier_normal_(W, generator=generator)


def orthogonal(W: Weight, generator: Generator) -> Weight:
    """Fill ``W`` (o, i) with a Haar matrix, orthonormal along its smaller side (QR with the signs fixed)."""
    return nn.init.orthogonal_(W, generator=generator)


def identity(W: Weight, generator: Generator) -> Weight:  # noqa: ARG001  (a WeightRule; nothing is drawn)
    """Fill ``W`` (o, i) with ones on the diagonal and zeros elsewhere."""
    return nn.init.eye_(W)


def layerwise(rule: WeightRule) -> Scheme:
    """Return the scheme that applies ``rule`` to every weight in turn."""

    def scheme(layers: Sequence[nn.Linear], generator: Generator) -> None:
        for layer in layers:
            layer.weight.copy_(rule(torch.empty(layer.weight.shape, dtype=torch.float64), generator))

    return scheme


SCHEMES: dict[str, Scheme] = {
    "balanced": balanced,
    "gaussian": layerwise(gaussian),
    "he": layerwise(he),
    "identity": layerwise(identity),
    "orthogonal": layerwise(orthogonal),
    "pytorch_default": pytorch_default,
    "small": layerwise(small),
    "xavier": layerwise(xavier),
}
"""Initialisation schemes by name."""
