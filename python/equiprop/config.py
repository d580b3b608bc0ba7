"""What this build is, and how it runs here."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from equiprop import _core

__version__: str = _core.build_info()["version"]


def config() -> dict[str, Any]:
    """Return version, compiler, instruction set, libraries and threads."""
    return {
        **_core.build_info(),
        "threads": _core.num_threads(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }


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
