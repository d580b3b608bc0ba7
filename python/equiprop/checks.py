"""Checks of arguments; every message reads ``[where] rule. Received value.``."""

from __future__ import annotations

import math
import reprlib
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
        bound = f"at least {low}" if high == 2**63 - 1 else f"{low} to {high}"
        raise ValueError(f"[{where}] {name} is {bound}. Received {value}.")
    return int(value)


def real(value: Any, where: str, name: str) -> float:
    """Return a number as a float; which ones are allowed, the caller decides."""
    check_type(value, (int, float, np.integer, np.floating), where, f"{name} is a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
