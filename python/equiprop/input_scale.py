"""Warnings of inputs and targets whose numbers are far larger than those of a network."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import dense, is_sparse
from equiprop.dataset import Dataset
from equiprop.results import TrainingWarning
from equiprop.scaling import Scaling

#: Number of samples of a dense array that are measured, at equal distances.
_SAMPLES = 10_000
#: Number of entries that are converted at a time.
_ENTRIES = 2**18
#: Root mean square of a column with entries of about 10.
_LARGE = 6.0
#: Root mean square up to which features of unequal ranges share a unit, such as pixels.
_UNIT = 2.0
#: Ratio of ranges from which the smaller feature hardly acts.
_RATIO = 30.0

#: Largest factor of a scaling whose second application would be noticed.
_FACTOR = 0.1
#: Number of samples in which large numbers are looked for.
_FIRST = 1000


class _Columns(NamedTuple):
    """Root mean square and range of each column, and the largest size of an entry."""

    size: NDArray[np.float64]
    span: NDArray[np.float64]
    largest: float


def warn_of_scales(data: Dataset, stacklevel: int) -> None:
    """Emit a `TrainingWarning` for inputs that are not scaled, and one for targets that are not.

    Standardised data, and data in [-1, 1], cause no warning. See `warnings.warn` on `stacklevel`.
    """
    scale = data.scale or Scaling.none()
    messages = [_of_inputs(_columns(data.x, scale), scale)]
    if not data.is_classification:
        messages.append(_of_targets(_columns(data.y, Scaling.none())))
    for message in filter(None, messages):
        warnings.warn(f"[Trainer.fit] {message}", TrainingWarning, stacklevel=stacklevel)


def warn_if_scaled_twice(x: Any, scaling: Scaling, where: str, stacklevel: int) -> None:
    """Emit a `TrainingWarning` if raw inputs that a factor makes small are floats of at most 1.

    Such inputs may have been scaled before, so that their scale is 1. See `warnings.warn` on `stacklevel`.
    """
    factor = float(scaling.factor.max())
    if x.dtype.kind != "f" or not scaling.is_uniform or scaling.offset != 0 or factor > _FACTOR:
        return
    largest = float(np.abs(dense(x[:_FIRST])).max(initial=0.0))
    if 0 < largest <= 1:
        warnings.warn(
            f"[{where}] The inputs may have been scaled already: they are floats of at most {largest:.3g}, "
            f"and the model's scaling multiplies them by {factor:.3g}. For inputs that are scaled already, "
            "pass Dataset(x, y, scale=1), or predict(x, scale=1).",
            TrainingWarning,
            stacklevel=stacklevel,
        )


def _of_inputs(columns: _Columns, scale: Scaling) -> str | None:
    """Return a message if a feature is large, or features have unequal ranges and one is not small.

    Ranges are compared, not deviations: a pixel at the border is rarely set and has a small deviation, but
    the range of the other pixels.
    """
    size, span, largest = columns
    varying = span[span > 0]
    small = np.quantile(varying, 0.1, method="lower") if len(varying) else np.inf
    uneven = size.max() > _UNIT and span.max() > _RATIO * small
    if not uneven and size.max() <= _LARGE:
        return None
    feature = int(size.argmax())
    cause = f"feature {feature} has the root mean square {size[feature]:.3g}, that of scaled features is 1"
    if uneven:
        cause += f"; the largest range of a feature is {span.max():.3g}, a tenth have at most {small:.3g}"
    cure = 'Pass fit(x, y, scaling="standardise")'
    if not uneven and scale.is_uniform and scale.offset == 0:
        cure += f", or scaling={float(scale.factor) / largest:.3g}"
    return f"The inputs are not scaled: {cause}. {cure}."


def _of_targets(columns: _Columns) -> str | None:
    target = int(columns.size.argmax())
    if columns.size[target] <= _LARGE:
        return None
    return (
        f"The targets are not scaled: target {target} has the root mean square {columns.size[target]:.3g}, "
        "far from outputs of about 1. Standardise the targets, (y - y.mean(0)) / (y.std(0) + 1e-8) with mean "
        "and std of the training data, and undo this in the predictions."
    )


def _columns(x: Any, scaling: Scaling) -> _Columns:
    """Return the sizes of the columns of scaled inputs, from at most 10,000 rows of a dense array."""
    with np.errstate(over="ignore"):
        square, low, high = _moments_of_sparse(x, scaling) if is_sparse(x) else _moments(x, scaling)
    largest = float(np.maximum(np.abs(low), np.abs(high)).max())
    return _Columns(np.sqrt(square), high - low, largest)


_Moments = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _moments(x: Any, scaling: Scaling) -> _Moments:
    """Return mean square, smallest and largest entry of each column."""
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), _SAMPLES)).astype(np.intp))
    squares, low, high = np.zeros(x.shape[1]), np.full(x.shape[1], np.inf), np.full(x.shape[1], -np.inf)
    for part in np.array_split(rows, min(len(rows), -(-len(rows) * x.shape[1] // _ENTRIES))):
        entries = scaling.apply(x[part], np.dtype(np.float64))
        low, high = np.minimum(low, entries.min(axis=0)), np.maximum(high, entries.max(axis=0))
        squares += np.square(entries, out=entries).sum(axis=0)
    return squares / len(rows), low, high


def _moments_of_sparse(x: Any, scaling: Scaling) -> _Moments:
    entries, columns, rows = x.data.astype(np.float64), int(x.shape[1]), int(x.shape[0])
    mean, square = (np.bincount(x.indices, entries**power, columns) / rows for power in (1, 2))
    bounds = (np.asarray(bound.toarray(), np.float64).ravel() for bound in (x.min(axis=0), x.max(axis=0)))
    low, high = (scaling(bound[None])[0] for bound in bounds)
    shifted = np.maximum(square - 2 * scaling.offset * mean + scaling.offset**2, 0.0)
    return scaling.factor**2 * shifted, low, high
