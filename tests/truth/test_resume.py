"""A verification that is killed loses no finished run and ends as if it had never been interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ansatzlab.store.parquet import Store

SETTINGS = [
    *("--set", "seeds=0,1"),
    *("--set", "depths=2,3"),
    *("--set", "unbalanced_depths=2"),
    *("--set", "weight_decays=0.05"),
    *("--set", "snapshots=20"),
    *("--set", "width=4"),
    *("--set", "flow_time=10"),
    *("--set", "descent_time=5"),
]


def verify_command(out: Path) -> list[str]:
    ansatz = str(Path(sys.executable).with_name("ansatz"))
    return [
        ansatz,
        "verify",
        "tansley2025nfa",
        "--full",
        "--only",
        "linear",
        "--workers",
        "1",
        "--data",
        "linnerud",
        "--out",
        str(out),
        *SETTINGS,
    ]


def kill_after(runs: int, out: Path) -> None:
    """Start the verification and kill it, without a chance to clean up, once it has written so many runs."""
    process = subprocess.Popen(verify_command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list((out / "runs").glob("*.parquet"))) < runs:
        assert process.poll() is None, "the verification ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def stored(out: Path) -> pa.Table:
    return Store.open(out).table().drop_columns(["wall_seconds"])


@pytest.mark.slow
def test_kill_minus_nine_and_the_same_command(tmp_path: Path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    stamps: dict[Path, int] = {}
    for runs in (3, 8):
        kill_after(runs, killed)
        files = list((killed / "runs").glob("*.parquet"))
        assert all(pq.read_table(file).num_rows for file in files)
        assert all(file.stat().st_mtime_ns == stamp for file, stamp in stamps.items()), "a finished run was repeated"
        stamps = {file: file.stat().st_mtime_ns for file in files}
    codes = [
        subprocess.run(verify_command(out), capture_output=True, check=False).returncode for out in (killed, whole)
    ]
    assert codes[0] == codes[1] != 3
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in stamps.items()), "a finished run was repeated"
    assert stored(killed).equals(stored(whole))
    assert not [file for file in killed.rglob("*") if file.suffix == ".tmp"]
