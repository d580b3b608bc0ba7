# Long checks. .ci/run does not run them; run those that concern a change. The sizes are meant for 45 minutes on two
# cores, but for deep-order, which takes 20 times the time of the Python tests. Corpora are kept in the folder CORPUS (.corpus).
#
# make deep-slow          the slow sweeps of the Python tests (pytest -m slow)
# make deep-asan          C++ and Python tests under AddressSanitizer and UndefinedBehaviorSanitizer
# make deep-tsan          tests with threads, and eight Python threads on one network, under ThreadSanitizer
# make deep-fuzz          libFuzzer (clang): model file, JSON, CSV, solvers against an oracle; FUZZ_SECONDS each (300)
# make deep-atheris       atheris: the readers of Python; FUZZ_SECONDS each
# make deep-coverage      lines and branches of C++ (gcovr) and Python (coverage.py) that the tests reach
# make deep-mutation      mutants of readers and verification that no test notices; MUTANTS for each module (40)
# make deep-order         the Python tests in ORDERS random orders (20)
# make deep-cycles        growth over CYCLES trainings (10000)
# make deep-interpreters  start methods of processes, sub-interpreters and the free-threaded build, with each Python of PYTHONS

DEEP := build/deep
FUZZ_SECONDS ?= 300
CORPUS ?= .corpus
MUTANTS ?= 40
ORDERS ?= 20
CYCLES ?= 10000
PYTHONS ?= python3.10 python3.12 python3.13 python3.14 python3.13t python3.14t
DEEP_TESTS ?= tests/python tests/theory

.PHONY: deep-help deep-slow deep-asan deep-tsan deep-fuzz deep-atheris deep-coverage deep-mutation deep-order deep-cycles deep-interpreters

deep-help:
	@sed -n 's/^# make /make /p' tests/deep/deep.mk

# Tools that only these targets need are kept away from the other tests.
DEEP_TOOLS = $(abspath $(DEEP))/tools
$(DEEP)/tools: | $(BIN)/python
	$(BIN)/python -m pip install --quiet --target $@ cosmic-ray coverage gcovr pytest-randomly
WITH_TOOLS = PYTHONPATH=$(DEEP_TOOLS)

deep-slow: $(TEST) cpp-test
	$(BIN)/python -m pytest -m slow

# Left out: tests that preload a library of their own, that limit the address space, of which a sanitizer reserves
# terabytes, or that measure memory.
NOT_UNDER_ASAN := test_full_disk test_models test_memory test_large_data test_kept_states_files test_torch
deep-asan: sanitize
	$(call SANITIZED,build/asan,address$(comma)undefined) -DEQUIPROP_BUILD_PYTHON=ON >/dev/null
	$(BIN)/cmake --build build/asan --target _core
	$(call PACKAGE,build/asan)
	ASAN_OPTIONS=detect_leaks=0 $(call SANITIZED_PYTHON,build/asan,asan) -m pytest -q -p no:cacheprovider \
	  $(patsubst %,--ignore=tests/python/%.py,$(NOT_UNDER_ASAN)) $(DEEP_TESTS)

# Left out: tests that measure times, which ThreadSanitizer multiplies.
TIMED := TinyCallsCostLittle|IdleWorkersSleep
deep-tsan: $(TEST)
	$(call SANITIZED,build/tsan,thread) -DEQUIPROP_BUILD_PYTHON=ON >/dev/null
	$(BIN)/cmake --build build/tsan --target test_base test_solver test_second_phase _core
	TSAN_OPTIONS=die_after_fork=0 $(BIN)/ctest --test-dir build/tsan --output-on-failure --exclude-regex '$(TIMED)' \
	  --tests-regex '^(ParallelFor|ForEachChunk|NumThreads|PollInterrupt|SpareStates|Relax|HostBatch)'
	$(call PACKAGE,build/tsan)
	TSAN_OPTIONS=halt_on_error=1:suppressions=$(CURDIR)/tests/deep/tsan_suppressions.txt $(call SANITIZED_PYTHON,build/tsan,tsan) tests/deep/eight_threads.py 20

FUZZ_SEEDS = PYTHONPATH=tests $(BIN)/python -m fuzz.readers $(DEEP)/seeds
LIBFUZZER_TARGETS := fuzz_model_file fuzz_json fuzz_csv fuzz_solver
deep-fuzz: $(TEST)
	$(call SANITIZED,$(DEEP)/libfuzzer,fuzzer-no-link$(comma)address$(comma)undefined) -DCMAKE_CXX_COMPILER=clang++ >/dev/null
	$(BIN)/cmake --build $(DEEP)/libfuzzer --target $(addprefix libfuzzer_,$(LIBFUZZER_TARGETS))
	$(FUZZ_SEEDS)
	for target in $(LIBFUZZER_TARGETS); do \
	  mkdir -p $(CORPUS)/$$target $(DEEP)/seeds/$${target#fuzz_} && \
	  ASAN_OPTIONS=max_allocation_size_mb=64 $(DEEP)/libfuzzer/tests/fuzz/libfuzzer_$$target -max_total_time=$(FUZZ_SECONDS) \
	    -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 -artifact_prefix=$(CORPUS)/ \
	    $(CORPUS)/$$target $(DEEP)/seeds/$${target#fuzz_} || exit 1; \
	done

ATHERIS_TARGETS := model_file idx csv npz settings toml
deep-atheris: $(TEST)
	test -d $(DEEP)/atheris || $(BIN)/python -m pip install --quiet --target $(DEEP)/atheris atheris
	$(FUZZ_SEEDS)
	for target in $(ATHERIS_TARGETS); do \
	  mkdir -p $(CORPUS)/$$target && \
	  PYTHONPATH=tests:$(DEEP)/atheris $(BIN)/python tests/fuzz/atheris_readers.py $$target -max_total_time=$(FUZZ_SECONDS) \
	    -timeout=20 -print_final_stats=1 -artifact_prefix=$(CORPUS)/ $(CORPUS)/$$target $(DEEP)/seeds/$$target || exit 1; \
	done

# Without objcopy the static library is not sealed: counters of several objects would have one name. The programs left out
# test the CUDA kernels, which are not counted.
COVERED := $(addprefix test_,base linear model solver second_phase verification extension failure allocation)
deep-coverage: $(TEST) | $(DEEP)/tools
	$(call CONFIGURE,$(DEEP)/coverage) -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG --coverage -fprofile-update=atomic" \
	  -DCMAKE_OBJCOPY= >/dev/null
	$(BIN)/cmake --build $(DEEP)/coverage --target $(COVERED) fuzz_csv fuzz_json fuzz_model_file fuzz_solver
	$(BIN)/ctest --test-dir $(DEEP)/coverage --output-on-failure --parallel $(JOBS) --exclude-regex '^header|Symbol|_NOT_BUILT'
	$(WITH_TOOLS) $(BIN)/python -m gcovr --root . --merge-lines --filter cpp/src --filter cpp/include --exclude-throw-branches \
	  --exclude-unreachable-branches --gcov-suspicious-hits-threshold 0 --print-summary --txt $(DEEP)/coverage/cpp.txt $(DEEP)/coverage
	cd $(DEEP) && $(WITH_TOOLS) $(abspath $(BIN))/python -m coverage run --branch --parallel-mode --source equiprop \
	  -m pytest -q -p no:cacheprovider -p no:randomly --rootdir $(CURDIR) $(addprefix $(CURDIR)/,$(DEEP_TESTS))
	cd $(DEEP) && $(WITH_TOOLS) $(abspath $(BIN))/python -m coverage combine --quiet && \
	  $(WITH_TOOLS) $(abspath $(BIN))/python -m coverage report

deep-mutation: $(TEST) | $(DEEP)/tools
	$(WITH_TOOLS) $(BIN)/python tests/deep/mutation.py $(DEEP)/mutation $(MUTANTS) $(MODULES)

deep-order: $(TEST) | $(DEEP)/tools
	for seed in $$(seq 1 $(ORDERS)); do \
	  $(WITH_TOOLS) $(BIN)/python -m pytest -q -p no:cacheprovider --randomly-seed=$$seed \
	    $(DEEP_TESTS) || exit 1; \
	done

deep-cycles: $(TEST)
	$(BIN)/python tests/deep/cycles.py $(CYCLES)

deep-interpreters: $(TEST)
	for python in $(PYTHONS); do \
	  command -v $$python >/dev/null && $$python -c 0 2>/dev/null || { echo "$$python: not found"; continue; }; \
	  $$python -m venv $(DEEP)/$$python && $(DEEP)/$$python/bin/python -m pip install --quiet ".[test]" && \
	  $(DEEP)/$$python/bin/python -m pytest -q tests/python/test_interpreters.py tests/python/test_threads.py \
	    tests/python/test_start_methods.py || exit 1; \
	done
