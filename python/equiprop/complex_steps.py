"""Derivatives by complex steps of methods that a user writes, and what is wrong with their results."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from equiprop.arrays import Array

#: Step h of complex-step derivatives: h^2 is below rounding, and h is far above the smallest number.
STEP = 1e-100
COMPLEX_RULE = "[Energy] Derivatives by complex step need methods that accept complex arrays."
COMPLEX_ADVICE = "override the derivative that is missing"


def returned(value: Any, name: str) -> Array:
    """Return the value of a method as an array; raise TypeError if it is None."""
    if value is None:
        raise TypeError(f"[Energy] {name} returns an array. Received None: is a return missing?")
    return np.asarray(value)


def as_complex(value: Any, name: str) -> Array:
    """Return the value of a method for a complex array; raise TypeError if it is real or None."""
    array = returned(value, name)
    if not np.iscomplexobj(array) and array.size:
        raise TypeError(
            f"{COMPLEX_RULE} Received a real array from {name}: {COMPLEX_ADVICE}, "
            "and set accepts_complex = False."
        )
    return array


def parameter_slopes(
    model: Any, function: Callable[[Any, Array], Array], s: Array, directions: Iterable[tuple[Any, Any]]
) -> Array:
    """Return the derivatives of function(model, s) along directions of the parameters, (directions,).

    A direction is an index of the parameters with the components there. The function receives a copy of the
    model with complex parameters, and a complex state, so that methods may add to a copy of it in place.

    Raises
    ------
    TypeError
        If a method does not read `parameters`, or drops their imaginary part.
    """
    probe, at, slopes = copy.copy(model), s + 0j, []
    probe.parameters = model.parameters.astype(np.complex128)
    for where, components in directions:
        probe.parameters.imag[where] = STEP * components
        value = function(probe, at)
        if not np.iscomplexobj(value):
            raise _not_read(model)
        slopes.append(np.imag(value) / STEP)
        probe.parameters.imag[where] = 0
    if slopes and not np.any(slopes) and not _reads(function, probe, s):
        raise _not_read(model)
    return np.array(slopes, dtype=np.float64)


def _reads(function: Callable[[Any, Array], Array], probe: Any, s: Array) -> bool:
    """Return True if complex parameters make the result for a real state complex, or do not fit into it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return bool(np.iscomplexobj(function(probe, s)))
        except (TypeError, Warning):
            return True


def _not_read(model: Any) -> TypeError:
    return TypeError(
        "[Energy] Derivatives by complex step need methods that read `parameters` at each call, and keep "
        f"their imaginary part. Received a real array from {type(model).__name__} for complex parameters: "
        "read `self.parameters` in the methods, or override the derivative that is missing and set "
        "accepts_complex = False."
    )
