"""The kernels are clean under sanitizers, and faults that are planted into them are found and named.

A missing barrier changes results for some order of threads, and is a data race for ThreadSanitizer, for which
every CUDA thread is a thread. AddressSanitizer finds shared memory that is one number too short.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from planted_faults import COMPILER, KERNELS, changed_kernels, checksum, program, results, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler"),
    pytest.mark.skipif(not KERNELS.exists(), reason="the sources are not here"),
]

#: Divisions of launches and orders of threads: cluster, tile, threads, order.
RUNS = (("2", "4", "64", "0"), ("2", "4", "64", "1"), ("2", "4", "64", "2"), ("1", "8", "96", "2"))

#: Faults: file, text before the fault, text that is changed, its replacement.
FAULTS = {
    "no barrier between blocks of a sweep": (
        "relax.cuh",
        "update(network_.order[n], change);",
        "sync();",
        "{}",
    ),
    "no barrier before the parts of a sum are added": (
        "tile.cuh",
        "parts_[e * Tile + j] = sum[j];",
        "__syncthreads();",
        "",
    ),
    "no barrier before the changes of warps are compared": (
        "relax.cuh",
        "turn_ = 1 - turn_;",
        "sync();",
        "",
    ),
    "no barrier between load and use of a tile": (
        "product.cuh",
        "write_tile(product_.b, b",
        "__syncthreads();",
        "",
    ),
    "no barrier after a product with the Hessian": (
        "conjugate.cuh",
        "store(q_ + place",
        "sync();",
        "",
    ),
    "no barrier before the largest response is searched": (
        "judge.cuh",
        "shared[threadIdx.x] = mine;",
        "__syncthreads();",
        "",
    ),
    "no barrier before the squares of a gradient are added": (
        "run.cuh",
        "sums[t] = sum;",
        "__syncthreads();",
        "",
    ),
    "no barrier before the sums over samples are added": (
        "run.cuh",
        "sums[t + norm_sum",
        "__syncthreads();",
        "",
    ),
    "a sample that stopped goes on": ("relax.cuh", "raise(change[j], value", "!is_in(moving_, j)", "false"),
}

#: Missing barriers, which ThreadSanitizer finds in a short run: cluster, tile, threads, order, steps.
RACES = tuple(fault for fault in FAULTS if fault.startswith("no barrier"))
SHORT = ("2", "4", "64", "0", "2")
THREADS = ("-fsanitize=thread", "-g1")

#: The kernel that a report names if the fault is in a file.
KERNEL = {
    "relax.cuh": r"equiprop::cuda::relax<",
    "tile.cuh": r"equiprop::cuda::(relax|solve_side_network)<",
    "product.cuh": r"equiprop::cuda::multiply<",
    "conjugate.cuh": r"equiprop::cuda::solve_side_network<",
    "judge.cuh": r"equiprop::cuda::",
    "run.cuh": r"equiprop::cuda::",
}

#: Shared memory that is a few bytes too short.
SHORT_MEMORY = {
    "of a relaxation": ("tile.cuh", "return Tile * (sizeof(T) * per_sample", ";", " - 40;"),
    "of a product": (
        "product.cuh",
        "product_shared",
        "tiles > sums ? tiles : sums",
        "(tiles > sums ? tiles : sums) / 2 - tile_gap - 1",  # one of two buffers is used
    ),
}


MAIN = "checksum.cpp"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    return checksum(MAIN, tmp_path_factory.mktemp("kernels"), RUNS)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_changes_a_result(fault: str, expected: str, tmp_path: Path) -> None:
    built = program(MAIN, tmp_path, changed_kernels(tmp_path, *FAULTS[fault]))
    assert results(built, RUNS) != {expected}


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the checksum of the kernels as they are in the short run."""
    return run(program(MAIN, tmp_path_factory.mktemp("short"), KERNELS), SHORT).stdout


def test_the_thread_sanitizer_finds_no_race(short_run: str, tmp_path: Path) -> None:
    done = run(program(MAIN, tmp_path, KERNELS, *THREADS), SHORT)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", short_run)


@pytest.mark.parametrize("fault", RACES)
def test_the_thread_sanitizer_names_a_missing_barrier(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSAN_OPTIONS", "halt_on_error=1")
    done = run(program(MAIN, tmp_path, changed_kernels(tmp_path, *FAULTS[fault]), *THREADS), SHORT)
    assert "WARNING: ThreadSanitizer: data race" in done.stderr
    assert re.search(KERNEL[FAULTS[fault][0]], done.stderr), done.stderr[:3000]


def test_addresses_and_arithmetic_are_clean(expected: str, tmp_path: Path) -> None:
    done = run(program(MAIN, tmp_path, KERNELS, "-fsanitize=address,undefined", "-g1"), RUNS[0])
    assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr[-2000:]
    assert "runtime error" not in done.stderr


@pytest.mark.parametrize("fault", SHORT_MEMORY)
def test_the_address_sanitizer_finds_too_little_shared_memory(fault: str, tmp_path: Path) -> None:
    kernels = changed_kernels(tmp_path, *SHORT_MEMORY[fault])
    done = run(program(MAIN, tmp_path, kernels, "-fsanitize=address", "-g1"), RUNS[0])
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert re.search(KERNEL[SHORT_MEMORY[fault][0]], done.stderr), done.stderr[:3000]
