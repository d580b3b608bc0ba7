"""Print registers, stack, spills and shared memory of every kernel, as nvcc's assembler reports them.

python tests/cuda_ptxas.py [80 90]
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
NVCC = shutil.which("nvcc")
#: Number of times that a compilation is tried if the compiler crashes.
_TRIES, _SEGMENTATION_FAULT = 5, 11
#: Options of the component; see cpp/cuda/CMakeLists.txt.
OPTIONS = ("-std=c++20", "-O2", "--fmad=false", "--expt-relaxed-constexpr", "-Xptxas=-v")

#: Names of the values of equiprop::cuda::Precision.
PRECISIONS = ("exact", "tf32", "3xtf32", "bf16")


@dataclass(frozen=True)
class Kernel:
    """What one kernel takes of a multiprocessor; stack and spills are bytes of local memory."""

    name: str
    registers: int
    stack: int
    spilled: int
    shared: int

    @property
    def single(self) -> bool:
        """True for a kernel in float32."""
        return not re.search(r"double", self.name)


def report(architecture: int) -> list[Kernel]:
    """Compile the kernels for an architecture, and return what the assembler says of each."""
    with tempfile.TemporaryDirectory() as folder:
        include = [f"-I{ROOT / path}" for path in ("cpp/cuda", "cpp/include", "cpp/src")]
        target = f"-gencode=arch=compute_{architecture},code=sm_{architecture}"
        source = str(ROOT / "cpp" / "cuda" / "engine.cu")
        command = [str(NVCC), *OPTIONS, target, *include, "-cubin", source, "-o", f"{folder}/engine.cubin"]
        return kernels(_compiled(command))


def _compiled(command: list[str]) -> str:
    """Compile, and return what the assembler says; nvcc 13.0 sometimes crashes on a busy machine."""
    for _ in range(_TRIES):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in (-_SEGMENTATION_FAULT, 128 + _SEGMENTATION_FAULT):
            break
    if done.returncode != 0:
        raise RuntimeError(f"nvcc failed with status {done.returncode}: {done.stderr}")
    return done.stderr


def kernels(text: str) -> list[Kernel]:
    """Read the report of the assembler."""
    found = []
    pattern = re.compile(
        r"Compiling entry function '(?P<name>\S+)'.*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes "
        r"spill stores, (?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
        re.DOTALL,
    )
    for match in pattern.finditer(text):
        shared = re.search(r"(\d+) bytes smem", match["rest"])
        spilled = int(match["stores"]) + int(match["loads"])
        numbers = (int(match["registers"]), int(match["stack"]), spilled, int(shared[1]) if shared else 0)
        found.append(Kernel(plain(match["name"]), *numbers))
    return sorted(found, key=lambda kernel: kernel.name)


def plain(symbol: str) -> str:
    """Return name and template arguments of a mangled kernel, such as multiply<float, 4, tf32>."""
    match = re.match(r"_ZN8equiprop4cuda(\d+)", symbol)
    assert match, symbol
    begin = match.end()
    name = symbol[begin : begin + int(match[1])]
    arguments = re.match(r"I([fd])((?:Li\d+E)*)(?:LNS0_9PrecisionE(\d)E)?", symbol[begin + int(match[1]) :])
    assert arguments, symbol
    words = ["float" if arguments[1] == "f" else "double", *re.findall(r"[0-9]+", arguments[2])]
    words += [PRECISIONS[int(arguments[3])]] if arguments[3] else []
    return f"{name}<{', '.join(words)}>"


def main(architectures: list[int]) -> None:
    """Print one table for each architecture; dynamic shared memory depends on the network."""
    for architecture in architectures:
        print(f"sm_{architecture}: registers, stack, spills, static shared memory")
        for kernel in report(architecture):
            numbers = (kernel.registers, kernel.stack, kernel.spilled, kernel.shared)
            print(f"  {kernel.name:32s}" + "".join(f"{number:6d}" for number in numbers))


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [80, 90])
