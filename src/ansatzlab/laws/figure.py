"""What a law draws, independent of what draws it: curves, heat maps, tables of words."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Curve:
    """A line of a figure, with its spread over seeds.

    Attributes:
        label: Its name in the legend.
        x: The abscissae.
        y: The medians over seeds.
        low: The smallest values over seeds; empty for a line without spread.
        high: The largest values over seeds; empty likewise.
        dashed: Whether it is a reference (a theory line, a threshold) and not a measurement.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure, independent of what draws it.

    Attributes:
        key: Its name in file names.
        title: What it shows.
        caption: How to read it, and what the law predicts.
        x_label: Label and unit of the abscissa.
        y_label: Label and unit of the ordinate.
        curves: Its lines.
        x_log: Whether the abscissa is logarithmic.
        y_log: Whether the ordinate is logarithmic.
    """

    key: str
    title: str
    caption: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    x_log: bool = True
    y_log: bool = True


@dataclass(frozen=True)
class Panel:
    """A grid of coloured cells.

    Attributes:
        title: What distinguishes it from the other panels of its figure.
        rows: The rows' names, from the top.
        columns: The columns' names, from the left.
        values: What colours each cell; nan where there is nothing.
        marks: What is written into each cell.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    marks: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class HeatMap:
    """A figure of panels that share one scale of colours.

    Attributes:
        key: Its name in file names.
        title: What it shows.
        caption: How to read it, the marks included.
        row_label: What the rows are.
        column_label: What the columns are.
        value_label: What the colours are, and its unit.
        panels: The panels.
        log: Whether the scale of colours is logarithmic.
    """

    key: str
    title: str
    caption: str
    row_label: str
    column_label: str
    value_label: str
    panels: tuple[Panel, ...]
    log: bool = True


@dataclass(frozen=True)
class TextTable:
    """A table of words and written numbers.

    Attributes:
        key: Its name in file names.
        title: What it shows.
        caption: How to read it.
        header: The columns' names.
        rows: The rows, each as long as the header.
    """

    key: str
    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Exhibit: TypeAlias = Figure | HeatMap | TextTable
"""Anything that a report shows beside the verdicts."""
