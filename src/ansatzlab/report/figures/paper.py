"""Figures for a paper: at a column's width, as vectors with text that stays text, the same bytes every time."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Literal, get_args

from matplotlib import style
from matplotlib.figure import Figure as MatplotlibFigure

from ansatzlab.atomic import write_atomically
from ansatzlab.errors import InputError
from ansatzlab.laws.figure import Exhibit, Figure, HeatMap, TextTable
from ansatzlab.report.figures.curves import to_matplotlib
from ansatzlab.report.figures.dots import DotPlot, draw_dots
from ansatzlab.report.figures.heatmap import draw_heatmap
from ansatzlab.report.figures.lettering import FAMILY
from ansatzlab.report.figures.styles import PAPER

Format = Literal["pdf", "svg", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)

WIDTHS = {1: 3.25, 2: 6.75}
"""The width in inches of one column and of two, in the two-column styles of ICML and AISTATS."""

RESOLUTION = 300
"""Pixels an inch of a PNG."""

NARROWEST, WIDEST = 2.0, 20.0
"""Inches between which letters of a paper's size leave room for the figure."""

Drawable = Exhibit | DotPlot
"""Anything that can be asked for; of tables of words there is no drawing."""

_PARAMETERS = {
    "font.family": FAMILY,
    "pdf.fonttype": 42,  # whole outlines: text can be searched, selected and edited
    "svg.fonttype": "none",  # text as text, and not as outlines
    "svg.hashsalt": "ansatzlab",  # ids of an SVG would be random else
}
_METADATA = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def draw_paper(exhibit: Drawable, *, width_inches: float = WIDTHS[1], titled: bool = False) -> MatplotlibFigure:
    """Draw an exhibit for a paper.

    Conventions:
        Letters have 7 and 8 points whatever the width, so the file is to be included without scaling. The legend stands
        below the axes. The title is left out: a paper has its caption.

    Args:
        exhibit: What to draw.
        width_inches: The width on paper; the height follows.
        titled: Whether the title is drawn.

    Returns:
        A matplotlib figure that belongs to nobody else.

    Raises:
        InputError: If the exhibit is a table of words, its columns or cells do not fit together, or the width is not
            from 2 to 20 inches.

    Example:
        >>> from ansatzlab.laws.figure import Curve
        >>> figure = Figure("e", "Error", "", "step", "error", (Curve("run", (1.0, 2.0), (0.1, 0.2)),))
        >>> bool(draw_paper(figure).get_figwidth() == 3.25)
        True
    """
    if not NARROWEST <= width_inches <= WIDEST:
        raise InputError(f"width: got {width_inches:g} inches; wanted {NARROWEST:g} to {WIDEST:g}; give another width.")
    if isinstance(exhibit, TextTable):
        raise InputError(f"{exhibit.key}: is a table of words; wanted something to draw; the report has the table.")
    typography = replace(PAPER, titled=titled)
    with style.context(["default", _PARAMETERS]):
        if isinstance(exhibit, Figure):
            return to_matplotlib(exhibit, width_inches=width_inches, typography=typography)
        if isinstance(exhibit, HeatMap):
            return draw_heatmap(exhibit, width_inches=width_inches, typography=typography)
        return draw_dots(exhibit, width_inches=width_inches, typography=typography)


def render_paper(
    exhibit: Drawable, file_format: Format, *, width_inches: float = WIDTHS[1], titled: bool = False
) -> bytes:
    """Draw an exhibit for a paper and return the file's content.

    Conventions:
        The same exhibit gives the same bytes: there is no time in the file, no random id, and nothing of it depends on
        the settings of matplotlib that are in force, which are left as they are.

    Args:
        exhibit: What to draw.
        file_format: ``"pdf"`` and ``"svg"`` are vectors, ``"png"`` has 300 pixels an inch.
        width_inches: The width on paper.
        titled: Whether the title is drawn.

    Returns:
        The content.

    Raises:
        InputError: As `draw_paper` has it, or if the format is none of these.
    """
    if file_format not in FORMATS:
        raise InputError(f"format: got {file_format!r}; wanted {', '.join(FORMATS)}; choose one of them.")
    drawn = draw_paper(exhibit, width_inches=width_inches, titled=titled)
    buffer = BytesIO()
    with style.context(["default", _PARAMETERS]):
        drawn.savefig(buffer, format=file_format, dpi=RESOLUTION, metadata=_METADATA[file_format])
    return buffer.getvalue()


def save_paper(exhibit: Drawable, path: Path | str, *, width_inches: float = WIDTHS[1], titled: bool = False) -> None:
    """Draw an exhibit for a paper and write it, whole or not at all, in the format that the file's name ends with.

    Args:
        exhibit: What to draw.
        path: The file, which ends with ``.pdf``, ``.svg`` or ``.png``; its folder has to exist.
        width_inches: The width on paper.
        titled: Whether the title is drawn.

    Raises:
        InputError: As `draw_paper` has it, or if the file's name ends otherwise.
        StoreError: If the file cannot be written.
    """
    file = Path(path)
    ending = file.suffix.removeprefix(".").lower()
    found: Format | None = next((known for known in FORMATS if known == ending), None)
    if found is None:
        raise InputError(f"{file}: wanted a file that ends with .{', .'.join(FORMATS)}; give it another name.")
    write_atomically(file, render_paper(exhibit, found, width_inches=width_inches, titled=titled))
