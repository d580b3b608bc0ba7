"""Conversion of settings of checks to JSON and back, without loss of any bit of a number."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from types import FunctionType, MappingProxyType
from typing import Any, TypedDict, cast, get_args

import numpy as np

from equiprop.arrays import Array
from equiprop.costs import CrossEntropy, LayerCosts, SquaredError
from equiprop.linear_solvers import LinearSolver
from equiprop.nudging import Nudging
from equiprop.solvers import FreeSolver
from equiprop.verify.own_code import find, reference
from equiprop.verify.verdict import JSON

#: The costs of the library.
COSTS = (SquaredError, CrossEntropy, LayerCosts)
#: Dataclasses that are stored by their name and their fields.
_STORED: Mapping[str, Any] = {
    kind.__name__: kind for kind in (Nudging, *COSTS, *get_args(FreeSolver), *get_args(LinearSolver))
}
#: Kinds of numbers in arrays.
_NUMBERS = "biufc"


class ArrayRecord(TypedDict):
    """An array in a JSON file."""

    type: str
    dtype: str
    shape: list[int]
    data: str


def encode(value: Any, shared: Array | None = None) -> JSON:
    """Return a value as JSON: a number, text, container, array, function, or an object by its attributes.

    Classes and functions that the user wrote are stored by import path and source hash. A value that cannot
    be stored, such as an open file, is replaced by its type, which `decode` refuses.

    Parameters
    ----------
    value : object
    shared : array, optional
        The parameters of a model; arrays that are views of them are stored as views.
    """
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, np.ndarray):
        return _encode_any_array(value, shared)
    if isinstance(value, list):
        return [encode(entry, shared) for entry in value]
    if type(value) in (tuple, slice):
        entries = value if isinstance(value, tuple) else (value.start, value.stop, value.step)
        return {"type": type(value).__name__, "entries": [encode(entry, shared) for entry in entries]}
    if isinstance(value, dict | MappingProxyType):
        return {"type": "mapping", "entries": [[encode(k), encode(v, shared)] for k, v in value.items()]}
    if isinstance(value, complex):
        return {"type": "complex", "real": encode(value.real), "imag": encode(value.imag)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"type": "float", "value": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return _encode_object(value, shared)


def _encode_object(value: Any, shared: Array | None) -> JSON:
    kind = type(value)
    if _STORED.get(kind.__name__) is kind:
        return {"type": kind.__name__, **{f.name: encode(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, FunctionType):
        return {"type": "function", "code": cast(JSON, reference(value))}
    if not _has_attributes_only(value):
        return {"type": "unknown", "class": f"{kind.__module__}.{kind.__qualname__}"}
    return encode_attributes(value, vars(value), shared)


def _has_attributes_only(value: Any) -> bool:
    """Return True for an object of a class in Python whose content is its attributes."""
    kind: Any = type(value)
    own_way = (kind.__reduce__, kind.__reduce_ex__) != (object.__reduce__, object.__reduce_ex__)
    return hasattr(value, "__dict__") and kind.__new__ is object.__new__ and not own_way


def encode_attributes(value: Any, attributes: Mapping[str, Any], shared: Array | None = None) -> JSON:
    """Return an object as JSON: its class, with import path and source hash, and the given attributes."""
    stored = {name: encode(entry, shared) for name, entry in attributes.items()}
    return {"type": "object", "code": cast(JSON, reference(type(value))), "attributes": stored}


def decode(stored: Any, shared: Array | None = None) -> Any:
    """Return the value that `encode` stored.

    Raises
    ------
    ValueError
        If the value was not stored, or it is of a class or function that cannot be found or has changed.
    """
    if isinstance(stored, list):
        return [decode(entry, shared) for entry in stored]
    if not isinstance(stored, dict):
        return stored
    name = str(stored["type"])
    if name in _READERS:
        return _READERS[name](stored, shared)
    if name not in _STORED:
        raise ValueError(f"the type {name!r} is not known")
    return _STORED[name](**{key: decode(entry, shared) for key, entry in stored.items() if key != "type"})


def _entries(stored: Mapping[str, Any], shared: Array | None) -> list[Any]:
    return [decode(entry, shared) for entry in stored["entries"]]


def _mapping(stored: Mapping[str, Any], shared: Array | None) -> dict[Any, Any]:
    return {decode(key): decode(entry, shared) for key, entry in stored["entries"]}


def _object(stored: Mapping[str, Any], shared: Array | None) -> Any:
    kind = find(stored["code"])
    if not isinstance(kind, type):
        raise TypeError("a class")
    value: Any = object.__new__(kind)
    attributes = {name: decode(entry, shared) for name, entry in stored["attributes"].items()}
    value.__dict__.update(attributes)
    return value


def _unknown(stored: Mapping[str, Any], _: Array | None) -> Any:
    raise ValueError(
        "[replay] The attributes of a model or a cost are numbers, texts, arrays, containers of them, and "
        "functions and objects of classes that are defined in a module. "
        f"Received a certificate with an object of {stored['class']}, which is not stored."
    )


def _view(stored: Mapping[str, Any], shared: Array | None) -> Array:
    if shared is None:
        raise TypeError("a view of parameters")
    shape, strides = stored["shape"], [8 * int(n) for n in stored["strides"]]
    return np.ndarray(shape, shared.dtype, shared, 8 * int(stored["offset"]), strides)


def encode_array(array: Array) -> ArrayRecord:
    """Return an array as JSON, with its bytes in little-endian order in base64."""
    array = np.ascontiguousarray(array)
    array = array.astype(array.dtype.newbyteorder("<"))
    return {
        "type": "array",
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "data": base64.b64encode(array.tobytes()).decode("ascii"),
    }


def decode_array(stored: Mapping[str, Any], _: Array | None = None) -> Array:
    """Return the array that `encode_array` stored.

    Raises
    ------
    ValueError
        If the entries do not fit each other.
    """
    dtype = None
    with suppress(TypeError):
        dtype = np.dtype(stored["dtype"])
    if dtype is None or dtype.kind not in _NUMBERS:
        raise ValueError(f"the dtype {stored['dtype']!r} is not one of numbers")
    try:
        content = base64.b64decode(stored["data"], validate=True)
    except binascii.Error as error:
        raise ValueError("the data is not base64") from error
    shape = [int(n) for n in stored["shape"]]
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{len(content)} bytes do not fill the shape {shape} of {dtype}")
    array = np.frombuffer(content, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def _encode_any_array(array: Array, shared: Array | None) -> JSON:
    if array.dtype.kind not in _NUMBERS or type(array) is not np.ndarray:
        return {"type": "unknown", "class": f"{type(array).__name__} of {array.dtype}"}
    if shared is None or array.dtype != shared.dtype or not np.may_share_memory(array, shared):
        return cast(JSON, encode_array(array))
    start = array.__array_interface__["data"][0] - shared.__array_interface__["data"][0]
    strides = [step // array.itemsize for step in array.strides]
    return {"type": "view", "offset": start // array.itemsize, "shape": [*array.shape], "strides": strides}


_READERS: Mapping[str, Callable[[Mapping[str, Any], Array | None], Any]] = MappingProxyType(
    {
        "array": decode_array,
        "view": _view,
        "tuple": lambda stored, shared: tuple(_entries(stored, shared)),
        "slice": lambda stored, shared: slice(*_entries(stored, shared)),
        "mapping": _mapping,
        "float": lambda stored, _: float(stored["value"]),
        "complex": lambda stored, _: complex(decode(stored["real"]), decode(stored["imag"])),
        "function": lambda stored, _: find(stored["code"]),
        "object": _object,
        "unknown": _unknown,
    }
)
