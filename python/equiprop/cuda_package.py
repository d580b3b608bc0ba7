"""The package equiprop_cuda, which holds the CUDA kernels: its errors, and whether it can be used here."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from equiprop import _core

_PACKAGE = "equiprop_cuda"


class DeviceError(RuntimeError):
    """There is no CUDA device that can be used, or it failed.

    After a failure of the device itself, every later call in the process fails, too: start Python again.
    """


class OutOfDeviceMemory(DeviceError, MemoryError):
    """The memory of the device does not suffice; everything that was there is still there.

    Attributes
    ----------
    samples_that_fit : int
        Largest batch that the free memory holds, by estimate.
    """

    samples_that_fit: int = 0


def kernels() -> Any:
    """Return the extension module with the kernels.

    Raises
    ------
    DeviceError
        The package is not installed, cannot be loaded or is of another version, or there is no device.
    """
    module = _extension()
    reason = module.why_unavailable()
    if reason:
        raise DeviceError(reason)
    return module


def device_state() -> str:
    """Return one line: that a CUDA device can be used, or why not."""
    try:
        return f"available, by {_PACKAGE} {kernels().version}"
    except DeviceError as error:
        return f"not available: {str(error).removeprefix('[cuda] ')}"


def _extension() -> Any:
    """Return the extension module, with or without a device."""
    if find_spec(_PACKAGE) is None:
        raise DeviceError(
            f"[cuda] The package {_PACKAGE} is not installed. Run pip install 'equiprop[cuda]', "
            "or use the CPU."
        )
    try:
        module = import_module(f"{_PACKAGE}._cuda")
    except ImportError as error:
        raise DeviceError(
            f"[cuda] The package {_PACKAGE} cannot be loaded: {error}. Install it again, or use the CPU."
        ) from error
    if module.version != _core.version:
        raise DeviceError(
            f"[cuda] The packages equiprop and {_PACKAGE} have one version. Received {_core.version} and "
            f"{module.version}: run pip install '{_PACKAGE.replace('_', '-')}=={_core.version}'."
        )
    return module
