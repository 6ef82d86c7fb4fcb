# `make demo` and `make test` first create .venv and install everything into it.
PYTHON ?= python3
VENV ?= .venv
COMMA := ,
SPACE := $(subst ,, )
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo docs test test-lowest test-install check ablation clean

demo: $(READY)
	$(BIN)/maclip demo --out demo

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# The device's tests with the lowest version of each direct dependency that pyproject.toml allows, in an environment of
# its own. The workstation's floors: LOWEST="tests/maclip tests/export" LOWEST_EXTRAS="train export cpu figures", which
# installs 5 GB. NEWEST="torch" keeps the newest torch. Tests of tools that no
# extra here installs (TensorRT, OpenVINO, Triton's client) are skipped. YCbCr in TIFF is read from Pillow 13 on.
LOWEST ?= tests/runtime/reading tests/runtime/gallery tests/runtime/decisions tests/runtime/sinks \
	tests/runtime/matching tests/runtime/archive tests/runtime/bundle/test_bundle.py tests/cli/device
LOWEST_EXTRAS ?= cpu text figures archive
NEWEST ?=
LOWEST_VENV ?= .venv-lowest
test-lowest:
	$(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/python tests/lowest_versions.py $(LOWEST_EXTRAS) --newest $(NEWEST) > $(LOWEST_VENV)/lowest.txt
	$(LOWEST_VENV)/bin/python -m pip install --quiet --constraint $(LOWEST_VENV)/lowest.txt \
		--editable '.[$(subst $(SPACE),$(COMMA),$(strip $(LOWEST_EXTRAS)))]' pytest pytest-xdist filelock 'onnx>=1.17'
	OMP_NUM_THREADS=1 $(LOWEST_VENV)/bin/pytest -n 2 --dist worksteal $(LOWEST) --deselect \
		"tests/runtime/reading/test_pictures.py::test_a_picture_of_any_mode_has_its_colours[tiff-YCbCr]"

# The wheel in clean environments of several Pythons: it installs, finds its engine, and its commands start.
PYTHONS ?= python3.10 python3.13
INSTALL_VENV ?= .venv-install
test-install: $(READY)
	$(BIN)/python -m hatchling build -t wheel -d $(INSTALL_VENV)/dist
	@set -e; for python in $(PYTHONS); do \
		$$python -m venv --clear $(INSTALL_VENV)/venv; \
		$(INSTALL_VENV)/venv/bin/pip install --quiet "$$(echo $(INSTALL_VENV)/dist/*.whl)[cpu,ros,serve,archive]"; \
		$(INSTALL_VENV)/venv/bin/python --version; \
		$(INSTALL_VENV)/venv/bin/maclip-run --version; \
		$(INSTALL_VENV)/venv/bin/maclip-run doctor --json > $(INSTALL_VENV)/doctor.json; \
		$(INSTALL_VENV)/venv/bin/maclip --help > $(INSTALL_VENV)/help.txt; \
	done
	rm -rf $(INSTALL_VENV)

# The ablation of docs/ablation.md. It takes many hours and can be interrupted and restarted. The MALLOC_* settings keep
# glibc from returning memory to the system after each episode, which took a fifth of the time.
SCRATCH ?= ablation
JOBS ?= 2
ablation: $(READY)
	OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296 \
		$(BIN)/python -m benchmarks.ablation.run $(SCRATCH) --jobs $(JOBS) --backbone tiny --backbone nopos
	$(BIN)/python -m benchmarks.ablation.page

# The website of docs/, with the pages that are made from the code, in site/.
docs: $(READY)
	rm -rf site
	$(BIN)/python -m website.build site

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
	@# A Triton server to test against. The wheel asks for numpy 1, which its server does not use.
	@test "$$(uname -sm)" != "Linux x86_64" || $(BIN)/python -m pip install --quiet --no-deps \
		--target $(VENV)/share/pytriton nvidia-pytriton==0.7.0
	@touch $@

clean:
	rm -rf $(VENV) $(LOWEST_VENV) $(INSTALL_VENV) dist demo site
