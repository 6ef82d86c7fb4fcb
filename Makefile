# `make demo` and `make test` set up all they need in .venv, once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check clean

demo: $(READY)
	$(BIN)/maclip demo --out demo

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# Lint, types and import contract: what a commit is held to before the tests.
check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2])' || \
		{ echo "maclip needs Python 3.10 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 3; }
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): torch and its libraries are about 5 GB, a minute or two on a fast line."
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,export,cpu,dev]'
	@touch $@

clean:
	rm -rf $(VENV) demo
