"""The package equiprop_cuda on an emulated device, which the build of the C++ tests makes."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

_BUILT = Path(__file__).parents[1] / "build" / "cpp" / "tests" / "cuda" / "python"
FOLDER = Path(os.environ.get("EQUIPROP_CUDA_EMULATED", _BUILT)).absolute()

needs_emulated_device = pytest.mark.skipif(
    not (FOLDER / "equiprop_cuda" / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}").exists(),
    reason=f"the package equiprop_cuda on the emulated device is not in {FOLDER}: run make cpp-test",
)


def use_emulated_device() -> None:
    """Make the package importable in this process."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
