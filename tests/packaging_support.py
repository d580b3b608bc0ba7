"""The library as its users get it: built and installed from this tree, once for each compiler."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "packaging"
#: Eigen may be a package of the Python that runs the tests.
CMAKE = [f"-DPython_EXECUTABLE={sys.executable}"]


def run(*command: str | Path, **environment: str) -> str:
    """Run a command and return what it printed; its output is shown if it fails."""
    result = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{command} failed:\n{result.stdout[-4000:]}"
    return result.stdout


def require_tools(*names: str) -> None:
    for name in names:
        if shutil.which(name) is None:
            pytest.skip(f"{name} was not found")


@functools.cache
def installed_prefix(compiler: str = "g++") -> Path:
    """Return a prefix with static and shared library; builds are kept, so that a second run takes seconds."""
    build, prefix = BUILD / compiler, BUILD / f"installed by {compiler}"
    options = [f"-DCMAKE_CXX_COMPILER={compiler}", "-DEQUIPROP_BUILD_SHARED=ON", "-DCMAKE_BUILD_TYPE=Release"]
    run("cmake", "-S", ROOT, "-B", build, "-DEQUIPROP_WERROR=ON", *CMAKE, *options)
    run("cmake", "--build", build, "--parallel", str(os.cpu_count() or 1))
    shutil.rmtree(prefix, ignore_errors=True)
    run("cmake", "--install", build, "--prefix", prefix, "--component", "sdk")
    return prefix
