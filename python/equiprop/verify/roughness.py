"""Smoothness of functions along lines: rounding inside of them, jumps and kinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

#: Order of the differences that remove a smooth function, and number of values.
_ORDER, _VALUES = 6, 9
#: Steps of the differences: sixth differences of a smooth function with a length scale above 0.01 are below
#: rounding for the first; the second is wider than the grid of half precision.
_FINE, _COARSE = 1e-5, 1e-4
#: A coarse roughness above this is a grid of numbers, because smooth functions are far below.
_GRID = 1e-6
#: Points of the first search for breaks, and spacing at which the search ends.
_POINTS, _SPACING = 129, 1e-7


def roughness(function: Callable[[float], _Floats]) -> float:
    """Return the standard deviation of the rounding errors inside a function of a real number near 0.

    The differences of sixth order of equidistant values remove the smooth part. Source: Moré & Wild (2011),
    Estimating computational noise.

    Parameters
    ----------
    function : callable
        Function of a number t that returns an array; t is of the order of 1e-4.

    Returns
    -------
    float
        The largest deviation over the entries, about 1e-16 times the values for double precision.
    """
    fine, coarse = (_deviation(function, step) for step in (_FINE, _COARSE))
    return max(fine, coarse) if coarse > _GRID else fine


def _deviation(function: Callable[[float], _Floats], step: float) -> float:
    values = np.array([np.ravel(function(k * step)) for k in range(_VALUES)])
    differences = np.diff(values, n=_ORDER, axis=0)
    power = factorial(_ORDER) ** 2 / factorial(2 * _ORDER) * (differences**2).mean(axis=0)
    return float(np.sqrt(power.max(initial=0.0)))


@dataclass(frozen=True)
class Break:
    """A point of a line at which a function is not smooth.

    Attributes
    ----------
    jumps : bool
        True if the function jumps, False if its slope jumps.
    size : float
        Jump of the function or of its slope with respect to the position.
    sample, entry : int
        Row and column of the entry with the largest jump.
    position : float
        Position on the line.
    """

    jumps: bool
    size: float
    sample: int
    entry: int
    position: float


def largest_break(function: Callable[[_Floats], _Floats], rows: int, floor: float) -> Break | None:
    """Return the largest jump, or else kink, of a function on the lines -1 <= t <= 1; None if it is smooth.

    Each row is examined on its own line. The search refines the neighbourhood of the largest fourth
    difference: it falls with the fourth power of the spacing for a smooth function, with the first power at
    a kink, and not at all at a jump.

    Parameters
    ----------
    function : callable
        Function of positions (rows,) that returns values (rows, entries).
    rows : int
        Number of lines.
    floor : float
        Rounding error of a value.
    """
    spacing, centres, scale = 2 / (_POINTS - 1), np.zeros(rows), 0.0
    offsets, history = np.linspace(-1, 1, _POINTS), []
    while True:
        values = np.array([function(centres + t) for t in offsets])
        changes = np.abs(np.diff(values, n=4, axis=0))
        if not np.isfinite(changes).all():
            return None
        scale = max(scale, float(np.abs(values).max(initial=0.0)))
        best = changes.max(axis=2).argmax(axis=0)
        centres = centres + offsets[best + 2]
        history.append((spacing, changes[best, np.arange(rows)]))
        if spacing < _SPACING:
            break
        offsets, spacing = np.linspace(-2, 2, 17) * spacing, spacing / 4
    return _classified(history, centres, floor + 1e-16 * scale)


def _classified(history: list[tuple[float, _Floats]], centres: _Floats, floor: float) -> Break | None:
    (before, wide), (spacing, narrow) = history[-4], history[-1]
    sample, entry = np.unravel_index(int(narrow.argmax()), narrow.shape)
    size, ratio = float(narrow[sample, entry]), float(narrow[sample, entry] / max(wide[sample].max(), 1e-300))
    order = np.log(max(ratio, 1e-300)) / np.log(spacing / before)
    if size <= 100 * floor or order > 1.5:
        return None
    jumps = bool(order < 0.5)
    # The fourth difference of a step is 3 times its height, that of a kink 4 to 6 times, at the worst place.
    height = size / 3 if jumps else size / (4 * spacing)
    return Break(jumps, height, int(sample), int(entry), float(centres[sample]))
