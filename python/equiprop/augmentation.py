"""Random crops and flips of training images, which are a function of seed, epoch and position of a sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array
from equiprop.checks import check_type, enough_memory, require, whole

_FILLS = {"zero": "constant", "edge": "edge"}
#: A random number of a sample has 64 bits: bit 0 is for the flip, and 31 bits are for each coordinate.
_BITS = 31
_ROW, _COLUMN = np.uint64(1), np.uint64(33)
_MASK = np.uint64(2**_BITS - 1)


@dataclass(frozen=True)
class Augmentation:
    """Random changes of images that keep their classes, for training; see `Dataset.augmented`.

    An image is moved by a random number of pixels in each direction, and then mirrored with probability 1/2.
    The change of an image is a function of the seed, the epoch and the position of the sample in its data
    set. It does not depend on the batch, the order of samples, or the number of threads.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of an image; its pixels are stored in this order.
    padding : int, less than height and width
        Number of pixels by which all sides are padded before a crop of the size of the image is taken at
        random: a move by -padding .. padding pixels in each direction, all with the same probability.
    flip : bool
        Mirror the columns of every second image on average.
    fill : {"zero", "edge"}
        Values of the padding: the raw value 0, or that of the nearest pixel.

    Raises
    ------
    TypeError, ValueError
        If an argument has another type or is out of range.

    References
    ----------
    A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet classification with deep convolutional neural networks",
    2012, section 4.1. K. He et al., "Deep residual learning for image recognition", 2016, section 4.2.

    Examples
    --------
    >>> change = Augmentation((1, 1, 4), flip=True)
    >>> draws = change.draws(3, seed=0, epoch=0)
    >>> change(np.array([[1, 2, 3, 4]] * 3), draws).tolist()
    [[4, 3, 2, 1], [1, 2, 3, 4], [4, 3, 2, 1]]
    """

    shape: tuple[int, int, int]
    padding: int = 0
    flip: bool = False
    fill: str = "zero"

    def __post_init__(self) -> None:
        where = "Augmentation"
        check_type(self.shape, (tuple, list), where, "shape is a tuple of channels, height and width")
        require(len(self.shape) == 3, where, "shape is a tuple of channels, height and width", self.shape)
        shape = tuple(whole(size, where, "each number of shape", 1, 2**24) for size in self.shape)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "padding", whole(self.padding, where, "padding", 0, min(shape[1:]) - 1))
        check_type(self.flip, (bool, np.bool_), where, "flip is True or False")
        object.__setattr__(self, "flip", bool(self.flip))
        known = isinstance(self.fill, str) and self.fill in _FILLS
        require(known, where, "fill is 'zero' or 'edge'", repr(self.fill))

    @property
    def num_features(self) -> int:
        """Number of pixels of an image in all channels."""
        channels, height, width = self.shape
        return channels * height * width

    def draws(self, count: int, *, seed: int, epoch: int) -> NDArray[np.uint64]:
        """Return a random number for each of the first `count` samples of a data set.

        Number i is output i of the generator Philox 4x64 with the key (seed, epoch), so it does not depend on
        `count`.

        Parameters
        ----------
        count : int
        seed, epoch : int, in 0 .. 2^64 - 1

        Returns
        -------
        array, shape (count,) of uint64

        References
        ----------
        J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11, 2011.
        """
        where = "Augmentation.draws"
        key = [
            whole(number, where, name, 0, 2**64 - 1) for name, number in (("seed", seed), ("epoch", epoch))
        ]
        size = whole(count, where, "count", 0)
        with enough_memory(8 * size, where, f"{size} draws", cure="Choose a smaller count"):
            return np.asarray(np.random.Philox(key=np.array(key, np.uint64)).random_raw(size), np.uint64)

    def __call__(self, x: Array, draws: NDArray[np.uint64]) -> Array:
        """Return changed images.

        Parameters
        ----------
        x : array, shape (images, channels * height * width)
            Images, which are not changed.
        draws : array, shape (images,) of uint64
            Random numbers of the images, see `draws`.

        Returns
        -------
        array
            A new array with shape and type of x.
        """
        images = x.reshape(-1, *self.shape)
        images = self._cropped(images, draws) if self.padding else images.copy()
        if self.flip:
            mirrored = (draws & np.uint64(1)).astype(bool)
            images[mirrored] = images[mirrored, :, :, ::-1]
        return images.reshape(x.shape)

    def _cropped(self, images: Array, draws: NDArray[np.uint64]) -> Array:
        sides = (self.padding, self.padding)
        padded = np.pad(images, ((0, 0), (0, 0), sides, sides), mode=_FILLS[self.fill])  # type: ignore[call-overload]
        crops = np.lib.stride_tricks.sliding_window_view(padded, self.shape[1:], axis=(2, 3))
        rows, columns = (self._below(draws >> shift) for shift in (_ROW, _COLUMN))
        return np.asarray(crops[np.arange(len(images)), :, rows, columns])

    def _below(self, numbers: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Return numbers in 0 .. 2 padding, from the lowest 31 bits."""
        moves = np.uint64(2 * self.padding + 1)
        return ((numbers & _MASK) * moves >> np.uint64(_BITS)).astype(np.intp)
