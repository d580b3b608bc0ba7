"""Import paths and source hashes of classes and functions that a user wrote, and the search for them."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, TypedDict

#: Packages whose sources the version of the library determines.
_KNOWN = ("equiprop", "builtins", "abc", "typing", "collections")


class CodeRecord(TypedDict):
    """A class or a function in a JSON file; `sources` has the SHA-256 of the source file of each module."""

    name: str
    sources: dict[str, str | None]


def reference(code: type | FunctionType) -> CodeRecord:
    """Return the import path ``module:name`` of a class or a function, and the hashes of its source files.

    The sources of a class are the files of the modules that define it and its bases, without those of this
    library. The hash is None for a module that has no file.
    """
    bases = code.__mro__ if isinstance(code, type) else (code,)
    modules = dict.fromkeys(base.__module__ for base in bases)
    sources = {name: _digest(_file_of(name)) for name in modules if name.split(".")[0] not in _KNOWN}
    return {"name": f"{code.__module__}:{code.__qualname__}", "sources": sources}


def find(stored: Mapping[str, Any]) -> Any:
    """Return the class or function of a `CodeRecord`; its sources are compared before the import.

    Raises
    ------
    ValueError
        If a source differs, or the module or the name cannot be found.
    """
    module, _, name = str(stored["name"]).partition(":")
    _refuse_unimportable(module, name, stored["sources"])
    for other, digest in stored["sources"].items():
        _compare(other, digest, str(stored["name"]))
    found: Any = _imported(module, str(stored["name"]))
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(
                f"[replay] cannot find {stored['name']}, which the certificate needs: the module "
                f"'{module}' has no {name}. Install or restore the version that was certified."
            )
        found = getattr(found, part)
    return found


def _refuse_unimportable(module: str, name: str, sources: Mapping[str, Any]) -> None:
    """Raise ValueError for code that no other process can import."""
    missing = [other for other, digest in sources.items() if digest is None]
    if "<" in name:
        cause = "it is a lambda, or was defined inside a function"
    elif module == "__main__" and not _is_in_main(name):
        cause = "it was defined in a script or a notebook"
    elif missing:
        cause = f"the module '{missing[0]}' had no source file"
    else:
        return
    raise ValueError(
        f"[replay] cannot import {module}:{name}, which the certificate needs: {cause}. Define it at the top "
        "level of a module, which is a file such as models.py, import it from there, and certify it again."
    )


def _is_in_main(name: str) -> bool:
    return hasattr(sys.modules["__main__"], name.split(".")[0])


def _compare(module: str, digest: str, what: str) -> None:
    """Raise ValueError if the source file of a module is missing or differs from the recorded one."""
    try:
        path = _file_of(module)
    except (ImportError, ValueError):
        path = None
    if path is None:
        raise _not_importable(module, what, f"No module named '{module}' with a source file")
    present = _digest(path)
    if present != digest:
        raise ValueError(
            f"[replay] the source of {what} differs from the certified one: the SHA-256 of {path} was "
            f"{digest}, is {present}. Restore the file, or certify the new source."
        )


def _imported(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _not_importable(module, what, str(error)) from error


def _not_importable(module: str, what: str, reason: str) -> ValueError:
    file = f"{module.split('.')[0]}.py" if "." not in module else f"the package {module.split('.')[0]}"
    return ValueError(
        f"[replay] cannot import {what}, which the certificate needs: {reason}. Start Python with the folder "
        f"that contains {file} in the environment variable PYTHONPATH."
    )


def _file_of(module: str) -> Path | None:
    """Return the source file of a module without importing it; its parent packages are imported."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        try:
            file = inspect.getsourcefile(loaded)
        except TypeError:
            file = None
    else:
        spec = importlib.util.find_spec(module)
        file = spec.origin if spec is not None and spec.has_location else None
    return Path(file) if file and Path(file).is_file() else None


def _digest(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
