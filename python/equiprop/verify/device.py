"""What a check measures on a device or a simulator that is known only by its relaxations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array, as_array, as_states, as_targets
from equiprop.black_box import BlackBox
from equiprop.checks import require
from equiprop.costs import Cost, bind_cost
from equiprop.verify.reference import extrapolated_differences
from equiprop.verify.verdict import Row

_Floats = NDArray[np.float64]
#: Largest number of repeats of a measurement.
MOST_REPEATS = 10**6


@dataclass(frozen=True)
class Measured:
    """A device with a batch of inputs x (batch, inputs), targets y and the cost."""

    box: BlackBox
    x: Array
    y: Array
    bound: _core.Cost
    given: Cost

    def trajectory(self, beta: float) -> _Floats:
        """Return the states of a relaxation at beta, (steps + 1, batch, units)."""
        return self.box.trajectory(self.x, beta, self.y)

    def contrast(self, state: _Floats) -> _Floats:
        """Return dE/dtheta of the last state of a relaxation, summed over the batch, (parameters,)."""
        return self.box.contrast_of(self.x, state)

    def sample(self, j: int) -> Measured:
        """Return the device with sample j alone; it has the cost of the whole batch."""
        return replace(self, x=self.x[j : j + 1], y=self.y[j : j + 1])

    def cost(self, beta: float) -> float:
        """Return the mean cost of the state at beta."""
        last = self.trajectory(beta)[-1]
        return float(self.bound.value(np.ascontiguousarray(last[:, -self.box.num_outputs :])).mean())

    def mean_cost(self, beta: float, points: int = 8) -> float:
        """Return the mean of C(s^b) over b in [-beta, beta], by a Gauss rule."""
        nodes, weights = np.polynomial.legendre.leggauss(points)
        return float(sum(w * self.cost(beta * b) for b, w in zip(nodes, weights, strict=True)) / 2)

    def derivatives(
        self, beta: float, chosen: NDArray[np.int64], step: float
    ) -> tuple[_Floats, _Floats, _Floats]:
        """Return centered EqProp, and differences of the mean cost and of the cost at beta = 0, (chosen,)."""
        theta = self.box.parameters
        surrogate = extrapolated_differences(lambda: self.mean_cost(beta), theta, chosen, step)
        objective = extrapolated_differences(lambda: self.cost(0.0), theta, chosen, step)
        return self.centered(beta)[chosen], surrogate, objective

    def centered(self, beta: float) -> _Floats:
        """Return the gradient of centered EqProp, (parameters,)."""
        above, below = (self.contrast(self.trajectory(b)[-1]) for b in (beta, -beta))
        return np.asarray((above - below) / (2 * beta * len(self.x)))

    def unrest(self, beta: float) -> float:
        """Return the largest `unrest` of relaxations at -beta, 0 and beta."""
        return max(unrest(self.trajectory(b)) for b in (-beta, 0.0, beta))


def bind(box: BlackBox, x: Any, y: Any, cost: Cost) -> Measured:
    """Return the device with checked samples and a cost."""
    x = np.atleast_2d(as_array(x, "black_box", "x"))
    x = as_states(x, x.shape[1], box.dtype, "black_box", "x")
    require(x.shape[1] > 0, "black_box", "There is an input or more", f"shape {x.shape}")
    bound = bind_cost(cost, box, y, len(x), "black_box")
    y = as_targets(y, box.num_outputs, box.dtype, "black_box")
    largest = max(float(np.abs(numbers).max(initial=0.0)) for numbers in (x, y, box.parameters))
    require(largest <= 1e100, "black_box", "Inputs, targets and parameters are at most 1e100", largest)
    return Measured(box, x, y, bound, cost)


def unrest(path: _Floats) -> float:
    """Return the ratio of the last change of the state to its total change; 0 for a device at rest."""
    if len(path) < 2:
        return 0.0
    whole_change = float(np.abs(path[-1] - path[0]).max()) or 1.0
    return float(np.abs(path[-1] - path[-2]).max()) / whole_change


@dataclass(frozen=True)
class Compared:
    """Figures of a failed check of a device.

    Attributes
    ----------
    chosen : (chosen,)
        Indices of the parameters that were examined.
    estimate, differences : (chosen,)
        Centered EqProp, and differences of the mean cost.
    rows : tuple of Row
        The rows of `BlackBoxReport`, in its order.
    beta, step, tolerance : float
    """

    chosen: NDArray[np.int64]
    estimate: _Floats
    differences: _Floats
    rows: tuple[Row, ...]
    beta: float
    step: float
    tolerance: float

    @property
    def error(self) -> Row:
        """The error of EqProp."""
        return self.rows[0]

    @property
    def unrest(self) -> Row:
        """The last change of the state."""
        return self.rows[2]

    @property
    def lowers_cost(self) -> bool:
        """True if the nudge lowers the cost."""
        return self.rows[3].passed and self.rows[4].passed

    @property
    def has_effect(self) -> bool:
        """True if a parameter changes the cost."""
        return self.rows[5].passed

    @property
    def scale(self) -> float:
        """The largest derivative."""
        return float(np.abs(self.differences).max(initial=0.0)) or 1.0

    @property
    def factor(self) -> float:
        """The number f with estimate = f differences, as well as possible."""
        power = float(self.differences @ self.differences)
        return float(self.estimate @ self.differences) / power if power else 0.0

    @property
    def explained(self) -> float:
        """The share of |estimate - differences|^2 that the factor explains."""
        rest = self.estimate - self.factor * self.differences
        gap = self.estimate - self.differences
        return 1 - float(rest @ rest) / (float(gap @ gap) or 1.0)

    @property
    def remainder(self) -> str:
        """A sentence on an error without a known cause."""
        return (
            f"No known cause fits. EqProp has an error of {self.error.value:.1e}, and the last change of the "
            f"state is {self.unrest.value:.1e}; differences with step = {self.step:g} have a truncation "
            "error of the order of step^4, and the mean of the cost is that of eight values of beta. Use a "
            "smaller beta or step; relax for more steps, or to a smaller tolerance of the solver; or raise "
            "the tolerance."
        )

    @property
    def aligned(self) -> bool:
        """True if EqProp has the direction of the gradient up to the bias of beta."""
        powers = float(self.estimate @ self.estimate) * float(self.differences @ self.differences)
        product = float(self.estimate @ self.differences)
        return powers > 0 and product / np.sqrt(powers) > 1 - self.beta**2
