"""Derivatives of a user's model at states far from its fixed point, along random directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.model_interface import Model
from equiprop.verify.complex_states import COMPLEX_STEP, five_points

_Floats = NDArray[np.float64]

#: Number of states, and distance of a unit from the given state in units of its largest magnitude.
_STATES, _DISTANCE = 6, 2.0
#: Steps of five-point differences; the smallest error counts, because a step may cross a kink.
_STEPS = (1e-3, 2.5e-4, 6e-5)


@dataclass(frozen=True)
class FarError:
    """The largest error of a derivative along a direction at a far state.

    Attributes
    ----------
    error : float
        Relative to the largest value over all states.
    sample : int
    value, expected : float
    """

    error: float
    sample: int
    value: float
    expected: float


def far_error(
    model: Model, x: _Floats, state: _Floats, random: np.random.Generator, by_complex_step: bool
) -> FarError | None:
    """Compare <v, gradient> with the derivative of the energy along v at random states far from `state`.

    The derivative is a complex step if `by_complex_step` is True, otherwise the best of five-point
    differences with several steps. States at which a function is not finite, or raises an exception, are
    left out.

    Returns
    -------
    FarError or None
        None if no function is finite far from the state.
    """
    values, slopes = [], []
    span = _DISTANCE * max(0.5, float(np.abs(state).max(initial=0.0)))
    with np.errstate(all="ignore"):
        for _ in range(_STATES):
            s = np.ascontiguousarray(state + span * random.uniform(-1, 1, state.shape))
            value, slope = _compare(model, x, s, random.standard_normal(state.shape), by_complex_step)
            values.append(value)
            slopes.append(slope)
    value, slope = np.array(values), np.array(slopes)
    known = np.isfinite(value) & np.isfinite(slope)
    if not known.any():
        return None
    scale = float(np.abs(np.where(known, value, 0)).max()) or 1.0
    gaps = np.where(known, np.abs(value - slope), 0.0) / scale
    worst = np.unravel_index(int(gaps.argmax()), gaps.shape)
    return FarError(float(gaps[worst]), int(worst[1]), float(value[worst]), float(slope[worst]))


def _compare(
    model: Model, x: _Floats, s: _Floats, v: _Floats, by_complex_step: bool
) -> tuple[_Floats, _Floats]:
    """Return <v, gradient> and the derivative of the energy; NaN if a user's function refuses the state."""
    try:
        value = (v * model.clamp(x).gradient(s)).sum(axis=1)
        return value, _slope(model, x, s, v, value, by_complex_step)
    except Exception:  # a user's function may raise anything outside of its domain
        return np.full(len(s), np.nan), np.full(len(s), np.nan)


def _slope(
    model: Model, x: _Floats, s: _Floats, v: _Floats, value: _Floats, by_complex_step: bool
) -> _Floats:
    """Return the derivative of the energy of each sample along v; NaN where the energy is not finite."""
    energies = model.clamp(x).energy(s)
    if by_complex_step:
        image: Any = model.clamp_complex(x).energy(s + 1j * COMPLEX_STEP * v)
        return np.where(np.isfinite(energies), image.imag / COMPLEX_STEP, np.nan)
    energy = model.clamp(x).energy
    slopes = np.array(
        [five_points([energy(s + k * step * v) for k in (-2, -1, 1, 2)], step) for step in _STEPS]
    )
    best = np.abs(slopes - value).argmin(axis=0)
    return np.asarray(slopes[best, np.arange(len(s))])
