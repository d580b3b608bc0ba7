"""Weights of samples and of classes: checks, and the weights that classes give to their samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array, as_array, refuse_not_finite
from equiprop.checks import real, require
from equiprop.labels import shown

Weights = NDArray[np.float64]


def as_sample_weight(value: Any, where: str, samples: int | None = None) -> Weights:
    """Return weights of samples as a float64 array (samples,).

    Parameters
    ----------
    value : array (samples,) of integers, floats or booleans
    where : str
        Name of the caller, for errors.
    samples : int, optional
        Number of samples, if it is known.

    Raises
    ------
    TypeError, ValueError
        If `value` has another shape, or a number that is not finite or negative.
    """
    weights = as_array(value, where, "sample_weight")
    if weights.ndim != 1 or samples not in (None, len(weights)):
        shape = "(samples,)" if samples is None else f"({samples},), one weight for each sample"
        raise ValueError(f"[{where}] `sample_weight` has shape {shape}. Received shape {weights.shape}.")
    refuse_not_finite(weights, where, "sample_weight")
    if len(weights) and weights.min() < 0:
        lowest = int(weights.argmin())
        received = f"{weights[lowest]} at sample {lowest}"
        raise ValueError(f"[{where}] `sample_weight` holds numbers from 0. Received {received}.")
    weights = weights.astype(np.float64)
    with np.errstate(over="ignore"):
        total = weights.sum()
    require(bool(np.isfinite(total)), where, "The sum of `sample_weight` is below 1.8e308", "a larger one")
    return weights


def refuse_zero_weights(weights: Weights | None, where: str) -> None:
    """Raise ValueError if there are weights, and all are 0."""
    if weights is not None and len(weights) and not weights.any():
        raise ValueError(f"[{where}] At least one sample has a weight above zero. Received only zeros.")


def mean_weight(sample_weight: Any, where: str) -> float:
    """Return the mean of the weights of the samples of a batch; 1 for None, and if all are 0."""
    return 1.0 if sample_weight is None else float(as_sample_weight(sample_weight, where).mean()) or 1.0


def class_factors(
    codes: Array, classes: Array, class_weight: Any, sample_weight: Weights | None, where: str
) -> Weights:
    """Return the weight of the class of each sample, (samples,), as scikit-learn computes it.

    Parameters
    ----------
    codes : array (samples,) of integers
        Position of the class of each sample in `classes`.
    classes : array (classes,)
    class_weight : mapping from class to float, or "balanced"
        Classes that a mapping does not name have weight 1. "balanced" stands for W / (K W_c): W is the sum of
        all weights of samples, W_c that of class c, and K the number of classes that occur; without weights
        of samples, W and W_c are numbers of samples.
    sample_weight : array (samples,), optional
    where : str
        Name of the caller, for errors.

    Raises
    ------
    TypeError, ValueError
        If `class_weight` is something else, a weight is negative or not finite, or a key is no class while a
        class has no weight.
    """
    if isinstance(class_weight, str) and class_weight == "balanced":
        sums = np.bincount(codes, sample_weight, len(classes))
        factors = np.divide(sums.sum() / np.count_nonzero(sums), sums, where=sums > 0, out=np.ones(len(sums)))
    elif isinstance(class_weight, Mapping):
        factors = _named_weights(classes, class_weight, where)
    else:
        raise TypeError(
            f"[{where}] class_weight is a mapping from class to weight, 'balanced' or None. "
            f"Received {class_weight!r}."
        )
    return np.asarray(factors[codes], dtype=np.float64)


def _named_weights(classes: Array, class_weight: Mapping[Any, Any], where: str) -> Weights:
    labels = classes.tolist()
    unknown = [label for label in class_weight if label not in labels]
    complete = all(label in class_weight for label in labels)  # a part of the data may lack a class
    require(not unknown or complete, where, f"Keys of class_weight are classes, {shown(classes)}", unknown)
    factors = np.array([real(class_weight.get(label, 1.0), where, "a class weight") for label in labels])
    sound = bool(np.isfinite(factors).all() and (factors >= 0).all())
    require(sound, where, "Class weights are finite and not negative", dict(class_weight))
    return factors
