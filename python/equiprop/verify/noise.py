"""Measurement noise of recordings: stated, or estimated from repeats or from the settled end.

The noise is Gaussian, with the same size at all times, and independent from one recorded number to another.
It may have another size in each unit.
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
from equiprop.verify.significance import survival

_Floats = NDArray[np.float64]
#: Numbers of second differences, and of pairs of neighbours among them, from which their correlation tells
#: noise from a smooth deviation.
_ENOUGH, _PAIRS = 40, 30
#: Probability by which equal sizes of the noise of all units are taken for different ones.
_UNEQUAL = 1e-3
#: Degrees of freedom of a unit from which its noise has an estimate of its own, and the least part of that of
#: all units that it has.
_BY_UNIT, _LEAST = 20, 0.01


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


def _pooled(
    squares: _Floats, numbers: _Floats, dof: _Floats, words: str, whole: float | None = None
) -> Noise:
    """Return the noise from sums of squares of each unit: of all units, or by unit if the sizes differ.

    Parameters
    ----------
    squares, numbers, dof : (units,)
        A variance is a sum of squares over its number; its degrees of freedom are those of a chi-square.
    words : str
        Where the squares come from.
    whole : float, optional
        Degrees of freedom of the variance of all units; by default the sum of those of the units.
    """
    whole = float(dof.sum()) if whole is None else whole
    variance, seen = float(squares.sum() / numbers.sum()), dof > 0
    own = np.divide(squares, numbers, out=np.full(len(dof), variance), where=numbers > 0)
    text, least = f"from {words}, {whole:.0f} degrees of freedom", float(dof[seen].min())
    if not _differ(own[seen] / (variance or 1.0), dof[seen], whole):
        return Noise(math.sqrt(variance), whole, text)
    if least < _BY_UNIT:
        return Noise(math.sqrt(variance), whole, f"{text}; it differs between units, state noise= for each")
    sizes = np.sqrt(np.maximum(own, variance * _LEAST**2))
    return Noise(sizes, least, f"from {words}, by unit, at least {least:.0f} degrees of freedom")


def _differ(ratios: _Floats, dof: _Floats, whole: float) -> bool:
    """Return whether variances over that of all units differ by more than estimates of equal ones do."""
    level = _UNEQUAL / (2 * len(ratios))
    return any(
        survival(ratio, own, whole) < level or (ratio > 0 and survival(1 / ratio, whole, own) < level)
        for ratio, own in zip(ratios.tolist(), dof.tolist(), strict=True)
    )


def _from_repeats(recordings: Recordings) -> Noise:
    """Return the standard deviation of repeats from their means."""
    squares, dof = 0.0, 0.0
    for beta, path in recordings.repeats.items():
        squares += np.nansum((path - recordings.means[beta]) ** 2, axis=(0, 1, 2))
        dof += np.maximum(recordings.counts[beta] - 1, 0).sum(axis=(0, 1))
    return _pooled(np.asarray(squares), np.asarray(dof), np.asarray(dof), "repeats")


def _from_settled_end(recordings: Recordings, flow: Mapping[float, _Floats]) -> Noise | None:
    """Return the noise from second differences of the second half of single recordings less the model.

    A second difference of white noise of size sigma has the variance 6 sigma^2, and correlations -2/3 and
    1/6 with the next two. The degrees of freedom are those of a chi-square with the variance of the sum of
    squares (Satterthwaite 1946). For a smooth deviation, neighbours have a positive correlation: then the
    function returns None, as for too few differences.
    """
    units = next(iter(recordings.means.values())).shape[-1]
    products, numbers = np.zeros((3, units)), np.zeros((3, units))
    for beta, path in recordings.means.items():
        bends = _bends(path, flow[beta])
        for lag in range(min(3, len(bends))):
            pairs = bends[lag:] * bends[: len(bends) - lag]
            products[lag] += np.nansum(pairs, axis=(0, 1))
            numbers[lag] += np.count_nonzero(~np.isnan(pairs), axis=(0, 1))
    if sufficiency(recordings) < 1 or not products[1].sum() < 0:
        return None
    weights = np.array([36, 32, 2]) @ numbers
    dof = np.divide(36 * numbers[0] ** 2, weights, out=np.zeros(units), where=weights > 0)
    whole = 36 * numbers[0].sum() ** 2 / weights.sum()
    return _pooled(products[0] / 6, numbers[0], dof, "second differences of the settled end", whole)


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
