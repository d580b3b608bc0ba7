"""Writing of files that are complete or absent, also after a crash of the process or of the machine."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, so that a rename survives a failure of the power supply.

    Systems that cannot do this, such as Windows, ignore the call.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file; an existing file is replaced only when the new one is complete on the disk.

    Raises
    ------
    OSError
        If the file cannot be written. An existing file is not changed.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of writers that were killed; no other process may write to the folder."""
    for path in folder.glob(f".{'[0-9a-f]' * 16}.part"):
        path.unlink(missing_ok=True)
