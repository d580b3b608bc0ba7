"""Schedules of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from equiprop.checks import real, require, whole

#: Function from the progress of training, 0 at the start and 1 at the end, to a factor of the learning rate.
Schedule = Callable[[float], float]
#: A progress that lies before the end of a cycle by less than this part of the cycle begins the next one.
_ROUNDING = 1e-9
#: Logarithm of the largest length of a cycle relative to the first one.
_MOST_GROWTH = 690.0


def constant() -> Schedule:
    """Return the schedule f(p) = 1.

    Examples
    --------
    >>> constant()(0.3)
    1.0
    """
    return exponential(1.0)


def cosine(final: float = 0.0) -> Schedule:
    r"""Return the schedule :math:`f(p) = c + (1 - c)(1 + \cos \pi p)/2` (Loshchilov & Hutter 2017).

    Parameters
    ----------
    final : float, not negative
        Factor c at the end of training; it is 1 at the start.

    Returns
    -------
    callable
        Function from progress p in [0, 1] to the factor; it raises ValueError for other p. It can be pickled.

    Raises
    ------
    ValueError
        ``final`` is negative or not finite.

    Examples
    --------
    >>> [round(cosine(0.2)(progress), 3) for progress in (0, 0.5, 1)]
    [1.0, 0.6, 0.2]
    """
    final = real(final, "cosine", "final")
    require(0 <= final < math.inf, "cosine", "final lies in [0, inf)", final)
    return partial(_cosine, final)


def exponential(final: float) -> Schedule:
    r"""Return the schedule :math:`f(p) = c^p`, which falls from 1 to c.

    Parameters
    ----------
    final : float, positive
        Factor c at the end of training.

    Returns
    -------
    callable
        Function from progress p in [0, 1] to the factor; it raises ValueError for other p. It can be pickled.

    Raises
    ------
    ValueError
        ``final`` is not positive or not finite.

    Examples
    --------
    >>> [round(exponential(0.01)(progress), 3) for progress in (0, 0.5, 1)]
    [1.0, 0.1, 0.01]
    """
    final = real(final, "exponential", "final")
    require(0 < final < math.inf, "exponential", "final is positive (for 0, use cosine())", final)
    return partial(_exponential, final)


def cosine_restarts(cycles: int, growth: float = 2.0, final: float = 0.0) -> Schedule:
    r"""Return a cosine that restarts from 1 in each cycle (SGDR, Loshchilov & Hutter 2017).

    Cycle k = 0, 1, ... has a length proportional to :math:`m^k`; all cycles together fill the training. In
    each one the factor is `cosine` of the progress within the cycle.

    Parameters
    ----------
    cycles : int
        Number of cycles, 1 to 1000.
    growth : float, at least 1
        Length m of a cycle relative to the one before.
    final : float, not negative
        Factor at the end of each cycle.

    Returns
    -------
    callable
        See `cosine`.

    Raises
    ------
    TypeError, ValueError
        A number is out of range.

    Examples
    --------
    >>> schedule = cosine_restarts(cycles=2, growth=3.0)
    >>> [round(schedule(progress), 3) for progress in (0, 0.125, 0.25, 0.625, 1)]
    [1.0, 0.5, 1.0, 0.5, 0.0]
    """
    where = "cosine_restarts"
    cycles, growth = whole(cycles, where, "cycles", 1, 1000), real(growth, where, "growth")
    small = growth >= 1 and (cycles - 1) * math.log(min(growth, 1e300)) < _MOST_GROWTH
    require(small, where, "growth is at least 1, and growth ** cycles below 1e300", f"{growth} ** {cycles}")
    final = real(final, where, "final")
    require(0 <= final < math.inf, where, "final lies in [0, inf)", final)
    return partial(_cosine_restarts, cycles, growth, final)


def warm_up(part: float, then: Schedule | None = None, start: float = 0.0) -> Schedule:
    r"""Return a schedule that rises linearly in the first part of training and then continues with another.

    .. math:: f(p) = \left(s + (1 - s) \frac p w\right) g(0) \quad (p < w), \qquad
       f(p) = g\left(\frac{p - w}{1 - w}\right) \quad (p \ge w)

    Parameters
    ----------
    part : float in (0, 1)
        Part w of the training in which the factor rises.
    then : callable, optional
        Schedule g of the rest, such as ``cosine()``; by default `constant`.
    start : float in [0, 1]
        Factor s at the start.

    Returns
    -------
    callable
        See `cosine`.

    Raises
    ------
    TypeError, ValueError
        A number is out of range, or `then` is not callable.

    Examples
    --------
    >>> schedule = warm_up(0.2, cosine())
    >>> [round(schedule(progress), 3) for progress in (0, 0.1, 0.2, 0.6, 1)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    part, start = real(part, "warm_up", "part"), real(start, "warm_up", "start")
    require(0 < part < 1, "warm_up", "part lies in (0, 1)", part)
    require(0 <= start <= 1, "warm_up", "start lies in [0, 1]", start)
    then = constant() if then is None else then
    if not callable(then):
        raise TypeError(f"[warm_up] then is a schedule, such as cosine(). Received {then!r}.")
    return partial(_warm_up, part, then, start)


def _cosine(final: float, progress: float) -> float:
    require(0 <= progress <= 1, "cosine", "progress lies in [0, 1]", progress)
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def _exponential(final: float, progress: float) -> float:
    require(0 <= progress <= 1, "exponential", "progress lies in [0, 1]", progress)
    return float(final**progress)


def _cosine_restarts(cycles: int, growth: float, final: float, progress: float) -> float:
    require(0 <= progress <= 1, "cosine_restarts", "progress lies in [0, 1]", progress)
    lengths = [growth**k for k in range(cycles)]
    rest = progress * math.fsum(lengths)
    for length in lengths[:-1]:
        if rest < length * (1 - _ROUNDING):
            return _cosine(final, max(rest, 0.0) / length)
        rest -= length
    return _cosine(final, min(max(rest, 0.0) / lengths[-1], 1.0))


def _warm_up(part: float, then: Schedule, start: float, progress: float) -> float:
    require(0 <= progress <= 1, "warm_up", "progress lies in [0, 1]", progress)
    if progress < part:
        return (start + (1 - start) * progress / part) * then(0.0)
    return then(min((progress - part) / (1 - part), 1.0))
