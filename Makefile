# Everything happens in a virtual environment of the project's own; PYTHON names the interpreter to make it with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PACKAGE := pyproject.toml CMakeLists.txt constraints.txt $(shell git ls-files -co --exclude-standard cpp src)

.PHONY: demo test lint format bench gpu gpu-tune experiment stub sanitize test-peers wheel clean

demo: $(VENV)/.with-cli
	$(BIN)/python examples/demo.py

# By files, so that what the reference answers is computed once.
test: $(VENV)/.with-test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/.with-test $(VENV)/.with-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	git ls-files -co --exclude-standard 'cpp/*.h' 'cpp/*.cpp' | xargs $(BIN)/clang-format --dry-run --Werror
	$(BIN)/python -m nanobind.stubgen -q -m roialign._core -o build/_core.pyi
	diff -u src/roialign/_core.pyi build/_core.pyi

format: $(VENV)/.with-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files -co --exclude-standard 'cpp/*.h' 'cpp/*.cpp' | xargs $(BIN)/clang-format -i

# Writes the stub of the compiled module anew; lint compares it.
stub: $(VENV)/.with-test $(VENV)/.with-lint
	$(BIN)/python -m nanobind.stubgen -q -m roialign._core -o src/roialign/_core.pyi

bench: $(VENV)/.with-bench
	$(BIN)/python -m benchmarks

# Whether the kernels are right on this machine's GPU, then how fast, in 8 minutes; ROIALIGN_GPU_PYTHON names an
# interpreter that has torch's CUDA build, the tests' packages and roialign already, and best torchvision.
ROIALIGN_GPU_PYTHON ?= $(BIN)/python

gpu: $(if $(filter $(BIN)/python,$(ROIALIGN_GPU_PYTHON)),$(VENV)/.with-test)
	$(ROIALIGN_GPU_PYTHON) -m benchmarks.gpu run

# Which block sizes are best there, in 2 minutes, written to src/roialign/triton/sizes.json.
gpu-tune: $(if $(filter $(BIN)/python,$(ROIALIGN_GPU_PYTHON)),$(VENV)/.with-test)
	$(ROIALIGN_GPU_PYTHON) -m benchmarks.gpu tune --write

# Whether alignment pays, in minutes; python -m benchmarks.localisation is the whole of it.
experiment: $(VENV)/.with-detection
	$(BIN)/python -m benchmarks.localisation --small

# The core under AddressSanitizer and UBSan with hostile input, for every instruction set that this CPU has.
sanitize: $(VENV)/.with-lint
	$(BIN)/cmake -S . -B build/sanitize -DROIALIGN_SANITIZE=ON -DROIALIGN_PYTHON=OFF
	$(BIN)/cmake --build build/sanitize -j
	for isa in $$(build/sanitize/hostile_input --instruction-sets); do \
	  ROIALIGN_ISA=$$isa build/sanitize/hostile_input 2000 || exit 1; done

# Beside the real torchvision and timm, in an environment of its own: they bring the CUDA build of torch, several GB.
# ROIALIGN_PEERS_PYTHON names an interpreter that has them already, and pytest.
ROIALIGN_PEERS_PYTHON ?= $(VENV)-peers/bin/python

test-peers: $(if $(filter $(VENV)-peers/bin/python,$(ROIALIGN_PEERS_PYTHON)),$(VENV)-peers/.made)
	$(ROIALIGN_PEERS_PYTHON) -m pip install -q --no-deps --force-reinstall .
	$(ROIALIGN_PEERS_PYTHON) -m pytest tests/peers -o python_files='check_*.py'
	$(ROIALIGN_PEERS_PYTHON) tests/peers/timings.py

wheel: $(VENV)/.made
	$(PIP) wheel -q --no-deps -w dist .

clean:
	rm -rf $(VENV) $(VENV)-peers build dist demo-output gpu-results .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade pip
	touch $@

$(VENV)-peers/.made:
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip --disable-pip-version-check install -q torch==2.14.1 torchvision==0.29.1 timm==1.0.31 numpy pytest
	touch $@

$(VENV)/.with-%: $(VENV)/.made $(PACKAGE)
	$(PIP) install -q -c constraints.txt '.[$*]'
	touch $@

$(VENV)/.with-lint: $(VENV)/.made pyproject.toml
	$(PIP) install -q --group lint cmake nanobind
	touch $@
