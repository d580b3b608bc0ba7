"""Measurement noise of recordings: stated, or estimated from repeats or from the settled end.

The noise is Gaussian, with the same size at all times, and independent from one recorded number to another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import as_array
from equiprop.verify.recordings import Recordings

_Floats = NDArray[np.float64]
#: Numbers of second differences, and of pairs of neighbours among them, from which their correlation tells
#: noise from a smooth deviation.
_ENOUGH, _PAIRS = 40, 30


@dataclass(frozen=True)
class Noise:
    """Size of the noise of one recorded number.

    Attributes
    ----------
    size : float, or (units,) array
        Standard deviation, of all units or of each unit.
    dof : float
        Degrees of freedom of the estimate; infinity for a stated size.
    source : str
        Where the size comes from, in words.
    """

    size: float | _Floats
    dof: float
    source: str

    @property
    def typical(self) -> float:
        """The root mean square over the units."""
        return float(np.sqrt(np.mean(np.square(self.size))))

    @property
    def error(self) -> float:
        """The standard error of `typical`."""
        return self.typical / float(np.sqrt(2 * self.dof))


def checked_size(noise: Any, units: int) -> float | _Floats:
    """Return the size of the noise that a user states, as a float or as an array (units,).

    Raises
    ------
    TypeError, ValueError
        If the noise has another shape, or a number is negative or not finite, or 0 in an array.
    """
    sizes = as_array(noise, "traces", "noise").astype(np.float64)
    usual = bool(((sizes >= 1e-100) & (sizes <= 1e100)).all())
    if sizes.shape not in ((), (units,)) or not (usual or (sizes.ndim == 0 and sizes == 0)):
        received = noise if sizes.size < 10 else f"shape {sizes.shape}"
        raise ValueError(
            f"[traces] noise is 0, a positive number, or one positive number for each of the {units} units, "
            "from 1e-100 to 1e100. "
            f"Received {received}."
        )
    return float(sizes) if sizes.ndim == 0 else sizes


def found(recordings: Recordings, flow: Mapping[float, _Floats]) -> Noise | None:
    """Return the noise of recordings, from repeats if there are any, else from the settled end.

    Parameters
    ----------
    recordings : Recordings
    flow : mapping of float to (steps + 1, batch, units)
        The states of the model.

    Returns
    -------
    Noise or None
        None if the recordings are smooth, infinite, or too short for an estimate.
    """
    if not recordings.finite:
        return None
    return _from_repeats(recordings) if _repeated(recordings) else _from_settled_end(recordings, flow)


def sufficiency(recordings: Recordings) -> float:
    """Return the amount of finite data over that from which noise can be told from a smooth deviation."""
    if not recordings.finite or _repeated(recordings):
        return np.inf
    seen = [~np.isnan(_second_differences(path)) for path in recordings.means.values()]
    pairs = [bends[1:] & bends[:-1] for bends in seen]
    return min(float(sum(map(np.sum, seen))) / _ENOUGH, float(sum(map(np.sum, pairs))) / _PAIRS)


def sufficient_steps(recordings: Recordings) -> int:
    """Return the number of steps without missing states from which the sufficiency is 1."""
    courses = sum(int(counts.any(axis=0).sum()) for counts in recordings.counts.values())
    return 2 + 2 * max(math.ceil(_ENOUGH / courses), 1 + math.ceil(_PAIRS / courses))


def _repeated(recordings: Recordings) -> bool:
    return any((counts > 1).any() for counts in recordings.counts.values())


def _from_repeats(recordings: Recordings) -> Noise:
    """Return the pooled standard deviation of repeats from their means."""
    squares, dof = 0.0, 0
    for beta, path in recordings.repeats.items():
        squares += float(np.nansum((path - recordings.means[beta]) ** 2))
        dof += int(np.maximum(recordings.counts[beta] - 1, 0).sum())
    return Noise(float(np.sqrt(squares / dof)), dof, f"from repeats, {dof} degrees of freedom")


def _from_settled_end(recordings: Recordings, flow: Mapping[float, _Floats]) -> Noise | None:
    """Return the noise from second differences of the second half of single recordings less the model.

    A second difference of white noise of size sigma has the variance 6 sigma^2, and correlations -2/3 and
    1/6 with the next two. The degrees of freedom are those of a chi-square with the variance of the sum of
    squares (Satterthwaite 1946). For a smooth deviation, neighbours have a positive correlation: then the
    function returns None, as for too few differences.
    """
    products, numbers = np.zeros(3), np.zeros(3)
    for beta, path in recordings.means.items():
        bends = _bends(path, flow[beta])
        for lag in range(min(3, len(bends))):
            pairs = bends[lag:] * bends[: len(bends) - lag]
            products[lag] += np.nansum(pairs)
            numbers[lag] += np.count_nonzero(~np.isnan(pairs))
    if sufficiency(recordings) < 1 or not products[1] < 0:
        return None
    dof = float(36 * numbers[0] ** 2 / (numbers @ [36, 32, 2]))
    words = f"from second differences of the settled end, {dof:.0f} degrees of freedom"
    return Noise(float(np.sqrt(products[0] / (6 * numbers[0]))), dof, words)


def _bends(path: _Floats, flow: _Floats) -> _Floats:
    """Return second differences of a recording less the flow, or less the fitted response if smaller."""
    change, response = path - flow[0], flow - flow[0]
    power = float((response**2)[~np.isnan(path)].sum())
    factor = float(np.nansum(change * response)) / power if power else 1.0
    bends = [_second_differences(change - f * response) for f in (1.0, factor)]
    return min(bends, key=lambda bend: float(np.nansum(bend**2)))


def _second_differences(path: _Floats) -> _Floats:
    """Return the second differences of the second half of a path."""
    return np.diff(path[len(path) // 2 :], n=2, axis=0)
