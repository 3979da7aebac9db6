"""Numbers at the axes: few enough to stand apart in a narrow column, and written as people write them."""

import math

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ansatzlab.report.figures.styles import Typography

PLAIN = (0.99e-3, 1.01e4)
"""On a logarithmic axis within these, numbers are written without an exponent."""

_ACROSS, _UP = 1.7, 2.4  # numbers an inch


def set_ticks(axes: Axes, width_inches: float, typography: Typography) -> None:
    """Choose the numbers at both axes of a drawing whose curves are drawn.

    Conventions:
        A logarithmic axis of less than about two decades also has 2 and 5, of less than one also 3 and 7; where that
        gives no two numbers, whatever is round.
        Where all abscissae of a linear axis are whole, so are its numbers.

    Args:
        axes: The axes.
        width_inches: The drawing's width.
        typography: The size of the numbers.
    """
    whole = all(float(x).is_integer() for line in axes.get_lines() for x in line.get_xdata() if math.isfinite(x))  # type: ignore[union-attr, arg-type]
    across, up = max(3, int(_ACROSS * width_inches)), max(3, int(_UP * 0.6 * width_inches))
    for axis, most, integer in ((axes.xaxis, across, whole), (axes.yaxis, up, False)):
        if axis.get_scale() == "log":
            set_log_ticks(axis, most)
        else:
            axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 2.5, 5, 10], integer=integer))
    axes.tick_params(labelsize=typography.tick)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_offset_text().set_fontsize(typography.tick)


def set_log_ticks(axis: Axis, most: int) -> None:
    """Choose at most about so many numbers of a logarithmic axis."""
    low, high = (float(end) for end in axis.get_view_interval())
    decades = math.log10(high / low)
    subs = (1.0,) if decades >= 2.1 else (1.0, 2.0, 5.0) if decades >= 1 else (1.0, 2.0, 3.0, 5.0, 7.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    some = sum(low <= sub * 10.0**power <= high for power in powers for sub in subs) > 1
    axis.set_major_locator(LogLocator(subs=subs, numticks=most) if some else MaxNLocator(nbins=most))
    plain = PLAIN[0] <= low and high <= PLAIN[1]
    axis.set_major_formatter(FuncFormatter(_plain if plain else _scientific))
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float, _place: int | None = None) -> str:
    return f"{value:g}"


def _scientific(value: float, _place: int | None = None) -> str:
    """Write a number as a power of ten, with what stands before it unless that is 1."""
    mantissa, _, exponent = f"{value:.5e}".partition("e")
    power = f"10^{{{int(exponent)}}}"
    before = f"{float(mantissa):g}"
    return f"${power}$" if before == "1" else rf"${before} \times {power}$"
