"""Schedules of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from equiprop.checks import require

#: Function from the progress of training, 0 at the start and 1 at the end, to a factor of the learning rate.
Schedule = Callable[[float], float]


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
    require(0 < final < math.inf, "exponential", "final is positive (for 0, use cosine())", final)
    return partial(_exponential, final)


def _cosine(final: float, progress: float) -> float:
    require(0 <= progress <= 1, "cosine", "progress lies in [0, 1]", progress)
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def _exponential(final: float, progress: float) -> float:
    require(0 <= progress <= 1, "exponential", "progress lies in [0, 1]", progress)
    return float(final**progress)
