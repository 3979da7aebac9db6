"""Files of installed packages, found without importing the package."""

from importlib.util import find_spec
from pathlib import Path

from ansatzlab.errors import InputError


def package_file(package: str, place: str) -> Path:
    """Return a file or folder that an installed package brings with it.

    Args:
        package: The package's name in Python; it is not imported.
        place: The path inside it.

    Returns:
        The path.

    Raises:
        InputError: If the package, or this file of it, is not installed.
    """
    found = find_spec(package)
    path = None if found is None or found.origin is None else Path(found.origin).parent / place
    if path is None or not path.exists():
        raise InputError(
            f"this example reads {place} of the package {package}, which is not installed; run `make networks`."
        )
    return path
