"""How alike two symmetric matrices are, by definition, on the full matrices.

These are the definitions. The measurement computes the same numbers for every exponent at once from
`ansatzlab.linalg.spectrum`, without forming the matrices.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Matrix = Float[Tensor, "i j"]


def cosine(a: Matrix, b: Matrix) -> float:
    """Return the cosine of two matrices, ``⟨A, B⟩ / (‖A‖ ‖B‖)`` in the Frobenius inner product.

    Conventions:
        Not centred: compare `pearson`, which subtracts each matrix's mean entry, and `traceless_cosine`.

    Args:
        a: A matrix, shape (i, j).
        b: A matrix of the same shape.

    Returns:
        A number in [−1, 1]; in [0, 1] for two positive semi-definite matrices; nan if either is zero.

    Example:
        >>> cosine(torch.ones(2, 2), torch.ones(2, 2) * 3)
        1.0
    """
    return float((a * b).sum() / (a.norm() * b.norm()))


def pearson(a: Matrix, b: Matrix) -> float:
    """Return the Pearson correlation of the entries: the `cosine` after each matrix's mean entry is subtracted.

    Args:
        a: A matrix, shape (i, j).
        b: A matrix of the same shape.

    Returns:
        A number in [−1, 1]; nan if either matrix is constant.

    Source:
        The convention of beaglehole2023cnfa and beaglehole2024alignment.
    """
    return cosine(a - a.mean(), b - b.mean())


def traceless_cosine(a: Float[Tensor, "i i"], b: Float[Tensor, "i i"]) -> float:
    """Return the `cosine` after the multiple of the identity in each matrix is removed.

    Definition:
        ``cosine(A − tr(A)/d · I, B − tr(B)/d · I)``: what two spectra with a common flat part still share.

    Args:
        a: A square matrix, shape (i, i).
        b: A square matrix of the same shape.

    Returns:
        A number in [−1, 1]; nan if either is a multiple of the identity.
    """
    identity = torch.eye(len(a), dtype=a.dtype, device=a.device)
    return cosine(a - identity * a.diagonal().mean(), b - identity * b.diagonal().mean())


def residual(target: Matrix, model: Matrix) -> float:
    """Return the scale-free residual ``min_c ‖A − cB‖ / ‖A‖``.

    Conventions:
        It equals ``sqrt(1 − cosine²)``, but is computed from the difference, so that an exact law shows as 1e-16 and
        not as the 1e-8 at which ``1 − cosine²`` cancels.

    Args:
        target: The matrix A, shape (i, j).
        model: The matrix B, of the same shape.

    Returns:
        A number in [0, 1]; 1 if B is zero; nan if A is zero.
    """
    energy = (model * model).sum()
    scale = (target * model).sum() / energy if energy > 0 else torch.zeros_like(energy)
    return float((target - scale * model).norm() / target.norm())
