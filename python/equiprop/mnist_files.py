"""Search for the four files of MNIST under the names and in the folders in which they are distributed."""

from __future__ import annotations

import os
from pathlib import Path

#: Folders below the one that is given; torchvision stores the files in MNIST/raw.
_FOLDERS = ("", "raw", "MNIST/raw", "MNIST", "mnist")


def find_mnist_file(directory: str | os.PathLike[str], part: str, kind: str) -> Path:
    """Return one of the four files of MNIST.

    Parameters
    ----------
    directory : path
        Folder of the files, or a folder with the folder MNIST/raw of torchvision; ``~`` is the home folder.
    part : {"train", "t10k"}
    kind : {"images", "labels"}

    Raises
    ------
    FileNotFoundError
        No such file exists; the message says what was looked for, and what is there.
    """
    directory = Path(directory).expanduser()
    names = _names(part, kind)
    for folder in _FOLDERS:
        for name in names:
            if (path := directory / folder / name).is_file():
                return path
    raise FileNotFoundError(
        f"[load_mnist] cannot find '{names[0]}', also as {_listed(names[1:])}, in '{directory}' or its "
        f"folders {_listed(_FOLDERS[1:])}. {_found(directory)} "
        f"equiprop.download.fetch_mnist('{directory}') downloads the four files of MNIST."
    )


def _names(part: str, kind: str) -> list[str]:
    dimensions = 3 if kind == "images" else 1
    parts = ("train",) if part == "train" else ("t10k", "test")
    stems = [f"{p}-{kind}{mark}idx{dimensions}-ubyte" for p in parts for mark in "-."]
    return [f"{stem}{suffix}" for stem in stems for suffix in ("", ".gz")]


def _listed(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _found(directory: Path) -> str:
    """Return a sentence on what is in a folder."""
    if not directory.is_dir():
        return f"'{directory}' is {'a file' if directory.exists() else 'no folder'}."
    found = sorted(path.name + "/" * path.is_dir() for path in directory.iterdir())
    shown = [*found[:8], *(["..."] if len(found) > 8 else [])]
    return f"The folder holds {', '.join(shown)}." if found else "The folder is empty."
