"""Rows of an array that is mapped into memory, which are read batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from equiprop.arrays import Array


def select(x: Any, rows: Any) -> Any:
    """Return rows of samples: a view for a slice, a `RowSelection` of a mapped array, otherwise a copy."""
    if isinstance(x, RowSelection):
        return RowSelection(x.source, x.rows[rows])
    return RowSelection(x, rows) if is_mapped(x) and not isinstance(rows, slice) else x[rows]


def is_mapped(x: Any) -> bool:
    """Return True if the memory of an array is a file, see `numpy.memmap`."""
    while isinstance(x, np.ndarray):
        if isinstance(x, np.memmap):
            return True
        x = x.base
    return False


class RowSelection:
    """Rows of an array; indexing reads those that it selects, and `numpy.asarray` reads all.

    Parameters
    ----------
    source : array, shape (samples, features), or an object with type, shape and indexing of one
    rows : array of integers
        Positions in `source`.
    """

    def __init__(self, source: Any, rows: Array) -> None:
        self.source: Any = source
        self.rows: Array = rows
        self.dtype: np.dtype[Any] = source.dtype
        self.ndim: int = source.ndim
        self.shape: tuple[int, ...] = (len(rows), *source.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> Array:
        return np.asarray(self.source[self.rows[key]])

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.asarray(self[:], dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return np.asarray, (self[:],)
