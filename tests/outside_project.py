"""A project outside of this tree that uses the library; the functions configure, build and install it.

The library is built once for each compiler, in build/packaging-COMPILER, which later runs reuse.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "tests" / "packaging" / "outside"


def tool(name: str) -> str:
    """Return the path of a program, beside the Python interpreter if possible; skip the test without it."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} was not found")
    return found


def run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
    return done.stdout


def configure(build: Path, compiler: str, *options: str, source: Path = PROJECT) -> str:
    return run(
        tool("cmake"),
        *("-S", source, "-B", build, f"-DCMAKE_CXX_COMPILER={tool(compiler)}"),
        *(f"-DPython_EXECUTABLE={sys.executable}", *options),
    )


def make(build: Path, *targets: str) -> None:
    chosen = ["--target", *targets] if targets else []
    run(tool("cmake"), "--build", build, "--parallel", str(os.cpu_count() or 2), *chosen)


@dataclass(frozen=True)
class Installed:
    """A library that an outside project has built as its subproject and installed."""

    build: Path
    prefix: Path


def build_and_install(compiler: str, way: str, prefix: Path, *options: str) -> Installed:
    build = ROOT / "build" / f"packaging-{compiler}"
    configure(
        build,
        compiler,
        f"-DWAY={way}",
        f"-DSOURCE={ROOT}",
        *("-DCMAKE_BUILD_TYPE=Release", "-DEQUIPROP_BUILD_SHARED=ON", "-DEQUIPROP_INSTALL=ON"),
        "-DCMAKE_INSTALL_LIBDIR=lib",
        *options,
    )
    make(build)
    run(tool("cmake"), "--install", build, "--prefix", prefix)
    return Installed(build, prefix)
