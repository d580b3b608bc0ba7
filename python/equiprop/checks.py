"""Checks of arguments; every message reads ``[where] rule. Received value.``."""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def check_type(value: Any, kind: Any, where: str, rule: str) -> None:
    """Refuse with a TypeError what is no instance of `kind`, such as a class in place of an object."""
    if not isinstance(value, kind):
        raise TypeError(f"[{where}] {rule}. Received {reprlib.repr(value)}.")


def whole(value: Any, where: str, name: str, low: int, high: int = 2**63 - 1) -> int:
    """Return a whole number from `low` to `high` as an int."""
    check_type(value, (int, np.integer), where, f"{name} is a whole number")
    if not low <= value <= high:
        bound = f"at least {low}" if value < low and high == 2**63 - 1 else f"{low} to {high}"
        raise ValueError(f"[{where}] {name} is {bound}. Received {value}.")
    return int(value)


def real(value: Any, where: str, name: str) -> float:
    """Return a number as a float; which ones are allowed, the caller decides."""
    check_type(value, (int, float, np.integer, np.floating), where, f"{name} is a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


@contextmanager
def enough_memory(size: int, where: str, what: str) -> Iterator[None]:
    """Refuse to allocate `size` bytes, for `what`, that this machine does not have.

    Raises
    ------
    ValueError
        If no address space holds that many bytes.
    MemoryError
        If the machine has less memory, or the allocation inside the block fails.
    """
    rule = f"[{where}] The parameters fit in memory"
    received = f"Received {what}, which need {size / 1e9:.3g} GB"
    if size >= 2**63:
        raise ValueError(f"{rule}. {received}.")
    memory = physical_memory()
    if memory is not None and size > memory:
        raise MemoryError(f"{rule}. {received}; this machine has {memory / 1e9:.3g} GB.")
    try:
        yield
    except MemoryError as error:
        raise MemoryError(f"{rule}. {received}; this much is not free.") from error


def physical_memory() -> int | None:
    """Return the bytes of memory of this machine, or None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
