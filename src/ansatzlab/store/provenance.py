"""What made a file: versions, machine and time."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version


def provenance() -> dict[str, str]:
    """Return what a reader needs to know of the program and machine that made a result.

    Conventions: versions are those of the installed distributions, so nothing is imported to ask; a local build tag
    that only ``torch.__version__`` carries (``+cu130``) is therefore not part of it.

    Returns:
        The versions of ansatzlab, python, torch, numpy, scipy and pyarrow, the platform, the count of logical
        processors and the UTC time to the second (ISO 8601), all as strings.

    Example:
        >>> list(provenance())
        ['ansatzlab', 'numpy', 'pyarrow', 'scipy', 'torch', 'python', 'platform', 'processors', 'utc_time']
    """
    return {
        **{name: version(name) for name in ("ansatzlab", "numpy", "pyarrow", "scipy", "torch")},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processors": str(os.cpu_count()),
        "utc_time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
