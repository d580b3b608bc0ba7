"""Table of the public sets of images with class labels: their shapes, and the readers of their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from equiprop.arrays import Array
from equiprop.cifar_files import CIFAR10, CIFAR100, read_cifar
from equiprop.idx_images import read_idx_images
from equiprop.svhn_files import read_svhn


class Reader(Protocol):
    """Function that reads pixels (images, features) and labels (images,) of training and test data."""

    def __call__(  # noqa: D102
        self, directory: Path, where: str, cure: str
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]: ...


@dataclass(frozen=True)
class ImageSet:
    """A set of images with class labels.

    Attributes
    ----------
    title : str
    shape : tuple of int
        Channels, height and width of an image.
    classes : int
    files : str
        The files in words.
    read : Reader
        Reader of the published files.
    """

    title: str
    shape: tuple[int, int, int]
    classes: int
    files: str
    read: Reader


def _idx(title: str, name: str) -> ImageSet:
    """Return a set in the format of MNIST; torchvision stores the files in TITLE/raw."""
    title_folder = title.replace("-", "")
    folders = ("raw", f"{title_folder}/raw", title_folder, name)
    read = partial(read_idx_images, folders=folders)
    return ImageSet(title, (1, 28, 28), 10, f"the four files of {title}", read)


def _colour(title: str, classes: int, files: str, read: Reader) -> ImageSet:
    return ImageSet(title, (3, 32, 32), classes, files, read)


#: The sets by name; `equiprop.data` has a function ``load_NAME``, and `equiprop.download` ``fetch_NAME``.
IMAGE_SETS: Mapping[str, ImageSet] = MappingProxyType(
    {
        "mnist": _idx("MNIST", "mnist"),
        "fashion_mnist": _idx("Fashion-MNIST", "fashion_mnist"),
        "kmnist": _idx("KMNIST", "kmnist"),
        "cifar10": _colour("CIFAR-10", 10, "the archive of CIFAR-10", partial(read_cifar, layout=CIFAR10)),
        "cifar100": _colour(
            "CIFAR-100", 100, "the archive of CIFAR-100", partial(read_cifar, layout=CIFAR100)
        ),
        "svhn": _colour("SVHN", 10, "the two files of SVHN", read_svhn),
    }
)
