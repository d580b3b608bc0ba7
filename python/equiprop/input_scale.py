"""Warnings of inputs and targets whose numbers are far larger than those of a network."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import is_sparse
from equiprop.dataset import Dataset
from equiprop.results import TrainingWarning

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

_STANDARDISE = "({0} - {0}.mean(0)) / ({0}.std(0) + 1e-8) with mean and std of the training data"


class _Columns(NamedTuple):
    """Root mean square and range of each column, and the largest size of an entry."""

    size: NDArray[np.float64]
    span: NDArray[np.float64]
    largest: float


def warn_of_scales(data: Dataset, stacklevel: int) -> None:
    """Emit a `TrainingWarning` for inputs that are not scaled, and one for targets that are not.

    Standardised data, and data in [-1, 1], cause no warning. See `warnings.warn` on `stacklevel`.
    """
    messages = [_of_inputs(_columns(data.x, data.scale))]
    if not data.is_classification:
        messages.append(_of_targets(_columns(data.y)))
    for message in filter(None, messages):
        warnings.warn(f"[Trainer.fit] {message}", TrainingWarning, stacklevel=stacklevel)


def _of_inputs(columns: _Columns) -> str | None:
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
    cure = f"Standardise the features: {_STANDARDISE.format('x')}"
    if not uneven:
        cure += f"; or pass Dataset(x, y, scale={1 / largest:.3g})"
    return f"The inputs are not scaled: {cause}. {cure}."


def _of_targets(columns: _Columns) -> str | None:
    target = int(columns.size.argmax())
    if columns.size[target] <= _LARGE:
        return None
    return (
        f"The targets are not scaled: target {target} has the root mean square {columns.size[target]:.3g}, "
        f"far from outputs of about 1. Standardise the targets, {_STANDARDISE.format('y')}, and undo this in "
        "the predictions."
    )


def _columns(x: Any, scale: float = 1.0) -> _Columns:
    """Return the sizes of the columns of ``scale * x``, from at most 10,000 rows of a dense array."""
    with np.errstate(over="ignore"):
        square, low, high = _moments_of_sparse(x) if is_sparse(x) else _moments(x)
    largest = scale * float(np.maximum(np.abs(low), np.abs(high)).max())
    return _Columns(scale * np.sqrt(square), scale * (high - low), largest)


_Moments = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _moments(x: Any) -> _Moments:
    """Return mean square, smallest and largest entry of each column."""
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), _SAMPLES)).astype(np.intp))
    squares, low, high = np.zeros(x.shape[1]), np.full(x.shape[1], np.inf), np.full(x.shape[1], -np.inf)
    for part in np.array_split(rows, min(len(rows), -(-len(rows) * x.shape[1] // _ENTRIES))):
        entries = x[part].astype(np.float64)
        low, high = np.minimum(low, entries.min(axis=0)), np.maximum(high, entries.max(axis=0))
        squares += np.square(entries, out=entries).sum(axis=0)
    return squares / len(rows), low, high


def _moments_of_sparse(x: Any) -> _Moments:
    entries, count = x.data.astype(np.float64), int(x.shape[1])
    squares = np.bincount(x.indices, entries**2, count).astype(np.float64)
    low, high = (np.asarray(bound.toarray(), np.float64).ravel() for bound in (x.min(axis=0), x.max(axis=0)))
    return squares / int(x.shape[0]), low, high
