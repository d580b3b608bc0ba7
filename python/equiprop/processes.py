"""Processes that train one model together, and sums over them in a fixed binary tree."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array
from equiprop.checks import require, whole

_Floats = NDArray[np.float64]
_DIGEST_BYTES = hashlib.sha256().digest_size


class Communicator(Protocol):
    """Interface of a group of processes that train one model; `equiprop.mpi.world` returns one.

    Attributes
    ----------
    rank : int
        Number of this process, from 0. Process 0 writes the files.
    size : int
        Number of processes.

    Examples
    --------
    >>> alone: Communicator = Alone()
    >>> alone.rank, alone.size
    (0, 1)
    """

    @property
    def rank(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    def exchange(self, partner: int, sent: NDArray[np.uint8], received: NDArray[np.uint8]) -> None:
        """Send bytes to another process, and receive as many from it; both processes call it."""


class Alone:
    """The group of one process."""

    rank: int = 0
    size: int = 1

    def exchange(
        self,
        partner: int,
        sent: NDArray[np.uint8],  # noqa: ARG002
        received: NDArray[np.uint8],  # noqa: ARG002
    ) -> None:
        """Raise ValueError: there is no other process."""
        raise ValueError(f"[Alone] exchange needs another process. Received process {partner}.")


def group_of(trainer: Any) -> Communicator:
    """Return the processes with which a trainer takes its steps at present."""
    stepper = trainer._sharded
    group: Communicator = Alone() if stepper is None else stepper.group
    return group


class Totals:
    """Numbers that are combined over shards and processes: a gradient, sums and maxima, in one buffer.

    Parameters
    ----------
    sums, maxima : int
        Number of sums, which are 0 at first, and of maxima, which are -infinity.
    parameters : int
        Length of the gradient, which is 0 at first.
    dtype : dtype
        Type of the gradient; sums and maxima are float64.

    Attributes
    ----------
    sums : (sums,) float64 array
    maxima : (maxima,) float64 array
    gradient : (parameters,) array
    """

    def __init__(self, sums: int, maxima: int, parameters: int, dtype: np.dtype[Any]) -> None:
        numbers = sums + maxima
        self._shape = (sums, maxima, parameters, dtype)
        self._bytes: NDArray[np.uint8] = np.zeros(8 * numbers + parameters * dtype.itemsize, np.uint8)
        floats: _Floats = self._bytes[: 8 * numbers].view(np.float64)
        self.sums: _Floats = floats[:sums]
        self.maxima: _Floats = floats[sums:]
        self.gradient: Array = self._bytes[8 * numbers :].view(dtype)
        self.maxima[:] = -np.inf

    def add(self, other: Totals) -> None:
        """Combine with the totals of further samples."""
        self.sums += other.sums
        np.maximum(self.maxima, other.maxima, out=self.maxima)
        with np.errstate(over="ignore", invalid="ignore"):  # the step tests the norm of the sum
            self.gradient += other.gradient

    def add_others(self, group: Communicator) -> None:
        """Combine with the totals of all processes of a group, whose number is a power of two.

        At level k of the binary tree each process exchanges its totals with process rank XOR 2^k and adds
        (recursive doubling), so it adds the same two numbers as its partner, in the opposite order. The sum
        of floating-point numbers is commutative: all processes get the same bits, those of one process that
        adds in this tree. A process sends log2(size) times the size of the buffer.
        """
        if group.size == 1:
            return
        other = Totals(*self._shape)
        for level in range(group.size.bit_length() - 1):
            group.exchange(group.rank ^ (1 << level), self._bytes, other._bytes)
            self.add(other)


def gathered(rows: _Floats, own: slice, samples: int, group: Communicator) -> _Floats:
    """Return the columns (rows, samples) of all processes, of which each has those at the places `own`."""
    total = Totals(len(rows) * samples, 0, 0, np.dtype(np.float64))
    everything = total.sums.reshape(len(rows), samples)
    everything[:, own] = rows
    total.add_others(group)
    return everything


def of_first(digest: Callable[[], str], group: Communicator) -> str:
    """Return the digest, in hexadecimal numbers, that process 0 computes."""
    total = Totals(_DIGEST_BYTES, 0, 0, np.dtype(np.float64))
    if group.rank == 0:
        total.sums[:] = list(bytes.fromhex(digest()))
    total.add_others(group)
    return bytes(total.sums.astype(np.uint8)).hex()


def check_equal(facts: str, group: Communicator, where: str) -> None:
    """Raise ValueError unless all processes pass the same text."""
    total = Totals(0, 2 * _DIGEST_BYTES, 0, np.dtype(np.float64))
    numbers = np.frombuffer(hashlib.sha256(facts.encode()).digest(), np.uint8).astype(np.float64)
    total.maxima[:] = np.concatenate((numbers, -numbers))
    total.add_others(group)
    equal = bool((total.maxima[:_DIGEST_BYTES] == -total.maxima[_DIGEST_BYTES:]).all())
    rule = "All processes train the same model on the same data with the same settings"
    require(equal, where, rule, f"others in some processes than {facts} in process {group.rank}")


def check_shards(shards: Any, where: str) -> int:
    """Return a number of shards; raise an error unless it is a power of two."""
    number = whole(shards, where, "shards", 1, 2**20)
    require(number & (number - 1) == 0, where, "shards is a power of two", number)
    return number


def check_group(group: Any, shards: int | None, where: str) -> None:
    """Raise an error unless the shards can be divided equally among the processes of a group."""
    size = whole(getattr(group, "size", None), where, "the size of the communicator", 1)
    whole(getattr(group, "rank", None), where, "the rank of the communicator", 0, size - 1)
    rule = "A group has a function exchange(partner, sent, received)"
    require(callable(getattr(group, "exchange", None)), where, rule, type(group).__name__)
    rule = "A training by several processes divides its batches: Trainer(shards=8)"
    require(shards is not None, where, rule, "shards=None")
    rule = f"The number of processes is a power of two, at most that of the shards, {shards}"
    require(size & (size - 1) == 0 and size <= (shards or 0), where, rule, f"{size} processes")
