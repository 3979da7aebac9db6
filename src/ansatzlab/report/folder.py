"""The output folder of ``ansatz measure``: the measurement, its rows, its page and its pictures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansatzlab.atomic import write_atomically
from ansatzlab.errors import StoreError
from ansatzlab.measurement.result import Measurement
from ansatzlab.report.directions import Picture
from ansatzlab.report.figures import save_png
from ansatzlab.report.measurement import measurement_figures, render_measurement
from ansatzlab.report.readout import Readout

PAGE, RECORD, ROWS, FIGURES = "report.html", "measurement.safetensors", "measurement.json", "figures"


def refuse_foreign_folder(folder: Path) -> None:
    """Refuse a folder that holds something else, before anything is computed.

    Raises:
        StoreError: If it is a file, cannot be read, or is neither empty nor an earlier output of ``ansatz measure``.
    """
    try:
        foreign = folder.exists() and any(folder.iterdir()) and not (folder / ROWS).is_file()
    except OSError as error:
        raise StoreError(f"{folder}: cannot be used as an output folder ({error.strerror}); choose another.") from error
    if foreign:
        raise StoreError(
            f"{folder}: is not empty and not an output folder of `ansatz measure`; wanted a new or an empty one; "
            "choose another, nothing was written."
        )


def write_folder(
    folder: Path,
    measurement: Measurement,
    rows: Sequence[Readout],
    pictures: Sequence[Picture],
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
        pictures: The AGOP's directions; may be empty.
        record: What is kept as JSON.
        facts: Provenance for the page.
        title: The network's name, for the page.

    Returns:
        The page.

    Raises:
        StoreError: If something cannot be written.
    """
    figures = measurement_figures(measurement, rows)
    page = render_measurement(measurement, rows, figures, pictures, facts, title=title)
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
    for place, picture in enumerate(pictures, start=1):
        for rank, file in enumerate(picture.files, start=1):
            write_atomically(drawn / f"direction-{place}-{rank}.png", file)
    write_atomically(folder / PAGE, page.encode())
    write_atomically(folder / ROWS, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False).encode())
    return folder / PAGE
