"""Images in the four IDX files of MNIST, under the names and in the folders in which they are distributed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equiprop.arrays import Array
from equiprop.checks import require
from equiprop.finding import find_file
from equiprop.idx import read_idx


def read_idx_images(
    directory: Path, where: str, cure: str, *, folders: tuple[str, ...]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Read training and test images of 28 x 28 pixels from four IDX files.

    Parameters
    ----------
    directory : Path
    where, cure : str
        Function, and how to get the files, for errors.
    folders : tuple of str
        Folders below the directory in which the files may be.

    Returns
    -------
    tuple of pairs
        Pixels (images, 784) and labels (images,) of training and test data, as bytes.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or damaged, or the numbers of images and labels differ.
    """
    return _part(directory, "train", where, cure, folders), _part(directory, "t10k", where, cure, folders)


def _part(directory: Path, part: str, where: str, cure: str, folders: tuple[str, ...]) -> tuple[Array, Array]:
    paths = (
        find_file(directory, _names(part, kind), ("", *folders), where, cure) for kind in ("images", "labels")
    )
    images, labels = map(read_idx, paths)
    received = (
        f"{images.dtype} {images.shape} and {labels.dtype} {labels.shape} for '{part}' in '{directory}'"
    )
    are_bytes = images.dtype == labels.dtype == np.uint8
    fit = images.shape == (labels.size, 28, 28) and labels.ndim == 1
    require(are_bytes and fit, where, "Images are bytes (n, 28, 28), labels bytes (n,)", received)
    return images.reshape(len(images), -1), labels


def _names(part: str, kind: str) -> list[str]:
    dimensions = 3 if kind == "images" else 1
    parts = ("train",) if part == "train" else ("t10k", "test")
    stems = [f"{p}-{kind}{mark}idx{dimensions}-ubyte" for p in parts for mark in "-."]
    return [f"{stem}{suffix}" for stem in stems for suffix in ("", ".gz")]
