"""The tests run side by side, so each of them, and each process they start, keeps to one thread."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
