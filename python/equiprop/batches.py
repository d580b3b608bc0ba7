"""Batches of one epoch: those of a Dataset in random order, or those of an iterable such as a DataLoader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.dataset import Dataset


class ShuffledBatches:
    """Batches of all samples of a data set, in an order that seed and epoch determine.

    Parameters
    ----------
    data : Dataset
    size : int
        Number of samples of a batch; the last batch may have fewer.
    seed, epoch : int
        Seed and stream of the order.
    dtype : numpy.float32 or numpy.float64
        Type of the inputs.
    first : int
        Number of batches at the start that are left out.
    """

    def __init__(
        self, data: Dataset, size: int, seed: int, epoch: int, dtype: np.dtype[Any], first: int = 0
    ) -> None:
        self.data: Dataset = data
        self.size: int = size
        self.dtype: np.dtype[Any] = dtype
        self.order: Array = _core.permutation(len(data), seed, epoch)[first * size :]

    def __len__(self) -> int:
        return -(-len(self.order) // self.size)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        for begin in range(0, len(self.order), self.size):
            yield self.data.batch(self.order[begin : begin + self.size], self.dtype)


def is_batches(data: Any) -> bool:
    """Return True for an iterable that is neither a data set nor an array nor a pair of arrays."""
    array = (
        isinstance(data, Dataset | tuple | str) or hasattr(data, "__array__") or hasattr(data, "__dlpack__")
    )
    return isinstance(data, Iterable) and not array and not hasattr(data, "tocsr")


def checked_batches(data: Any, epochs: int) -> Iterable[Any]:
    """Return an iterable of batches; raise TypeError for an iterator that is to be read twice."""
    if epochs > 1 and iter(data) is data:
        raise TypeError(
            f"[Trainer.fit] Batches for {epochs} epochs can be read again, as a list or a DataLoader. "
            f"Received {type(data).__name__}, an iterator."
        )
    return data  # type: ignore[no-any-return]


def pairs(batches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the inputs and labels or targets of each batch.

    Raises
    ------
    TypeError
        If a batch is not a pair.
    ValueError
        If there are no batches.
    """
    empty = True
    for batch in batches:
        empty = False
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise TypeError(
                f"[Trainer.fit] Each batch is a pair (x, y); arrays x and y are fit(x, y). "
                f"Received {type(batch).__name__}."
            )
        yield batch[0], batch[1]
    if empty:
        raise ValueError("[Trainer.fit] An iterable of batches holds at least one. Received none.")
