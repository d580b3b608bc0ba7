"""Conversion of arguments to the arrays that the core takes: checked, C-contiguous, of the model's dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core

Array = NDArray[Any]


def as_array(value: Any, where: str, name: str) -> Array:
    """Return `value` as a NumPy array of real numbers, through ``__dlpack__`` if it has no ``__array__``.

    Raises
    ------
    TypeError
        If `value` is not an array of integers, floats or booleans.
    """
    array = value if type(value) is np.ndarray else _converted(value, where, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"[{where}] `{name}` holds real numbers. Received dtype {array.dtype}.")
    return array


def _converted(value: Any, where: str, name: str) -> Array:
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        value = np.from_dlpack(value)
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"[{where}] `{name}` is an array of numbers. Received {type(value).__name__}."
        ) from error


def as_states(value: Any, units: int, dtype: np.dtype[Any], where: str, name: str) -> Array:
    """Return `value` as a C-contiguous finite array (batch, units) of `dtype`, copied only if necessary.

    Raises
    ------
    TypeError, ValueError
        If `value` has another shape, no samples, or an entry that is not a finite real number.
    """
    array = as_array(value, where, name)
    if array.ndim != 2 or array.shape[1] != units:
        raise ValueError(f"[{where}] `{name}` has shape (batch, {units}). Received shape {array.shape}.")
    if array.shape[0] == 0:
        raise ValueError(f"[{where}] `{name}` holds at least one sample. Received shape {array.shape}.")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=dtype)
    if not _core.all_finite(array):
        bad = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            f"[{where}] `{name}` holds finite numbers. "
            f"Received {array[tuple(bad)]} at sample {bad[0]}, unit {bad[1]}."
        )
    return array


def as_targets(value: Any, outputs: int, dtype: np.dtype[Any], where: str) -> Array:
    """Return targets (batch, outputs); class labels, an integer array (batch,), are encoded as one-hot."""
    array = as_array(value, where, "y")
    if array.ndim == 1 and array.dtype.kind in "iu":
        return one_hot(array, outputs, dtype, where)
    return as_states(array, outputs, dtype, where, "y")


def one_hot(labels: Array, classes: int, dtype: np.dtype[Any], where: str) -> Array:
    """Return the one-hot encoding (batch, classes) of integer labels (batch,)."""
    core = _core.f32 if dtype == np.float32 else _core.f64
    return core.one_hot(labels.astype(np.int64, copy=False), classes, where)


def as_contiguous(value: Any, dtype: np.dtype[Any], where: str, name: str) -> Array:
    """Return `value` as a C-contiguous array of `dtype`, without a check of its shape and its numbers."""
    if type(value) is np.ndarray and value.dtype == dtype and value.flags.c_contiguous:
        return value
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(as_array(value, where, name), dtype=dtype)
