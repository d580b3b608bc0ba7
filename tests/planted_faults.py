"""Programs of the emulated device whose kernels have a planted fault."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
KERNELS = ROOT / "cpp" / "cuda"
TESTS = ROOT / "tests" / "cuda"
COMPILER = shutil.which("g++") or shutil.which("clang++")


def program(main: str, folder: Path, kernels: Path, *flags: str) -> Path:
    """Compile a program of tests/cuda with these kernels, in float32 alone, which takes half the time."""
    out, single = folder / Path(main).stem, folder / "engine_in_single_precision.cu"
    lines = (kernels / "engine.cu").read_text().splitlines(keepends=True)
    single.write_text("".join(line for line in lines if not re.match(r"template .*<double>", line)))
    sources = [single, kernels / "supported.cpp", ROOT / "cpp" / "src" / "base" / "error.cpp"]
    sources += [TESTS / "emulation.cpp", TESTS / main]
    include = [TESTS / "emulated", kernels, TESTS, ROOT / "cpp" / "include", ROOT / "cpp" / "src"]
    command = [str(COMPILER), "-std=c++20", "-O1", "-ffp-contract=off", "-DEQUIPROP_EMULATION", *flags]
    command += [f"-I{path}" for path in include]
    command += ["-x", "c++", *map(str, sources), "-pthread", "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return out


def run(program: Path, arguments: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whether it fails or not."""
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=600)


def results(program: Path, runs: Iterable[Iterable[str]]) -> set[str]:
    """Return the different outputs of some runs."""
    done = [run(program, arguments) for arguments in runs]
    return {each.stdout.strip() or each.stderr.strip() for each in done}


def checksum(main: str, folder: Path, runs: Iterable[Iterable[str]]) -> str:
    """Return the checksum of the kernels as they are, which all runs give."""
    (number,) = results(program(main, folder, KERNELS), runs)
    assert len(number) == 16
    return number


def changed_kernels(folder: Path, file: str, after: str, old: str, new: str) -> Path:
    """Copy the kernels, and replace the first `old` that follows `after` in one file."""
    kernels = folder / "cuda"
    shutil.copytree(KERNELS, kernels)
    text = (kernels / file).read_text()
    place = text.index(old, text.index(after))
    (kernels / file).write_text(text[:place] + new + text[place + len(old) :])
    return kernels
