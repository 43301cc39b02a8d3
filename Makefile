# Everything happens in a virtual environment of the project's own; PYTHON names the interpreter to make it with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
WHEEL := build/wheel
PACKAGE := pyproject.toml CMakeLists.txt README.md LICENSE $(shell git ls-files -co --exclude-standard cpp src)
FORMATTED := 'cpp/*.h' 'cpp/*.cpp' 'playground/*.h' 'playground/*.cpp'

.PHONY: demo test test-all test-recording fuzz lint format bench gpu gpu-tune experiment stub sanitize sanitize-module \
  test-peers docs playground playground-test wheel wheels release-check clean

demo: $(VENV)/.with-demo
	$(BIN)/python examples/demo.py

# A process for every core, each with one thread: with more they would wait for each other. One that has nothing left to
# do takes tests from another. What the reference answers is kept on disk, and so is compiled Python, also where the
# environment says that it should not be: every process would compile the tests again.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# In a few minutes: all but the tests that are marked as slow.
test: $(VENV)/.with-test
	$(PYTEST) $(PYTEST_OPTIONS)

# Every test that needs no GPU: after those of `make test` the slow ones, none of them twice.
test-all: test
	$(PYTEST) -m "slow and not gpu"

# Every operator by every way that torch has of recording a program; make test runs a few of the cells that compile.
test-recording: $(VENV)/.with-test
	$(PYTEST) -m "not gpu" tests/torch/recording tests/onnx/test_static_and_dynamic.py

# A hundred thousand files that nobody would write, for every way in: minutes. SEED=100000 tries others.
fuzz: $(VENV)/.with-test
	$(BIN)/python -m tests.files.fuzz $(or $(INPUTS),100000) $(or $(SEED),0)

lint: $(VENV)/.with-test $(VENV)/.with-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/house
	git ls-files -co --exclude-standard $(FORMATTED) | xargs $(BIN)/clang-format --dry-run --Werror
	$(BIN)/python -m nanobind.stubgen -q -m roialign._core -o build/_core.pyi
	diff -u src/roialign/_core.pyi build/_core.pyi

format: $(VENV)/.with-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files -co --exclude-standard $(FORMATTED) | xargs $(BIN)/clang-format -i

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
sanitize: $(VENV)/.with-build
	$(BIN)/cmake -S . -B build/sanitize -DROIALIGN_SANITIZE=ON -DROIALIGN_PYTHON=OFF
	$(BIN)/cmake --build build/sanitize -j
	for isa in $$(build/sanitize/hostile_input --instruction-sets); do \
	  ROIALIGN_ISA=$$isa build/sanitize/hostile_input 2000 || exit 1; done

# The compiled module under both, with the tests of the core: ten minutes. Leaks are not reported: Python has its own.
SANITIZED := build/sanitized-module
sanitize-module: $(VENV)/.with-test
	$(PIP) install -q --no-deps --no-build-isolation --upgrade --target $(SANITIZED)/site . \
	  -C build-dir=$(SANITIZED)/build -C cmake.define.ROIALIGN_SANITIZE=ON
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 PYTHONPATH=$(SANITIZED)/site \
	  $(BIN)/python -m pytest -q tests/core tests/ops/test_plain_calls.py tests/ops/test_plain_pyramids.py \
	  -m "not gpu and not slow and not exhaustive and not unsanitized"

# Beside the real torchvision and timm, in an environment of its own: they bring the CUDA build of torch, several GB.
# Then torchvision's own tests on our kernels, from Debian's source package; ROIALIGN_TORCHVISION_ARCHIVE names another.
# ROIALIGN_PEERS_PYTHON names an interpreter that has them already, and pytest.
ROIALIGN_PEERS_PYTHON ?= $(VENV)-peers/bin/python

test-peers: $(if $(filter $(VENV)-peers/bin/python,$(ROIALIGN_PEERS_PYTHON)),$(VENV)-peers/.made)
	$(ROIALIGN_PEERS_PYTHON) -m pip install -q --no-deps --force-reinstall .
	$(ROIALIGN_PEERS_PYTHON) -m pytest tests/peers -o python_files='check_*.py'
	$(ROIALIGN_PEERS_PYTHON) -m tests.peers.suites
	$(ROIALIGN_PEERS_PYTHON) tests/peers/timings.py

# The documentation as a site, build/docs/index.html: the pages of docs/ and the docstrings. Warnings are errors, a name
# that leads nowhere too. Without -E, Sphinx does not find the stubs of a new page of the reference. The playground is
# part of the site if Emscripten is installed, or if it has been built before.
docs: $(VENV)/.with-detection $(VENV)/.with-features $(VENV)/.with-docs $(if $(shell command -v em++),playground)
	rm -rf build/docs docs/reference/generated
	$(BIN)/python -m sphinx -E -q -W --keep-going -d build/docs-pages docs build/docs
	@echo "roialign: the site is build/docs/index.html"

# The playground, a static page that runs the C++ core in WebAssembly: build/playground/index.html. It needs Emscripten.
playground:
	$(PYTHON) playground/build.py

# The page in headless Chromium: its numbers beside the reference's, and how it is used. It needs Chromium too, the one
# that ROIALIGN_CHROMIUM names or the one installed.
playground-test: playground $(VENV)/.with-test $(VENV)/.with-playground
	$(BIN)/python -m pytest tests/playground -o python_files='check_*.py'

# The wheel of this machine's Python, for this machine.
wheel: $(VENV)/.compiled
	mkdir -p dist && cp $(WHEEL)/*.whl dist/

# The Linux wheels of a release, for x86_64 and aarch64, with every Python that is needed and here: built, audited, and
# tried in empty environments. WHEELS names less: make wheels WHEELS='--architectures x86_64 --pythons 3.12'.
wheels: $(VENV)/.with-release
	$(BIN)/python -m release.wheels $(WHEELS)

# One command makes a release: the version and the changelog, the wheels, all checks; then a commit and a tag.
release: $(VENV)/.with-release
	$(if $(VERSION),,$(error make release VERSION=1.2.3))
	$(BIN)/python -m release.versions $(VERSION)
	$(MAKE) wheels
	$(MAKE) release-check CHECK='--skip clean'
	git commit -qam "Version $(VERSION)"
	git tag -a v$(VERSION) -m "roialign $(VERSION)"
	@echo "roialign: git push origin HEAD v$(VERSION) publishes it"

# All that must be right before a version is tagged: version, changelog, wheels, pages, links, workflows.
release-check: $(VENV)/.with-test $(VENV)/.with-lint $(VENV)/.with-release
	$(BIN)/python -m release.check $(CHECK)

clean:
	rm -rf $(VENV) $(VENV)-peers build dist demo-output gpu-results .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade pip
	touch $@

$(VENV)-peers/.made: $(VENV)/.compiled
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip --disable-pip-version-check install -q torch==2.14.1 torchvision==0.29.1 timm==1.0.31 \
	  pytest onnx "$$(echo $(WHEEL)/*.whl)[detection,demo]"
	touch $@

# Compiled once for all extras, and outside pip's isolation: so the next time only what has changed is compiled.
$(VENV)/.compiled: $(VENV)/.with-build $(PACKAGE)
	@echo "roialign: compiling the core, once for every instruction set; the first time takes 2 to 3 minutes on two cores"
	rm -rf $(WHEEL)
	$(BIN)/python -m build --wheel --no-isolation --outdir $(WHEEL)
	$(PIP) install -q --no-deps --force-reinstall $(WHEEL)/*.whl
	touch $@

# An extra is packages beside what is compiled: pip leaves alone a wheel that is installed already.
$(VENV)/.with-%: $(VENV)/.compiled constraints.txt
	@echo "roialign: installing the packages of [$*]$(if $(filter demo,$*),,; PyTorch among them is some hundred MB)"
	$(PIP) install -q -c constraints.txt "$$(echo $(WHEEL)/*.whl)[$*]"
	touch $@

$(addprefix $(VENV)/.with-,build docs lint playground release): $(VENV)/.with-%: $(VENV)/.made pyproject.toml
	$(PIP) install -q --group $*
	touch $@
