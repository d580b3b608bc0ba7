"""The public functions, constructors and methods of the package, found by introspection."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from importlib.util import find_spec
from types import FunctionType, ModuleType
from typing import Any

#: Public modules. The names of a package are those that it imports from its own modules.
MODULES = [
    "equiprop",
    "equiprop.analysis",
    "equiprop.callbacks",
    "equiprop.contrasts",
    "equiprop.data",
    "equiprop.download",
    "equiprop.estimator",
    "equiprop.networks",
    "equiprop.optimizers",
    "equiprop.plotting",
    "equiprop.torch",
    "equiprop.verify",
    *(["equiprop.jax"] if find_spec("jax") else []),
]


def entries() -> dict[str, Callable[..., Any]]:
    """Return every public function, constructor and method that takes arguments, by its qualified name.

    A method has the name of the class that defines it, and so counts once in all classes that inherit it.
    """
    found: dict[str, Callable[..., Any]] = {}
    for module in map(importlib.import_module, MODULES):
        for thing in exported(module):
            for name, function in _of(thing):
                if _takes_arguments(function):
                    found[name] = function
    return found


def exported(module: ModuleType) -> Iterator[Any]:
    """Yield the functions and classes that a public module exports."""
    own = hasattr(module, "__path__")
    for name in getattr(module, "__all__", None) or [n for n in dir(module) if not n.startswith("_")]:
        thing = getattr(module, name)
        home = getattr(thing, "__module__", None)
        in_package = isinstance(home, str) and home.partition(".")[0] == "equiprop"
        if in_package and (own or hasattr(module, "__all__") or home == module.__name__):
            yield thing


def _of(thing: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    if not inspect.isclass(thing):
        if callable(thing):
            yield f"{_floor(thing)}{thing.__name__}", thing
        return
    if issubclass(thing, Enum | Exception) or getattr(thing, "_is_protocol", False):
        return
    yield thing.__name__, thing
    for name in dir(thing):
        static = inspect.getattr_static(thing, name)
        function = getattr(static, "__func__", static)
        if not name.startswith("_") and isinstance(function, FunctionType) and _is_own(function):
            yield function.__qualname__, function


def _floor(function: Any) -> str:
    """Return the package of a function of `analysis`, `plotting` or `verify`: others have equal names."""
    parts = function.__module__.split(".")
    return f"{parts[1]}." if parts[1:2] in (["analysis"], ["verify"], ["plotting"]) else ""


def _is_own(function: FunctionType) -> bool:
    return function.__module__.startswith("equiprop")


def _takes_arguments(function: Callable[..., Any]) -> bool:
    try:
        names = set(inspect.signature(function).parameters)
    except ValueError:  # a function of the core
        return False
    return bool(names - {"self", "cls"})
