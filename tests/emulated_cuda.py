"""The package equiprop_cuda on an emulated device, which the build of the C++ tests makes."""

from __future__ import annotations

import ctypes
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
import pytest
from equiprop import cuda_core

_BUILT = Path(__file__).parents[1] / "build" / "cpp" / "tests" / "cuda" / "python"
FOLDER = Path(os.environ.get("EQUIPROP_CUDA_EMULATED", _BUILT)).absolute()

needs_emulated_device = pytest.mark.skipif(
    not (FOLDER / "equiprop_cuda" / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}").exists(),
    reason=f"the package equiprop_cuda on the emulated device is not in {FOLDER}: run make cpp-test",
)


#: Marks of a module of tests on the emulated device: it is needed, and launches have few threads.
ON_EMULATED_DEVICE = [needs_emulated_device, pytest.mark.usefixtures("few_threads")]


def use_emulated_device() -> None:
    """Make the package importable in this process."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))


_RANDOM = np.random.default_rng(0)
X, Y = _RANDOM.random((12, 5)), _RANDOM.integers(0, 3, 12)
SWEEPS = eq.BlockUpdate(tolerance=0, max_iterations=12)
ROUNDING = {"float64": 1e-12, "float32": 2e-6}
PRECISIONS = pytest.mark.parametrize("dtype", ROUNDING)
SMOOTH = {"activation": "tanh", "potential": "quadratic"}


def emulate_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the emulated device, and let launches have few threads, which are slow to emulate."""
    use_emulated_device()
    monkeypatch.setattr(cuda_core, "DIVISION", (1, 8, 64))


def emulation() -> ctypes.CDLL:
    """Return the functions that count waits of the host, and let calls of the device fail."""
    from equiprop import cuda_package

    return ctypes.CDLL(cuda_package.kernels().__file__)


def network(dtype: str = "float64", **options: Any) -> eq.HopfieldNetwork:
    net = eq.HopfieldNetwork([5, 9, 7, 3], dtype=dtype, seed=3, **options)
    net.parameters[:] += 0.1 * np.random.default_rng(1).standard_normal(net.num_parameters)
    return net


def close(a: Any, b: Any, dtype: str) -> None:
    np.testing.assert_allclose(a, b, rtol=0, atol=ROUNDING[dtype] * max(np.abs(b).max(), 1e-3))
