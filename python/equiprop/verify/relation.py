"""Texts on the relation between values and reference values."""

from __future__ import annotations

import math

from equiprop.verify.confidence import certain, explaining

#: Values are a multiple of the references from this cosine on; a factor this near to 1 is none.
_ALIGNED, _EQUAL = 0.999, 5e-4


def figures(value: float, expected: float) -> tuple[str, str]:
    """Return two numbers with six digits, or with as many more as show that they differ."""
    digits = next((d for d in range(6, 17) if f"{value:.{d}g}" != f"{expected:.{d}g}"), 17)
    return f"{value:.{digits}g}", f"{expected:.{digits}g}"


def described(subject: str, product: float, power: float, value_power: float, end: str = "") -> str:
    """Return a sentence on the relation of values to references, with the share that a factor explains.

    Parameters
    ----------
    subject : str
        What the values are.
    product, power, value_power : float
        See `relation`.
    end : str
        End of the sentence, before the full stop.
    """
    text = f"{subject} {relation(product, power, value_power)}{end}."
    if not (math.isfinite(power) and math.isfinite(value_power)) or power == 0 or value_power == 0:
        return certain(text)
    is_multiple = abs(product) >= _ALIGNED * math.sqrt(power * value_power)
    if not is_multiple or abs(product / power - 1) < _EQUAL:
        return text
    gap = value_power - 2 * product + power
    return explaining(text, 1 - (value_power - product**2 / power) / gap)


def relation(product: float, power: float, value_power: float) -> str:
    """Return a text on the relation of values v to references r.

    Parameters
    ----------
    product, power, value_power : float
        <v, r>, <r, r> and <v, v>.
    """
    if not (math.isfinite(power) and math.isfinite(value_power)):
        return "grows to infinity"
    if power == 0 or value_power == 0:
        return "is missing" if power > 0 else "should be zero" if value_power > 0 else "is zero"
    factor, cosine = product / power, product / math.sqrt(power * value_power)
    if abs(cosine) < _ALIGNED:
        return f"has another direction than it should (cosine {cosine:.3f})"
    if abs(factor + 1) < 1e-3:
        return "has the opposite sign"
    if abs(factor - 1) < _EQUAL:
        gap = math.sqrt(max(0.0, value_power - 2 * product + power) / power)  # cancels below about 1e-8
        return f"differs by {gap:.1e} of its size" if gap > 1e-7 else "differs by less than 1e-7 of its size"
    return f"is {factor:.4g} times what it should be"
