"""What an output folder holds: a measurement, or a store of runs with what was asked for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

import pyarrow as pa

from ansatzlab.cli.runs import read_table
from ansatzlab.errors import StoreError
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.result import Measurement
from ansatzlab.report.folder import RECORD, ROWS
from ansatzlab.store.parquet import MARKER, Store

Maker = Literal["verification", "sweep", "recording", "store"]

REQUESTS: tuple[Maker, ...] = ("verification", "sweep", "recording")
"""The side files of a store that say what made it."""

FINDINGS = "verdicts"
"""The side file of a verification that holds its findings."""


@dataclass(frozen=True)
class Measured:
    """An output folder of ``ansatz measure``.

    Attributes:
        folder: The folder.
        measurement: The measurement.
        conventions: How each layer was read, by its name.
        facts: Provenance, name to value.
    """

    folder: Path
    measurement: Measurement
    conventions: Mapping[str, tuple[Convention, ...]]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Runs:
    """A store of runs.

    Attributes:
        folder: The folder.
        table: All its rows.
        maker: What made it.
        request: What was asked for, as its side file has it; empty if there is none.
        findings: The findings of a verification; none if it has not been judged.
    """

    folder: Path
    table: pa.Table
    maker: Maker
    request: Mapping[str, Any]
    findings: tuple[Mapping[str, Any], ...]


def read_folder(folder: Path) -> Measured | Runs:
    """Read an output folder, and tell of each damaged file of a store.

    Raises:
        StoreError: If there is no such folder, it is not an output folder, or what it holds is damaged.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder; wanted an output folder of ansatz; check the path.")
    if (folder / ROWS).is_file():
        return _measured(folder)
    if (folder / MARKER).is_file():
        return _runs(folder)
    raise StoreError(
        f"{folder}: is not an output folder (neither {ROWS} nor {MARKER}); wanted one of `ansatz measure`, `ansatz "
        "sweep` or `ansatz verify`, or a recording; check the path."
    )


def _measured(folder: Path) -> Measured:
    measurement = Measurement.load(folder / RECORD)
    path = folder / ROWS
    conventions: dict[str, list[Convention]] = {}
    try:
        record = json.loads(path.read_bytes())
        for row in record["rows"]:
            read = Convention(float(row["exponent"]), row["comparator"], row["centered"], row["init_removed"])
            if row["layer"] in measurement and read not in conventions.setdefault(row["layer"], []):
                conventions[row["layer"]].append(read)
        facts = {str(name): str(value) for name, value in record["provenance"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: cannot be read ({type(error).__name__}: {error}); measure again.") from error
    return Measured(folder, measurement, {name: tuple(found) for name, found in conventions.items()}, facts)


def _runs(folder: Path) -> Runs:
    store = Store.open(folder)
    maker: Maker = next((name for name in REQUESTS if (folder / f"{name}.json").is_file()), "store")
    request = store.read_json(maker) if maker in REQUESTS else {}
    return Runs(folder, read_table(store), maker, request if isinstance(request, dict) else {}, _findings(store))


def _findings(store: Store) -> tuple[Mapping[str, Any], ...]:
    path = store.folder / f"{FINDINGS}.json"
    judged = store.read_json(FINDINGS) if path.is_file() else {"findings": []}
    findings = judged.get("findings") if isinstance(judged, dict) else None
    if not _are_findings(findings):
        raise StoreError(f"{path}: has no list of findings; judge the runs again with `ansatz report {store.folder}`.")
    return tuple(findings)


def _are_findings(value: object) -> TypeGuard[list[dict[str, Any]]]:
    """Whether it is a list of mappings whose values are of one kind in each column."""
    if not isinstance(value, list) or not all(isinstance(finding, dict) for finding in value):
        return False
    try:
        pa.Table.from_pylist(value)
    except pa.ArrowException:
        return False
    return True
