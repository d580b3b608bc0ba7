"""Conversion of objects of this library to JSON and arrays, and back.

A dataclass is stored by its name and all its fields, a list of records by columns. A class takes part if its
module is in `_MODULES`; a new field of such a class takes part by itself. A field that is declared with
``field(metadata={"saved": False})`` does not: it can be made again from the others.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from equiprop import (
    averaging,
    centring,
    clipping,
    costs,
    early_stopping,
    health,
    history,
    kept_states,
    linear_solvers,
    nudging,
    optimizers,
    position,
    schedules,
    second_phase,
    solvers,
)
from equiprop.arrays import Array

_MODULES: Sequence[ModuleType] = (
    averaging,
    centring,
    clipping,
    costs,
    early_stopping,
    health,
    history,
    kept_states,
    linear_solvers,
    nudging,
    optimizers,
    position,
    second_phase,
    solvers,
)
_FUNCTIONS: Mapping[str, Any] = {
    "cosine": schedules._cosine,
    "cosine_restarts": schedules._cosine_restarts,
    "exponential": schedules._exponential,
    "warm_up": schedules._warm_up,
}
_PLAIN = (type(None), bool, int, str)


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and (is_dataclass(kind) or hasattr(kind, "_field_defaults"))


_CLASSES: Mapping[str, type] = {
    kind.__name__: kind
    for module in _MODULES
    for kind in vars(module).values()
    if _is_record(kind) and kind.__module__ == module.__name__
}


class NotEncodable(TypeError):
    """An object of a class that this library does not store; `part` names its place."""

    def __init__(self, part: str, value: Any) -> None:
        super().__init__(part, value)
        self.part: str = part
        self.name: str = (
            type(value).__name__ if not callable(value) or _is_record(type(value)) else _shown(value)
        )


def _shown(value: Any) -> str:
    return getattr(value, "__qualname__", None) or reprlib.repr(value)


class Encoder:
    """Encodes objects; `arrays` receives their arrays by name."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}

    def encode(self, value: Any, part: str) -> Any:
        """Return `value` as an object for JSON; `part` is its name, such as ``optimizer``.

        Raises
        ------
        NotEncodable
            If `value`, or something that it contains, is not a number, text, array or container, or an object
            of a class of this library.
        """
        kind = type(value)
        if kind in _PLAIN or (kind is float and math.isfinite(value)):
            return value
        if kind is float:
            return {"float": repr(value)}
        if kind is complex:
            return {"complex": [self.encode(value.real, part), self.encode(value.imag, part)]}
        if kind is np.ndarray and value.dtype.kind in "bUO":
            entries = [self.encode(v, part) for v in value.ravel().tolist()]
            return {"objects": entries, "dtype": value.dtype.str, "shape": list(value.shape)}
        if kind is np.ndarray or isinstance(value, np.number):
            return {"array" if kind is np.ndarray else "scalar": self._add(np.asarray(value), part)}
        if kind is partial and value.func in _FUNCTIONS.values() and not value.keywords:
            name = next(name for name, function in _FUNCTIONS.items() if function is value.func)
            return {"function": name, "arguments": [self.encode(v, part) for v in value.args]}
        return self._container(value, part)

    def _container(self, value: Any, part: str) -> Any:
        kind = type(value)
        if kind is tuple:
            return {"tuple": [self.encode(v, part) for v in value]}
        if isinstance(value, Mapping) and all(type(key) is str for key in value):
            return {"mapping": {key: self.encode(v, f"{part}.{key}") for key, v in value.items()}}
        if kind is dict and all(type(key) is int for key in value):
            return {"numbered": [[key, self.encode(v, f"{part}.{key}")] for key, v in value.items()]}
        if isinstance(value, list) and kind in (list, history.History):
            records = {type(v) for v in value}
            if len(records) == 1 and _CLASSES.get((record := records.pop()).__name__) is record:
                columns = {name: self._column(value, name, part) for name in _names(record)}
                return {"table": record.__name__, "rows": len(value), "columns": columns}
            return [self.encode(v, part) for v in value]
        if _CLASSES.get(kind.__name__) is kind:
            own = {name: self.encode(getattr(value, name), f"{part}.{name}") for name in _names(kind)}
            return {"class": kind.__name__, "fields": own}
        raise NotEncodable(part, value)

    def _column(self, records: Sequence[Any], name: str, part: str) -> Any:
        values = [getattr(record, name) for record in records]
        kinds = {type(value) for value in values}
        if kinds == {float} or (kinds == {int} and max(map(abs, values)) < 2**63):
            return self.encode(np.array(values), f"{part}.{name}")
        return [self.encode(value, f"{part}.{name}") for value in values]

    def _add(self, array: Array, part: str) -> str:
        if array.dtype.kind not in "iuf" or array.itemsize > 8:
            raise NotEncodable(part, array)
        name, number = part, len(self.arrays)
        while name in self.arrays:  # another entry of a list
            name, number = f"{part}#{number}", number + 1
        self.arrays[name] = array
        return name


def decode(value: Any, arrays: Mapping[str, Array]) -> Any:
    """Return the object that `Encoder.encode` encoded.

    Raises
    ------
    ValueError
        If `value` was not made by `Encoder.encode`, or names a class or field that this version lacks.
    """
    try:
        return _decode(value, arrays)
    except (TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"[decode] The file holds objects of this version. Received {error!r}.") from error


def _decode(value: Any, arrays: Mapping[str, Array]) -> Any:
    if isinstance(value, list):
        return [_decode(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    if "class" in value:
        own = {name: _decode(v, arrays) for name, v in value["fields"].items()}
        return build(_CLASSES[value["class"]], own)
    if "table" in value:
        return _decoded_table(value, arrays)
    if "objects" in value:
        return _decoded_objects(value, arrays)
    if "function" in value:
        return partial(_FUNCTIONS[value["function"]], *(_decode(v, arrays) for v in value["arguments"]))
    ((kind, content),) = value.items()
    if kind == "mapping":
        return {key: _decode(v, arrays) for key, v in content.items()}
    if kind == "numbered":
        return {int(key): _decode(v, arrays) for key, v in content}
    if kind == "tuple":
        return tuple(_decode(v, arrays) for v in content)
    if kind == "complex":
        return complex(*(_decode(v, arrays) for v in content))
    if kind == "float":
        return float(content)
    return arrays[content][()] if kind == "scalar" else arrays[content] if kind == "array" else {}[kind]


def _decoded_objects(value: dict[str, Any], arrays: Mapping[str, Array]) -> Array:
    dtype, entries = np.dtype(value["dtype"]), [_decode(v, arrays) for v in value["objects"]]
    if dtype.kind not in "bUO":
        raise TypeError(f"an array of objects of type {dtype}")
    array = np.empty(len(entries), dtype)
    for k, entry in enumerate(entries):
        array[k] = entry
    return array.reshape(value["shape"])


def _decoded_table(value: dict[str, Any], arrays: Mapping[str, Array]) -> list[Any]:
    kind, count = _CLASSES[value["table"]], value["rows"]
    columns = {name: _decode(column, arrays) for name, column in value["columns"].items()}
    columns = {name: c.tolist() if isinstance(c, np.ndarray) else c for name, c in columns.items()}
    if any(len(column) != count for column in columns.values()):
        raise IndexError("columns of different lengths")
    return [build(kind, {name: column[k] for name, column in columns.items()}) for k in range(count)]


def build(kind: type, own: Mapping[str, Any]) -> Any:
    """Return an object of a record class from its fields; a field that is not given has its default.

    Raises
    ------
    AttributeError
        If the class has no field of a given name.
    """
    unknown = sorted(set(own) - set(_names(kind)))
    if unknown:
        raise AttributeError(f"{kind.__name__} has no field {', '.join(unknown)}")
    later = {f.name for f in fields(kind) if not f.init} if is_dataclass(kind) else set()
    made = kind(**{name: value for name, value in own.items() if name not in later})
    for name in later & own.keys():
        object.__setattr__(made, name, own[name])
    return made


def is_saved(field: Field[Any]) -> bool:
    """Return True if a field of a dataclass is stored."""
    return bool(field.metadata.get("saved", True))


def _names(kind: type) -> tuple[str, ...]:
    if is_dataclass(kind):
        return tuple(field.name for field in fields(kind) if is_saved(field))
    names: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    return names
