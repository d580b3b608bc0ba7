"""How values relate to the values they should have, in words."""

from __future__ import annotations

import math


def relation(product: float, power: float, value_power: float) -> str:
    """Say how values v relate to their references r, given <v, r>, <r, r> and <v, v>."""
    if not (math.isfinite(power) and math.isfinite(value_power)):
        return "grows beyond all bounds"
    if power == 0 or value_power == 0:
        return "is missing" if power > 0 else "should be zero" if value_power > 0 else "is zero"
    factor, cosine = product / power, product / math.sqrt(power * value_power)
    if abs(cosine) < 0.999:
        return f"points elsewhere (cosine {cosine:.3f})"
    if abs(factor + 1) < 1e-3:
        return "has the opposite sign"
    return f"is {factor:.4g} times what it should be"
