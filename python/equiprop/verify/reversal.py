"""Relaxations of samples that diverged in the opposite direction, which show a wrong sign."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array
from equiprop.model_interface import Model

#: Number of steps, size of the residual relative to the first one that ends them, and growth that does.
_STEPS, _SMALL, _GROWN = 5000, 1e-9, 1e6


def of_sign(model: Model, x: Array, start: Array, step_size: float) -> str:
    """Return a sentence if the samples x, which diverged, relax in the opposite direction; otherwise "".

    Parameters
    ----------
    model : Model
    x : (batch, inputs)
        Input of the samples.
    start : (batch, units)
        Their initial states.
    step_size : float
        Stable step of the opposite direction.
    """
    if not len(x) or not _relaxes(model, x, start, step_size):
        return ""
    if model.conservative:
        return (
            "The free phase diverged, and steps along +dE/ds, in place of -dE/ds, relax to a fixed point: "
            "the energy falls without bound. The sign of energy and gradient, or of their leak such as "
            "|s|^2 / 2, is wrong."
        )
    return (
        "The free phase diverged, and it relaxes to a fixed point with the opposite sign of velocity: the "
        "sign of velocity is wrong. velocity returns ds/dt, which is -dE/ds where there is an energy E."
    )


def _relaxes(model: Model, x: Array, start: Array, step_size: float) -> bool:
    """Return True if steps along the gradient, in place of against it, end at a fixed point."""
    energy, state = model.clamp(x), np.array(start, dtype=np.float64)
    first = _largest(energy.gradient(state)) or 1.0
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            slope = energy.gradient(state)
            residual = _largest(slope)
            if not residual <= _GROWN * first:
                return False
            if residual <= _SMALL * first:
                return True
            state = state + step_size * slope
    return False


def _largest(values: NDArray[np.float64]) -> float:
    return float(np.abs(values).max(initial=0.0))
