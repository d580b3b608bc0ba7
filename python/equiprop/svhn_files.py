"""Reader of the cropped digits of SVHN."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from equiprop.arrays import Array
from equiprop.finding import damage_named, find_file
from equiprop.matlab_files import read_matlab

#: Files with training and test images, and their numbers of images.
_FILES = {"train_32x32.mat": 73_257, "test_32x32.mat": 26_032}
_FOLDERS = ("", "SVHN", "svhn")
_PIXELS = 3 * 32 * 32
#: Size of the description of an array in its file that is accepted, in bytes.
_DESCRIPTION = 4096


def read_svhn(directory: Path, where: str, cure: str) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Read training and test images of the cropped digits of SVHN from their MATLAB files.

    Parameters
    ----------
    directory : Path
        Folder of ``train_32x32.mat`` and ``test_32x32.mat``, or of a folder SVHN with them.
    where, cure : str
        Function, and how to get the files, for errors.

    Returns
    -------
    tuple of pairs
        Pixels (images, 3072), channels first, and labels (images,) of training and test data, as bytes. The
        label of the digit 0, which is 10 in the files, is 0.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, damaged, or larger than the published one, or a label is not 1 to 10.
    """
    paths = {name: find_file(directory, [name], _FOLDERS, where, cure) for name in _FILES}
    train, test = (_part(paths[name], images, where) for name, images in _FILES.items())
    return train, test


def _part(path: Path, most: int, where: str) -> tuple[Array, Array]:
    with damage_named(path, where), path.open("rb") as stream:
        arrays = read_matlab(stream, ("X", "y"), most * _PIXELS + _DESCRIPTION)
        images, labels = arrays["X"], arrays["y"]
        count = images.shape[-1] if images.ndim else 0
        if images.dtype != np.uint8 or images.shape != (32, 32, 3, count) or not 0 < count <= most:
            raise ValueError(
                f"images are bytes (32, 32, 3, n) with n at most {most}, and these are {images.dtype} "
                f"{images.shape}"
            )
        if labels.shape != (count, 1) or not np.isin(labels, np.arange(1, 11)).all():
            raise ValueError(f"labels are {count} numbers 1 to 10 in a column, and these are {labels.shape}")
        pixels = np.ascontiguousarray(images.transpose(3, 2, 0, 1)).reshape(count, _PIXELS)
        return pixels, (labels[:, 0] % 10).astype(np.uint8)
