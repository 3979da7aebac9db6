import importlib.metadata
import platform
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import scipy

from ansatzlab.store.provenance import provenance


def test_the_versions_are_those_that_run():
    got = provenance()
    assert got["ansatzlab"] == importlib.metadata.version("ansatzlab")
    assert got["torch"] == importlib.metadata.version("torch")
    assert (got["numpy"], got["scipy"], got["pyarrow"]) == (np.__version__, scipy.__version__, pa.__version__)
    assert got["python"] == platform.python_version()
    assert got["platform"] == f"{platform.system()} {platform.machine()}"
    assert int(got["processors"]) >= 1


def test_the_time_is_now_in_utc():
    time = datetime.fromisoformat(provenance()["utc_time"])
    assert time.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)
