"""Checks of arguments; every message reads ``[where] rule. Received value.``."""

from __future__ import annotations

import math
import os
import re
import reprlib
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

_Entry = TypeVar("_Entry")


def check_type(value: Any, kind: Any, where: str, rule: str) -> None:
    """Raise TypeError with `rule` if `value` is not an instance of `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"[{where}] {rule}. Received {reprlib.repr(value)}.")


def require(holds: bool, where: str, rule: str, received: object) -> None:
    """Raise ValueError with `rule` and `received` if `holds` is False."""
    if not holds:
        raise ValueError(f"[{where}] {rule}. Received {received}.")


def whole(value: Any, where: str, name: str, low: int, high: int = 2**63 - 1) -> int:
    """Return `value` as an int; raise TypeError or ValueError if it is not a whole number in [low, high]."""
    _refuse_flag(value, where, f"{name} is a whole number")
    check_type(value, (int, np.integer), where, f"{name} is a whole number")
    if not low <= value <= high:
        bound = f"at least {low}" if value < low and high == 2**63 - 1 else f"{low} to {high}"
        raise ValueError(f"[{where}] {name} is {bound}. Received {value}.")
    return int(value)


def check_choice(value: Any, where: str, name: str, *choices: str) -> None:
    """Raise a ValueError unless a value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"[{where}] {name} is {' or '.join(map(repr, choices))}. Received {value!r}.")


def real(value: Any, where: str, name: str) -> float:
    """Return `value` as a float; raise TypeError if it is not a number. The caller checks its range."""
    _refuse_flag(value, where, f"{name} is a number")
    check_type(value, (int, float, np.integer, np.floating), where, f"{name} is a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _refuse_flag(value: Any, where: str, rule: str) -> None:
    """Raise TypeError for True and False, which are integers of Python."""
    if isinstance(value, bool):
        raise TypeError(f"[{where}] {rule}. Received {value}.")


def check_flag(value: Any, where: str, name: str) -> None:
    """Raise a TypeError unless a value is True or False."""
    check_type(value, (bool, np.bool_), where, f"{name} is True or False")


def of_normal_size(value: Any, where: str, name: str) -> float:
    """Return a positive number from 1e-100 to 1e100, whose square is neither 0 nor infinite."""
    number = real(value, where, name)
    require(1e-100 <= number <= 1e100, where, f"{name} lies in [1e-100, 1e100]", value)
    return number


def several(value: Any, where: str, name: str, check: Callable[[Any, str, str], _Entry]) -> list[_Entry]:
    """Return the checked entries of a sequence; raise TypeError for anything else, such as a number or text.

    Parameters
    ----------
    value : sequence or array of one dimension
    where, name : str
        Function and argument, for errors.
    check : callable
        Function such as `real`, which receives an entry, `where`, and the name of the entry.
    """
    is_listed = isinstance(value, Sequence | Set | np.ndarray) and not isinstance(value, str | bytes)
    if not is_listed or getattr(value, "ndim", 1) != 1:
        raise TypeError(f"[{where}] {name} is a list. Received {reprlib.repr(value)}.")
    return [check(entry, where, f"an entry of {name}") for entry in value]


def positive(value: Any, where: str, name: str) -> float:
    """Return `value` as a float; raise TypeError or ValueError if it is not a positive finite number."""
    number = real(value, where, name)
    require(0 < number < math.inf, where, f"{name} is positive and finite", value)
    return number


@contextmanager
def enough_memory(
    size: int, where: str, what: str, *, part: float = 1.0, cure: str = "Choose smaller layers"
) -> Iterator[None]:
    """Raise an error that names the size if `size` bytes for `what` cannot be allocated in this block.

    `part` is the largest part of the machine's memory that they may take, and `cure` the advice of the error.

    Raises
    ------
    ValueError
        If `size` is larger than any address space.
    MemoryError
        If they are more than this part, or than what is free, or the allocation inside the block fails.
    """
    failure = f"[{where}] cannot allocate {size / 1e9:.3g} GB for {what}"
    if size >= 2**63:
        raise ValueError(f"[{where}] Arrays have fewer than 2^63 bytes. Received {what}.")
    memory = physical_memory()
    if memory is not None and size > part * memory:
        limit = "" if part == 1 else f", of which {part:.0%} may be used"
        raise MemoryError(f"{failure}: this machine has {memory / 1e9:.3g} GB{limit}. {cure}.")
    free = free_memory() if memory is not None and size >= _LARGE else None
    if free is not None and size > free:
        raise MemoryError(f"{failure}: {free / 1e9:.3g} GB are free. {cure}.")
    try:
        yield
    except MemoryError as error:
        raise MemoryError(f"{failure}: not enough memory is free. {cure}.") from error


#: Number of bytes from which an allocation is compared with the memory that is free.
_LARGE = 2**28


def physical_memory() -> int | None:
    """Return the memory of this machine or container in bytes, or None if the system does not report it."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    limit = _number_in("/sys/fs/cgroup/memory.max")
    return memory if limit is None else min(memory, limit)


def free_memory() -> int | None:
    """Return the memory in bytes that is not in use, or None if the system does not report it."""
    parts = [_number_in("/proc/meminfo", after=f"{name}:") for name in ("MemAvailable", "SwapFree")]
    return None if parts[0] is None else 1024 * (parts[0] + (parts[1] or 0))


def _number_in(path: str, after: str = "") -> int | None:
    """Return the first number in a file of the system after some text, or None if there is none."""
    try:
        found = re.search(rf"{after}\s*(\d+)", Path(path).read_text())
    except OSError:
        return None
    return None if found is None else int(found[1])
