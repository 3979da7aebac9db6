"""What an alignment would be without any law: chance in closed form, and random rotations of the gradients."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.linalg.spectrum import Spectrum


@dataclass(frozen=True)
class HaarNull:
    """The cosine of M and a randomly rotated ``G^α``.

    Attributes:
        mean: Its expectation; nan where there is no cosine.
        sd: Its standard deviation; 0 where no rotation changes the cosine.
        z: How many ``sd`` the observed cosine lies above ``mean``; nan where ``reason`` is given. Not a tail
            probability: the distribution is not normal.
        reason: Why there is no z, in words; empty where there is one.
    """

    mean: float
    sd: float
    z: float
    reason: str


def haar_null(spectrum: Spectrum, exponent: float) -> HaarNull:
    """Return the mean and spread of ``cos(M, Q G^α Qᵀ)`` over Haar-random rotations Q, and where the layer lies.

    Definition:
        With ``A = M``, ``B = G^α`` and ``A₀ = A − (tr A/d) I``: ``mean = tr A · tr B/(d ‖A‖ ‖B‖)`` and
        ``sd = (‖A₀‖ ‖B₀‖/(‖A‖ ‖B‖)) √(2/((d − 1)(d + 2)))``.

    Conventions:
        Q turns the whole input space. In a layer of several blocks that is their direct sum, so that this null, unlike
        the layer, mixes blocks.

    Args:
        spectrum: The layer's spectrum.
        exponent: The exponent α of the AGOP.

    Returns:
        The null; without z, and with the reason, where the AGOP or the weights are zero, at d = 1, or where either
        matrix is a multiple of the identity.

    Precision:
        The traceless parts come from ``‖A‖² − (tr A)²/d``: a matrix within ``√(d · eps)`` of a multiple of the
        identity, relative to its norm, counts as one.

    Cost:
        O(r).

    Source:
        Derived in docs/devdocs/nulls.md.

    Example:
        >>> from ansatzlab.linalg.spectrum import ansatz_spectrum
        >>> W = torch.diag(torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64))
        >>> null = haar_null(ansatz_spectrum(W, gram=torch.eye(3, dtype=torch.float64)), 1.0)    # G = M
        >>> round(null.mean, 4), round(null.sd, 4), round(null.z, 2)
        (0.6667, 0.1491, 2.24)
    """
    d = spectrum.dimension
    target_norm = spectrum.weight_gram_norm
    if spectrum.rank == 0 or target_norm == 0:
        which = "weights are" if target_norm == 0 else "AGOP is"
        return HaarNull(mean=math.nan, sd=math.nan, z=math.nan, reason=f"the {which} zero: there is no cosine")
    powers = spectrum.powers(exponent)
    target = spectrum.trace / (math.sqrt(d) * target_norm)
    model = float(powers.sum() / (math.sqrt(d) * powers.norm()))
    mean = target * model
    flat = [name for name, share in (("M", target), ("G^α", model)) if _anisotropy(share, d) == 0]
    if d == 1:
        return HaarNull(mean=mean, sd=0.0, z=math.nan, reason="a layer of one input has no rotations")
    if flat:
        reason = f"{' and '.join(flat)} proportional to the identity: no rotation changes the cosine"
        return HaarNull(mean=mean, sd=0.0, z=math.nan, reason=reason)
    sd = _anisotropy(target, d) * _anisotropy(model, d) * math.sqrt(2 / ((d - 1) * (d + 2)))
    return HaarNull(mean=mean, sd=sd, z=(spectrum.alignment(exponent) - mean) / sd, reason="")


def _anisotropy(identity_cosine: float, dimension: int) -> float:
    """Return ``‖A₀‖/‖A‖`` from the cosine of A with the identity; 0 if it is rounding."""
    square = 1 - identity_cosine**2
    return math.sqrt(square) if square > dimension * torch.finfo(torch.float64).eps else 0.0


def haar_orthogonal(size: int, generator: torch.Generator, count: int = 1) -> Float[Tensor, "count size size"]:
    """Draw orthogonal matrices from the uniform (Haar) distribution.

    Definition:
        ``Z = QR`` of a Gaussian Z, each column of Q times the sign of R's diagonal entry.

    Conventions:
        Without the signs Q is not uniform: Householder QR makes the sign of ``Q_11`` the same in every draw.

    Args:
        size: Rows and columns of each.
        generator: The source of randomness; its device is where the matrices are drawn.
        count: How many.

    Returns:
        The matrices, float64, shape (count, size, size).

    Precision:
        Orthogonal to a few ``size · eps``.

    Cost:
        O(count · size³).

    Example:
        >>> Q = haar_orthogonal(3, torch.Generator().manual_seed(0))[0]
        >>> torch.allclose(Q @ Q.T, torch.eye(3, dtype=torch.float64))
        True
    """
    gaussian = torch.randn(count, size, size, generator=generator, dtype=torch.float64, device=generator.device)
    basis, triangle = torch.linalg.qr(gaussian)
    signs = torch.where(triangle.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    rotated: Tensor = basis * signs[:, None, :]
    return rotated


def rotated_gram(gram: Float[Tensor, "g o o"], generator: torch.Generator) -> Float[Tensor, "g o o"]:
    """Return ``Q S Qᵀ`` for each block S of an output Gram matrix, each with its own Haar-random Q.

    Conventions:
        The structural null: W is kept and the output gradients are turned, so that the AGOP ``Wᵀ Q S Qᵀ W`` keeps the
        spectrum of S, the row space of W and the dtype that its rank cut is chosen by.

    Args:
        gram: S, shape (g, o, o).
        generator: The source of randomness.

    Returns:
        The rotated blocks, of the same shape and dtype.

    Precision:
        Rounding of about ``o · eps · ‖S‖`` fills the null space of a rank-deficient S. Where that matters rotate a
        factor, whose rank is exact.

    Cost:
        O(g o³).

    Example:
        >>> S = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))[None]
        >>> torch.linalg.eigvalsh(rotated_gram(S, torch.Generator().manual_seed(0))).round(decimals=12)
        tensor([[1., 3.]], dtype=torch.float64)
    """
    basis = haar_orthogonal(gram.shape[-1], generator, count=len(gram)).to(gram)
    return basis @ gram @ basis.mT


def rotated_factor(factor: Float[Tensor, "g p o"], generator: torch.Generator) -> Float[Tensor, "g p o"]:
    """Return ``R Qᵀ`` for each block's factor R of an output Gram matrix ``RᵀR``: the factor of `rotated_gram`.

    Args:
        factor: R, shape (g, p, o).
        generator: The source of randomness; the same state draws the same Q as for `rotated_gram`.

    Returns:
        The rotated factors, of the same shape and dtype.

    Cost:
        O(g (o³ + p o²)).

    Example:
        >>> R = torch.tensor([[[3.0, 4.0]]], dtype=torch.float64)
        >>> rotated_factor(R, torch.Generator().manual_seed(0)).norm().round(decimals=12)
        tensor(5., dtype=torch.float64)
    """
    basis = haar_orthogonal(factor.shape[-1], generator, count=len(factor)).to(factor)
    return factor @ basis.mT
