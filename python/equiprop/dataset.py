"""Samples with class labels or real targets, which are converted batch by batch.

A data set keeps the type of its samples (one byte per pixel for images, a sparse array, a file that is mapped
into memory); `Dataset.batch` converts the samples of one batch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from equiprop import _core
from equiprop.array_arguments import as_indices, real_dtype
from equiprop.arrays import Array, as_numpy, as_samples, check_image_shape, dense
from equiprop.augmentation import Augmentation
from equiprop.checks import check_type, real, require, whole
from equiprop.labels import codes_among, encode, read_classes, read_y
from equiprop.row_selection import select
from equiprop.scaling import Scaling, as_scale
from equiprop.weights import as_sample_weight, refuse_zero_weights

#: Stream of random numbers for the split of the data; epochs use the streams 0, 1, 2, ...
_SPLIT_STREAM = 2**40
#: Samples that an iteration converts at a time.
_BATCH = 1000
#: Scaling of inputs that are raw, and of targets.
_RAW = Scaling.none()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples with class labels or real targets; a network receives scaled inputs ``scale(x)``.

    Length, iteration, an index and a slice work as for a list of samples: ``data[3]`` is the pair
    ``(scale(x), y)`` of one sample in float64, and ``data[:100]`` is a data set. A mask, or an array of
    indices in 0 .. len - 1, selects samples.

    Parameters
    ----------
    x : array, shape (samples, features) or (samples, ...), of integers, floats or booleans
        Finite inputs: a NumPy array, list, data frame, tensor, or scipy.sparse array. The data set keeps
        their type and their memory, and stores a sparse array in CSR format; `batch` converts them. Parts of
        a file that is mapped into memory are read when a batch needs them.
    y : array, shape (samples,) or (samples, outputs)
        Class labels: strings, integers, booleans, whole floats or other values with a hash, in one dimension
        or in a column that is not of floats. Or finite targets: floats, or a matrix such as one-hot rows. The
        data set stores labels as codes.
    scale : Scaling or float, optional
        Scaling of the stored inputs, or their factor, such as 1/255 for bytes that a network receives as
        numbers in [0, 1]; 1 for inputs that are scaled already. Data without a scale are raw: a `Trainer`
        applies the scaling that `fit` received, or that of its model.
    num_classes : int
        Number of classes; 0 stands for that of the labels, and is the only value for real targets. Integers
        in 0 .. num_classes - 1 are their own codes.
    classes : array, optional
        The classes in the order of their codes, such as ``train.classes`` for test data. By default the
        sorted labels; or 0 .. max(y) for integers that start at 0, if at least half of these numbers occur.
    sample_weight : array, shape (samples,), optional
        Weight of each sample, at least 0, in training and evaluation: weight 2 counts as two equal samples,
        and 0 as none. Only the ratios matter there, see `Trainer.fit`. The data set stores a copy in float64;
        parts of a data set have the weights of their samples.

    Attributes
    ----------
    image_shape : tuple of int, or None
        Shape of one sample of an x with more than two dimensions; x is stored as (samples, features).
    augmentation : Augmentation, or None
        Random changes of the samples of a training; see `augmented`.

    Raises
    ------
    TypeError, ValueError
        A type is not listed above, shapes do not match, a value is missing or not finite, a label is none of
        the classes, most samples have a class of their own, or a weight is negative or all are 0.

    Examples
    --------
    >>> pixels = np.array([[0, 255], [51, 0], [255, 255]], dtype=np.uint8)
    >>> samples = Dataset(pixels, ["cat", "dog", "dog"], scale=1 / 255)
    >>> x, y = samples.batch(np.array([1, 0]), np.float64)
    >>> x.round(3).tolist(), y.tolist(), samples.classes.tolist()
    ([[0.2, 0.0], [0.0, 1.0]], [1, 0], ['cat', 'dog'])
    """

    x: Any
    y: Any
    scale: Any = None
    num_classes: int = 0
    classes: Any = field(default=None, kw_only=True)
    sample_weight: Any = field(default=None, kw_only=True)
    augmentation: Augmentation | None = field(default=None, init=False)
    image_shape: tuple[int, ...] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Check the fields, convert them to arrays, and encode class labels."""
        x = as_samples(self.x, "Dataset", "x")
        if x.ndim > 2:
            self._set(image_shape=x.shape[1:])
            x = x.reshape(len(x), math.prod(x.shape[1:]))
        require(x.ndim == 2 and x.shape[1] > 0, "Dataset", "x has shape (samples, features)", x.shape)
        scale = _scale(self.scale, x, "Dataset")
        y, classes = self._encoded(read_y(self.y, "Dataset"))
        lengths = (x.shape[0], len(y))
        require(lengths[0] == lengths[1], "Dataset", "x and y have one row for each sample", lengths)
        self._set(x=x, y=y, scale=scale, classes=classes, num_classes=0 if classes is None else len(classes))
        if self.sample_weight is not None:
            self._set(sample_weight=as_sample_weight(self.sample_weight, "Dataset", len(y)))
            refuse_zero_weights(self.sample_weight, "Dataset")

    def _encoded(self, y: Array) -> tuple[Array, Array | None]:
        """Return targets and None, or codes and the classes."""
        count = whole(self.num_classes, "Dataset", "num_classes", 0, 2**24)
        classes = None if self.classes is None else read_classes(self.classes, "Dataset")
        if y.ndim == 1:
            return encode(y, "Dataset", count, classes)
        require(count == 0, "Dataset", "num_classes is 0 for real targets", count)
        require(self.classes is None, "Dataset", "classes is None for real targets", self.classes)
        return y, None

    def _set(self, **fields: Any) -> Dataset:
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        return self

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.y)

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
        return bool(self.y.ndim == 1)

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> tuple[Array, Any]: ...
    @overload
    def __getitem__(self, key: slice | list[int] | list[bool] | NDArray[Any]) -> Dataset: ...
    def __getitem__(self, key: Any) -> Any:
        """Return one sample for an integer; a data set for a slice, a mask or an array of indices."""
        if isinstance(key, int | np.integer):
            x, y = self.batch(np.array([range(len(self))[key]]), np.float64)
            return x[0], y[0]
        return self._part(key) if isinstance(key, slice) else self.take(key)

    def __iter__(self) -> Iterator[tuple[Array, Any]]:
        """Yield the pair ``(scale(x), y)`` of each sample, in float64."""
        for begin in range(0, len(self), _BATCH):
            rows = np.arange(begin, min(begin + _BATCH, len(self)))
            yield from zip(*self.batch(rows, np.float64), strict=True)

    def take(self, indices: ArrayLike) -> Dataset:
        """Return a data set of the samples at ``indices`` (integers, which may repeat), in that order.

        A mask, an array (samples,) of booleans, takes the samples where it is True.
        """
        return self._part(as_indices(indices, len(self), "Dataset.take", "sample"))

    def _part(self, rows: Any) -> Dataset:
        weights = None if self.sample_weight is None else self.sample_weight[rows]
        return copy.copy(self)._set(x=select(self.x, rows), y=self.y[rows], sample_weight=weights)

    def with_sample_weight(self, sample_weight: ArrayLike | None) -> Dataset:
        """Return the same samples with other weights, or with none.

        Raises
        ------
        TypeError, ValueError
            The weights are not one number for each sample, finite and not negative, or all are 0.
        """
        where = "Dataset.with_sample_weight"
        weights = None if sample_weight is None else as_sample_weight(sample_weight, where, len(self))
        refuse_zero_weights(weights, where)
        return copy.copy(self)._set(sample_weight=weights)

    def with_scale(self, scale: Scaling | float | None) -> Dataset:
        """Return the same samples with another scale, or with none: as raw data."""
        return copy.copy(self)._set(scale=_scale(scale, self.x, "Dataset.with_scale"))

    def augmented(self, augmentation: Augmentation | None) -> Dataset:
        """Return the same images, which `Trainer.fit` changes at random in each epoch, or does not change.

        Image i of an epoch is changed by draw i for the seed of the trainer and the number of the epoch, that
        is ``len(trainer.history)``; see `Augmentation.draws`. Only the inputs of training steps are changed:
        evaluation, prediction, `batch` without draws, and the fit of a scaling use the stored samples. The
        changes come before the scaling.

        Raises
        ------
        TypeError, ValueError
            `augmentation` is none, or for images with another number of pixels.

        Examples
        --------
        >>> images = Dataset(np.array([[1, 2], [3, 4]]), [0, 1]).augmented(Augmentation((1, 1, 2), flip=True))
        >>> draws = images.augmentation.draws(2, seed=0, epoch=1)
        >>> images.batch([0, 1], np.float32, draws)[0].tolist(), images.batch([0, 1], np.float32)[0].tolist()
        ([[1.0, 2.0], [4.0, 3.0]], [[1.0, 2.0], [3.0, 4.0]])
        """
        where = "Dataset.augmented"
        if augmentation is not None:
            check_type(augmentation, Augmentation, where, "augmentation is an Augmentation, or None")
            rule = (
                f"An augmentation of images {augmentation.shape} needs {augmentation.num_features} features"
            )
            require(augmentation.num_features == self.num_features, where, rule, self.num_features)
            if self.image_shape is not None:
                check_image_shape(self.image_shape, augmentation.shape, where)
        return copy.copy(self)._set(augmentation=augmentation)

    def with_classes(self, classes: Array) -> Dataset:
        """Return the same samples with labels that are encoded by ``classes``, such as those of training.

        Raises
        ------
        ValueError
            A label of a sample is none of ``classes``.
        """
        require(self.is_classification, "Dataset.with_classes", "The samples have class labels", "targets")
        classes = read_classes(classes, "Dataset.with_classes")
        if np.array_equal(self.classes, classes):
            return self
        y = codes_among(self.classes[self.y], classes, "Dataset.with_classes")
        return copy.copy(self)._set(y=y, classes=classes, num_classes=len(classes))

    def batch(
        self, indices: ArrayLike, dtype: DTypeLike, draws: NDArray[np.uint64] | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return ``scale(x)`` and the class codes or targets of the samples at ``indices``, C-contiguous.

        Their weights are ``sample_weight[indices]``.

        Parameters
        ----------
        indices : array, shape (batch,) of integers
            Samples in 0 .. len(self) - 1, which may repeat; or a mask (samples,).
        dtype : numpy.float32 or numpy.float64
            Type of inputs and real targets.
        draws : array, shape (samples,) of uint64, optional
            Random numbers of all samples, with which the augmentation changes those of the batch; see
            `Augmentation.draws`. By default the stored samples are returned.

        Returns
        -------
        tuple of arrays, shapes (batch, num_features) and (batch,) or (batch, num_outputs)
            Inputs, and class codes or targets.

        Raises
        ------
        TypeError, ValueError
            ``indices`` are not integers, ``dtype`` is another type, or an index is out of range.

        Examples
        --------
        >>> Dataset(np.eye(2), np.array([0, 1])).batch(np.array([1]), np.float32)[0]
        array([[0., 1.]], dtype=float32)
        """
        precision = real_dtype(dtype, "Dataset.batch")
        rows = as_indices(indices, len(self), "Dataset.batch", "sample")
        x = self.x[rows]
        if draws is not None and self.augmentation is not None:
            rule = "draws has one random number for each sample of the data set"
            draws = as_numpy(draws, "Dataset.batch", "draws")
            if draws.dtype.kind not in "ui":
                raise TypeError(f"[Dataset.batch] draws holds integers. Received {draws.dtype}.")
            draws = draws.astype(np.uint64, copy=False)
            require(draws.shape == (len(self),), "Dataset.batch", rule, draws.shape)
            x = self.augmentation(dense(x), draws[rows])
        return (self.scale or _RAW).apply(x, precision), self._targets(rows, precision)

    def _targets(self, rows: Array, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the class codes or targets of samples."""
        y = self.y[rows]
        return y if self.is_classification else _RAW.apply(y, dtype)

    def split(
        self, fraction: float, order: ArrayLike | None = None, *, seed: int = 0
    ) -> tuple[Dataset, Dataset]:
        """Split into ``(rest, held_out)``, where ``held_out`` has ``round(fraction * len(self))`` samples.

        By default the samples are chosen at random, the same fraction of each class.

        Parameters
        ----------
        fraction : float in [0, 1]
            Fraction of the samples that are held out.
        order : array, shape (samples,) of integers, optional
            A permutation of 0 .. len(self) - 1, the last samples of which are held out.
        seed : int
            Seed of the random choice.

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
        >>> samples = Dataset(np.eye(8), ["a", "b"] * 4)
        >>> rest, held_out = samples.split(0.25)
        >>> rest.y.tolist().count(0), rest.y.tolist().count(1), sorted(held_out.y.tolist())
        (3, 3, [0, 1])
        """
        fraction = real(fraction, "Dataset.split", "fraction")
        require(0 <= fraction <= 1, "Dataset.split", "fraction lies in [0, 1]", fraction)
        count = round(fraction * len(self))
        if order is None:
            return self._random_split(count, whole(seed, "Dataset.split", "seed", 0, 2**64 - 1))
        rows = as_indices(order, len(self), "Dataset.split", "sample")
        is_permutation = np.array_equal(np.sort(rows), np.arange(len(self)))
        require(is_permutation, "Dataset.split", f"order is a permutation of 0 .. {len(self) - 1}", rows)
        return self._part(rows[: len(self) - count]), self._part(rows[len(self) - count :])

    def _random_split(self, count: int, seed: int) -> tuple[Dataset, Dataset]:
        """Hold out every n-th sample of a random order that is sorted by class, ``count`` in all."""
        order = _core.permutation(len(self), seed, _SPLIT_STREAM)
        by_class = order[np.argsort(self.y[order], kind="stable")] if self.is_classification else order
        held = np.zeros(len(self), dtype=bool)
        held[by_class] = np.diff(np.arange(len(self) + 1) * count // max(1, len(self))) > 0
        return self._part(order[~held[order]]), self._part(order[held[order]])


def _scale(scale: Any, x: Any, where: str) -> Scaling | None:
    """Return a scale as a scaling of x, or None."""
    return None if scale is None else as_scale(scale, int(x.shape[1]), where)
