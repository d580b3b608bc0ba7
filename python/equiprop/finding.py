"""Search for the files of a data set in the folders in which they are usual, and errors about such files."""

from __future__ import annotations

import gzip
import struct
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

#: What the readers of the standard library raise for a file that is damaged.
_DAMAGE = (ValueError, EOFError, OverflowError, struct.error, gzip.BadGzipFile, zlib.error)


def find_file(directory: Path, names: Sequence[str], folders: Sequence[str], where: str, cure: str) -> Path:
    """Return the first file with one of the names in a directory or in one of its folders.

    Parameters
    ----------
    directory : Path
    names, folders : sequence of str
        Names of the file, and folders below the directory; the directory itself is the empty name.
    where, cure : str
        Function and advice, for errors.

    Raises
    ------
    FileNotFoundError
        No such file exists; the message says which names were tried, and what the directory contains.
    """
    for folder in folders:
        for name in names:
            if (path := directory / folder / name).is_file():
                return path
    below = [folder for folder in folders if folder]
    wanted = f"'{names[0]}'" + (f", also as {listed(names[1:])}," if len(names) > 1 else "")
    raise not_found(where, wanted, directory, f" or its folders {listed(below)}" if below else "", cure)


def not_found(where: str, wanted: str, directory: Path, also: str, cure: str) -> FileNotFoundError:
    """Return the error that `wanted` is absent from a directory, and from the places `also`."""
    return FileNotFoundError(
        f"[{where}] cannot find {wanted} in '{directory}'{also}. {_content(directory)} {cure}"
    )


@contextmanager
def damage_named(path: Path, where: str) -> Iterator[None]:
    """Raise ValueError with the name of a file for errors that its damaged content causes in this block."""
    try:
        yield
    except (*_DAMAGE, tarfile.TarError) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ValueError(
            f"[{where}] cannot read '{path}': {reason}. Copy or download the file again."
        ) from error


def listed(names: Sequence[str]) -> str:
    """Return names in quotes, separated by commas."""
    return ", ".join(f"'{name}'" for name in names)


def _content(directory: Path) -> str:
    """Return a sentence on what a directory contains."""
    if not directory.is_dir():
        return f"'{directory}' is {'a file' if directory.exists() else 'no folder'}."
    found = sorted(path.name + "/" * path.is_dir() for path in directory.iterdir())
    shown = [*found[:8], *(["..."] if len(found) > 8 else [])]
    return f"The folder holds {', '.join(shown)}." if found else "The folder is empty."
