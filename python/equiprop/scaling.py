"""Scalings of inputs, which are fitted on training data, applied to raw inputs, and saved with a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from equiprop.arrays import Array, as_array, as_samples, dense
from equiprop.checks import check_type, real, require, several, whole
from equiprop.weights import Weights, as_sample_weight, refuse_zero_weights

#: Number of entries of raw inputs that a fit converts at a time.
_ENTRIES = 2**20
#: Largest size of numbers whose differences are finite.
_LARGEST = 2.0**1022
#: Largest factor, so that the factor of a feature of tiny numbers is finite.
_MOST = 2.0**1022
#: A range of rounding, relative to the largest number of a feature.
_ROUNDING = 8 * np.finfo(np.float64).eps
_NAMES = "'none', 'standardise', 'min_max', a number, or a fraction such as '1/255'"


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Scaling:
    r"""A shift and a factor of each input: a network receives ``(x - offset) * factor`` for raw inputs x.

    The numbers are computed in float64, and rounded once to the precision of the network.

    Parameters
    ----------
    offset, factor : float, or array (features,)
        Finite offsets and positive factors, one for all features or one for each.

    Raises
    ------
    TypeError, ValueError
        If the shapes differ, or a number is not finite or a factor not positive.

    Examples
    --------
    >>> standard = Scaling.standardise([[1.0, 10.0], [3.0, 50.0]])
    >>> standard([[1.0, 10.0], [2.0, 30.0]]).tolist()
    [[-1.0, -1.0], [0.0, 0.0]]
    >>> Scaling.by(1 / 4)([[2, 8]]).tolist(), Scaling.min_max([[2, 8], [4, 9]])([[2, 9]]).tolist()
    ([[0.5, 2.0]], [[0.0, 1.0]])
    """

    offset: Array
    factor: Array

    def __init__(self, offset: ArrayLike = 0.0, factor: ArrayLike = 1.0) -> None:
        for name, value in (("offset", offset), ("factor", factor)):
            object.__setattr__(self, name, _numbers(value, name))
        shapes = (self.offset.shape, self.factor.shape)
        require(shapes[0] == shapes[1], "Scaling", "offset and factor have equal shapes", shapes)
        require(bool((self.factor > 0).all()), "Scaling", "Every factor is positive", self.factor.min())

    @classmethod
    def none(cls) -> Scaling:
        """Return the scaling that changes nothing, for inputs that are scaled already."""
        return cls()

    @classmethod
    def by(cls, factor: float) -> Scaling:
        """Return the scaling by a positive number, such as 1/255 for bytes."""
        return by_number(factor, "Scaling.by", "factor")

    @classmethod
    def standardise(cls, x: Any, sample_weight: Any = None) -> Scaling:
        """Return the scaling to mean 0 and standard deviation 1 of each feature.

        A feature that is constant but for rounding is shifted to 0; its factor is 1.

        Parameters
        ----------
        x : array or scipy.sparse array (samples, features)
            Training data; data in a file that is mapped into memory, and sparse data, are read in parts.
        sample_weight : array (samples,), optional
            Weights: weight 2 counts as two equal samples.

        Raises
        ------
        TypeError, ValueError
            If x has no samples, a value that is missing or not finite, or a number beyond 4.4e307; or the
            weights are not one number for each sample, finite and not negative, or all are 0.
        """
        where, weights = "Scaling.standardise", None
        samples = as_samples(x, where, "x")
        if sample_weight is not None:
            require(samples.ndim == 2, where, "x has shape (samples, features)", samples.shape)
            weights = as_sample_weight(sample_weight, where, int(samples.shape[0]))
            refuse_zero_weights(weights, where)
            if not weights.all():
                samples, weights = samples[weights > 0], weights[weights > 0]
        return _standardised(samples, where, weights)

    @classmethod
    def min_max(cls, x: Any) -> Scaling:
        """Return the scaling of each feature to [0, 1]: its smallest number to 0, and its largest to 1.

        A feature that is constant but for rounding is shifted to 0; its factor is 1. `x` and errors are those
        of `standardise`.
        """
        return _min_max(as_samples(x, "Scaling.min_max", "x"), "Scaling.min_max")

    @classmethod
    def by_channel(
        cls, shape: tuple[int, int, int], mean: ArrayLike, std: ArrayLike, factor: float = 1.0
    ) -> Scaling:
        """Return the scaling ``(factor * x - mean) / std`` of images, with one mean and one std per channel.

        Parameters
        ----------
        shape : tuple of int
            Channels, height and width of an image; its pixels are stored in this order.
        mean, std : array (channels,)
            Mean and standard deviation of ``factor * x``; deviations are positive.
        factor : float
            For example 1/255 for bytes, with a mean and a deviation of numbers in [0, 1].

        Raises
        ------
        TypeError, ValueError
            If there is another number of channels, or a number is not finite or not positive.

        Examples
        --------
        >>> scaling = Scaling.by_channel((2, 1, 2), [0.5, 0.2], [0.5, 0.1], factor=1 / 10)
        >>> scaling([[0, 5, 2, 3]]).round(12).tolist()
        [[-1.0, 0.0, 0.0, 1.0]]
        """
        where = "Scaling.by_channel"
        sizes = several(shape, where, "shape", partial(whole, low=1, high=2**24))
        require(len(sizes) == 3, where, "shape is that of an image: channels, height, width", tuple(sizes))
        channels, height, width = sizes
        unit = float(by_number(factor, where, "factor").factor)
        parts = [np.asarray(as_array(part, where, "mean and std"), dtype=np.float64) for part in (mean, std)]
        for part in parts:
            require(part.shape == (channels,), where, f"mean and std have {channels} numbers", part.shape)
        require(bool((parts[1] > 0).all()), where, "std is positive", parts[1].tolist())
        with np.errstate(over="ignore", divide="ignore"):  # the constructor refuses infinite numbers
            offset, divisor = (np.repeat(part / unit, height * width) for part in parts)
            inverse = 1 / divisor
        return cls(offset, inverse)

    @property
    def is_none(self) -> bool:
        """True if the scaling changes nothing."""
        return bool((self.offset == 0).all() and (self.factor == 1).all())

    @property
    def is_uniform(self) -> bool:
        """True if all features have one offset and one factor."""
        return self.factor.ndim == 0

    def __call__(self, x: Any, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """Return the scaled inputs of raw inputs x, (samples, features), in float64 or another precision."""
        samples = as_samples(x, "Scaling", "x")
        require(samples.ndim == 2, "Scaling", "x has shape (samples, features)", samples.shape)
        self.check_features(samples.shape[1], "Scaling")
        return self.apply(samples, np.dtype(dtype))

    def apply(self, x: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the scaled inputs of checked samples, as a new C-contiguous array.

        A number beyond ``dtype`` becomes infinite; the receiver refuses it.
        """
        with np.errstate(over="ignore"):
            if self.is_none:
                return np.array(dense(x), dtype, order="C")
            presented = np.subtract(dense(x), self.offset, dtype=np.float64, order="C")
            presented *= self.factor
            return presented.astype(dtype, copy=False)

    def check_features(self, count: int, where: str) -> None:
        """Raise ValueError if the scaling is for another number of features than `count`."""
        if not self.is_uniform and len(self.factor) != count:
            rule = "A scaling has one factor for all features, or one for each"
            raise ValueError(f"[{where}] {rule}. Received {len(self.factor)} factors for {count} features.")

    def __eq__(self, other: object) -> bool:
        """Return True for a scaling with equal numbers."""
        if not isinstance(other, Scaling):
            return NotImplemented
        return np.array_equal(self.offset, other.offset) and np.array_equal(self.factor, other.factor)

    def __hash__(self) -> int:
        return hash((self.offset.tobytes(), self.factor.tobytes()))

    def __reduce__(self) -> tuple[Any, ...]:
        return Scaling, (self.offset, self.factor)

    def __repr__(self) -> str:
        if not self.is_uniform:
            return f"Scaling of {len(self.factor)} features"
        if self.is_none:
            return "Scaling.none()"
        if self.offset == 0:
            return f"Scaling.by({self.factor:g})"
        return f"Scaling({self.offset:g}, {self.factor:g})"


#: Types of a scaling, and of a factor that stands for one.
_SCALES = (Scaling, int, float, np.integer, np.floating)


def as_scaling(value: Any, x: Any, where: str, weights: Weights | None = None) -> Scaling:
    """Return a scaling that is given as such, as a number, or by its name; see `Trainer.fit`.

    Parameters
    ----------
    value : Scaling, float or str
    x : array, scipy.sparse array or RowSelection (samples, features)
        Checked training data, on which a scaling with a name is fitted.
    where : str
        Name of the caller, for errors.
    weights : array (samples,), optional
        Checked weights of the samples.

    Raises
    ------
    TypeError, ValueError
        If `value` is none of these, or no scaling can be fitted.
    """
    if isinstance(value, str):
        if value == "standardise":
            return _standardised(x, where, weights)
        if value == "min_max":
            return _min_max(x, where)
        value = 1.0 if value == "none" else _fraction(value, where)
    check_type(value, _SCALES, where, f"scaling is a Scaling, {_NAMES}")
    return as_scale(value, int(x.shape[1]), where, "scaling")


def as_scale(value: Any, features: int, where: str, name: str = "scale") -> Scaling:
    """Return a scaling of so many features that is given as such, or as a number."""
    check_type(value, _SCALES, where, f"{name} is a Scaling or a number")
    scaling = value if isinstance(value, Scaling) else by_number(value, where, name)
    scaling.check_features(features, where)
    return scaling


def by_number(factor: Any, where: str, name: str) -> Scaling:
    """Return the scaling by a positive finite number."""
    number = real(factor, where, name)
    require(0 < number < np.inf, where, f"{name} is positive and finite", factor)
    return Scaling(0.0, number)


def _fraction(text: str, where: str) -> float:
    numerator, slash, denominator = text.partition("/")
    try:
        return float(numerator) / (float(denominator) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"[{where}] scaling is {_NAMES}. Received {text!r}.") from None


def _numbers(value: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return finite numbers as an array that cannot be changed: () for all features, or (features,)."""
    numbers = np.array(as_array(value, "Scaling", name), dtype=np.float64)
    rule = f"{name} is a number, or has shape (features,)"
    require(numbers.ndim < 2 and numbers.size > 0, "Scaling", rule, numbers.shape)
    require(bool(np.isfinite(numbers).all()), "Scaling", f"{name} is finite", "NaN or infinity")
    numbers = numbers.reshape(()) if numbers.size == 1 else numbers
    numbers.flags.writeable = False
    return numbers


def _standardised(x: Any, where: str, weights: Weights | None) -> Scaling:
    low, high = _range(x, where)
    unit = _power(np.maximum(np.abs(low), np.abs(high)))  # so that no square overflows or is lost
    shares = np.ones((x.shape[0], 1)) if weights is None else weights[:, None] / weights.max()
    mean = sum((shares[rows] * part).sum(axis=0) for part, rows in _parts(x, unit)) / shares.sum()
    squares = sum((shares[rows] * np.square(part - mean)).sum(axis=0) for part, rows in _parts(x, unit))
    return _scaling(mean * unit, np.sqrt(squares / shares.sum()) * unit, low, high)


def _min_max(x: Any, where: str) -> Scaling:
    low, high = _range(x, where)
    return _scaling(low, high - low, low, high)


def _scaling(offset: Array, size: Array, low: Array, high: Array) -> Scaling:
    """Return the scaling that divides by `size`, or by 1 where low to high is a range of rounding."""
    varies = high - low > _ROUNDING * np.maximum(np.abs(low), np.abs(high))
    factor = 1 / np.where(varies, np.maximum(size, 1 / _MOST), 1.0)
    return Scaling(np.where(varies, offset, low), factor)


def _range(x: Any, where: str) -> tuple[Array, Array]:
    """Return the smallest and largest number of each feature."""
    shape = tuple(x.shape)
    require(len(shape) == 2 and min(shape) > 0, where, "x has shape (samples, features)", shape)
    low, high = np.full(shape[1], np.inf), np.full(shape[1], -np.inf)
    for part, _ in _parts(x, np.ones(1)):
        low, high = np.minimum(low, part.min(axis=0)), np.maximum(high, part.max(axis=0))
    largest = max(float(np.abs(low).max()), float(np.abs(high).max()))
    require(largest <= _LARGEST, where, "Numbers that are scaled are at most 4.4e307", f"{largest:.3g}")
    return low, high


def _parts(x: Any, unit: Array) -> Iterator[tuple[NDArray[np.float64], slice]]:
    """Yield some rows of x at a time, in units of `unit`, and their positions.

    The rows are in C order, so that sums depend on the numbers alone.
    """
    size = max(1, _ENTRIES // x.shape[1])
    for begin in range(0, x.shape[0], size):
        rows = slice(begin, begin + size)
        with np.errstate(over="ignore"):  # a number beyond float64 becomes infinite, which `_range` refuses
            part = np.ascontiguousarray(dense(x[rows]), dtype=np.float64)
        yield part / unit, rows


def _power(size: Array) -> NDArray[np.float64]:
    """Return the largest power of two that is at most `size`, and 1 for 0."""
    return np.asarray(np.where(size > 0, np.ldexp(1.0, np.frexp(size)[1] - 1), 1.0))
