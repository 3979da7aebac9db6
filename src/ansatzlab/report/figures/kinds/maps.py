"""The figure of a score over two settings of a sweep."""

import json
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from ansatzlab.errors import InputError
from ansatzlab.laws.figure import HeatMap, Panel
from ansatzlab.report.figures.kinds.grouping import (
    pooled,
    sentences,
    sorted_values,
    told_apart_by,
    values_of,
)
from ansatzlab.report.figures.kinds.options import DEFAULTS, Options
from ansatzlab.report.figures.kinds.scores import score_of, score_words
from ansatzlab.report.figures.kinds.tracks import SPECTRAL, Track, lacking, refuse_lacking, tracks_of
from ansatzlab.report.readout import display_name
from ansatzlab.report.settings import setting_words, settings_of, varied_settings

NAMES = {"learning_rate": "learning rate η", "weight_decay": "weight decay λ", "depth": "depth L", "init": "start"}
"""What axes of settings are called, where that is not the setting's name."""


def lacking_settings(table: pa.Table) -> str:
    """Say what a table lacks for a map; empty if nothing."""
    if found := lacking(table, SPECTRAL):
        return found
    specs = set(table["spec"].to_pylist())
    return "" if len(varied_settings(settings_of(json.loads(spec)) for spec in specs)) > 1 else "two settings that vary"


def settings_map(table: pa.Table, *, options: Options = DEFAULTS) -> HeatMap:
    """Draw a score of one layer at the last snapshot over two settings, and a third one panel by panel.

    Args:
        table: Rows as the store returns them.
        options: The choices; ``by`` names the settings of the rows, of the columns and, if it has a third, of the
            panels, and may be left out if the runs differ in two or three; of ``layers`` one, by default the first.

    Returns:
        The heat map; runs that differ in other settings are pooled, and the median is shown.

    Raises:
        InputError: If the table has no spectra of finished runs, there are not two or three settings, or several layers
            are asked for.
    """
    refuse_lacking("map", lacking_settings(table))
    if len(options.layers) > 1:
        raise InputError(f"figure 'map': got the layers {', '.join(options.layers)}; wanted one; name one of them.")
    tracks, notes = tracks_of(table, options.layers, columns=SPECTRAL, moments="last", layered=bool(options.layers))
    by = _settings(tracks, options)
    rows, columns = (sorted_values(tracks, name) for name in by[:2])
    panels = sorted_values(tracks, by[2]) if len(by) > 2 else [None]
    members: dict[tuple[str, ...], list[Track]] = {}
    for track in tracks:
        members.setdefault(values_of(track.settings, by), []).append(track)
    scores = {key: [score_of(track.last, options).value for track in each] for key, each in members.items()}
    words = score_words(tracks, options)
    names = sorted({display_name(track.layer) for track in tracks})

    def cell(*values: object) -> float:
        settings = dict(zip(by, values, strict=False))
        found = [value for value in scores.get(values_of(settings, by), []) if not math.isnan(value)]
        return float(np.median(found)) if found else math.nan

    drawn = [
        Panel(
            title=setting_words(by[2], panel) if len(by) > 2 else "",
            rows=tuple(_value(row) for row in rows),
            columns=tuple(_value(column) for column in columns),
            values=(cells := tuple(tuple(cell(row, column, panel) for column in columns) for row in rows)),
            marks=tuple(tuple("" if math.isnan(value) else f"{value:.2g}" for value in line) for line in cells),
        )
        for panel in panels
    ]
    positive = [value for panel in drawn for line in panel.values for value in line if value > 0]
    return HeatMap(
        key="map",
        title=f"{words[:1].upper()}{words[1:]}, by {' and '.join(by)}",
        caption=sentences(
            f"{words[:1].upper()}{words[1:]} of {', '.join(names)} at the last snapshot: the median over runs.",
            *pooled(members.values()),
            *notes,
        ),
        row_label=NAMES.get(by[0], by[0]),
        column_label=NAMES.get(by[1], by[1]),
        value_label=words,
        panels=tuple(drawn),
        log=options.score != "alignment" and bool(positive),
    )


def _settings(tracks: Sequence[Track], options: Options) -> tuple[str, ...]:
    """Return the settings of rows, columns and perhaps panels.

    Raises:
        InputError: If there are not two or three, or it is not said which.
        UnknownNameError: If runs have no such setting.
    """
    by = told_apart_by(tracks, options)
    if len(by) in (2, 3):
        return by
    varied = ", ".join(f"{name} ({len(sorted_values(tracks, name))})" for name in by)
    raise InputError(
        f"figure 'map': got {len(by)} settings ({varied}); wanted two, of the rows and of the columns, or three, the "
        "last of the panels; choose them (--by, twice)."
    )


def _value(value: object) -> str:
    """Return a setting's value without its name, which the axis has."""
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
