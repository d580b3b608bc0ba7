"""Inputs and targets of estimators: samples with a weight, and scalings that fit into float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from equiprop.arrays import Array, as_numpy, is_sparse
from equiprop.scaling import Scaling, as_scaling
from equiprop.weights import Weights, as_sample_weight, refuse_zero_weights


def without_zero_weights(x: Any, y: Array, sample_weight: Any, where: str) -> tuple[Any, Array, Any]:
    """Return the samples whose weight is not 0, and their checked weights; None stands for equal weights."""
    if sample_weight is None:
        return x, y, None
    weights = as_sample_weight(sample_weight, where, len(y))
    refuse_zero_weights(weights, where)
    kept = weights > 0
    return (x, y, weights) if kept.all() else (x[kept], y[kept], weights[kept])


def readable(X: Any) -> Any:
    """Return X for scikit-learn's checks, or raise MemoryError for a view that is larger than the memory."""
    return as_numpy(X, "estimator", "X") if type(X) is np.ndarray else X


def sorted_labels(labels: Any, where: str, name: str) -> Array:
    """Return the distinct labels in their order; raise TypeError if they have none, such as objects."""
    try:
        return np.unique(as_numpy(labels, where, name))
    except TypeError as error:
        raise TypeError(
            f"[{where}] `{name}` holds labels with an order. Received others: {error}."
        ) from error


def fitted(values: Any, wanted: bool, weights: Weights | None, where: str) -> Scaling:
    """Return the scaling that standardises each column, or none if it is not `wanted`; see `Scaling`."""
    return as_scaling("standardise" if wanted else "none", values, where, weights)


def refuse_beyond_float32(values: Any, scaling: Scaling, where: str, name: str) -> None:
    """Raise ValueError if a scaled number is beyond float32."""
    bounds = np.stack([_extreme(values, "min"), _extreme(values, "max")])
    if not np.isfinite(scaling(bounds, np.float32)).all():
        rule = f"{name} holds numbers that float32 can hold after the standardisation, at most 3.4e38"
        raise ValueError(f"[{where}] {rule}. Received numbers up to {float(np.abs(bounds).max()):.3g}.")


def _extreme(values: Any, end: str) -> Array:
    """Return the smallest or largest number of each column, in float64."""
    extreme = getattr(values, end)(axis=0)
    return np.asarray(extreme.toarray() if is_sparse(values) else extreme, dtype=np.float64).ravel()
