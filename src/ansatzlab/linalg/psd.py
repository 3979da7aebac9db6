"""Eigensystems and powers of positive semi-definite matrices, safe for rank-deficient ones."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import InputError
from ansatzlab.shapes import Eigenvalues


@dataclass(frozen=True)
class Eigensystem:
    """The spectral decomposition of a positive semi-definite matrix, cut at its numerical rank.

    Attributes:
        values: The kept eigenvalues, descending, all positive.
        basis: A complete orthonormal basis; the first ``len(values)`` columns are the kept eigenvectors.
        cut: Eigenvalues at most ``cut`` times the largest one were taken for rounding and dropped.
    """

    values: Eigenvalues
    basis: Float[Tensor, "i i"]
    cut: float

    @property
    def rank(self) -> int:
        """The number of kept eigenvalues."""
        return len(self.values)

    @property
    def vectors(self) -> Float[Tensor, "i r"]:
        """The kept eigenvectors, one a column."""
        return self.basis[:, : self.rank]


def rounding_cut(size: int, dtype: torch.dtype) -> float:
    """Return the relative size below which a singular value computed in ``dtype`` is rounding: ``size · eps``."""
    return size * torch.finfo(dtype).eps


def gram_eigensystem(gram: Float[Tensor, "i i"], *, cut: float | None = None, floor: float = 0.0) -> Eigensystem:
    """Decompose a positive semi-definite matrix, cutting **before** any root is taken.

    Definition:
        ``G = V diag(λ) Vᵀ``; an eigenvalue is kept when ``λ > cut · λ_max``.

    Args:
        gram: The matrix, symmetric and positive semi-definite up to rounding, shape (i, i).
        cut: The relative cut. By default ``i · eps`` of the matrix's dtype. Pass the cut of a coarser dtype when the
            matrix was *accumulated* in one: a later cast does not bring the lost digits back.
        floor: The absolute size of rounding in the matrix, where it is known to be larger: eigenvalues up to it are cut
            too. A difference of larger matrices needs it.

    Returns:
        The eigensystem; of rank 0 when the matrix is zero.

    Raises:
        InputError: If the matrix has an entry that is not finite.

    Precision:
        Eigenvalues carry an absolute error of a few ``eps · λ_max``. With a spectrum wider than that, decompose a
        factor instead (`factor_eigensystem`), which resolves ``λ_j/λ_max`` down to ``eps²``.

    Cost:
        One symmetric eigendecomposition, O(i³).

    Example:
        >>> gram_eigensystem(torch.diag(torch.tensor([4.0, 0.0, 1.0], dtype=torch.float64))).values
        tensor([4., 1.], dtype=torch.float64)
    """
    refuse_nonfinite(gram, "gram_eigensystem")
    if cut is None:
        cut = rounding_cut(len(gram), gram.dtype)
    values, basis = gram_eigenpairs(gram)
    return _kept(values, basis, cut, floor)


def gram_eigenpairs(gram: Float[Tensor, "*g i i"]) -> tuple[Float[Tensor, "*g i"], Float[Tensor, "*g i i"]]:
    """Return all eigenvalues of symmetric matrices, descending, and the eigenvectors as columns."""
    values, basis = torch.linalg.eigh(gram)
    return values.flip(-1), basis.flip(-1)


def factor_eigensystem(factor: Float[Tensor, "p i"], *, cut: float | None = None) -> Eigensystem:
    """Decompose ``G = FᵀF`` from its factor, without squaring the condition number.

    Definition:
        ``F = U diag(σ) Vᵀ`` gives ``λ = σ²``; kept when ``σ/σ_max`` exceeds the square root of ``cut``.

    Args:
        factor: The factor F, shape (p, i).
        cut: The relative cut **on the eigenvalues λ**. By default ``(max(p, i) · eps)²``.

    Returns:
        The eigensystem of ``FᵀF``; of rank 0 when the factor is zero.

    Raises:
        InputError: If the factor has an entry that is not finite.

    Cost:
        One singular value decomposition, O(p i min(p, i)), plus the complete basis, O(i³).

    Example:
        >>> factor_eigensystem(torch.tensor([[2.0, 0.0]], dtype=torch.float64)).values
        tensor([4.], dtype=torch.float64)
    """
    refuse_nonfinite(factor, "factor_eigensystem")
    if cut is None:
        cut = rounding_cut(max(factor.shape), factor.dtype) ** 2
    values, basis = factor_eigenpairs(factor)
    return _kept(values, basis, cut, floor=0.0)


def factor_eigenpairs(factor: Float[Tensor, "*g p i"]) -> tuple[Float[Tensor, "*g i"], Float[Tensor, "*g i i"]]:
    """Return all eigenvalues of ``FᵀF``, descending, and the eigenvectors as columns, without forming it."""
    _, singular, basis = torch.linalg.svd(factor, full_matrices=True)
    missing = factor.shape[-1] - singular.shape[-1]
    return torch.nn.functional.pad(singular.square(), (0, missing)), basis.mT


def triangular_factor(rows: Float[Tensor, "*g m o"]) -> Float[Tensor, "*g p o"]:
    """Return the triangular R, shape (min(m, o), o), with ``RᵀR`` equal to ``rowsᵀ rows``."""
    triangle: Tensor = torch.linalg.qr(rows, mode="r").R
    return triangle


def psd_power(system: Eigensystem, exponent: float) -> Float[Tensor, "i i"]:
    """Return the pseudo-power ``G^α`` of a positive semi-definite matrix on its numerical range.

    Definition:
        ``G^α = Σ_j λ_j^α v_j v_jᵀ`` over the kept eigenvalues; α = −1 is the pseudo-inverse, α = 0 the projector.

    Args:
        system: The matrix's eigensystem.
        exponent: The exponent α, any real number.

    Returns:
        The power, shape (i, i).

    Example:
        >>> psd_power(gram_eigensystem(torch.eye(2, dtype=torch.float64) * 4), 0.5)
        tensor([[2., 0.],
                [0., 2.]], dtype=torch.float64)
    """
    return (system.vectors * system.values.pow(exponent)) @ system.vectors.mT


def _kept(values: Tensor, basis: Tensor, cut: float, floor: float) -> Eigensystem:
    rank = int((values > max(cut * float(values[0]), floor)).sum()) if len(values) else 0
    return Eigensystem(values=values[:rank], basis=basis, cut=cut)


def direct_sum(blocks: Float[Tensor, "g i j"]) -> Float[Tensor, "_i _j"]:
    """Return the matrix that has these blocks along its diagonal."""
    whole: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return whole


def refuse_nonfinite(matrix: Tensor, where: str) -> None:
    """Refuse a matrix with an entry that is not finite.

    Args:
        matrix: The matrix.
        where: Who asks, for the message.

    Raises:
        InputError: If there is one.
    """
    if not bool(torch.isfinite(matrix).all()):
        count = int((~torch.isfinite(matrix)).sum())
        raise InputError(
            f"{where}: got a {tuple(matrix.shape)} matrix with {count} entries that are not finite; "
            "wanted finite numbers; look for the step that made them before it is decomposed."
        )
