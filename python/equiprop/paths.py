"""Paths that a caller passes, and errors of the operating system about them as sentences."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from equiprop.checks import check_type, require
from equiprop.files import with_text


def path_of(value: Any, where: str, name: str = "path") -> Path:
    """Return the path of a file or folder that is given as text, or as an object such as `pathlib.Path`.

    Raises
    ------
    TypeError
        If it is neither, or bytes.
    ValueError
        If the text is empty or contains a zero byte, which no file system allows.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    check_type(text, str, where, f"{name} is text or a pathlib.Path")
    rule = f"{name} is not empty, and has no zero byte; the present folder is '.'"
    require(text != "" and "\0" not in text, where, rule, repr(text))
    return Path(text)


def in_home(path: Path, where: str) -> Path:
    """Return a path with the home directory in place of ``~``; raise ValueError if there is none."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"[{where}] A path that starts with ~ has a home directory. Received '{path}'."
        ) from error


@contextmanager
def file_errors(path: Path, where: str, verb: str = "read") -> Iterator[None]:
    """Raise an OSError of the same class that says what cannot be done to `path`, and the reason.

    A device such as /dev/zero has no end, so reading it is refused with a ValueError.
    """
    require(verb != "read" or not path.is_char_device(), where, "A file has an end", f"the device '{path}'")
    try:
        yield
    except OSError as error:
        if error.strerror is None:  # a sentence of this library
            raise
        raise with_text(error, f"[{where}] cannot {verb} '{path}': {error.strerror}.") from error
