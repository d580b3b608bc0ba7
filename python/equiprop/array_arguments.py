"""Arrays and numbers that select or describe other arrays: indices, flat vectors, batches, precisions."""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array, as_array, as_numpy
from equiprop.checks import enough_memory, require, whole


def as_indices(value: Any, count: int, where: str, noun: str) -> NDArray[np.int64]:
    """Return indices in 0 .. count - 1 as an array of one dimension; a mask (count,) selects those of True.

    `noun` says what they are indices of, such as "sample", for errors.
    """
    rows, name = as_numpy(value, where, "indices"), f"{noun.capitalize()} indices"
    if rows.dtype.kind == "b" and rows.ndim == 1:
        require(len(rows) == count, where, f"A mask has one entry for each of {count} {noun}s", len(rows))
        return np.flatnonzero(rows)
    if rows.dtype.kind not in "iu":
        raise TypeError(f"[{where}] {name} are integers. Received {rows.dtype}.")
    require(rows.ndim == 1, where, f"{name} have one dimension", rows.shape)
    in_range = int(rows.min(initial=0)) >= 0 and int(rows.max(initial=-1)) < count
    require(in_range, where, f"{name} lie in 0 .. {count - 1}", rows)
    return rows.astype(np.int64)


def as_flat(value: Any, size: int, where: str) -> Array:
    """Return a vector of `size` numbers, without a copy of an array; raise an error for any other shape."""
    plain = isinstance(value, np.ndarray) and value.dtype.kind in "fc"
    flat: Array = value if plain else as_array(value, where, "flat")
    if flat.shape != (size,):
        raise ValueError(f"[{where}] `flat` has shape ({size},). Received shape {flat.shape}.")
    return flat


def check_vector(theta: Any, where: str) -> None:
    """Raise TypeError or ValueError unless `theta` is a vector of float64 that can be changed in place."""
    rule = "`parameters` is a NumPy array of float64, of one dimension, without a mask"
    if not isinstance(theta, np.ndarray) or isinstance(theta, np.ma.MaskedArray):
        raise TypeError(f"[{where}] {rule}. Received {reprlib.repr(theta)}.")
    require(theta.ndim == 1 and theta.dtype == np.float64, where, rule, f"{theta.dtype} {theta.shape}")
    as_numpy(theta, where, "parameters")  # refuses a view that repeats numbers without end


def check_slices(blocks: Any, where: str, name: str) -> None:
    """Raise TypeError unless `blocks` is a mapping from names to slices."""
    if not isinstance(blocks, Mapping) or not all(isinstance(block, slice) for block in blocks.values()):
        rule = f"{name} is a mapping from block name to slice"
        raise TypeError(f"[{where}] {rule}. Received {reprlib.repr(blocks)}.")


def num_states(value: Any, units: int, dtype: np.dtype[Any]) -> int:
    """Return a number of samples, whose states this machine can hold."""
    where = "initial_state"
    batch = whole(value, where, "batch", 0)
    with enough_memory(batch * units * dtype.itemsize, where, f"{batch} states", cure="Choose fewer samples"):
        return batch


def real_dtype(dtype: Any, where: str) -> np.dtype[Any]:
    """Return float32 or float64; raise TypeError for any other type of numbers."""
    with contextlib.suppress(TypeError, ValueError):
        real: np.dtype[Any] = np.dtype(dtype)
        if real in (np.float32, np.float64) and dtype is not None:
            return real
    raise TypeError(f"[{where}] dtype is float32 or float64. Received {reprlib.repr(dtype)}.")
