"""Comparison of two JSON structures: entries that are missing, added or have different values."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: Keys whose value names an object in a list.
_NAMING_KEYS = ("network", "claim", "label")
#: Keys that the text of a path omits, because the names before and after them are sufficient.
_IMPLIED = ("cases", "claims", "rows")

_ABSENT: Final = object()
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


@dataclass(frozen=True)
class Difference:
    """One entry that is not equal in both structures.

    Attributes
    ----------
    path : tuple of str
        Keys and names from the outermost structure to the entry.
    values : str
        Both values in words.
    """

    path: tuple[str, ...]
    values: str

    @property
    def where(self) -> str:
        """The path in words."""
        path = self.path[:-1] if self.is_figure else self.path
        parts = [part for part in path[:-1] if part not in _IMPLIED]
        return ", ".join([*parts, *path[-1:]]) or "the certificate"

    @property
    def text(self) -> str:
        """The path and both values in words."""
        return f"{self.where}: {self.values}"

    @property
    def is_figure(self) -> bool:
        """True if the entry is the value of a row of a claim."""
        return "rows" in self.path and self.path[-1] == "value"


def differences(recorded: Any, repeated: Any, path: tuple[str, ...] = ()) -> Iterator[Difference]:
    """Yield every entry that is missing in one structure or has different values in both.

    Objects are compared by key, lists of texts and of named objects by name and order, and other lists by
    position. Numbers are equal if they have equal values and signs.
    """
    if isinstance(recorded, Mapping) and isinstance(repeated, Mapping):
        yield from _by_key(recorded, repeated, path)
    elif isinstance(recorded, list) and isinstance(repeated, list):
        old, new = _named(recorded), _named(repeated)
        yield from _by_key(old, new, path)
        if list(old) != list(new) and set(old) == set(new):
            yield _difference((*path, "order"), list(old), list(new))
    elif not _same(recorded, repeated):
        yield _difference(path, recorded, repeated)


def _by_key(
    recorded: Mapping[str, Any], repeated: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[Difference]:
    for key in [*recorded, *(key for key in repeated if key not in recorded)]:
        old, new = recorded.get(key, _ABSENT), repeated.get(key, _ABSENT)
        yield from differences(old, new, (*path, key))


def _named(entries: Sequence[Any]) -> dict[str, Any]:
    """Return the entries of a list by name; repeated names are numbered."""
    named: dict[str, Any] = {}
    for position, entry in enumerate(entries):
        name = _name(entry, position)
        count = 1
        while (key := name if count == 1 else f"{name} ({count})") in named:
            count += 1
        named[key] = entry
    return named


def _name(entry: Any, position: int) -> str:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, Mapping):
        for key in _NAMING_KEYS:
            if isinstance(entry.get(key), str):
                return str(entry[key])
    return f"[{position}]"


def _same(recorded: Any, repeated: Any) -> bool:
    numbers = [isinstance(v, int | float) and not isinstance(v, bool) for v in (recorded, repeated)]
    if all(numbers):
        return recorded == repeated and math.copysign(1, recorded) == math.copysign(1, repeated)
    return type(recorded) is type(repeated) and bool(recorded == repeated)


def _difference(path: tuple[str, ...], recorded: Any, repeated: Any) -> Difference:
    if recorded is _ABSENT:
        values = f"not in the file, is {_SHORT.repr(repeated)}"
    elif repeated is _ABSENT:
        values = f"only in the file, was {_SHORT.repr(recorded)}"
    else:
        values = f"was {_SHORT.repr(recorded)}, is {_SHORT.repr(repeated)}"
    return Difference(path, values)
