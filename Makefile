# `make demo` and `make test` set up all they need in .venv, once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check ablation clean

demo: $(READY)
	$(BIN)/maclip demo --out demo

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# What each part of the method brings: docs/ablation.md. Many hours; stopped at any moment it goes on from there. The
# last two settings keep glibc from giving memory back after each episode, which took a fifth of the time.
SCRATCH ?= ablation
JOBS ?= 2
ablation: $(READY)
	OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296 \
		$(BIN)/python -m benchmarks.ablation.run $(SCRATCH) --jobs $(JOBS) --backbone tiny --backbone nopos
	$(BIN)/python -m benchmarks.ablation.page

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
