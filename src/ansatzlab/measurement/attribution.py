"""How a layer's AGOP weighs its inputs: its diagonal, and the share of each input in one example's quadratic form."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ansatzlab.errors import InputError
from ansatzlab.linalg.psd import factor_eigenpairs, gram_eigenpairs, refuse_nonfinite
from ansatzlab.linalg.reduction import reduce_weight
from ansatzlab.measurement.layer import LayerMeasurement

_CHUNK = 2**22
"""Numbers of W that are turned to float64 at a time."""


@dataclass(frozen=True)
class Attribution:
    """How one example's ``δᵀ G^α δ`` splits over what enters a layer; δ is the input less its baseline.

    Attributes:
        layer: The layer's name.
        inputs: x, what enters the layer.
        values: ``δ_j (G^α δ)_j``, of the inputs' shape; of tokens one number each.
        total: ``δᵀ G^α δ``, summed over positions, and not computed as the values' sum.
        exponent: α.
        baseline: x₀, of the inputs' shape; None for zero.
    """

    layer: str
    inputs: Shaped[Tensor, "*shape"]
    values: Float[Tensor, "*shape"]
    total: float
    exponent: float
    baseline: Shaped[Tensor, "*shape"] | None = None

    @property
    def completeness(self) -> float:
        """The values' sum over the total: 1 up to rounding; 1 where both are zero."""
        found = float(self.values.sum())
        return found / self.total if self.total else 1.0 + found


def agop_core(layer: LayerMeasurement, exponent: float = 1.0, *, centered: bool = False) -> Float[Tensor, "g o o"]:
    """Return what stands between the weights in a power of the AGOP.

    Definition:
        ``G^α = Wᵀ C W`` with ``C = Rᵀ (R W Wᵀ Rᵀ)^{α−1} R`` and ``K = RᵀR``; for α = 1, ``C = K``. The inner power is
        on the numerical range of G, of the rank that `LayerMeasurement.spectrum` reports; α = 0 projects on it.

    Args:
        layer: The layer.
        exponent: α, at least 0.
        centered: Whether each output's mean gradient is taken out.

    Returns:
        C, shape (g, o, o), float64.

    Raises:
        InputError: If the exponent is negative or not finite, the means do not exist, or, for α ≠ 1, the gradients are
            too coarse to resolve any spectrum.

    Precision:
        An eigenvalue λ of G carries an error of ``eps λ₁``, so that for α < 1 small ones have few digits.

    Cost:
        O(o³) for α ≠ 1; no i × i matrix.

    Source:
        Derived in docs/looks.md.
    """
    if not 0 <= exponent < float("inf"):
        raise InputError(f"layer {layer.name!r}: got the exponent {exponent}; wanted a number of at least 0.")
    layer.refuse_centering(centered)
    gram = layer.sums.mean_gram(centered=centered)
    if exponent == 1:
        return gram
    factor = None if centered else layer.sums.mean_factor()
    if factor is None:
        squares, basis = gram_eigenpairs(gram)
        factor = squares.clamp(min=0).sqrt()[..., None] * basis.mT
    values, basis = factor_eigenpairs((factor @ reduce_weight(layer.blocks).blocks).mT)
    rank = layer.spectrum(centered=centered).rank
    lowest = values.flatten().sort(descending=True).values[max(rank - 1, 0)]
    kept = (values >= lowest) & (values > 0) & (rank > 0)
    powers = torch.where(kept, values.clamp(min=torch.finfo(values.dtype).tiny).pow(exponent - 1), 0.0)
    half = basis.mT @ factor
    core: Tensor = half.mT @ (powers[..., None] * half)
    return core


def agop_diagonal(layer: LayerMeasurement, exponent: float = 1.0, *, centered: bool = False) -> Float[Tensor, "g i"]:
    """Return the diagonal of a power of the AGOP: how strongly the outputs react to each input alone.

    Definition:
        ``(G^α)_jj = w_jᵀ C w_j``, w_j the j-th column of W (see `agop_core`). For α = 1 and one position an example:
        the mean over examples of the squared derivatives of the outputs by input j, summed over outputs.

    Args:
        layer: The layer.
        exponent: α, at least 0.
        centered: Whether each output's mean gradient is taken out.

    Returns:
        The diagonal, shape (g, i), one row a block.

    Raises:
        InputError: As `agop_core`.

    Cost:
        O(o² i), and no i × i matrix.

    Example:
        >>> import torch, ansatzlab
        >>> linear = torch.nn.Linear(3, 2, bias=False).double()
        >>> m = ansatzlab.measure(linear, torch.ones(4, 3, dtype=torch.float64))
        >>> torch.allclose(agop_diagonal(m[""])[0], linear.weight.square().sum(0))
        True
    """
    core = agop_core(layer, exponent, centered=centered)
    groups, height, _ = layer.blocks.shape
    columns = torch.split(layer.blocks, max(1, _CHUNK // (groups * height)), dim=-1)
    parts = [(part * (core @ part)).sum(1) for part in (block.double() for block in columns)]
    return torch.cat(parts, dim=-1)


def attribute(
    layer: LayerMeasurement,
    inputs: Float[Tensor, "*positions i"] | Int[Tensor, "*positions"],
    exponent: float = 1.0,
    baseline: Tensor | None = None,
    *,
    centered: bool = False,
) -> Attribution:
    """Split the quadratic form of an AGOP at one example over what enters the layer.

    Definition:
        ``value_j = δ_j (G^α δ)_j`` with ``δ = x − x₀``; the values add up to ``δᵀ G^α δ``. For α = 1, a linear layer
        and one position an example, that is the mean over the measured examples of ``‖J δ‖²``, J the Jacobian of the
        outputs: how far the step from x₀ to x would move the outputs, to first order, wherever it is made.

    Conventions:
        It says what the outputs listen to on average over the measured examples, not why this one got its label: J is
        not taken at x. A value is negative where an input pulls against the others. Every position has the same G.

    Args:
        layer: The measured layer.
        inputs: What enters it, shape (…, i), what is in front being positions; (…, g, i) for g blocks. Of a
            convolution patches, of an embedding the tokens, shape (…).
        exponent: α, at least 0.
        baseline: x₀, of a shape that fits; None for zero.
        centered: Whether each output's mean gradient is taken out.

    Returns:
        The values, of the inputs' shape, and their total.

    Raises:
        InputError: If inputs and baseline do not fit the layer or are not finite, or as `agop_core`.

    Cost:
        O(o i) a position, and O(o²); no i × i matrix.

    Source:
        Derived in docs/looks.md.

    Example:
        >>> import torch, ansatzlab
        >>> m = ansatzlab.measure(torch.nn.Linear(3, 2).double(), torch.ones(4, 3, dtype=torch.float64))
        >>> x = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64)
        >>> found = attribute(m[""], x)
        >>> torch.allclose(found.values.sum(), x @ m[""].agop() @ x), bool(found.values[1] == 0)
        (True, True)
    """
    core = agop_core(layer, exponent, centered=centered)
    refuse_nonfinite(inputs, f"attribute(layer {layer.name!r})")
    origin = None if baseline is None else _fitting(layer, baseline, inputs)
    steps = [inputs] if origin is None else [inputs, origin]
    if layer.kind == "embedding":
        images = _difference([_embedded(layer, step) for step in steps])
        heard = torch.einsum("sgo,gop->sgp", images, core)
        values = (images * heard).sum((1, 2)).reshape(inputs.shape)
    else:
        weight = layer.blocks.double()
        rows = _difference([_rows(layer, step) for step in steps])
        images = torch.einsum("goi,sgi->sgo", weight, rows)
        heard = torch.einsum("sgo,gop->sgp", images, core)
        values = (rows * torch.einsum("sgo,goi->sgi", heard, weight)).reshape(inputs.shape)
    total = float(torch.einsum("sgo,sgo->", images, heard))
    return Attribution(layer.name, inputs, values, total, float(exponent), origin)


def _rows(layer: LayerMeasurement, inputs: Tensor) -> Float[Tensor, "s g i"]:
    groups, _, width = layer.blocks.shape
    wanted = (width,) if groups == 1 else (groups, width)
    if inputs.ndim < len(wanted) or tuple(inputs.shape[-len(wanted) :]) != wanted:
        raise InputError(
            f"attribute: into layer {layer.name!r} go rows of {' × '.join(map(str, wanted))} numbers, got shape "
            f"{tuple(inputs.shape)}; wanted (…, {', '.join(map(str, wanted))}); of a convolution pass patches, or let "
            "explain() cut them."
        )
    return inputs.to(layer.blocks.device, torch.float64).reshape(-1, groups, width)


def _embedded(layer: LayerMeasurement, tokens: Tensor) -> Float[Tensor, "s 1 o"]:
    rows = layer.blocks.shape[-1]
    if tokens.is_floating_point() or (tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < rows):
        raise InputError(
            f"attribute: into the embedding {layer.name!r} go tokens from 0 to {rows - 1}, got {tokens.dtype} of shape "
            f"{tuple(tokens.shape)}; wanted such integers."
        )
    return layer.blocks[0].mT[tokens.to(layer.blocks.device).long().flatten()].double()[:, None]


def _difference(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else parts[0] - parts[1]


def _fitting(layer: LayerMeasurement, baseline: Tensor, inputs: Tensor) -> Tensor:
    refuse_nonfinite(baseline, f"attribute(layer {layer.name!r}, baseline)")
    try:
        return baseline.broadcast_to(inputs.shape)
    except RuntimeError:
        raise InputError(
            f"attribute: at layer {layer.name!r} got a baseline of shape {tuple(baseline.shape)} for inputs of "
            f"{tuple(inputs.shape)}; wanted a shape that fits them."
        ) from None
