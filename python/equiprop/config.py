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


def _sdk(where: str, folder: str) -> str:
    """Find a folder of the C++ library that lies in the installed package, beside its extension."""
    path = Path(_core.__file__).parent / "sdk" / folder
    if not path.is_dir():
        raise FileNotFoundError(
            f"[{where}] The C++ library lies in an installed package: pip install equiprop, not as an "
            f"editable one. Received a development tree: there is no {path}."
        )
    return str(path)


def get_include() -> str:
    """Return the folder to which `#include <equiprop/equiprop.hpp>` is relative.

    Eigen's headers are needed beside it, and the definition EIGEN_MAX_ALIGN_BYTES=64; CMake knows both, see
    `get_cmake_dir`.

    Returns
    -------
    str
        A folder inside the installed package.

    Raises
    ------
    FileNotFoundError
        If this is a development tree, which has no C++ library inside.

    Examples
    --------
    >>> import equiprop as eq
    >>> import pathlib
    >>> (pathlib.Path(eq.get_include()) / "equiprop" / "equiprop.hpp").exists()
    True
    """
    return _sdk("get_include", "include")


def get_cmake_dir() -> str:
    """Return the folder of equipropConfig.cmake, which makes CMake's target equiprop::equiprop.

    ``cmake -Dequiprop_DIR=$(python -c "import equiprop; print(equiprop.get_cmake_dir())")`` lets a project
    ``find_package(equiprop)`` without another installation. It needs Eigen 3.4, from the system or from
    ``pip install cmeel-eigen``.

    Returns
    -------
    str
        A folder inside the installed package.

    Raises
    ------
    FileNotFoundError
        If this is a development tree, which has no C++ library inside.

    Examples
    --------
    >>> import equiprop as eq
    >>> import pathlib
    >>> (pathlib.Path(eq.get_cmake_dir()) / "equipropConfig.cmake").exists()
    True
    """
    return _sdk("get_cmake_dir", "lib/cmake/equiprop")
