"""Batches of one epoch: those of a Dataset in random order, or those of an iterable such as a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from numbers import Number
from typing import Any, TypeVar

import numpy as np

from equiprop import _core
from equiprop.arrays import Array, is_sparse
from equiprop.dataset import Dataset

T = TypeVar("T")


class ShuffledBatches:
    """Batches of all samples of a data set, in an order that seed and epoch determine.

    A batch is a pair (x, y), or (x, y, sample_weight) if the samples have weights. The samples are changed by
    the augmentation of the data set, if it has one; a thread then prepares the next batch.

    Parameters
    ----------
    data : Dataset
    size : int
        Number of samples of a batch; the last batch may have fewer.
    seed, epoch : int
        Seed and stream of the order, and of the augmentation.
    dtype : numpy.float32 or numpy.float64
        Type of the inputs.
    first : int
        Number of batches at the start that are left out.
    own : callable, optional
        Returns the places in a batch, of a number of samples, whose inputs are read; by default all. Labels,
        targets and weights are those of all samples.
    """

    def __init__(
        self,
        data: Dataset,
        size: int,
        seed: int,
        epoch: int,
        dtype: np.dtype[Any],
        first: int = 0,
        own: Callable[[int], slice] | None = None,
    ) -> None:
        self.data: Dataset = data
        self.size: int = size
        self.dtype: np.dtype[Any] = dtype
        self.own: Callable[[int], slice] = own or slice
        self.order: Array = _core.permutation(len(data), seed, epoch)[first * size :]
        change = data.augmentation
        self.draws: Array | None = None
        if change is not None:
            self.draws = change.draws(len(data), seed=seed, epoch=epoch)

    def __len__(self) -> int:
        return -(-len(self.order) // self.size)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        batches = self.batches(self.rows())
        return batches if self.draws is None else ahead(batches)

    def rows(self) -> Iterator[Array]:
        """Yield the numbers of the samples of each batch."""
        for begin in range(0, len(self.order), self.size):
            yield self.order[begin : begin + self.size]

    def batches(self, numbers: Iterable[Array]) -> Iterator[tuple[Array, ...]]:
        """Yield the batches of samples with these numbers."""
        weights = self.data.sample_weight
        for rows in numbers:
            x, y = self.data.batch(rows[self.own(len(rows))], self.dtype, self.draws)
            if len(y) < len(rows):
                y = self.data._targets(rows, self.dtype)
            yield (x, y) if weights is None else (x, y, weights[rows])


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items of an iterator, none of which is None, while a thread computes the next one."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def is_batches(data: Any) -> bool:
    """Return True for an iterable that is neither a data set nor an array nor a pair of arrays."""
    array = (
        isinstance(data, Dataset | tuple | str) or hasattr(data, "__array__") or hasattr(data, "__dlpack__")
    )
    return isinstance(data, Iterable) and not array and not is_sparse(data)


def checked_batches(data: Any, epochs: int) -> Iterable[Any]:
    """Return an iterable of batches; raise TypeError for an iterator that is to be read twice."""
    if epochs > 1 and iter(data) is data:
        raise TypeError(
            f"[Trainer.fit] Batches for {epochs} epochs can be read again, as a list or a DataLoader. "
            f"Received {type(data).__name__}, an iterator."
        )
    return data  # type: ignore[no-any-return]


def parts(batch: Any) -> tuple[Any, Any, Any]:
    """Return inputs, labels or targets, and weights of samples or None, of a pair or a triple."""
    return batch[0], batch[1], batch[2] if len(batch) == 3 else None


def checked_parts(batches: Iterable[Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the inputs, the labels or targets, and the weights of samples or None, of each batch.

    Raises
    ------
    TypeError
        If a batch is neither a pair nor a triple.
    ValueError
        If there are no batches.
    """
    empty = True
    for batch in batches:
        empty = False
        several = isinstance(batch, tuple | list) and len(batch) in (2, 3)
        if not several or any(isinstance(part, Number) for part in batch):  # numbers: a row of features
            raise TypeError(
                "[Trainer.fit] Each batch is a pair (x, y), or a triple (x, y, sample_weight); arrays x and "
                f"y are fit(x, y). Received {type(batch).__name__}."
            )
        yield parts(batch)
    if empty:
        raise ValueError("[Trainer.fit] An iterable of batches holds at least one. Received none.")
