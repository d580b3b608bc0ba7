"""The version, the build and the number of threads of the library."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.checks import whole
from equiprop.cuda_package import device_state

__version__: str = _core.version


def config() -> dict[str, Any]:
    """Return version, compiler, instruction set, libraries, number of threads and CUDA device by name."""
    return {
        **_core.build_info(),
        "threads": _core.num_threads(),
        "cuda": device_state(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }


def set_num_threads(count: int) -> None:
    """Set the number of threads that the core uses.

    The default is the environment variable EQUIPROP_NUM_THREADS if it is not empty, otherwise the number of
    processors. Results do not depend on the number of threads. If threadpoolctl is installed,
    ``threadpoolctl.threadpool_limits`` sets it, too.

    Parameters
    ----------
    count : int
        1 to 4096; 0 restores the default.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.set_num_threads(2), eq.num_threads()
    (None, 2)
    >>> eq.set_num_threads(0)
    """
    _core.set_num_threads(whole(count, "set_num_threads", "The number of threads", 0, 4096))


def show_config() -> None:
    """Print version, compiler, instruction set of the kernels, libraries, number of threads and CUDA device.

    If no CUDA device can be used, the line says why.

    Examples
    --------
    >>> import equiprop as eq
    >>> eq.show_config()  # doctest: +ELLIPSIS
    version          ...
    """
    for name, value in config().items():
        print(f"{name:<16} {value}")


def _sdk(where: str, folder: str) -> str:
    """Return a folder of the C++ library, which is installed beside the compiled extension."""
    path = Path(_core.__file__).parent / "sdk" / folder
    if not path.is_dir():
        raise FileNotFoundError(
            f"[{where}] cannot find the C++ library: there is no {path}, because this package runs from a "
            "development tree. Install it with pip install equiprop, without the option --editable."
        )
    return str(path)


def get_include() -> str:
    """Return the include folder of the C++ library, for ``#include <equiprop/equiprop.hpp>``.

    A program also needs the headers of Eigen 3.4 and the definition EIGEN_MAX_ALIGN_BYTES=64. CMake supplies
    both: see `get_cmake_dir`.

    Returns
    -------
    str
        A folder inside the installed package.

    Raises
    ------
    FileNotFoundError
        If the package runs from a development tree, which does not contain the installed C++ library.

    Examples
    --------
    >>> import equiprop as eq
    >>> import pathlib
    >>> (pathlib.Path(eq.get_include()) / "equiprop" / "equiprop.hpp").exists()
    True
    """
    return _sdk("get_include", "include")


def get_cmake_dir() -> str:
    """Return the folder of equipropConfig.cmake, which defines the CMake target equiprop::equiprop.

    With ``cmake -Dequiprop_DIR=$(python -c "import equiprop; print(equiprop.get_cmake_dir())")`` a project
    finds the library by ``find_package(equiprop)``. It needs Eigen 3.4, from the system or from
    ``pip install cmeel-eigen``.

    Returns
    -------
    str
        A folder inside the installed package.

    Raises
    ------
    FileNotFoundError
        If the package runs from a development tree, which does not contain the installed C++ library.

    Examples
    --------
    >>> import equiprop as eq
    >>> import pathlib
    >>> (pathlib.Path(eq.get_cmake_dir()) / "equipropConfig.cmake").exists()
    True
    """
    return _sdk("get_cmake_dir", "lib/cmake/equiprop")
