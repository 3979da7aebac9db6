"""The output folder of ``ansatz measure``: the measurement, its rows, its page and its pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansatzlab.atomic import write_atomically
from ansatzlab.errors import AnsatzError, StoreError
from ansatzlab.measurement.result import Measurement
from ansatzlab.report.figures.curves import save_png
from ansatzlab.report.looks.records import Bar, Look, Picture, TokenRow
from ansatzlab.report.measurement import measurement_figures, render_measurement
from ansatzlab.report.readout import Readout

PAGE, RECORD, ROWS, FIGURES = "report.html", "measurement.safetensors", "measurement.json", "figures"


def write_folder(
    folder: Path,
    measurement: Measurement,
    rows: Sequence[Readout],
    looks: Sequence[Look],
    *,
    record: Mapping[str, object],
    facts: Mapping[str, str],
    title: str,
) -> Path:
    """Write everything of a measurement; each file whole or not at all, the rows last.

    Args:
        folder: Where; made if it is not there.
        measurement: The measurement.
        rows: Its rows.
        looks: What layers look at; may be empty.
        record: What is kept as JSON.
        facts: Provenance for the page.
        title: The network's name, for the page.

    Returns:
        The page.

    Raises:
        StoreError: If something cannot be written.
    """
    figures = measurement_figures(measurement, rows)
    page = render_measurement(measurement, rows, figures, looks, facts, title=title)
    drawn = folder / FIGURES
    try:
        drawn.mkdir(parents=True, exist_ok=True)
        for old in (*drawn.glob("*.png"), folder / ROWS):
            old.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be used as an output folder ({error.strerror}); choose another.") from error
    measurement.save(folder / RECORD)
    for figure in figures:
        save_png(figure, drawn / f"{figure.key}.png")
    for place, look in enumerate(looks, start=1):
        for picture in look.pictures:
            write_atomically(drawn / _file_name(place, picture.key), picture.png)
    write_atomically(folder / PAGE, page.encode())
    kept = {**record, "title": title, "looks": [_kept(look) for look in looks]}
    write_atomically(folder / ROWS, json.dumps(kept, indent=2, ensure_ascii=False, allow_nan=False).encode())
    return folder / PAGE


def rebuild_folder(folder: Path) -> Path:
    """Write the page and the figures of a measurement again from what its folder holds, without measuring.

    Conventions:
        A folder of an earlier version has no record of what layers look at; its page is made without.

    Args:
        folder: An output folder of ``ansatz measure``.

    Returns:
        The page.

    Raises:
        StoreError: If a file is damaged or missing, or something cannot be written.
    """
    path = folder / ROWS
    try:
        record = json.loads(path.read_bytes())
        rows = [Readout.from_dict(row) for row in record["rows"]]
        facts = {str(name): str(value) for name, value in record["provenance"].items()}
        looks = [
            _read_look(folder / FIGURES, place, kept) for place, kept in enumerate(record.get("looks", []), start=1)
        ]
        title = str(record.get("title", facts.get("network", folder.name)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: cannot be used ({type(error).__name__}: {error}); measure again.") from error
    measurement = Measurement.load(folder / RECORD)
    try:
        figures = measurement_figures(measurement, rows)
        page = render_measurement(measurement, rows, figures, looks, facts, title=title)
    except (AnsatzError, KeyError) as error:
        raise StoreError(f"{path}: its rows are not of {RECORD} ({error}); measure again.") from error
    for figure in figures:
        save_png(figure, folder / FIGURES / f"{figure.key}.png")
    write_atomically(folder / PAGE, page.encode())
    return folder / PAGE


def _file_name(place: int, key: str) -> str:
    return f"look-{place}-{key}.png"


def _kept(look: Look) -> dict[str, object]:
    """Return a look as what JSON can hold; its pictures are files."""
    pictures = [{"key": each.key, "label": each.label, "alt": each.alt} for each in look.pictures]
    return {**asdict(look), "pictures": pictures}


def _read_look(drawn: Path, place: int, kept: Mapping[str, Any]) -> Look:
    """Return the look that `_kept` wrote."""
    pictures = [Picture(**each, png=(drawn / _file_name(place, each["key"])).read_bytes()) for each in kept["pictures"]]
    pairs = ("positive", "negative")
    tokens = [{**row, **{side: tuple(map(tuple, row[side])) for side in pairs}} for row in kept["tokens"]]
    return Look(
        title=kept["title"],
        layer=kept["layer"],
        caption=kept["caption"],
        pictures=tuple(pictures),
        tokens=tuple(TokenRow(**row) for row in tokens),
        bars=tuple(Bar(**bar) for bar in kept["bars"]),
    )
