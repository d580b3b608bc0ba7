"""Processes that ``mpirun`` has started, which run ``equiprop train`` together."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from equiprop.checks import require
from equiprop.cli.run_folder import RunFolder
from equiprop.config import set_num_threads

#: Environment variables in which launchers tell the number of processes: MPICH and Intel MPI, Open MPI.
_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
#: Default number of shards of a batch, unless there are more processes.
_SHARDS = 8


def join() -> Any:
    """Return the processes of ``mpirun`` (`equiprop.mpi.World`), or None if it has not started this one.

    Only process 0 shows warnings, because the others have the same ones.

    Raises
    ------
    ImportError
        If ``mpirun`` has started several processes, and mpi4py is not installed.
    ValueError
        If the MPI library of mpi4py does not find the processes.
    """
    sizes = [os.environ.get(name, "") for name in _SIZES]
    launched = max((int(size) for size in sizes if size.isdecimal()), default=0)
    if not launched:
        return None
    from equiprop.mpi import world

    group = world()
    rule = "The MPI library of mpi4py finds the processes of mpirun; both are of one MPI library"
    require(group.size == launched, "train", rule, f"{group.size} of {launched} processes")
    if group.rank > 0:
        warnings.simplefilter("ignore")
    return group


def several(group: Any) -> bool:
    """Return True if several processes run the command together."""
    return group is not None and group.size > 1


def follows(group: Any) -> bool:
    """Return True for a process that is not the first one, which writes and prints."""
    return group is not None and group.rank > 0


def shards_of(group: Any, given: int | None) -> int | None:
    """Return the given number of shards; by default, with ``mpirun``, 8 or as many as processes."""
    if given is not None or group is None:
        return given
    return max(_SHARDS, 1 << (int(group.size) - 1).bit_length())


def share_processors(group: Any) -> None:
    """Divide the processors among the processes of this machine, unless the environment has a number."""
    neighbours = group.on_this_machine()
    if neighbours > 1 and not os.environ.get("EQUIPROP_NUM_THREADS"):
        set_num_threads(max(1, (os.cpu_count() or 1) // neighbours))


class FollowedFolder(RunFolder):
    """The folder of a run, in a process that writes nothing to it.

    Attributes
    ----------
    begun : bool
        True after process 0 has created the folder.
    """

    def __init__(self, work: Path, completed: bool) -> None:
        self.folder: Path = work
        self.work: Path = work
        self.begun: bool = False
        self.started: bool = False
        self.completed: bool = completed
        self._lock = None

    def start(self, settings: Mapping[str, Any]) -> None:
        """Do nothing; process 0 creates the folder."""

    def resume(self, epochs: int) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return no records; process 0 has them."""
        return []

    def record(self, epoch: Mapping[str, Any]) -> None:
        """Do nothing; process 0 writes the history."""


def folder_of_first(group: Any, make: Callable[[], RunFolder]) -> RunFolder:
    """Return the folder that process 0 makes; other processes get one to which they do not write."""
    if group is None:
        return make()
    folder = make() if group.rank == 0 else None
    place = group.of_first(None if folder is None else (folder.work, folder.completed))
    return FollowedFolder(*place) if folder is None else folder


def tell_begin(group: Any, folder: RunFolder) -> None:
    """Tell the other processes that process 0 has created or locked the folder, and its name."""
    name = group.of_first(folder.folder)
    if isinstance(folder, FollowedFolder):
        folder.folder, folder.begun = name, True


def how_to_continue(group: Any, folder: RunFolder | None) -> str:
    """Return the end of the message of a process that ends before the others, if process 0 cannot say it."""
    if not isinstance(folder, FollowedFolder) or not folder.begun:
        return ""
    return f" The run is not complete; {continue_command(folder, group)} continues it."


class Watcher:
    """A process that prints a sentence if this process is killed, which cannot say anything itself.

    It needs a POSIX system.

    Parameters
    ----------
    sentence : str
    """

    def __init__(self, sentence: str) -> None:
        command = ["/bin/sh", "-c", 'read -r line || echo "$0" >&2', sentence]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def dismiss(self) -> None:
        """End the process without the sentence."""
        self._process.communicate(b"\n")


def continue_command(folder: RunFolder, group: Any) -> str:
    """Return the command that continues a run with as many processes."""
    return f"mpirun -n {group.size} {folder.resume_command}"
