"""Inputs and targets as the network of an estimator receives them; sparse inputs become dense by batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.preprocessing import StandardScaler

from equiprop.arrays import Array, is_sparse
from equiprop.dataset import dense
from equiprop.row_selection import RowSelection
from equiprop.weights import Weights, as_sample_weight, refuse_zero_weights

#: Number of entries of a part that is dense at a time.
_ENTRIES = 2**20


def without_zero_weights(x: Any, y: Array, sample_weight: Any, where: str) -> tuple[Any, Array, Any]:
    """Return the samples whose weight is not 0, and their checked weights; None stands for equal weights."""
    if sample_weight is None:
        return x, y, None
    weights = as_sample_weight(sample_weight, where, len(y))
    refuse_zero_weights(weights, where)
    kept = weights > 0
    return (x, y, weights) if kept.all() else (x[kept], y[kept], weights[kept])


def statistics(values: Any, wanted: bool, weights: Weights | None = None) -> tuple[Array, Array]:
    """Return mean and standard deviation of each column, with 1 for one that is constant.

    The moments are computed part by part (Chan et al. 1983). If they are not `wanted`, return zeros and ones.

    Parameters
    ----------
    values : array or sparse array (samples, columns)
    wanted : bool
    weights : array (samples,), optional
        Weights of the samples.
    """
    columns = values.shape[1]
    if not wanted:
        return np.zeros(columns), np.ones(columns)
    largest = np.max([np.abs(part).max(axis=0) for part, _ in _parts(values)], axis=0)
    powers = np.ldexp(1.0, np.frexp(largest)[1] - 1)  # so that no square overflows
    scaler: Any = StandardScaler()
    for part, rows in _parts(values):
        scaler.partial_fit(part / powers, sample_weight=None if weights is None else weights[rows])
    varies = scaler.scale_ == np.sqrt(scaler.var_)  # otherwise the column counts as constant, with scale 1
    return np.asarray(scaler.mean_ * powers), np.where(varies, scaler.scale_ * powers, 1.0)


def _parts(values: Any) -> Iterator[tuple[Array, slice]]:
    """Yield some rows at a time as a dense array, and their positions."""
    size = max(1, _ENTRIES // values.shape[1])
    for begin in range(0, values.shape[0], size):
        rows = slice(begin, begin + size)
        yield dense(values[rows]), rows


def standardised(values: Any, mean: Array, scale: Array, where: str, name: str) -> Any:
    """Return ``(values - mean) / scale`` in float32; rows of a sparse array become dense when they are read.

    Raises
    ------
    ValueError
        If a number is beyond float32.
    """
    if is_sparse(values):
        rows = _StandardisedRows(values, mean, scale, where, name)
        return RowSelection(rows, np.arange(values.shape[0]))
    with np.errstate(over="ignore"):
        result = np.asarray((values - mean) / scale, dtype=np.float32)
    if not np.isfinite(result).all():
        largest = float(np.abs(values).max())
        rule = f"{name} holds numbers that float32 can hold after the standardisation, at most 3.4e38"
        raise ValueError(f"[{where}] {rule}. Received numbers up to {largest:.3g}.")
    return result


class _StandardisedRows:
    """Rows of a sparse array that become dense and standardised when they are read; see `standardised`."""

    def __init__(self, x: Any, mean: Array, scale: Array, where: str, name: str) -> None:
        self.x = x
        self.mean: Array = mean
        self.scale: Array = scale
        self.names: tuple[str, str] = (where, name)
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.ndim: int = 2
        self.shape: tuple[int, ...] = x.shape

    def __getitem__(self, rows: Any) -> Array:
        return np.asarray(standardised(dense(self.x[rows]), self.mean, self.scale, *self.names))
