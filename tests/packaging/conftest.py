"""Fixtures with the C++ library installed as docs/cpp.md describes, for projects outside of this tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PREFIX = ROOT / "build" / "sdk-prefix"

Shell = Callable[..., subprocess.CompletedProcess[str]]


def environment() -> dict[str, str]:
    """Return an environment with programs and Eigen of this Python, and with the library in $PREFIX."""
    eigen = [Path(folder) / "cmeel.prefix" for folder in sys.path if (Path(folder) / "cmeel.prefix").is_dir()]
    pkg_config = [folder / part / "pkgconfig" for folder in eigen for part in ("lib", "share")]
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "CMAKE_PREFIX_PATH": os.pathsep.join(map(str, eigen)),
        "PKG_CONFIG_PATH": os.pathsep.join(map(str, pkg_config)),
        "PREFIX": str(PREFIX),
    }


@pytest.fixture(scope="session")
def shell() -> Shell:
    """Run commands in the repository, and check the exit status."""
    settings = environment()
    if not shutil.which("cmake", path=settings["PATH"]):
        pytest.skip("CMake was not found")
    if not shutil.which(os.environ.get("CXX", "c++"), path=settings["PATH"]):
        pytest.skip("a C++ compiler was not found")

    def run(command: str, *, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=ROOT,
            env={**settings, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    return run


@pytest.fixture(scope="session")
def installed_prefix(shell: Shell) -> Path:
    """Build and install the library by the first commands of docs/cpp.md; later runs reuse the build."""
    commands = re.search(r"```sh\n(.*?)```", (ROOT / "docs" / "cpp.md").read_text(), re.DOTALL)
    assert commands
    shutil.rmtree(PREFIX, ignore_errors=True)
    shell(commands[1])
    return PREFIX
