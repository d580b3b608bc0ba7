"""Comparison of JSON structures with the TypedDicts that describe them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

_WORDS = {str: "text", bool: "true or false", float: "a number", int: "a whole number", NoneType: "null"}


def faults(kind: Any, value: Any, path: str = "") -> Iterator[str]:
    """Yield a sentence for each entry of `value` that is missing or is not of the declared type.

    Parameters
    ----------
    kind : type
        A TypedDict, list, dict or union, or str, bool, int, float or None.
    value : object
        Content of a JSON file. Additional keys are no faults.
    path : str
        Path of the value in the file, such as ``cases[0].claims[1].rows``.
    """
    origin = get_origin(kind)
    if is_typeddict(kind):
        yield from _of_record(kind, value, path)
    elif origin in (Union, UnionType):
        if not _allowed(kind, value):
            yield _fault(path, " or ".join(map(_word, get_args(kind))), value)
        for part in get_args(kind):
            if is_typeddict(part) and isinstance(value, dict):
                yield from faults(part, value, path)
    elif origin is list:
        if not isinstance(value, list):
            yield _fault(path, "a list", value)
            return
        for k, entry in enumerate(value):
            yield from faults(get_args(kind)[0], entry, f"{path}[{k}]")
    elif origin is dict:
        if not isinstance(value, dict):
            yield _fault(path, "an object", value)
            return
        for key, entry in value.items():
            yield from faults(get_args(kind)[1], entry, f"{path}.{key}")
    elif kind is not Any and not _is_a(kind, value):
        yield _fault(path, _word(kind), value)


def _of_record(kind: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _fault(path, "an object", value)
        return
    for key, part in get_type_hints(kind).items():
        where = f"{path}.{key}".lstrip(".")
        if key not in value:
            yield f"{where} is missing"
        else:
            yield from faults(part, value[key], where)


def _allowed(kind: Any, value: Any) -> bool:
    return any(_is_a(get_origin(part) or part, value) for part in get_args(kind))


def _is_a(kind: Any, value: Any) -> bool:
    if is_typeddict(kind):
        return isinstance(value, dict)
    if kind in (int, float):
        return isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    if kind is Sequence:
        return isinstance(value, list)
    if kind is Mapping:
        return isinstance(value, dict)
    return isinstance(value, kind) if isinstance(kind, type) else False


def _word(kind: Any) -> str:
    return _WORDS.get(kind, "an object")


def _fault(path: str, expected: str, value: Any) -> str:
    text = repr(value)
    return f"{path or 'the file'} is {expected}, and not {text if len(text) < 60 else text[:56] + ' ...'}"
