"""What this build is, and how it runs here."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.checks import whole

__version__: str = _core.version


def config() -> dict[str, Any]:
    """Return version, compiler, instruction set of the kernels, libraries and threads."""
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
    """Print version, compiler, instruction set of the kernels, libraries and threads.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.show_config()  # doctest: +ELLIPSIS
    version          ...
    """
    for name, value in config().items():
        print(f"{name:<16} {value}")


def get_include() -> str:
    """Return the folder of the C++ headers, for ``#include <equiprop/equiprop.hpp>``.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError
        If this package is not an installed one, for example a source tree.

    Examples
    --------
    >>> import equiprop as eq, os
    >>> os.path.isfile(os.path.join(eq.get_include(), "equiprop", "equiprop.hpp"))
    True
    """
    return _development_folder("get_include", "include")


def get_cmake_dir() -> str:
    """Return the folder of the CMake package, to be given as ``cmake -Dequiprop_DIR=...``.

    It has headers and a static library, for the compiler family that the package was built with.

    Returns
    -------
    str

    Raises
    ------
    FileNotFoundError
        If this package is not an installed one, for example a source tree.

    Examples
    --------
    >>> import equiprop as eq, os
    >>> os.path.isfile(os.path.join(eq.get_cmake_dir(), "equipropConfig.cmake"))
    True
    """
    return _development_folder("get_cmake_dir", "lib/cmake/equiprop")


def _development_folder(where: str, name: str) -> str:
    folder = Path(__file__).parent / name
    if not folder.is_dir():
        rule = "The C++ library comes with an installed package; install equiprop with pip"
        raise FileNotFoundError(f"[{where}] {rule}. Received a package without '{folder}'.")
    return str(folder)
