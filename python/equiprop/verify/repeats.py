"""Repeated evaluations of a function that should be deterministic: noise, drift, memory of other calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

#: Number of repeats; random values are monotonic with a probability of 2 / 8! = 5e-5.
_REPEATS = 8


@dataclass(frozen=True)
class Variation:
    """Difference between evaluations with equal arguments.

    Attributes
    ----------
    kind : {"noise", "drift", "memory"}
        Random differences, differences of one sign from call to call, or differences that are only there
        after a call with other arguments.
    size : float
        Largest difference.
    relative : float
        Largest difference, relative to the largest magnitude of a value.
    """

    kind: str
    size: float
    relative: float


def variation(function: Callable[[], Any], other: Callable[[], Any]) -> Variation | None:
    """Evaluate a function several times, and return how the results differ; None if all bits are equal.

    Parameters
    ----------
    function : callable
        Function without arguments that returns numbers.
    other : callable
        Call with other arguments, which must not change the next result of `function`.
    """
    other()
    values = [_numbers(function()) for _ in range(_REPEATS)]
    other()
    values.append(_numbers(function()))
    if all(np.array_equal(value, values[1], equal_nan=True) for value in values):
        return None
    table = np.nan_to_num(np.array(values))
    spans = np.ptp(table, axis=0)
    most = int(np.argmax(spans))
    size = float(spans[most])
    return Variation(_kind(table, most), size, size / (float(np.abs(table).max()) or 1.0))


def _numbers(value: Any) -> _Floats:
    return np.asarray(value, dtype=np.float64).ravel()


def _kind(table: _Floats, most: int) -> str:
    """Return the kind of the variation of rows, of which the first and the last one follow another call."""
    changes = np.abs(np.diff(table[:_REPEATS], axis=0)).max(axis=1)
    settles = (np.diff(changes) <= 0).all() and changes[-1] <= 0.5 * changes[0]
    returns = np.abs(table[-1] - table[0]).max() <= 0.2 * np.abs(table[-1] - table[_REPEATS - 1]).max()
    if settles and returns:
        return "memory"
    slopes = np.diff(table[:, most])
    return "drift" if (slopes > 0).all() or (slopes < 0).all() else "noise"
