# `make demo` and `make test` first create .venv and install everything into it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check ablation clean

demo: $(READY)
	$(BIN)/maclip demo --out demo

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# The ablation of docs/ablation.md. It takes many hours and can be interrupted and restarted. The MALLOC_* settings keep
# glibc from returning memory to the system after each episode, which took a fifth of the time.
SCRATCH ?= ablation
JOBS ?= 2
ablation: $(READY)
	OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296 \
		$(BIN)/python -m benchmarks.ablation.run $(SCRATCH) --jobs $(JOBS) --backbone tiny --backbone nopos
	$(BIN)/python -m benchmarks.ablation.page

# Lint, types and import contract.
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
