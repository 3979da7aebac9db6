"""Comparisons that raise, and say how far off and on which scale."""

from collections.abc import Mapping

import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}
"""Relative tolerance by the dtype in which the compared numbers were computed."""


def assert_close(
    got: Tensor, wanted: Tensor, *, what: str, tolerance: float = TOLERANCE[torch.float64], scale: float | None = None
) -> None:
    """Raise unless two tensors agree relative to a scale.

    Args:
        got: What was computed.
        wanted: The truth.
        what: What is compared, for the message.
        tolerance: Largest allowed ``‖got − wanted‖ / scale``.
        scale: By default ``‖wanted‖``, or 1 where that is zero. Give the norm of what was subtracted where the truth is
            a difference that may vanish.

    Raises:
        AssertionError: Saying the largest difference, where it is, and the scale.
    """
    if got.shape != wanted.shape:
        raise AssertionError(f"{what}: shape {tuple(got.shape)}, wanted {tuple(wanted.shape)}")
    difference = (got - wanted).abs()
    error, size = float(difference.norm()), scale or float(wanted.norm()) or 1.0
    if not error <= tolerance * size:
        place = int(difference.flatten().argmax())
        raise AssertionError(
            f"{what}: ‖difference‖ {error:.3g} on the scale {size:.3g}, ratio {error / size:.3g} > {tolerance:g}; "
            f"largest {float(difference.flatten()[place]):.3g} at flat index {place}"
        )


def assert_all_close(
    got: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    *,
    what: str,
    tolerance: float = TOLERANCE[torch.float64],
    scales: Mapping[str, float] | None = None,
) -> None:
    """Raise unless two mappings have the same names and close tensors (see `assert_close`).

    Raises:
        AssertionError: Naming the first entry that differs.
    """
    if list(got) != list(wanted):
        raise AssertionError(f"{what}: names {list(got)}, wanted {list(wanted)}")
    for name, tensor in wanted.items():
        scale = scales[name] if scales else None
        assert_close(got[name], tensor, what=f"{what}[{name}]", tolerance=tolerance, scale=scale)
