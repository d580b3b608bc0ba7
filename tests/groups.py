"""Groups of threads that train together, in place of processes, and mpirun for tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from queue import Queue
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
#: Seconds after which a test that waits has failed.
LIMIT = 60


class ThreadGroup:
    """Group of threads, each of which has one such object; bytes go through queues."""

    def __init__(self, rank: int, queues: dict[tuple[int, int], Queue[Any]], size: int) -> None:
        self.rank, self.size = rank, size
        self.sent: list[int] = []
        self._queues = queues

    def exchange(self, partner: int, sent: Any, received: Any) -> None:
        self.sent.append(sent.nbytes)
        self._queues[self.rank, partner].put(sent.copy())
        message = self._queues[partner, self.rank].get(timeout=LIMIT)
        if len(message) > len(received):
            raise RuntimeError("message truncated")
        received[: len(message)] = message


def threads(size: int) -> list[ThreadGroup]:
    queues: dict[tuple[int, int], Queue[Any]] = {(a, b): Queue() for a in range(size) for b in range(size)}
    return [ThreadGroup(rank, queues, size) for rank in range(size)]


def together(size: int, function: Callable[[ThreadGroup], T]) -> list[T]:
    """Call a function in one thread for each member of a group, and return the results by rank."""
    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(function, member) for member in threads(size)]
        return [future.result(timeout=LIMIT) for future in futures]


def launcher() -> str | None:
    """Return the path of mpirun, which is beside the interpreter if its library is a package."""
    beside = Path(sys.executable).with_name("mpirun")
    return str(beside) if beside.exists() else shutil.which("mpirun")


needs_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or launcher() is None, reason="mpi4py or mpirun is not installed"
)


def start(size: int, *words: Any, **options: Any) -> subprocess.Popen[str]:
    """Start Python with these words in several processes by mpirun."""
    command = [launcher(), "-n", str(size), sys.executable, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes, **options)  # type: ignore[call-overload,no-any-return]


def mpirun(size: int, *words: Any, **options: Any) -> tuple[int, str, str]:
    """Run Python in several processes, and return status, stdout and stderr."""
    process = start(size, *words, **options)
    try:
        out, err = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    return process.returncode, out, err
