"""Peak memory of one way of doing a case, in its own process: ``python -m benchmarks.memory MODULE WAY [SIZE …]``."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a process: with the model and the data built, and the most of them while it worked."""

    before: int
    peak: int

    @property
    def above(self) -> int:
        """What the work took above the model and the data."""
        return self.peak - self.before


def peak_memory(benchmark: ModuleType, way: str, *size: int) -> Memory:
    """Return the memory of ``getattr(benchmark.case(*size), way)()`` in a fresh process with one thread."""
    command = [sys.executable, "-m", "benchmarks.memory", benchmark.__name__, way, *map(str, size)]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return Memory(**json.loads(done.stdout.splitlines()[-1]))


def memory_notes(benchmark: ModuleType, *size: int) -> dict[str, object]:
    """Return both ways' peak above the model in MiB, and the share that ours needs of the other's."""
    slow, ours = (peak_memory(benchmark, way, *size).above for way in ("slow", "ours"))
    return {"slow_peak_mib": slow / 2**20, "our_peak_mib": ours / 2**20, "peak_share": ours / slow}


def resident(field: str) -> int:
    """Return one of Linux' counters of resident memory, in bytes.

    ``resource.getrusage`` would be portable, but its peak is inherited from the process that starts this one.
    """
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def main(module: str, way: str, *size: str) -> None:
    torch.set_num_threads(1)
    work = getattr(import_module(module).case(*map(int, size)), way)
    before = resident("VmRSS")
    CLEAR_REFS.write_text("5")  # the peak while the model was built does not count
    work()
    print(json.dumps(asdict(Memory(before=before, peak=resident("VmHWM")))))


if __name__ == "__main__":
    main(*sys.argv[1:])
