"""Statistics of recordings with noise: figures and sums of squares, with standard errors and limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from equiprop.verify.significance import limit, survival, two_sided
from equiprop.verify.verdict import Row

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Factor:
    """A normal figure with its expected value and its standard error."""

    label: str
    value: float
    expected: float
    error: float

    def row(self, level: float, noise_dof: float) -> Row:
        """Return the figure with the limits that it leaves with probability `level` by noise alone."""
        reach = two_sided(level, noise_dof) * self.error
        p = survival(((self.value - self.expected) / self.error) ** 2, 1, noise_dof)
        note = f"standard error {self.error:.2g}, p = {p:.2g}"
        return Row(self.label, self.value, self.expected - reach, self.expected + reach, note)


@dataclass(frozen=True)
class Square:
    """A sum of squares of deviations over their variances, shown as a root mean square."""

    label: str
    sum: float
    dof: int

    def row(self, level: float, noise_dof: float) -> Row:
        """Return the root mean square with the limit that it exceeds with probability `level`."""
        mean = self.sum / self.dof
        error = 0.0
        if self.sum:  # the square of the sum may overflow
            spread = 2 / mean + 4 * max(1 - 1 / mean, 0.0) + 2 * self.sum / noise_dof
            error = math.sqrt(spread / self.dof) / 2
        p = survival(mean, self.dof, noise_dof)
        note = f"standard error {error:.2g}, p = {p:.2g}, {self.dof} degrees of freedom"
        return Row(self.label, math.sqrt(mean), high=math.sqrt(limit(level, self.dof, noise_dof)), note=note)


@dataclass(frozen=True)
class Evidence:
    """The recordings at one beta, and the states of the model.

    Attributes
    ----------
    beta : float
    path, flow : (steps + 1, batch, units)
        Mean recorded states (0 if not recorded), and states of the model.
    weights : (steps + 1, batch, units)
        One over the variances of `path`; 0 for states that were not recorded.
    """

    beta: float
    path: _Floats
    flow: _Floats
    weights: _Floats

    @cached_property
    def rest(self) -> _Floats:
        """Recorded states less those of the model, without meaning where no state was recorded."""
        rest: _Floats = self.path - self.flow
        return rest

    @cached_property
    def response(self) -> _Floats:
        """The states of the model less its fixed point."""
        response: _Floats = self.flow - self.flow[0]
        return response

    @property
    def information(self) -> float:
        """One over the variance of the measured factor of the response."""
        return float((self.weights * self.response**2).sum())

    @property
    def agreement(self) -> float:
        """`information` times the difference of the factor from 1."""
        return float((self.weights * self.response * self.rest).sum())

    @property
    def square(self) -> float:
        """The sum of squares of the whole deviation, in variances."""
        return float((self.weights * self.rest**2).sum())

    def fitted(self, course: _Floats) -> tuple[_Floats, NDArray[np.bool_]]:
        """Return the multiples of a course in time that fit the deviation of each unit, and where they exist.

        The course has the shape (steps + 1, 1, 1), both results (batch, units).
        """
        information = (self.weights * course**2).sum(axis=0)
        products = (self.weights * course * self.rest).sum(axis=0)
        seen = information > 0
        return np.divide(products, information, out=np.zeros_like(products), where=seen), seen

    @property
    def correlation(self) -> float:
        """The correlation of the deviation between neighbouring steps; 0 if there is no deviation."""
        scaled = self.rest * np.sqrt(self.weights)
        return float((scaled[1:] * scaled[:-1]).sum() / ((scaled**2).sum() or 1.0))

    @property
    def correlation_error(self) -> float:
        """The standard error of `correlation` if the deviation is independent noise."""
        pairs = np.count_nonzero((self.weights[1:] > 0) & (self.weights[:-1] > 0))
        return float(np.sqrt(pairs)) / self.number

    @property
    def number(self) -> int:
        """The number of recorded numbers."""
        return int(np.count_nonzero(self.weights))

    @property
    def times(self) -> _Floats:
        """The numbers of the steps, (steps + 1, 1, 1)."""
        return np.arange(len(self.flow), dtype=np.float64)[:, None, None]


def response(name: str, evidence: Sequence[Evidence]) -> Factor:
    """Return the factor that the recorded response has to that of the model, by weighted least squares."""
    information = math.fsum(part.information for part in evidence)
    factor = 1 + sum(part.agreement for part in evidence) / information if information else math.nan
    error = 1 / math.sqrt(information) if information else math.inf
    return Factor(f"{name}: response over that of the model", factor, 1.0, error)
