"""Data sets for training: MNIST and the scikit-learn digits, and the class `Dataset` of samples."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import require
from equiprop.dataset import Dataset
from equiprop.idx import read_idx
from equiprop.mnist_files import find_mnist_file

__all__ = ["Dataset", "load_digits", "load_mnist", "read_idx"]


def load_mnist(directory: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Load the training and test images of MNIST (28 x 28 pixels, ten classes) from their four IDX files.

    Parameters
    ----------
    directory : path
        Directory of ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
        and ``t10k-labels-idx1-ubyte``, each plain or with ``.gz`` at the end, or with ``.idx`` for ``-idx``;
        or a directory with these files in ``MNIST/raw``, as torchvision stores them. ``~`` is the home
        directory.

    Returns
    -------
    tuple of Dataset
        Training and test set; x is uint8 of shape (images, 784) with scale 1/255.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or damaged, or the numbers of images and labels differ.

    Examples
    --------
    >>> train, test = load_mnist("mnist")  # doctest: +SKIP
    """
    return _load_mnist_part(Path(directory), "train"), _load_mnist_part(Path(directory), "t10k")


def load_digits() -> tuple[Dataset, Dataset]:
    """Load the 1797 images of digits (8 x 8 pixels) that scikit-learn contains, as training and test set.

    The split is fixed and stratified: every fifth sample of each class, in stored order, is a test sample.

    Returns
    -------
    tuple of Dataset
        Training and test set; x is uint8 of shape (images, 64), 0 to 16, with scale 1/16.

    Raises
    ------
    ImportError
        scikit-learn is not installed.

    References
    ----------
    E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI repository, 1998.

    Examples
    --------
    >>> train, test = load_digits()
    >>> len(train), len(test), train.num_features, train.num_classes
    (1442, 355, 64, 10)
    """
    try:
        from sklearn.datasets import load_digits as load_bunch  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ImportError(
            "[load_digits] The digits are part of scikit-learn, which cannot be imported "
            f"({error}). Install it with pip install 'equiprop[sklearn]'."
        ) from error
    x, y = load_bunch(return_X_y=True)
    digits, held_out = Dataset(x.astype(np.uint8), y, 1 / 16, 10), held_out_fifth(y)
    return digits.take(np.flatnonzero(~held_out)), digits.take(np.flatnonzero(held_out))


def held_out_fifth(y: NDArray[Any]) -> NDArray[np.bool_]:
    """Return True for every fifth sample of each class, or of all samples if `y` contains real targets."""
    rank = np.arange(len(y))
    for label in np.unique(y) if y.ndim == 1 else ():
        rank[y == label] = np.arange(np.count_nonzero(y == label))
    return np.equal(rank % 5, 4)


def _load_mnist_part(directory: Path, part: str) -> Dataset:
    images, labels = (read_idx(find_mnist_file(directory, part, kind)) for kind in ("images", "labels"))
    received = (
        f"{images.dtype} {images.shape} and {labels.dtype} {labels.shape} for '{part}' in '{directory}'"
    )
    are_bytes = images.dtype == labels.dtype == np.uint8
    fit = images.shape == (labels.size, 28, 28) and labels.ndim == 1
    require(are_bytes and fit, "load_mnist", "Images are bytes (n, 28, 28), labels bytes (n,)", received)
    return Dataset(images.reshape(len(images), -1), labels, 1 / 255, 10)
