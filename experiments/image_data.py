"""Data of the experiments: published sets of images from a folder, and substitutes for a quick run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import equiprop as eq
import numpy as np
from equiprop.data import Augmentation

#: Numbers of training and test images of a quick run.
QUICK = 2000, 1000
#: Mean and deviation of MNIST, as the authors of `scellier2023_cifar10` scale it in a frame of 32 x 32.
_MNIST_MEAN, _MNIST_DEVIATION = 0.1307, 0.3081
#: Mean and three times the deviation of each channel of CIFAR-10, as the authors' programs scale it.
_CIFAR_MEAN, _CIFAR_DEVIATION = (0.4914, 0.4822, 0.4465), (3 * 0.2023, 3 * 0.1994, 3 * 0.2010)


class MissingData(Exception):
    """A published set of images was not given; the text says in one sentence what is missing."""


@dataclass(frozen=True)
class Images:
    """Training and test images, with the words that results use for them."""

    name: str
    substitute: bool
    train: eq.Dataset
    test: eq.Dataset

    def first(self, count: int) -> Images:
        """Return the first `count` training images, and half as many test images."""
        return replace(self, train=self.train[:count], test=self.test[: max(1, count // 2)])

    def as_dict(self) -> dict[str, Any]:
        """Return what a file of results says about the data."""
        numbers = {"train": len(self.train), "test": len(self.test)}
        return {"name": self.name, "substitute": self.substitute, **numbers}


def load(kind: str, folder: Path | None, quick: bool) -> Images:
    """Return the images `kind`, "mnist" (1 x 28 x 28) or "cifar10" (3 x 32 x 32).

    A quick run without the published files uses a substitute: MNIST in place of CIFAR-10 if the folder has
    it, otherwise the digits of scikit-learn. It takes the first images of each set.

    Raises
    ------
    MissingData
        If the published files are missing, and the run is not quick.
    """
    try:
        found = _PUBLISHED[kind](_given(kind, folder))
    except FileNotFoundError as missing:
        if not quick:
            raise MissingData(str(missing)) from None
        found = _substitute(kind, folder)
    return replace(found, train=found.train[: QUICK[0]], test=found.test[: QUICK[1]]) if quick else found


def _given(kind: str, folder: Path | None) -> Path:
    if folder is None:
        title = {"mnist": "MNIST", "cifar10": "CIFAR-10"}[kind]
        raise FileNotFoundError(
            f"{title} is missing: give its folder with --data; "
            f"equiprop.download.fetch_{kind}(folder) downloads it."
        )
    return folder


def _mnist(folder: Path) -> Images:
    return Images("MNIST", False, *eq.load_mnist(folder))


def _cifar10(folder: Path) -> Images:
    scaling = eq.Scaling.by_channel((3, 32, 32), _CIFAR_MEAN, _CIFAR_DEVIATION, factor=1 / 255)
    train, test = (part.with_scale(scaling) for part in eq.load_cifar10(folder))
    change = Augmentation((3, 32, 32), padding=4, flip=True, fill="edge")
    return Images("CIFAR-10", False, train.augmented(change), test)


_PUBLISHED: dict[str, Callable[[Path], Images]] = {"mnist": _mnist, "cifar10": _cifar10}


def _substitute(kind: str, folder: Path | None) -> Images:
    if kind == "mnist":
        parts = [_framed(part, 8, times=2, size=28, channels=1) for part in eq.load_digits()]
        return Images("digits of scikit-learn as 1 x 28 x 28", True, *parts)
    if folder is None:
        parts = [_framed(part, 8, times=4, size=32, channels=3) for part in eq.load_digits()]
        return Images("digits of scikit-learn as 3 x 32 x 32", True, *(_centred(part) for part in parts))
    parts = [_framed(part, 28, times=1, size=32, channels=3) for part in eq.load_mnist(folder)]
    return Images("MNIST as 3 x 32 x 32", True, *(_centred(part) for part in parts))


def _centred(part: eq.Dataset) -> eq.Dataset:
    """Return data with the mean and the deviation of MNIST in place of their offset 0."""
    factor = float(part.scale.factor.flat[0])
    scaling = eq.Scaling.by_channel((3, 32, 32), [_MNIST_MEAN] * 3, [_MNIST_DEVIATION] * 3, factor)
    return part.with_scale(scaling)


def _framed(part: eq.Dataset, pixels: int, times: int, size: int, channels: int) -> eq.Dataset:
    """Return square images enlarged by whole pixels, in the middle of a dark frame, in equal channels."""
    images = np.asarray(part.x).reshape(-1, 1, pixels, pixels).repeat(times, axis=2).repeat(times, axis=3)
    frame = (size - times * pixels) // 2
    framed = np.pad(images, ((0, 0), (0, 0), (frame, frame), (frame, frame))).repeat(channels, axis=1)
    return eq.Dataset(framed.reshape(len(framed), -1), part.y, float(part.scale.factor.flat[0]), 10)
