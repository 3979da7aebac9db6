"""From weights and sums to the spectrum that everything is read from, and to the standard error of what is read."""

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.linalg.psd import rounding_cut
from ansatzlab.linalg.spectrum import Eigenframe, Spectrum, decompose
from ansatzlab.measurement.gram import GradientSums
from ansatzlab.measurement.kinds import Blocks

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
    factor = sums.mean_factor()
    if factor is not None and not centered:
        spectrum, frame = decompose(weight, factor=factor, gradient_dtype=gradient_dtype)
    else:
        gram, rounding = sums.mean_gram(centered=centered), 0.0
        if centered:
            summands = max(gram.shape[-1], sums.examples)
            rounding = rounding_cut(summands, gradient_dtype) * float(sums.mean_gram().norm())
        spectrum, frame = decompose(weight, gram=gram, gradient_dtype=gradient_dtype, gram_rounding=rounding)
    largest = frame.eigenvalues.max()
    relative = frame.eigenvalues / largest if largest > 0 else frame.eigenvalues
    return spectrum, Eigenframe(frame.transform.float(), relative.float(), frame.ones.float())


def standard_error(
    sums: GradientSums, gradient: Float[Tensor, "g k k"], spectrum: Spectrum, frame: Eigenframe, *, centered: bool
) -> float:
    """Return the standard error of a read-out over the examples' distribution.

    Definition:
        ``SE² = mean_x ψ_x² / n`` over the sampled examples, ψ_x the influence of example x on the read-out.

    Args:
        sums: The sums, with their sample.
        gradient: The read-out's derivative by ``G/λ_1`` in the eigenbasis.
        spectrum: The spectrum.
        frame: The frame that `decompose_sums` returned with it.
        centered: Whether the AGOP is centred.

    Returns:
        The error; nan if fewer than four examples were sampled.

    Source:
        Derived in docs/devdocs/errors.md.
    """
    influences = sums.influences(frame.transform, gradient, centered=centered)
    if len(influences) < FEWEST:
        return float("nan")
    return float((influences.square().mean() / sums.examples).sqrt() / spectrum.eigenvalues[0])
