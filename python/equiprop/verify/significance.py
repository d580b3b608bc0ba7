"""Tail probabilities and limits of the F distribution, of which chi-square, t and normal are special cases.

The F distribution with 1 and m degrees of freedom is that of t^2, with infinite m it is that of a chi-square
over its degrees of freedom, and with 1 and infinite m that of the square of a normal variable.
"""

from __future__ import annotations

import math
from collections.abc import Callable

#: Smallest divisor in a continued fraction (Lentz's method).
_SMALL = 1e-300
#: Relative change at which a series or a continued fraction ends.
_END = 1e-14


def survival(ratio: float, dof: float, noise_dof: float) -> float:
    """Return P(F > ratio) for the F distribution.

    Source: Press et al., Numerical Recipes, sections 6.2 and 6.4.

    Parameters
    ----------
    ratio : float
        Mean square over the estimated variance of the noise.
    dof : float
        Degrees of freedom of the mean square.
    noise_dof : float
        Degrees of freedom of the estimated variance; infinity if the variance is known.
    """
    if not ratio > 0:
        return math.nan if math.isnan(ratio) else 1.0
    if math.isinf(ratio):
        return 0.0
    if math.isinf(noise_dof):
        return _upper_gamma(dof / 2, dof * ratio / 2)
    return _beta(noise_dof / 2, dof / 2, noise_dof / (noise_dof + dof * ratio))


def limit(significance: float, dof: float, noise_dof: float) -> float:
    """Return the ratio that an F variable exceeds with probability `significance`, by bisection."""
    low, high = 0.0, 1.0
    while survival(high, dof, noise_dof) > significance:
        low, high = high, 2 * high
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if survival(middle, dof, noise_dof) > significance:
            low = middle
        else:
            high = middle
    return high


def two_sided(significance: float, noise_dof: float) -> float:
    """Return the number of standard errors that |t| exceeds with probability `significance`."""
    return math.sqrt(limit(significance, 1, noise_dof))


def one_sided(significance: float, noise_dof: float) -> float:
    """Return the number of standard errors, at least 0, that t exceeds with probability `significance`."""
    return two_sided(min(2 * significance, 1.0), noise_dof)


def _upper_gamma(a: float, x: float) -> float:
    """Return the regularised upper incomplete gamma function Q(a, x)."""
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x >= a + 1:
        return front * _fraction(lambda k: (-k * (k - a), x + 2 * k + 1 - a), x + 1 - a)
    term = total = 1 / a
    k = a
    while term > _END * total:
        k += 1
        term *= x / k
        total += term
    return 1 - front * total


def _beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b)."""
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, 1 - x)
    if x == 0:
        return 0.0

    def terms(k: int) -> tuple[float, float]:
        m = k // 2
        if k % 2:
            return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)), 1.0
        return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), 1.0

    front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(front) / a * _fraction(terms, 1.0)


def _fraction(terms: Callable[[int], tuple[float, float]], first: float) -> float:
    """Return 1 / (first + a1 / (b1 + a2 / (b2 + ...))), where (ak, bk) = terms(k), by Lentz's method."""
    c, d = 1 / _SMALL, 1 / (first or _SMALL)
    value, k, change = d, 0, 0.0
    while abs(change - 1) > _END:
        k += 1
        a, b = terms(k)
        d = 1 / ((a * d + b) or _SMALL)
        c = (b + a / c) or _SMALL
        change = c * d
        value *= change
    return value
