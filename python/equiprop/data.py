"""Data sets: samples with labels or targets, MNIST and the scikit-learn digits.

A data set keeps the type of its samples (one byte per pixel for images); `Dataset.batch` converts one batch
at a time. This module draws no random numbers: the caller passes a permutation to `Dataset.split`.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from equiprop.checks import require
from equiprop.idx import read_idx
from equiprop.mnist_files import find_mnist_file

__all__ = ["Dataset", "load_digits", "load_mnist", "read_idx"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples with class labels or real targets; a network receives ``scale * x``.

    Parameters
    ----------
    x : array, shape (samples, features), of integers, floats or booleans
        Finite inputs. The data set keeps their type; `batch` converts them to the type of the network.
    y : array, shape (samples,) of integers or (samples, outputs) of floats
        Class labels in 0 .. num_classes - 1, or finite targets.
    scale : float, positive
        Factor of the stored inputs, such as 1/255 for bytes that a network receives as numbers in [0, 1].
    num_classes : int
        Number of classes; 0 stands for the largest label plus one, and is the only value for real targets.

    Raises
    ------
    TypeError, ValueError
        A type is not listed above, shapes do not match, a number is not finite, or a label is out of range.

    Examples
    --------
    >>> pixels = np.array([[0, 255], [51, 0], [255, 255]], dtype=np.uint8)
    >>> samples = Dataset(pixels, np.array([0, 1, 1]), scale=1 / 255)
    >>> x, y = samples.batch(np.array([1, 0]), np.float64)
    >>> x.round(3).tolist(), y.tolist()
    ([[0.2, 0.0], [0.0, 1.0]], [1, 0])
    """

    x: NDArray[Any]
    y: NDArray[Any]
    scale: float = 1.0
    num_classes: int = 0

    def __post_init__(self) -> None:
        """Check the fields and set the number of classes."""
        _check_inputs(self.x, self.scale)
        object.__setattr__(self, "num_classes", _checked_num_classes(self.y, self.num_classes))
        lengths = (len(self.x), len(self.y))
        require(lengths[0] == lengths[1], "Dataset", "x and y have one row for each sample", lengths)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.x)

    @property
    def num_features(self) -> int:
        """Number of inputs per sample."""
        return int(self.x.shape[1])

    @property
    def num_outputs(self) -> int:
        """Number of outputs that a network needs: the number of classes, or of columns of ``y``."""
        return self.num_classes if self.is_classification else int(self.y.shape[1])

    @property
    def is_classification(self) -> bool:
        """True if ``y`` contains class labels, False if it contains real targets."""
        return self.y.ndim == 1

    def take(self, indices: NDArray[Any]) -> Dataset:
        """Return a data set of the samples at ``indices`` (integers, which may repeat), in that order."""
        rows = _checked_indices("Dataset.take", indices, len(self))
        return Dataset(self.x[rows], self.y[rows], self.scale, self.num_classes)

    def batch(self, indices: NDArray[Any], dtype: DTypeLike) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return ``scale * x`` and the labels or targets of the samples at ``indices``, C-contiguous.

        Parameters
        ----------
        indices : array, shape (batch,) of integers
            Samples in 0 .. len(self) - 1, which may repeat.
        dtype : numpy.float32 or numpy.float64
            Type of inputs and real targets.

        Returns
        -------
        tuple of arrays, shapes (batch, num_features) and (batch,) or (batch, num_outputs)
            Inputs, and class labels in their stored type or targets.

        Raises
        ------
        TypeError, ValueError
            ``indices`` are not integers, ``dtype`` is another type, or an index is out of range.

        Examples
        --------
        >>> Dataset(np.eye(2), np.array([0, 1])).batch(np.array([1]), np.float32)[0]
        array([[0., 1.]], dtype=float32)
        """
        real = np.dtype(dtype)
        if real not in (np.float32, np.float64):
            raise TypeError(f"[Dataset.batch] A batch is float32 or float64. Received {real}.")
        rows = _checked_indices("Dataset.batch", indices, len(self))
        y = self.y[rows]
        x = scaled(self.x[rows], self.scale, real)
        return x, y if self.is_classification else y.astype(real, order="C")

    def split(self, fraction: float, order: NDArray[Any]) -> tuple[Dataset, Dataset]:
        """Split into ``(rest, held_out)``: hold out the last ``round(fraction * len(self))`` of ``order``.

        Parameters
        ----------
        fraction : float in [0, 1]
            Fraction of the samples that are held out.
        order : array, shape (samples,) of integers
            A permutation of 0 .. len(self) - 1, the order of the samples in the two parts.

        Returns
        -------
        tuple of Dataset
            The two parts.

        Raises
        ------
        ValueError
            ``fraction`` is outside [0, 1], or ``order`` is not a permutation.

        Examples
        --------
        >>> rest, held_out = Dataset(np.eye(4), np.arange(4)).split(0.25, np.array([3, 1, 0, 2]))
        >>> rest.y.tolist(), held_out.y.tolist()
        ([3, 1, 0], [2])
        """
        require(0 <= fraction <= 1, "Dataset.split", "fraction lies in [0, 1]", fraction)
        rows = _checked_indices("Dataset.split", order, len(self))
        is_permutation = np.array_equal(np.sort(rows), np.arange(len(self)))
        require(is_permutation, "Dataset.split", f"order is a permutation of 0 .. {len(self) - 1}", rows)
        kept = len(self) - round(fraction * len(self))
        return self.take(rows[:kept]), self.take(rows[kept:])


def scaled(x: NDArray[Any], scale: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return ``scale * x``, multiplied in ``dtype``, as a C-contiguous array of ``dtype``."""
    presented: NDArray[Any] = np.multiply(x, np.asarray(scale, dtype=dtype), dtype=dtype, order="C")
    return presented


def checked_scale(where: str, scale: float) -> float:
    """Return ``scale`` if it is positive and finite, or raise ValueError."""
    require(math.isfinite(scale) and scale > 0, where, "scale is positive and finite", scale)
    return scale


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


def _check_kind(name: str, array: object, kinds: str, numbers: str) -> None:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
        received = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"[Dataset] {name} is a NumPy array of {numbers}. Received {received}.")


def _check_inputs(x: NDArray[Any], scale: float) -> None:
    _check_kind("x", x, "biuf", "integers, floats or booleans")
    require(x.ndim == 2 and x.shape[1] > 0, "Dataset", "x has shape (samples, features)", x.shape)
    require(bool(np.isfinite(x).all()), "Dataset", "x is finite", "NaN or infinity")
    checked_scale("Dataset", scale)


def _checked_num_classes(y: NDArray[Any], num_classes: int) -> int:
    _check_kind("y", y, "iuf", "integers or floats")
    if y.dtype.kind == "f":
        require(y.ndim == 2 and y.shape[1] > 0, "Dataset", "Real y has shape (samples, outputs)", y.shape)
        require(bool(np.isfinite(y).all()), "Dataset", "y is finite", "NaN or infinity")
        require(num_classes == 0, "Dataset", "num_classes is 0 for real targets", num_classes)
        return 0
    require(y.ndim == 1, "Dataset", "Integer labels y have shape (samples,)", y.shape)
    largest = int(y.max(initial=0))
    classes = num_classes or largest + 1
    rule = f"Labels lie in 0 .. {classes - 1}, below num_classes"
    require(int(y.min(initial=0)) >= 0 and largest < classes, "Dataset", rule, y)
    return classes


def _checked_indices(where: str, indices: NDArray[Any], count: int) -> NDArray[Any]:
    rows = np.asarray(indices)
    if rows.dtype.kind not in "iu":
        raise TypeError(f"[{where}] Sample indices are integers. Received {rows.dtype}.")
    require(rows.ndim == 1, where, "Sample indices have one dimension", rows.shape)
    in_range = int(rows.min(initial=0)) >= 0 and int(rows.max(initial=-1)) < count
    require(in_range, where, f"Sample indices lie in 0 .. {count - 1}", rows)
    return rows


def _load_mnist_part(directory: Path, part: str) -> Dataset:
    images, labels = (read_idx(find_mnist_file(directory, part, kind)) for kind in ("images", "labels"))
    received = (
        f"{images.dtype} {images.shape} and {labels.dtype} {labels.shape} for '{part}' in '{directory}'"
    )
    are_bytes = images.dtype == labels.dtype == np.uint8
    fit = images.shape == (labels.size, 28, 28) and labels.ndim == 1
    require(are_bytes and fit, "load_mnist", "Images are bytes (n, 28, 28), labels bytes (n,)", received)
    return Dataset(images.reshape(len(images), -1), labels, 1 / 255, 10)
