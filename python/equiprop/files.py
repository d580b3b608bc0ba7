"""Files that are complete or absent, also after a full disk or the end of the process, and locks on files."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from equiprop import _core

try:
    import fcntl
except ImportError:  # Windows has no lock of this kind
    fcntl = None  # type: ignore[assignment]


def write_bytes(path: Path, content: bytes, where: str) -> None:
    """Write a file; an existing file is replaced only when the new one is complete on the disk.

    Parameters
    ----------
    path : Path
    content : bytes
    where : str
        Function or command, for errors.

    Raises
    ------
    ValueError
        If the path is that of a device or a pipe.
    OSError
        If the file cannot be written. An existing file is not changed.
    """
    _core.write_file(os.fsencode(path), content, where)


def write_text(path: Path, text: str, where: str) -> None:
    """Write a text in UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode(), where)


def append_line(path: Path, line: str, where: str) -> None:
    """Append a line to a file; see `append_bytes`."""
    append_bytes(path, f"{line}\n".encode(errors="backslashreplace"), where, "a line")


def append_bytes(path: Path, content: bytes, where: str, what: str) -> None:
    """Append to a file and flush it to the disk; if this fails, remove what was written of `content`.

    Parameters
    ----------
    path : Path
    content : bytes
    where : str
        Function or command, for errors.
    what : str
        Name of the content, for errors.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            _append(descriptor, content)
        finally:
            os.close(descriptor)
    except OSError as error:
        text = f"[{where}] cannot append {what} to {str(path)!r}: {error.strerror}."
        raise with_text(error, text) from error


def with_text(error: OSError, text: str) -> OSError:
    """Return an error of the same class and number with another text."""
    other = type(error)(text)
    other.errno = error.errno
    return other


def _append(descriptor: int, rest: bytes) -> None:
    size = os.fstat(descriptor).st_size
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def move(source: Path, target: Path, where: str) -> None:
    """Move a file within a file system; an existing file is replaced, and the new name is on the disk.

    Raises
    ------
    OSError
        If the file cannot be moved.
    """
    _core.move_file(os.fsencode(source), os.fsencode(target), where)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that have ended; files of live writers are kept."""
    _core.remove_leftovers(os.fsencode(folder))


class Lock:
    """Lock on a file or a folder, which ends with the process, however it ends.

    On systems without such locks, such as Windows, and on file systems without them, it refuses nobody.

    Parameters
    ----------
    path : Path
        Folder, or file to create; `release` removes a file.

    Raises
    ------
    BlockingIOError
        If another process, or another `Lock` of this process, holds the lock.
    OSError
        If the file cannot be opened or created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        while fcntl is not None and self._descriptor is None:
            self._descriptor = _locked(path)

    def release(self) -> None:
        """End the lock; a second call has no effect."""
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            if not self._path.is_dir():
                self._path.unlink()
        with contextlib.suppress(OSError):  # nothing was written
            os.close(self._descriptor)
        self._descriptor = None


def _locked(path: Path) -> int | None:
    """Return a descriptor that holds the lock, or None if the file was removed meanwhile; needs `fcntl`."""
    assert fcntl is not None
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks
        return descriptor
    if os.fstat(descriptor).st_nlink > 0:
        return descriptor
    os.close(descriptor)
    return None
