"""Writing a recording to a store while it grows."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import final

from ansatzlab.errors import StoreError
from ansatzlab.store.parquet import Store

SIDE_FILE = "recording"
"""The side file of a store that says what its recordings are of."""

WRITING_SHARE = 0.01
"""The largest share of the time that may go into writing: what took a second is written again 100 seconds later."""


@final
class Journal:
    """A run's file in a store, written anew as the run grows, and its entry in the side file ``recording.json``.

    Conventions:
        A file of the store is whole or not there, so each writing replaces it and takes longer as the run grows. To
        stay cheap, it waits until the last one has cost no more than `WRITING_SHARE` of the time since.

    Args:
        folder: The store's folder, made if need be. Several trainings may share it.

    Raises:
        StoreError: If the folder cannot be used.
    """

    def __init__(self, folder: Path | str) -> None:
        """Open the store."""
        self._store = Store.open(folder)
        self._next = 0.0

    def write(
        self,
        run_id: str,
        rows: Callable[[], Sequence[Mapping[str, object]]],
        entry: Callable[[], Mapping[str, object]],
        *,
        now: bool = False,
    ) -> None:
        """Write the run, unless that would cost too much just now.

        Args:
            run_id: The run's id.
            rows: Gives all rows of the run.
            entry: Gives what the side file says of it.
            now: Whether to write whatever it costs.

        Raises:
            StoreError: If a file cannot be written; what was there before is.
        """
        start = perf_counter()
        if not now and start < self._next:
            return
        try:
            self._store.write([run_id], rows())
            self._enter(run_id, entry())
        finally:
            end = perf_counter()
            self._next = end + (end - start) / WRITING_SHARE

    def _enter(self, run_id: str, entry: Mapping[str, object]) -> None:
        with _alone(self._store.folder):
            entries = {str(each["run_id"]): each for each in self._entries()}
            entries[run_id] = {**entry, "run_id": run_id}
            self._store.write_json(SIDE_FILE, {"recordings": [entries[key] for key in sorted(entries)]})

    def _entries(self) -> list[Mapping[str, object]]:
        if not (self._store.folder / f"{SIDE_FILE}.json").exists():
            return []
        kept = self._store.read_json(SIDE_FILE)
        found = kept.get("recordings") if isinstance(kept, dict) else None
        if not isinstance(found, list) or not all(isinstance(each, dict) and "run_id" in each for each in found):
            raise StoreError(
                f"{self._store.folder / SIDE_FILE}.json: is not what a recorder writes; move it away, or choose "
                "another folder."
            )
        return found


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other recorders from the side file meanwhile, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
