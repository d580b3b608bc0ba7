"""The emulator finds faults that are planted into the kernels: missing barriers, too little shared memory."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "cpp" / "cuda"
COMPILER = shutil.which("g++") or shutil.which("clang++")
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
        "cluster_sync();",
        "{}",
    ),
    "no barrier before the parts of a sum are added": (
        "tile.cuh",
        "parts_[e * Tile + j] = sum[j];",
        "__syncthreads();",
        "",
    ),
    "no barrier before the changes of warps are compared": (
        "tile.cuh",
        "if (threadIdx.x % warp == 0) of_warps_",
        "__syncthreads();",
        "",
    ),
    "no barrier between load and use of a tile": (
        "product.cuh",
        "load_tile(b, n0",
        "__syncthreads();",
        "",
    ),
    "no barrier after a product with the Hessian": (
        "conjugate.cuh",
        "store(q_ + place",
        "cluster_sync();",
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
        "sums[t + threads] = finite",
        "__syncthreads();",
        "",
    ),
    "no barrier before the sums over samples are added": (
        "run.cuh",
        "sums[t + not_finite_sum",
        "__syncthreads();",
        "",
    ),
    "a sample that stopped goes on": ("relax.cuh", "raise(change[j], value", "moving_[j] == 0", "false"),
}


def program(folder: Path, kernels: Path, *flags: str) -> Path:
    """Compile the program of the checksum with these kernels."""
    out = folder / "checksum"
    sources = [kernels / "engine.cu", kernels / "supported.cpp", ROOT / "cpp" / "src" / "base" / "error.cpp"]
    sources += [ROOT / "tests" / "cuda" / "emulation.cpp", ROOT / "tests" / "cuda" / "checksum.cpp"]
    include = [ROOT / "tests" / "cuda" / "emulated", kernels, ROOT / "tests" / "cuda"]
    include += [ROOT / "cpp" / "include", ROOT / "cpp" / "src"]
    command = [str(COMPILER), "-std=c++20", "-O1", "-ffp-contract=off", "-DEQUIPROP_EMULATION", *flags]
    command += [f"-I{path}" for path in include] + [
        "-x",
        "c++",
        *map(str, sources),
        "-pthread",
        "-o",
        str(out),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return out


def results(program: Path) -> set[str]:
    """Return the different outputs of all runs."""
    found = set()
    for arguments in RUNS:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=300)
        found.add(done.stdout.strip() or done.stderr.strip())
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the checksum of the kernels as they are, which all runs give."""
    (checksum,) = results(program(tmp_path_factory.mktemp("kernels"), KERNELS))
    assert len(checksum) == 16
    return checksum


def changed_kernels(folder: Path, file: str, after: str, old: str, new: str) -> Path:
    """Copy the kernels, and replace the first `old` that follows `after` in one file."""
    kernels = folder / "cuda"
    shutil.copytree(KERNELS, kernels)
    text = (kernels / file).read_text()
    place = text.index(old, text.index(after))
    (kernels / file).write_text(text[:place] + new + text[place + len(old) :])
    return kernels


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_changes_a_result(fault: str, expected: str, tmp_path: Path) -> None:
    assert results(program(tmp_path, changed_kernels(tmp_path, *FAULTS[fault]))) != {expected}


@pytest.mark.parametrize("missing", [0, 40])
def test_the_address_sanitizer_finds_too_little_shared_memory(missing: int, tmp_path: Path) -> None:
    where = ("tile.cuh", "return sizeof(T) * Tile * per_sample", "(3 * Tile + 1)")
    kernels = changed_kernels(tmp_path, *where, f"(3 * Tile + 1) - {missing}")
    built = program(tmp_path, kernels, "-fsanitize=address", "-g1")
    done = subprocess.run([built, *RUNS[0]], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode != 0) == (missing > 0), done.stderr[-2000:]
    assert ("heap-buffer-overflow" in done.stderr) == (missing > 0)
