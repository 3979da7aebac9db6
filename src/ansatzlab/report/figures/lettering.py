"""Text on paper: which letters its font has, how wide they are, and where a line breaks."""

from functools import cache, lru_cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

FAMILY = "DejaVu Sans"
"""The font of every figure: it comes with matplotlib and has the letters that formulas need."""

UNKNOWN = "�"
"""What stands for a letter that the font does not have, and for a control character."""


def printed(text: str) -> str:
    r"""Return a text in one line of letters that the font has; `UNKNOWN` stands for every other.

    Example:
        >>> printed("‖WᵀW‖  at α\x1b[2m")
        '‖WᵀW‖ at α�[2m'
    """
    return "".join(letter if _is_known(letter) else UNKNOWN for letter in " ".join(text.split()))


@cache
def _is_known(letter: str) -> bool:
    font = get_font(findfont(FontProperties(family=FAMILY)))
    return letter.isprintable() and bool(font.get_char_index(ord(letter)))


@lru_cache(maxsize=4096)
def width_of(text: str, size: float) -> float:
    """Return the width of one line in points.

    Args:
        text: Letters that the font has (see `printed`).
        size: The font's size in points.
    """
    if not text:
        return 0.0
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(family=FAMILY, size=size), False)
    return float(width)


def widest(text: str, size: float) -> float:
    """Return the width of the widest of a text's lines in points."""
    return max(width_of(line, size) for line in text.split("\n"))


def broken(text: str, width: float, size: float) -> str:
    """Break a text into lines that are no wider than asked: between words, and within a word that is wider.

    Args:
        text: The text; its own line breaks are taken for spaces.
        width: The width of a line in points; a single letter may be wider.
        size: The font's size in points.

    Returns:
        The lines, joined by line breaks, in letters that the font has.

    Example:
        >>> broken("residual at the exponent of layer l", 90, 8).splitlines()
        ['residual at the', 'exponent of layer l']
    """
    lines = [""]
    for word in printed(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if width_of(longer, size) <= width:
            lines[-1] = longer
            continue
        first, *further = _pieces(word, width, size)
        lines = [*lines, first, *further] if lines[-1] else [first, *further]
    return "\n".join(lines)


def _pieces(word: str, width: float, size: float) -> list[str]:
    """Cut a word that is wider than a line."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and width_of(pieces[-1] + letter, size) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces
