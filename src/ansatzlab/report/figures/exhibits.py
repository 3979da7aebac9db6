"""What a page shows of an exhibit, whatever its kind, and the file it is saved as."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from ansatzlab.laws.figure import Exhibit, Figure, HeatMap, TextTable
from ansatzlab.report.figures.curves import count_undrawn, save_drawn, to_matplotlib, to_plotly
from ansatzlab.report.figures.heatmap import count_empty, draw_heatmap, plotly_heatmap

_LONGEST = 100
"""Characters that a file's name takes over from a key that is not one."""


@dataclass(frozen=True)
class Shown:
    """An exhibit on a page.

    Attributes:
        exhibit: What is shown.
        command: The command that redoes it; empty if the page says so elsewhere.
    """

    exhibit: Exhibit
    command: str = ""

    @property
    def table(self) -> TextTable | None:
        """The exhibit, if it is a table."""
        return self.exhibit if isinstance(self.exhibit, TextTable) else None

    @property
    def plot(self) -> dict[str, object] | None:
        """Plotly's JSON, if there is something to draw.

        Raises:
            InputError: If the exhibit's columns or cells do not fit together.
        """
        if isinstance(self.exhibit, Figure):
            return to_plotly(self.exhibit)
        return plotly_heatmap(self.exhibit) if isinstance(self.exhibit, HeatMap) else None

    @property
    def undrawn(self) -> int:
        """How many of its values the axes or the scale of colours cannot show."""
        if isinstance(self.exhibit, Figure):
            return count_undrawn(self.exhibit)
        return count_empty(self.exhibit) if isinstance(self.exhibit, HeatMap) else 0


def save_exhibit(exhibit: Exhibit, folder: Path) -> None:
    """Write an exhibit as a PNG file named by its key, whole or not at all; a table, which the page has, is left out.

    Conventions:
        In a key that cannot be the name of a file everything but letters, digits, ``.``, ``_`` and ``-`` becomes ``-``,
        and digits of its hash at the end keep it apart from others.

    Raises:
        InputError: If the exhibit's columns or cells do not fit together.
        StoreError: If the file cannot be written.
    """
    if not isinstance(exhibit, TextTable):
        drawn = to_matplotlib(exhibit) if isinstance(exhibit, Figure) else draw_heatmap(exhibit)
        save_drawn(drawn, folder / f"{_file_name(exhibit.key)}.png")


def _file_name(key: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]", "-", key)
    if name == key and len(key) <= _LONGEST:
        return key
    return f"{name[:_LONGEST]}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
