"""Exclusion of programs, and of modules that need an extra or the C++ library of an installed package."""

from importlib.util import find_spec
from pathlib import Path

import pytest

_NEEDS = {
    "atheris": ["tests/fuzz/atheris_readers.py"],
    "jax": ["python/equiprop/jax.py", "tests/jax_functions.py"],
    "mpi4py": ["python/equiprop/mpi.py"],
    "sklearn": ["python/equiprop/estimator"],
    "torch": [
        "python/equiprop/torch",
        "tests/python/test_bad_input_table.py",
        *(f"tests/valid_{part}.py" for part in ("calls", "checks", "parts")),
    ],
}

#: Programs that tests run in processes of their own: one imports a module of its own folder.
_PROGRAMS = ["tests/memory"]

collect_ignore = _PROGRAMS + [
    path for package, paths in _NEEDS.items() if not find_spec(package) for path in paths
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the examples of functions that need the C++ library of an installed package."""
    extension = find_spec("equiprop") and find_spec("equiprop._core")
    if extension and extension.origin and (Path(extension.origin).parent / "sdk").is_dir():
        return
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.name.endswith((".get_include", ".get_cmake_dir")):
            item.add_marker(pytest.mark.skip(reason="a development tree has no C++ library inside"))
