"""The store: a folder of Parquet files, one per batch of finished runs, and small JSON files beside them."""

import errno
import hashlib
import json
import os
import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ansatzlab.atomic import is_temporary, remove_stale_temporaries, write_atomically
from ansatzlab.errors import DamagedFileWarning, StoreError
from ansatzlab.store.provenance import provenance
from ansatzlab.store.schema import SCHEMA_VERSION, STATUSES, check_schema, to_table, unite

FORMAT = "ansatzlab-store"
MARKER = "store.json"
PROVENANCE_KEY = b"ansatzlab"
RUN_IDS_KEY = b"ansatzlab_run_ids"

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,199}")
_JSON_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DAMAGE = (StoreError, OSError, ValueError, pa.ArrowException)
T = TypeVar("T")


@final
@dataclass(frozen=True)
class Store:
    """A folder of finished runs; make one with ``Store.open``.

    A run is readable as a whole or not at all: a writer may be killed at any moment, several processes may write at
    once. The folder holds the marker ``store.json``, the runs as ``runs/*.parquet`` and side files ``*.json``. The
    footer of each Parquet file holds, as JSON, the provenance (key ``ansatzlab``) and the ids (``ansatzlab_run_ids``).

    Attributes:
        folder: The folder, which ``Store.open`` has made or checked.

    Example:
        >>> import tempfile
        >>> from ansatzlab.store.schema import BASE_SCHEMA
        >>> row = dict.fromkeys(BASE_SCHEMA.names) | {
        ...     "run_id": "a", "experiment": "e", "spec": "{}", "status": "finished", "data": "d", "dynamics": "flow",
        ...     "depth": 2, "seed": 0, "weight_decay": 0.1, "snapshot": 0}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = Store.open(folder)
        ...     store.write(["a"], [row])
        ...     store.finished(), store.table().num_rows
        (frozenset({'a'}), 1)
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path | str) -> "Store":
        """Make a store in a new or empty folder, or open the store that is there.

        Temporaries that killed processes of this host left are removed; those of living ones stay.

        Args:
            folder: The folder; it and its parents are made where they are missing.

        Returns:
            The store, which can be written.

        Raises:
            StoreError: If the path is a file, the folder cannot be written (a store that is only to be read is no
                exception), holds other things than a store, or its store has another version or a damaged marker.
        """
        folder = Path(folder)
        marker = folder / MARKER
        try:
            if folder.is_file():
                raise StoreError(f"{folder}: is a file, wanted a folder; choose another --out.")
            folder.mkdir(parents=True, exist_ok=True)
            # Listed before the marker is looked for: another process that is just making this store writes the marker
            # first, so whatever of its files is in the list, its marker is there by now.
            others = [file.name for file in folder.iterdir() if not is_temporary(file.name)]
            if marker.exists():
                _check_marker(folder)
            elif others:
                raise StoreError(f"{folder}: is not empty and not a store (no {MARKER}); choose an empty or new --out.")
            else:
                write_atomically(marker, _to_json({"format": FORMAT, "schema_version": SCHEMA_VERSION}))
            runs = folder / "runs"
            runs.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{folder}: cannot be used as a store ({error.strerror}); choose another --out."
            ) from error
        for place in (folder, runs):
            if not os.access(place, os.W_OK):
                raise StoreError(f"{place}: cannot be written; make it writable or choose another --out.")
            remove_stale_temporaries(place)
        return cls(folder)

    def write(self, run_ids: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
        """Write a batch of runs as one file, all of them or none.

        The file is named by the run id, or for several by a hash of them; writing the same runs again replaces it and
        touches no other. Apart from wall_seconds and the provenance its content depends on the rows alone, not on their
        order.

        Args:
            run_ids: The ids of the runs, each once: letters, digits and ``._+=-``, at most 200 of them.
            rows: The rows of these runs, at least one for each, as ``schema.to_table`` wants them.

        Raises:
            StoreError: If there is no id, an id is unusable or given twice, the rows are of other runs, a row does not
                fit the schema, or the file cannot be written.
        """
        name = _file_name(run_ids)
        table = to_table(rows)
        got = set(table["run_id"].to_pylist())
        if got != set(run_ids):
            raise StoreError(f"{self.folder}: the run ids are {sorted(run_ids)}, those of the rows {sorted(got)}.")
        table = table.replace_schema_metadata(
            {
                PROVENANCE_KEY: json.dumps(provenance(), sort_keys=True),
                RUN_IDS_KEY: json.dumps(sorted(run_ids)),
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, write_page_checksum=True)
        path = self.folder / "runs" / name
        try:
            write_atomically(path, sink.getvalue().to_pybytes())
        except StoreError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno not in _FULL:
                raise
            raise StoreError(
                f"{path}: cannot be written ({cause.strerror}); free space and start again: finished runs are kept."
            ) from cause

    def finished(self) -> frozenset[str]:
        """Return the ids of the runs that are stored, whatever their status.

        Returns:
            The ids that the readable files hold. A damaged file is skipped with a ``DamagedFileWarning``.

        Precision: damage to the pages before an intact footer, which no killed writer can cause, is found by ``table``
        (by checksum) and not here.

        Cost: reads the footer of each file.
        """
        return frozenset().union(*(_or_warn(_read_run_ids, file) or () for file in self._files()))

    def table(self, run_ids: Collection[str] | None = None) -> pa.Table:
        """Return the rows of the runs as one table, independent of the order in which they were written.

        Conventions: of a run that is in several readable files, as one that failed and was run again in another batch,
        a finished copy counts before a diverged one, and that before a failed one; of equals, the first by file name.

        Args:
            run_ids: The runs to read, or None for all; those that are not there are left out.

        Returns:
            The columns of ``schema.BASE_SCHEMA``, then every observable by name, null where a file lacks it; sorted by
            run_id, snapshot and layer_index, nulls last. A damaged file is skipped with a ``DamagedFileWarning``.

        Cost: the footers of all files, and the whole of those that hold a wanted run.
        """
        wanted = None if run_ids is None else frozenset(run_ids)
        parts: list[pa.Table] = []
        best: dict[str, tuple[int, int]] = {}
        for file in self._files():
            held = {run_id for run_id in _or_warn(_read_run_ids, file) or () if wanted is None or run_id in wanted}
            part = _or_warn(_read_rows, file) if held else None
            if part is not None:
                part = _of_runs(part, held)
                for run_id, rank in _ranks(part).items():
                    best[run_id] = min(best.get(run_id, (rank, len(parts))), (rank, len(parts)))
                parts.append(part)
        return unite(
            _of_runs(part, {run_id for run_id, (_, place) in best.items() if place == index})
            for index, part in enumerate(parts)
        )

    def write_json(self, name: str, value: object) -> None:
        """Write a small side file, whole or not at all, with sorted keys.

        Args:
            name: The file's name without ``.json``: letters, digits, ``_`` and ``-``; not ``store``.
            value: What JSON can hold; NaN and infinities it cannot.

        Raises:
            StoreError: If the name or the value cannot be used, or the file cannot be written.
        """
        path = self._side_file(name)
        try:
            content = _to_json(value)
        except (TypeError, ValueError) as error:
            raise StoreError(
                f"{path}: the value is not JSON ({error}); give finite numbers, text, lists, maps."
            ) from error
        write_atomically(path, content)

    def read_json(self, name: str) -> object:
        """Return the value of a side file.

        Args:
            name: The name that ``write_json`` was given.

        Returns:
            The value, with lists for tuples and text for the keys of maps.

        Raises:
            StoreError: If the name cannot be used, or there is no such file or it cannot be read.
        """
        path = self._side_file(name)
        try:
            return json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: cannot be read ({error}); write it again.") from error

    def _files(self) -> list[Path]:
        return sorted((self.folder / "runs").glob("*.parquet"), key=lambda file: file.name)

    def _side_file(self, name: str) -> Path:
        file = f"{name}.json"
        if not _JSON_NAME.fullmatch(name) or file == MARKER:
            raise StoreError(
                f"{self.folder}: {name!r} cannot name a side file; use letters, digits, '_' and '-', without '.json', "
                f"and not {Path(MARKER).stem!r}."
            )
        return self.folder / file


def _to_json(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _check_marker(folder: Path) -> None:
    try:
        marker = json.loads((folder / MARKER).read_bytes())
    except ValueError as error:
        raise StoreError(f"{folder}: its {MARKER} is damaged ({error}); choose another --out.") from error
    if not isinstance(marker, dict) or marker.get("format") != FORMAT:
        raise StoreError(f"{folder}: its {MARKER} is not that of an ansatzlab store; choose another --out.")
    version = marker.get("schema_version")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{folder}: made by store schema {version}, this ansatzlab reads {SCHEMA_VERSION}; "
            "choose another --out or use the version that made it."
        )


def _file_name(run_ids: Sequence[str]) -> str:
    if not run_ids or len(set(run_ids)) != len(run_ids):
        raise StoreError(f"the run ids {list(run_ids)} are none or not distinct; give each run's id once.")
    for run_id in run_ids:
        if not _RUN_ID.fullmatch(run_id):
            raise StoreError(f"the run id {run_id!r} cannot name a file; use up to 200 letters, digits and '._+=-'.")
    if len(run_ids) == 1:
        return f"{run_ids[0]}.parquet"
    digest = hashlib.sha256("\n".join(sorted(run_ids)).encode()).hexdigest()
    return f"batch@{digest[:32]}.parquet"  # no run id holds an @, so no single run has this name


def _read_run_ids(path: Path) -> list[str]:
    with pa.OSFile(str(path)) as file:
        schema = pq.read_schema(file)
    check_schema(schema)
    if RUN_IDS_KEY not in (schema.metadata or {}):
        raise StoreError("its footer has no run ids")
    return list(json.loads(schema.metadata[RUN_IDS_KEY]))


def _read_rows(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        table = pq.ParquetFile(file, page_checksum_verification=True).read(use_threads=False)
    unknown = set(table["status"].to_pylist()) - set(STATUSES)
    if unknown:
        raise StoreError(f"its status is {', '.join(sorted(unknown))}, wanted one of {', '.join(STATUSES)}")
    return table


def _of_runs(table: pa.Table, run_ids: Collection[str]) -> pa.Table:
    return table.filter(pc.is_in(table["run_id"], pa.array(sorted(run_ids), pa.string())))


def _ranks(table: pa.Table) -> dict[str, int]:
    """Return the place of each run's status in STATUSES, the better the lower."""
    places = pa.table({"run_id": table["run_id"], "rank": pc.index_in(table["status"], pa.array(STATUSES))})
    ranks = places.group_by("run_id", use_threads=False).aggregate([("rank", "max")])
    return dict(zip(ranks["run_id"].to_pylist(), ranks["rank_max"].to_pylist(), strict=True))


def _or_warn(read: Callable[[Path], T], path: Path) -> T | None:
    """Return what is read from a file, or None with a warning where it is damaged."""
    try:
        return read(path)
    except _DAMAGE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        warnings.warn(
            f"{path}: damaged, skipped as if its runs had not finished ({reason}); delete it and run them again.",
            DamagedFileWarning,
            stacklevel=4,
        )
        return None
