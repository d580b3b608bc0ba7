"""Processes that `mpirun` has started (extra ``mpi``), which train one model together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from mpi4py import MPI
except ImportError as _error:
    raise ImportError(
        "[equiprop.mpi] mpi4py is not installed. Install it with pip install 'equiprop[mpi]', and an MPI "
        "library, such as that of pip install mpich."
    ) from _error
except RuntimeError as _error:
    raise ImportError(
        f"[equiprop.mpi] mpi4py finds no MPI library: {' '.join(str(_error).split())}. Install one, such as "
        "that of pip install mpich."
    ) from _error


class World:
    """The processes that ``mpirun`` has started, or this one alone.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        Number of processes.
    """

    def __init__(self) -> None:
        self._comm: Any = MPI.COMM_WORLD
        self.rank: int = self._comm.rank
        self.size: int = self._comm.size

    def exchange(self, partner: int, sent: NDArray[np.uint8], received: NDArray[np.uint8]) -> None:
        """Send bytes to another process, and receive as many from it; see `Communicator.exchange`."""
        self._comm.Sendrecv([sent, MPI.BYTE], partner, 0, [received, MPI.BYTE], partner, 0)

    def on_this_machine(self) -> int:
        """Return the number of processes on the machine of this process; each process calls it."""
        neighbours = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        count: int = neighbours.size
        neighbours.Free()
        return count

    def of_first(self, value: Any) -> Any:
        """Return the value that process 0 passes; each process calls it."""
        return self._comm.bcast(value)

    def abort(self, status: int) -> None:
        """End all processes at once, with this exit status."""
        self._comm.Abort(status)


def world() -> World:
    """Return the processes of ``mpirun``, for `Trainer.fit`, which each of them calls with equal arguments.

    Each process reads its part of every batch, computes its part of the shards (`Trainer.shards`), and takes
    the same step; process 0 writes the checkpoint. Callbacks run in every process.

    Examples
    --------
    >>> from equiprop.mpi import world
    >>> group = world()
    >>> group.rank, group.size
    (0, 1)

    A program that ``mpirun -n 4 python -m mpi4py program.py`` starts:

    >>> import equiprop as eq, numpy as np
    >>> x, y = np.array([[0.0, 1.0], [1.0, 0.0]] * 20), np.array([0, 1] * 20)
    >>> trainer = eq.Trainer(eq.HopfieldNetwork([2, 8, 2], seed=1), batch_size=20, shards=4)
    >>> history = trainer.fit(x, y, epochs=5, group=group)
    """
    return World()
