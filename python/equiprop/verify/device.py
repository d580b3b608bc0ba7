"""Devices and simulators that are known only by their relaxations, and what a check measures on them."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.array_arguments import check_slices, check_vector
from equiprop.arrays import Array, as_array, as_numpy, as_states
from equiprop.checks import require, whole
from equiprop.costs import Cost, bind_cost
from equiprop.verify.reference import extrapolated_differences
from equiprop.verify.verdict import Row

_Floats = NDArray[np.float64]


@dataclass
class BlackBox:
    """A relaxing system of which only the trajectories are known, such as a device or a simulator.

    Parameters
    ----------
    relax : callable
        ``relax(x, beta, y)`` returns the states (steps + 1, batch, units) of a relaxation that beta nudges
        towards y; beta = 0 is a free phase. The last state is the fixed point; the last units are outputs.
    contrast : callable
        ``contrast(x, s)`` returns dE/dtheta(s), summed over the batch, (parameters,). The learning rule
        measures it on the device, for example as -rho(s_i) rho(s_j) at each coupling.
    parameters : (parameters,) array of float64
        Parameters that `relax` reads; the check changes one entry at a time and restores it.
    num_outputs : int
        Number of outputs.
    parameters_changed : callable, optional
        Function that receives `parameters` before each relaxation, and sends them to the device.
    block_slices : mapping of str to slice
        Names for parts of the parameters.
    """

    relax: Callable[[Array, float, Array], Array]
    contrast: Callable[[Array, Array], Array]
    parameters: Array
    num_outputs: int
    parameters_changed: Callable[[Array], None] | None = None
    block_slices: Mapping[str, slice] = field(default_factory=dict)

    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float64)
    core: ClassVar[_core.Precision] = _core.f64

    def __post_init__(self) -> None:
        for name in ("relax", "contrast", "parameters_changed"):
            function = getattr(self, name)
            if not callable(function) and not (function is None and name == "parameters_changed"):
                raise TypeError(f"[BlackBox] `{name}` is a function. Received {reprlib.repr(function)}.")
        check_vector(self.parameters, "BlackBox")
        theta = self.parameters
        require(theta.flags.writeable, "BlackBox", "parameters can be changed in place", "a read-only array")
        finite = theta.size > 0 and bool(np.isfinite(theta).all())
        require(finite, "BlackBox", "parameters are finite, at least one", "others")
        self.num_outputs = whole(self.num_outputs, "BlackBox", "num_outputs", 1)
        check_slices(self.block_slices, "BlackBox", "block_slices")

    def trajectory(self, x: Array, beta: float, y: Array) -> _Floats:
        """Return the checked states of one relaxation, (steps + 1, batch, units)."""
        if self.parameters_changed is not None:
            self.parameters_changed(self.parameters)
        states = as_array(self.relax(x, beta, y), "black_box", "relax").astype(np.float64)
        if states.ndim != 3 or states.shape[1] != len(x) or states.shape[2] < self.num_outputs:
            raise ValueError(
                f"[black_box] relax returns states (steps + 1, {len(x)}, units) with at least "
                f"{self.num_outputs} units. Received shape {states.shape}."
            )
        if not np.isfinite(states).all():
            raise ValueError(
                f"[black_box] relax returns finite states. Received nan or infinity at beta={beta:g}."
            )
        return states


@dataclass(frozen=True)
class Measured:
    """A device with a batch of inputs x (batch, inputs), targets y and the cost."""

    box: BlackBox
    x: Array
    y: Array
    bound: _core.Cost

    def trajectory(self, beta: float) -> _Floats:
        """Return the states of a relaxation at beta, (steps + 1, batch, units)."""
        return self.box.trajectory(self.x, beta, self.y)

    def contrast(self, state: _Floats) -> _Floats:
        """Return dE/dtheta of the last state of a relaxation, summed over the batch, (parameters,)."""
        return np.asarray(self.box.contrast(self.x, state), dtype=np.float64)

    def sample(self, j: int) -> Measured:
        """Return the device with sample j alone; it has the cost of the whole batch."""
        return replace(self, x=self.x[j : j + 1], y=self.y[j : j + 1])

    def cost(self, beta: float) -> float:
        """Return the mean cost of the state at beta."""
        last = self.trajectory(beta)[-1]
        return float(self.bound.value(np.ascontiguousarray(last[:, -self.box.num_outputs :])).mean())

    def mean_cost(self, beta: float) -> float:
        """Return the mean of C(s^b) over b in [-beta, beta]."""
        nodes, weights = np.polynomial.legendre.leggauss(8)
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
    bound, y = bind_cost(cost, box, y, len(x), "black_box"), as_numpy(y, "black_box", "y")  # type: ignore[arg-type]
    largest = max(float(np.abs(numbers).max(initial=0.0)) for numbers in (x, y, box.parameters))
    require(largest <= 1e100, "black_box", "Inputs, targets and parameters are at most 1e100", largest)
    return Measured(box, x, y, bound)


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
    def remainder(self) -> str:
        """A sentence on an error without a known cause."""
        return (
            f"No known cause fits. EqProp has an error of {self.error.value:.1e}, and the last change "
            "of the state "
            f"is {self.unrest.value:.1e}; differences with step = {self.step:g} have a truncation "
            "error of the "
            "order of step^4. Raise the tolerance, or change the step."
        )

    @property
    def aligned(self) -> bool:
        """True if EqProp has the direction of the gradient up to the bias of beta."""
        powers = float(self.estimate @ self.estimate) * float(self.differences @ self.differences)
        product = float(self.estimate @ self.differences)
        return powers > 0 and product / np.sqrt(powers) > 1 - self.beta**2
