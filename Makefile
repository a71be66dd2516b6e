# Two commands do all set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo tables test lint types docs bench gpu-check clean

# Threads that wait give their core to the process that decodes; spinning, they would slow each other down.
demo tables: export OMP_WAIT_POLICY ?= PASSIVE

demo: $(VENV)/.app  ## make a world, pretrain on it, search it, write runs/demo/report.html
	$(BIN)/playhead demo

tables: $(VENV)/.app  ## the long version: InfoNCE against EgoNCE, with and without scene-aware negatives, three seeds
	$(BIN)/playhead tables

test: $(VENV)/.test  ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(VENV)/.dev  ## style, layers, sizes, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python tests/sizes.py
	$(BIN)/pyright

types: $(VENV)/.dev
	$(BIN)/pyright

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.test  ## all ratios, or one: make bench NAME=decoding
	$(BIN)/python -m benchmarks $(NAME)

gpu-check: $(VENV)/.test  ## correctness on a CUDA device, then the benchmarks
	$(BIN)/python -m pytest tests/gpu -m gpu
	$(BIN)/python -m benchmarks model_step

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Each stamp is one set of extras; a change of the pins or of pyproject.toml installs again.
$(VENV)/.app: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e ".[app,log]"
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e ".[test]"
	touch $@ $(VENV)/.app

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e ".[dev]"
	touch $@ $(VENV)/.test $(VENV)/.app

clean:
	rm -rf $(VENV) runs build dist site
