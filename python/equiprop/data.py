"""Data sets for training: sets of images, the scikit-learn digits, and the class `Dataset` of samples."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.augmentation import Augmentation
from equiprop.checks import check_choice
from equiprop.dataset import Dataset
from equiprop.idx import read_idx
from equiprop.image_sets import IMAGE_SETS
from equiprop.paths import file_errors, in_home, path_of

__all__ = [
    "Augmentation",
    "Dataset",
    "load_cifar10",
    "load_cifar100",
    "load_digits",
    "load_fashion_mnist",
    "load_image_set",
    "load_kmnist",
    "load_mnist",
    "load_svhn",
    "read_idx",
]


def load_image_set(name: str, directory: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Load training and test images of a public set of images from its published files.

    Parameters
    ----------
    name : {"mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100", "svhn"}
    directory : path
        Directory of the files; ``~`` is the home directory. See the function ``load_NAME`` of each set.

    Returns
    -------
    tuple of Dataset
        Training and test set; x is uint8 of shape (images, channels * height * width), channels first, with
        scale 1/255. The labels are 0 .. classes - 1.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or damaged.
    """
    check_choice(name, "load_image_set", "name", *IMAGE_SETS)
    images, where = IMAGE_SETS[name], f"load_{name}"
    folder = in_home(path_of(directory, where, "directory"), where)
    cure = f"equiprop.download.fetch_{name}('{folder}') downloads {images.files}."
    with file_errors(folder, where):
        train, test = (Dataset(x, y, 1 / 255, images.classes) for x, y in images.read(folder, where, cure))
    return train, test


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
    return load_image_set("mnist", directory)


def load_fashion_mnist(directory: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Load the training and test images of Fashion-MNIST (28 x 28 pixels, ten classes of clothing).

    Parameters
    ----------
    directory : path
        Directory of the four IDX files with the names of MNIST, see `load_mnist`; or a directory with these
        files in ``FashionMNIST/raw``, as torchvision stores them.

    Returns
    -------
    tuple of Dataset
        Training and test set; x is uint8 of shape (images, 784) with scale 1/255.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or damaged, or the numbers of images and labels differ.

    References
    ----------
    H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", arXiv:1708.07747, 2017.

    Examples
    --------
    >>> train, test = load_fashion_mnist("fashion")  # doctest: +SKIP
    """
    return load_image_set("fashion_mnist", directory)


def load_kmnist(directory: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Load the training and test images of Kuzushiji-MNIST (28 x 28 pixels, ten classes of characters).

    Parameters
    ----------
    directory : path
        Directory of the four IDX files with the names of MNIST, see `load_mnist`; or a directory with these
        files in ``KMNIST/raw``, as torchvision stores them.

    Returns
    -------
    tuple of Dataset
        Training and test set; x is uint8 of shape (images, 784) with scale 1/255.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or damaged, or the numbers of images and labels differ.

    References
    ----------
    T. Clanuwat et al., "Deep learning for classical Japanese literature", arXiv:1812.01718, 2018.

    Examples
    --------
    >>> train, test = load_kmnist("kmnist")  # doctest: +SKIP
    """
    return load_image_set("kmnist", directory)


def load_cifar10(directory: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Load the training and test images of CIFAR-10 (three channels of 32 x 32 pixels, ten classes).

    Parameters
    ----------
    directory : path
        Directory of the binary version: ``cifar-10-binary.tar.gz``, or its files ``data_batch_1.bin`` to
        ``data_batch_5.bin`` and ``test_batch.bin``, or the folder ``cifar-10-batches-bin`` with them. The
        archive is read without unpacking it to the disk.

    Returns
    -------
    tuple of Dataset
        Training and test set; x is uint8 of shape (images, 3072), channels first, with scale 1/255. Test
        images follow the order of their file, training images that of the five files.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or damaged, is larger than the published one, or has a label that is no class.

    References
    ----------
    A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for k in range(1, 6):
    ...     _ = (folder / f"data_batch_{k}.bin").write_bytes(bytes([k, *range(256)] + [0] * 2816) * 4)
    >>> _ = (folder / "test_batch.bin").write_bytes(bytes([9] + [255] * 3072))
    >>> train, test = load_cifar10(folder)
    >>> train.x.shape, train.y[::4].tolist(), test.batch([0], np.float32)[0].min()
    ((20, 3072), [1, 2, 3, 4, 5], np.float32(1.0))
    """
    return load_image_set("cifar10", directory)


def load_cifar100(directory: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Load the training and test images of CIFAR-100 (three channels of 32 x 32 pixels, 100 fine classes).

    Parameters
    ----------
    directory : path
        Directory of the binary version: ``cifar-100-binary.tar.gz``, or its files ``train.bin`` and
        ``test.bin``, or the folder ``cifar-100-binary`` with them.

    Returns
    -------
    tuple of Dataset
        Training and test set; x is uint8 of shape (images, 3072), channels first, with scale 1/255. The
        labels are the fine ones.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or damaged, is larger than the published one, or has a label that is no class.

    References
    ----------
    A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

    Examples
    --------
    >>> train, test = load_cifar100("cifar")  # doctest: +SKIP
    """
    return load_image_set("cifar100", directory)


def load_svhn(directory: str | os.PathLike[str]) -> tuple[Dataset, Dataset]:
    """Load the cropped digits of the Street View House Numbers (three channels of 32 x 32 pixels).

    Parameters
    ----------
    directory : path
        Directory of ``train_32x32.mat`` and ``test_32x32.mat``, or of a folder ``SVHN`` with them.

    Returns
    -------
    tuple of Dataset
        Training and test set; x is uint8 of shape (images, 3072), channels first, with scale 1/255. The
        labels are the digits; the file stores the digit 0 as 10.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or damaged, or is larger than the published one.

    References
    ----------
    Y. Netzer et al., "Reading digits in natural images with unsupervised feature learning", NIPS workshop on
    deep learning and unsupervised feature learning, 2011.

    Examples
    --------
    >>> train, test = load_svhn("svhn")  # doctest: +SKIP
    """
    return load_image_set("svhn", directory)


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
