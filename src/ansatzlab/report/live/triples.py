"""Spectra as the page reads them: relative to λ₁ and ‖M‖, each once, as base64 of little-endian arrays."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ansatzlab.linalg.spectrum import Spectrum

Precision = Literal["double", "single"]

DOUBLE_NUMBERS = 150_000
"""With more numbers than this a page keeps them in single precision."""

_TYPES = {"double": "<f8", "single": "<f4"}


@dataclass(frozen=True)
class Packed:
    """Spectra for a page.

    Attributes:
        places: For each spectrum its place in the arrays; equal ones share one.
        precision: How the arrays are written.
        arrays: The arrays by name, as base64. ``ranks`` (int32) and ``dimensions``, ``rests``, ``traces``, ``totals``
            have one entry a spectrum; ``ratios``, ``energies`` and ``squares`` its λ_j/λ_1, b_j/‖M‖ and (v_jᵀ1)², one
            after the other. Where the weights are zero, so is everything of M.
    """

    places: tuple[int, ...]
    precision: Precision
    arrays: dict[str, str]


def pack(spectra: Sequence[Spectrum]) -> Packed:
    """Pack spectra so that a page can read every comparator at every exponent out of them.

    Conventions:
        No comparator depends on the sizes of the AGOP and of M, so λ is kept relative to the largest and everything of
        M relative to ‖M‖: in single precision nothing leaves the range.

    Args:
        spectra: The spectra; may be none.

    Returns:
        The packed spectra.

    Precision:
        Double up to `DOUBLE_NUMBERS` numbers. Beyond that single: a cosine is right to about 1e-7, and a residual below
        1e-6 is rounding.
    """
    seen: dict[bytes, int] = {}
    kept: list[Spectrum] = []
    places = []
    for spectrum in spectra:
        place = seen.setdefault(_identity(spectrum), len(kept))
        if place == len(kept):
            kept.append(spectrum)
        places.append(place)
    precision: Precision = "double" if numbers_in(kept) <= DOUBLE_NUMBERS else "single"
    norms = np.array([spectrum.weight_gram_norm for spectrum in kept])
    divisors = np.where(norms > 0, norms, 1.0)
    columns: dict[str, list[float] | np.ndarray] = {
        "dimensions": [float(spectrum.dimension) for spectrum in kept],
        "rests": np.array([spectrum.off_energy for spectrum in kept]) / divisors,
        "traces": np.array([spectrum.trace for spectrum in kept]) / divisors,
        "totals": np.array([spectrum.total for spectrum in kept]) / divisors,
        "ratios": _joined(spectrum.powers(1.0).numpy() for spectrum in kept),
        "energies": _joined(spectrum.energies.numpy() / norm for spectrum, norm in zip(kept, divisors, strict=True)),
        "squares": _joined(spectrum.sums.square().numpy() for spectrum in kept),
    }
    arrays = {name: as_base64(column, _TYPES[precision]) for name, column in columns.items()}
    ranks = as_base64([spectrum.rank for spectrum in kept], "<i4")
    return Packed(places=tuple(places), precision=precision, arrays={"ranks": ranks, **arrays})


def numbers_in(spectra: Iterable[Spectrum]) -> int:
    """Return how many numbers the lists of these spectra hold."""
    return sum(3 * spectrum.rank for spectrum in spectra)


def as_base64(values: Sequence[float] | np.ndarray, kind: str) -> str:
    """Return numbers as base64 of an array of a NumPy type."""
    return b64encode(np.asarray(values, dtype=np.dtype(kind)).tobytes()).decode()


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *parts])


def _identity(spectrum: Spectrum) -> bytes:
    rest = np.array([spectrum.off_energy, spectrum.trace, spectrum.total, spectrum.dimension, spectrum.rank])
    lists = (spectrum.eigenvalues, spectrum.energies, spectrum.sums)
    return b"".join([rest.tobytes(), *(column.numpy().tobytes() for column in lists)])
