"""The tests run side by side, so each of them, and each process they start, keeps to one thread."""

import os
from importlib.util import find_spec

os.environ["OMP_NUM_THREADS"] = "1"

CALLBACKS = {"lightning": "lightning", "huggingface": "transformers"}
collect_ignore = [f"src/ansatzlab/integrations/{file}.py" for file in CALLBACKS if find_spec(CALLBACKS[file]) is None]
"""Callbacks whose package is not installed have no examples to run in their docstrings."""
