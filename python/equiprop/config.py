"""What this build is, and how it runs here."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.checks import whole

__version__: str = _core.version


def config() -> dict[str, Any]:
    """Return version, compiler, instruction set, libraries and threads."""
    return {
        **_core.build_info(),
        "threads": _core.num_threads(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def set_num_threads(count: int) -> None:
    """Use so many threads from now on, 1 to 4096; 0 restores the default.

    The default is EQUIPROP_NUM_THREADS if it is set, else the number of processors. Results do not
    depend on it. Where threadpoolctl is installed, `threadpoolctl.threadpool_limits` sets it too.
    """
    _core.set_num_threads(whole(count, "set_num_threads", "The number of threads", 0, 4096))


def show_config() -> None:
    """Print version, compiler, instruction set, libraries and threads.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.show_config()  # doctest: +ELLIPSIS
    version          ...
    """
    for name, value in config().items():
        print(f"{name:<16} {value}")
