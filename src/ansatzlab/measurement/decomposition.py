"""From weights and sums to the spectrum that everything is read from, and to the standard error of what is read."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.linalg.psd import rounding_cut
from ansatzlab.linalg.spectrum import Eigenframe, Spectrum, decompose
from ansatzlab.measurement.gram import GradientSums
from ansatzlab.measurement.kinds import Blocks
from ansatzlab.measurement.seeds import Seeds, is_sampled_by_example

FEWEST = 4
"""With fewer sampled examples no standard error is given."""


def decompose_sums(
    weight: Blocks, sums: GradientSums, gradient_dtype: torch.dtype, *, centered: bool
) -> tuple[Spectrum, Eigenframe]:
    """Decompose the AGOP against the weight Gram matrix.

    Args:
        weight: W, shape (g, o, i).
        sums: The sums of the layer's output gradients.
        gradient_dtype: The dtype in which they were computed.
        centered: Whether each output's mean gradient is taken out; the sums' triangular factor then cannot be used.

    Returns:
        The spectrum, and the frame that errors are read in: single precision is enough for it, and ``λ/λ_1`` stands for
        λ, since read-outs do not depend on the scale of the AGOP.
    """
    if centered:
        summands = max(sums.second_moment.shape[-1], sums.examples)
        rounding = rounding_cut(summands, gradient_dtype) * float(sums.mean_gram().norm())
        gram = sums.mean_gram(centered=True)
        spectrum, frame = decompose(weight, gram=gram, gradient_dtype=gradient_dtype, gram_rounding=rounding)
    elif sums.is_factor:
        spectrum, frame = decompose(weight, factor=sums.mean_factor(), gradient_dtype=gradient_dtype)
    else:  # of the sum itself, which takes no copy of it; only its scale is another
        spectrum, frame = decompose(weight, gram=sums.second_moment, gradient_dtype=gradient_dtype)
        spectrum = replace(spectrum, eigenvalues=spectrum.eigenvalues / sums.weight_total)
    largest = frame.eigenvalues.max()
    relative = frame.eigenvalues / largest if largest > 0 else frame.eigenvalues
    return spectrum, Eigenframe(frame.transform.float(), relative.float(), frame.ones.float())


def standard_error(
    sums: GradientSums,
    seeds: Seeds,
    gradient: Float[Tensor, "g k k"],
    spectrum: Spectrum,
    frame: Eigenframe,
    *,
    centered: bool,
) -> float:
    """Return the standard error of a read-out over the examples' distribution.

    Definition:
        ``SE² = mean_x ψ_x² / n`` over the sampled examples, ψ_x the influence of example x on the read-out.

    Args:
        sums: The sums, with their sample.
        seeds: Which combinations of outputs were differentiated.
        gradient: The read-out's derivative by ``G/λ_1`` in the eigenbasis.
        spectrum: The spectrum.
        frame: The frame that `decompose_sums` returned with it.
        centered: Whether the AGOP is centred.

    Returns:
        The error; nan if fewer than four examples were sampled, or their gradients are out of their dtype's range, or
        they share random signs, whose part in the error no example then tells.

    Precision:
        About 1e-6, at any scale of a float64 network's gradients. Of a float32 network, those of a layer with more of
        them an example than it has outputs are squared, so the largest must lie within 1e-15 to 1e19, or the error is
        nan.

    Source:
        Derived in docs/devdocs/errors.md.
    """
    sample = sums.sample
    if sample is None or len(sample.places) < FEWEST or not sample.is_in_range or not is_sampled_by_example(seeds):
        return float("nan")
    influences = influences_on(sums, gradient, spectrum, frame, centered=centered)
    return float((influences.square().mean() / sums.examples).sqrt())


def influences_on(
    sums: GradientSums, gradient: Float[Tensor, "g k k"], spectrum: Spectrum, frame: Eigenframe, *, centered: bool
) -> Float[Tensor, " m"]:
    """Return the influence of each sampled example on a read-out (see `GradientSums.influences`).

    Args:
        sums: The sums.
        gradient: The read-out's derivative by ``G/λ_1`` in the eigenbasis.
        spectrum: The spectrum; of rank 1 at least.
        frame: The frame that `decompose_sums` returned with it.
        centered: Whether the AGOP is centred.

    Returns:
        One number per sampled example; none if no example was kept.
    """
    if sums.sample is None:
        return torch.zeros(0, dtype=torch.float64)
    # At the scale of the AGOP, so that no product leaves the range of float32; in two steps, so that no factor does.
    root = float(spectrum.eigenvalues[0]) ** 0.25
    images = frame.transform.to(sums.sample.dtype) / root / root
    return sums.influences(images, gradient, centered=centered)
