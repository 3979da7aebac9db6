"""What one layer looks at, as the page of a measurement shows it: pictures, tokens or bars, under one heading."""

from base64 import b64encode
from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        key: Its name among the pictures of its look, for its file.
        label: What is written under it.
        alt: What it shows, for those who do not see it.
        png: The PNG file.
    """

    key: str
    label: str
    alt: str
    png: bytes

    @property
    def uri(self) -> str:
        """The picture as an address that holds all of it."""
        return f"data:image/png;base64,{b64encode(self.png).decode()}"


@dataclass(frozen=True)
class TokenRow:
    """The tokens that stand out in one direction, with their numbers.

    Attributes:
        name: Which direction.
        share: Its share of the AGOP's trace, written out; empty where it has none.
        positive: The tokens with the largest numbers, each with its number, the largest first.
        negative: Those with the smallest, the smallest first.
    """

    name: str
    share: str
    positive: tuple[tuple[str, str], ...]
    negative: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Bar:
    """One number of several.

    Attributes:
        label: What it belongs to.
        value: The number, written out.
        length: It over the largest in size, from −1 to 1.
    """

    label: str
    value: str
    length: float


@dataclass(frozen=True)
class Look:
    """What one layer looks at, under one heading.

    Attributes:
        title: The heading, without the layer.
        layer: The layer's name.
        caption: How to read it.
        pictures: Pictures, side by side.
        tokens: Rows of tokens.
        bars: Numbers as bars.
    """

    title: str
    layer: str
    caption: str
    pictures: tuple[Picture, ...] = ()
    tokens: tuple[TokenRow, ...] = ()
    bars: tuple[Bar, ...] = ()


def percent(share: float) -> str:
    """Write a share of a whole with three digits.

    Example:
        >>> [percent(share) for share in (1.0, 0.4137, 0.00012)]
        ['100 %', '41.4 %', '0.012 %']
    """
    return f"{100 * share:.3g} %"


def format_entry(value: float) -> str:
    """Write a number with two digits.

    Example:
        >>> [format_entry(value) for value in (0.1234, 0.02, -3.0, 14.2, 0.0)]
        ['0.12', '0.020', '−3.0', '14', '0.0']
    """
    return f"{value:#.2g}".rstrip(".").replace("-", "−", 1) if value < 0 else f"{value:#.2g}".rstrip(".")
