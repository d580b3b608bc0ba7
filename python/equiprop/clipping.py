"""Clipping of gradients at a multiple of their running norm."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from equiprop.arrays import Array
from equiprop.checks import real, require

#: Part of the running mean that a step keeps.
MEMORY = 0.95


def norm_of(gradient: Array) -> float:
    """Return the Euclidean norm of a gradient, summed in float64; infinity or NaN if the sum overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.linalg.norm(gradient.astype(np.float64)))


@dataclass
class Clipping:
    """Scales a gradient that is larger than `factor` times the running mean of earlier norms.

    Near a loss of stability single gradients are thousands of times larger than their neighbours; Adam's
    averages would then keep steps small for a thousand steps (docs/training.md).

    Parameters
    ----------
    factor : float, positive
        Multiple of the running mean at which a gradient is cut; infinity cuts none.
    """

    factor: float
    mean: float = field(default=math.nan, init=False)
    count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.factor = real(self.factor, "Trainer", "clip")
        require(self.factor > 0, "Trainer", "clip is positive", self.factor)

    @property
    def largest_norm(self) -> float:
        """Norm to which the next gradient is cut; infinity before the first one; NaN if none is ever cut."""
        if self.factor == math.inf:
            return math.nan  # the core then need not know the norm, and updates while it sums
        return math.inf if math.isnan(self.mean) else self.factor * self.mean

    def record(self, norm: float) -> None:
        """Record the norm of a gradient, before it was cut, that has led to a step."""
        if self.factor == math.inf:
            return
        if norm > self.largest_norm:
            norm, self.count = self.largest_norm, self.count + 1
        self.mean = norm if math.isnan(self.mean) else MEMORY * self.mean + (1 - MEMORY) * norm

    def cut(self, gradient: Array, norm: float) -> Array:
        """Return a gradient of this norm, scaled if it is too large."""
        return (
            gradient
            if not norm > self.largest_norm
            else gradient * gradient.dtype.type(self.largest_norm / norm)
        )
