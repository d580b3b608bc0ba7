"""Nesterov's momentum for a piece of the parameters."""

from __future__ import annotations

from equiprop.arrays import Array

#: Number of parameters of which a step is computed at a time.
_PART = 1 << 14


def nesterov_update(
    theta: Array,
    gradient: Array,
    velocity: Array,
    begin: int,
    count: int,
    rate: float,
    momentum: float,
    decay: float,
) -> None:
    """Update a piece of the parameters by Nesterov's momentum, in parts that stay in the cache."""
    for first in range(begin, begin + count, _PART):
        part = slice(first, min(first + _PART, begin + count))
        slope = gradient[part] + decay * theta[part]
        velocity[part] *= momentum
        velocity[part] += slope
        theta[part] -= rate * (slope + momentum * velocity[part])
