"""Whole files or none: a temporary name, fsync, rename, the clearing of what a killed writer left; folders of others.

POSIX only: a rename replaces the old file in one step, and a folder can be synced to disk.
"""

import os
import platform
import re
import secrets
from contextlib import suppress
from pathlib import Path

from ansatzlab.errors import StoreError

TEMPORARY_SUFFIX = ".tmp"
_TEMPORARY = re.compile(
    r"\.writing\.(?P<host>[A-Za-z0-9_-]*)\.(?P<pid>\d{1,9})\.[0-9a-f]+" + re.escape(TEMPORARY_SUFFIX)
)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part, whenever the writer dies.

    The content goes to a temporary name in the same folder and to disk (fsync), then takes its name in one step
    (``os.replace``), then the folder goes to disk. The temporary starts with a dot, ends in ``.tmp`` and carries host,
    process id and a random token, so that no two writers share one.

    Args:
        path: The file to write or to replace. Its folder has to exist.
        content: All bytes of the file.

    Raises:
        StoreError: If the folder is missing or cannot be written, ``path`` is a folder, or the disk is full. The
            temporary is removed and an older file of that name is as it was (if only the last sync of the folder
            failed, the new file is in place but may not survive a power cut).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / "note.txt", b"whole")
        ...     [(file.name, file.read_bytes()) for file in Path(folder).iterdir()]
        [('note.txt', b'whole')]
    """
    temporary = path.parent / f".writing.{_host()}.{os.getpid()}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror}); check that its folder exists, is writable and has space."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def refuse_foreign_folder(folder: Path, mark: str, command: str) -> None:
    """Refuse an output folder that holds something else, before anything is computed.

    Args:
        folder: The folder; need not be there.
        mark: The file that every earlier output of the command has.
        command: What the folder is the output of, for the message, for example ``ansatz measure``.

    Raises:
        StoreError: If it is a file, cannot be read, or is neither empty nor an earlier output.
    """
    try:
        foreign = folder.exists() and any(folder.iterdir()) and not (folder / mark).is_file()
    except OSError as error:
        raise StoreError(f"{folder}: cannot be used as an output folder ({error.strerror}); choose another.") from error
    if foreign:
        raise StoreError(
            f"{folder}: is not empty and not an output folder of `{command}`; wanted a new or an empty one; choose "
            "another, nothing was written."
        )


def is_temporary(name: str) -> bool:
    """Return whether a file name is one of the temporaries of ``write_atomically``.

    Args:
        name: A file name without its folder.

    Returns:
        True for a temporary of any host and process.
    """
    return _TEMPORARY.fullmatch(name) is not None


def remove_stale_temporaries(folder: Path) -> None:
    """Remove the temporaries in a folder whose writer is dead.

    Conventions: only a process of this host can be known to be dead, so the temporaries of other hosts stay, as do
    those whose process id has been taken by another process since. They are never read.

    Args:
        folder: An existing folder; subfolders are not entered.

    Raises:
        StoreError: If the folder cannot be listed or a stale temporary cannot be removed.
    """
    try:
        for file in folder.iterdir():
            found = _TEMPORARY.fullmatch(file.name)
            if found and found["host"] == _host() and not _is_alive(int(found["pid"])):
                file.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be cleared of stale temporaries ({error.strerror}); make it readable and writable."
        ) from error


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", platform.node())[:64]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, and another user's
        return True
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
