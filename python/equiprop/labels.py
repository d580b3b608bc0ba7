"""Class labels of any hashable type, and their codes: positions in the sorted classes."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import (
    FILL_IN,
    Array,
    as_array,
    as_numpy,
    is_missing,
    is_number,
    is_whole,
    place,
    refuse_not_finite,
)
from equiprop.checks import require

#: Up to so many classes are accepted for any number of samples; the second limit is for numbers far apart
#: and for times.
_FEW_CLASSES, _FEW_NUMBERS = 100, 20


def read_y(value: Any, where: str) -> Array:
    """Return y as class labels (samples,) or as real targets (samples, outputs).

    Floats are labels if they are whole and in one dimension; otherwise they are targets. A column of another
    type holds labels, and a matrix holds targets, such as one-hot rows.

    Raises
    ------
    TypeError, ValueError
        If y is not an array of one or two dimensions, or a target is not a finite number, or a label is
        missing.
    """
    array = _typed(_as_array_of_objects(value, where), where)
    if array.ndim not in (1, 2) or 0 in array.shape[1:]:
        raise ValueError(
            f"[{where}] y has shape (samples,), or (samples, outputs) for real targets. "
            f"Received shape {array.shape}."
        )
    if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind != "f":
        array = array[:, 0]
    if array.ndim == 2:
        array = as_array(array, where, "y")
    refuse_not_finite(array, where, "y")
    if array.ndim == 2:
        return array
    if array.dtype.kind == "f":
        return array.astype(np.int64) if is_whole(array) else array[:, None]
    if array.dtype.kind in "cV":
        raise TypeError(f"[{where}] y holds class labels or real targets. Received dtype {array.dtype}.")
    return array


def encode(
    labels: Array, where: str, num_classes: int = 0, classes: Array | None = None
) -> tuple[Array, Array]:
    """Return the codes (samples,) of class labels, and the sorted classes.

    Integers are their own codes if they lie in 0 .. num_classes - 1, or, without `num_classes`, if they start
    at 0 and at least half of the numbers up to the largest occur. Other labels are numbered in sorted order.

    Parameters
    ----------
    labels : array, shape (samples,)
    where : str
        Name of the caller, for errors.
    num_classes : int
        Number of classes; 0 stands for that of the labels.
    classes : array, optional
        Classes that are known already; by default those of the labels.

    Raises
    ------
    TypeError, ValueError
        If a label has no hash, or is none of `classes`; or there are too many classes for the samples, or
        another number than `num_classes`.
    """
    if classes is not None:
        require(num_classes in (0, len(classes)), where, "num_classes counts the classes", num_classes)
        return codes_among(labels, classes, where), classes
    present, codes = _unique(labels, where)
    integers = labels.dtype.kind in "iu"
    if num_classes and integers and (not len(present) or 0 <= present[0] <= present[-1] < num_classes):
        return labels, np.arange(num_classes)
    if num_classes:
        rule = f"Labels lie in 0 .. {num_classes - 1}, below num_classes, or num_classes counts the classes"
        require(len(present) == num_classes, where, rule, f"{len(present)} classes, {shown(present)}")
        return codes, present
    _refuse_too_many(present, len(labels), where)
    if integers and len(present) and present[0] == 0 and int(present[-1]) < 2 * len(present):
        return labels, np.arange(int(present[-1]) + 1)
    return codes, present


def read_classes(value: Any, where: str) -> Array:
    """Return classes as an array (classes,); raise an error unless they are distinct labels."""
    classes = as_numpy(value, where, "classes")
    try:
        distinct = classes.ndim == 1 and len(set(classes.tolist())) == len(classes)
    except TypeError as error:
        raise TypeError(f"[{where}] Class labels have a hash. Received a label without: {error}.") from error
    require(distinct, where, "classes are distinct, in one dimension", shown(classes))
    return classes


def classes_of_outputs(value: Any, outputs: int, where: str) -> Array:
    """Return the class of each output as an array (outputs,); raise an error for other classes."""
    classes = read_classes(value, where)
    rule = f"classes has one class for each output, {outputs} in all"
    require(len(classes) == outputs, where, rule, f"{len(classes)} classes, {shown(classes)}")
    return classes


def _refuse_too_many(present: Array, samples: int, where: str) -> None:
    """Raise ValueError for labels such as times or identifiers: most samples have a class of their own."""
    count, kind = len(present), present.dtype.kind
    span = int(present[-1]) - int(present[0]) if kind in "iu" and count else 0
    far_apart = kind in "Mm" or span > 10 * count
    if count <= max(_FEW_NUMBERS if far_apart else _FEW_CLASSES, samples // 2):
        return
    raise ValueError(
        f"[{where}] Class labels occur at least twice on average. Received {count} classes in {samples} "
        f"samples: {shown(present)}. For regression, pass y.astype(float)[:, None]; for classes, pass "
        f"Dataset(x, y, num_classes={count})."
    )


class UnknownLabel(ValueError):
    """A label is none of the known classes."""


def codes_among(labels: Array, classes: Array, where: str) -> Array:
    """Return the positions of labels (samples,) in `classes`; raise UnknownLabel for any other."""
    present, codes = _unique(labels, where)
    position = {label: i for i, label in enumerate(classes.tolist())}
    values = present.tolist()
    for label in values:
        if label not in position:
            rule = f"Labels are among the classes {shown(classes)}"
            raise UnknownLabel(f"[{where}] {rule}. Received {label!r}.")
    return np.array([position[label] for label in values], dtype=np.int64)[codes]


def shown(classes: Array) -> str:
    """Return classes as a short text."""
    return reprlib.repr(classes.tolist()).strip("[]") or "none"


def _as_array_of_objects(value: Any, where: str) -> Array:
    """Return y as an array of any type; a list that mixes text and numbers keeps its objects."""
    array = as_numpy(value, where, "y")
    mixed = isinstance(value, list) and not all(isinstance(label, str | bytes) for label in value)
    if array.dtype.kind in "US" and array.ndim == 1 and mixed:
        array = np.empty(len(value), dtype=object)
        array[:] = value
    return array


def _typed(array: Array, where: str) -> Array:
    """Return an array of objects with the type of its numbers, if it has no others; refuse missing labels."""
    if array.dtype.kind in "Mm" or array.dtype.kind == "O":
        for index, label in np.ndenumerate(array):
            if is_missing(label):
                raise ValueError(
                    f"[{where}] `y` has no missing values. Received {label!r} at {place(index, 'y')}. "
                    f"{FILL_IN}"
                )
    if array.dtype.kind == "O" and array.size and all(map(is_number, set(map(type, array.flat)))):
        typed = np.array(array.tolist())
        return array if typed.dtype.kind == "O" else typed  # objects such as Decimal remain
    return array


def _unique(labels: Array, where: str) -> tuple[Array, NDArray[np.intp]]:
    """Return the sorted distinct labels, and the position of each label among them."""
    if labels.dtype.kind != "O":
        return np.unique(labels, return_inverse=True)
    try:
        distinct = set(labels.tolist())
    except TypeError as error:
        raise TypeError(f"[{where}] Class labels have a hash. Received a label without: {error}.") from error
    try:
        ordered = sorted(distinct)
    except TypeError:  # labels of several types have no order
        ordered = sorted(distinct, key=lambda label: (type(label).__name__, repr(label)))
    present = np.empty(len(ordered), dtype=object)
    present[:] = ordered
    position = {label: i for i, label in enumerate(ordered)}
    return present, np.array([position[label] for label in labels.tolist()], dtype=np.intp)
