"""The emulator finds faults that are planted into the kernels of networks of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted_faults import COMPILER, KERNELS, changed_kernels, checksum, program, results, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler"),
    pytest.mark.skipif(not KERNELS.exists(), reason="the sources are not here"),
]

MAIN = "image_checksum.cpp"
#: Sizes of tiles and orders of threads.
RUNS = (("1", "0"), ("1", "1"), ("4", "2"), ("8", "1"))

#: Faults: file, text before the fault, text that is changed, its replacement.
FAULTS = {
    "no barrier between load and use of a tile": ("image_tile.cuh", "put(next);", "__syncthreads();", ""),
    "no barrier before the next tile is stored": (
        "image_tile.cuh",
        "while (begin < depth) {",
        "__syncthreads();",
        "",
    ),
    "no barrier before the windows of a maximum are read": (
        "image_tile.cuh",
        "+ column_of_thread() + j] = sum_[i][j];",
        "__syncthreads();",
        "",
    ),
    "no barrier before the changes are compared": ("image_pass.cuh", "change[j];", "__syncthreads();", ""),
    "no barrier between load and use in a gradient": (
        "image_gradient.cuh",
        "put(next);",
        "__syncthreads();",
        "",
    ),
    "winners of another state": (
        "image_device.cuh",
        "sum_gradient(int planes",
        "places_.right",
        "places_.left",
    ),
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    return checksum(MAIN, tmp_path_factory.mktemp("kernels"), RUNS)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_changes_a_result(fault: str, expected: str, tmp_path: Path) -> None:
    built = program(MAIN, tmp_path, changed_kernels(tmp_path, *FAULTS[fault]))
    assert results(built, RUNS) != {expected}


@pytest.mark.parametrize("missing", [0, 8])
def test_the_address_sanitizer_finds_too_little_shared_memory(missing: int, tmp_path: Path) -> None:
    where = ("image_tile.cuh", "bytes()", "(tiles > sums ? tiles : sums)")
    kernels = changed_kernels(tmp_path, *where, f"((tiles > sums ? tiles : sums) - {missing})")
    done = run(program(MAIN, tmp_path, kernels, "-fsanitize=address", "-g1"), RUNS[0])
    assert (done.returncode != 0) == (missing > 0), done.stderr[-2000:]
    assert ("heap-buffer-overflow" in done.stderr) == (missing > 0)
