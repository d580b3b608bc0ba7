"""The claim on simulators and devices that are known only by their relaxations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array, as_array, as_numpy
from equiprop.checks import real, whole
from equiprop.costs import Cost, SquaredError, bind_cost
from equiprop.verify.reference import extrapolated_differences, spread
from equiprop.verify.relation import relation
from equiprop.verify.verdict import Row, Verdict

_Floats = NDArray[np.float64]
#: Smallest derivative that counts as an effect.
_TINY = float(np.finfo(np.float64).tiny)


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


@dataclass(frozen=True, kw_only=True)
class BlackBoxReport(Verdict):
    """EqProp of a black box compared with finite differences.

    Attributes
    ----------
    estimate, differences : (chosen,)
        Centered EqProp, and finite differences of its surrogate, for the chosen parameters.
    """

    claim: ClassVar[str] = "black-box"
    statement: ClassVar[str] = (
        "EqProp between -beta and beta is the gradient of the mean of C(s^beta) over that interval, as "
        "finite differences of the device itself measure it (Scellier et al. 2023)."
    )

    estimate: _Floats = field(repr=False)
    differences: _Floats = field(repr=False)


def black_box(
    box: BlackBox,
    x: Any,
    y: Any,
    *,
    beta: float = 0.1,
    step: float = 1e-3,
    cost: Cost = SquaredError(),  # noqa: B008
    tolerance: float = 1e-5,
    max_differences: int = 16,
) -> BlackBoxReport:
    """Check EqProp on a device of which only relaxations and contrasts are known.

    Centered EqProp at a finite beta is the exact gradient of the mean of C(s^b) over b in [-beta, beta]. The
    function computes the mean with eight Gauss-Legendre points, and its gradient by five-point differences in
    each parameter. The bias of beta is shown without a limit. Source: Scellier et al. (2023).

    Parameters
    ----------
    box : BlackBox
    x : (batch, inputs) array
    y : (batch, outputs) array, or (batch,) integer labels
    beta, step : float, positive
        Nudging factor, and step of the differences in units of the parameters.
    cost : SquaredError or CrossEntropy
        The cost in the nudge of the device.
    tolerance : float
        Limit of the errors, relative to the largest entry of the gradient; for a real device, its noise.
    max_differences : int
        Largest number of parameters for which differences are computed; they are spread over all.

    Returns
    -------
    BlackBoxReport

    Raises
    ------
    TypeError, ValueError
        If an argument or a result of the device has a wrong type or shape, or is not finite.

    Examples
    --------
    >>> import equiprop as eq
    >>> def relax(x, beta, y):  # E = theta s^2 / 2 - x s, C = (s - y)^2 / 2
    ...     return np.stack([np.zeros_like(x), (x + beta * y) / (theta + beta)])
    >>> theta = np.array([2.0])
    >>> box = eq.verify.BlackBox(relax, lambda x, s: (s**2 / 2).sum(axis=0), theta, num_outputs=1)
    >>> eq.verify.black_box(box, [[1.0]], np.array([[1.0]]), tolerance=1e-3).rows[0].passed
    True
    """
    beta, step, most = _checked(beta, step, max_differences)
    measured = _bind(box, x, y, cost)
    chosen = spread(len(box.parameters), most)
    estimate, differences, objective = measured.derivatives(beta, chosen, step)
    rows = _rows(measured, estimate, differences, objective, beta, tolerance)
    settings = {"beta": beta, "step": step, "tolerance": tolerance, "max_differences": max_differences}
    advice = tuple(_advice(box, chosen, estimate, differences, rows, beta))
    return BlackBoxReport(
        settings=settings, rows=rows, advice=advice, estimate=estimate, differences=differences
    )


def _checked(beta: float, step: float, max_differences: int) -> tuple[float, float, int]:
    beta, step = real(beta, "black_box", "beta"), real(step, "black_box", "step")
    most = whole(max_differences, "black_box", "max_differences", 1)
    if not (0 < beta < np.inf and 0 < step < np.inf):
        raise ValueError(f"[black_box] beta and step are positive numbers. Received {beta} and {step}.")
    return beta, step, most


@dataclass(frozen=True)
class _Measured:
    """A device with a batch of inputs x (batch, inputs), targets y and the cost."""

    box: BlackBox
    x: Array
    y: Array
    bound: _core.Cost

    def cost(self, beta: float) -> float:
        last = self.box.trajectory(self.x, beta, self.y)[-1]
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
        above, below = (
            np.asarray(
                self.box.contrast(self.x, self.box.trajectory(self.x, b, self.y)[-1]), dtype=np.float64
            )
            for b in (beta, -beta)
        )
        return np.asarray((above - below) / (2 * beta * len(self.x)))

    def unrest(self, beta: float) -> float:
        return max(_unrest(self.box.trajectory(self.x, b, self.y)) for b in (-beta, 0.0, beta))


def _bind(box: BlackBox, x: Any, y: Any, cost: Cost) -> _Measured:
    """Return the device with checked samples and a cost."""
    x = np.atleast_2d(as_array(x, "black_box", "x").astype(np.float64))
    bound = bind_cost(cost, box, y, len(x), "black_box")  # type: ignore[arg-type]
    return _Measured(box, x, as_numpy(y, "black_box", "y"), bound)


def _rows(
    measured: _Measured,
    estimate: _Floats,
    differences: _Floats,
    objective: _Floats,
    beta: float,
    tolerance: float,
) -> tuple[Row, ...]:
    scale = float(np.abs(differences).max(initial=0.0)) or 1.0
    error, bias = (float(np.abs(estimate - d).max(initial=0.0)) / scale for d in (differences, objective))
    above, free, below = (measured.cost(b) for b in (-beta, 0.0, beta))
    return (
        Row("EqProp = differences of its surrogate", error, high=tolerance),
        Row("EqProp against differences of J (bias of beta)", bias),
        Row("last change of the state, over its whole change", measured.unrest(beta), high=tolerance * beta),
        Row("cost at -beta less cost at 0", above - free, low=0.0),
        Row("cost at 0 less cost at beta", free - below, low=0.0),
        Row("largest |dJ/dtheta|", float(np.abs(objective).max(initial=0.0)), low=_TINY),
    )


def _unrest(path: _Floats) -> float:
    """Return the ratio of the last change of the state to its total change; 0 for a device at rest."""
    if len(path) < 2:
        return 0.0
    whole_change = float(np.abs(path[-1] - path[0]).max()) or 1.0
    return float(np.abs(path[-1] - path[-2]).max()) / whole_change


def _advice(
    box: BlackBox,
    chosen: NDArray[np.int64],
    estimate: _Floats,
    differences: _Floats,
    rows: tuple[Row, ...],
    beta: float,
) -> list[str]:
    if all(row.passed for row in rows):
        return []
    sentences = []
    if not rows[2].passed:
        sentences.append(
            "The device had not reached a fixed point: its state still changed in the last step. Relax it "
            "for more steps; the error of the gradient is the remaining change divided by beta."
        )
    product, power, square = (float(a @ b) for a, b in _pairs(estimate, differences))
    factor = product / power if power else 0.0
    aligned = power > 0 and square > 0 and product / np.sqrt(power * square) > 1 - beta**2
    if not rows[0].passed and aligned and abs(factor - 1) > 10 * beta**2:
        sentences.append(
            f"EqProp is {factor:.3g} times the gradient for all parameters: the device is nudged by "
            f"{factor:.3g} times the given cost (such as |o - y|^2 instead of |o - y|^2 / 2), or by "
            f"{factor:.3g} times the given beta."
        )
    elif not rows[0].passed:
        for name, at in (dict(box.block_slices) or {"theta": slice(0, len(box.parameters))}).items():
            here = (chosen >= at.start) & (chosen < at.stop)
            a, b = estimate[here], differences[here]
            if len(a) and np.abs(a - b).max() > 1e-3 * np.abs(differences).max():
                sentences.append(f"EqProp of {name} {relation(float(a @ b), float(b @ b), float(a @ a))}.")
    if not (rows[3].passed and rows[4].passed):
        sentences.append(
            "Nudging does not lower the cost: the nudge has the wrong sign, or another target than y."
        )
    if not rows[5].passed:
        sentences.insert(
            0,
            "No parameter that was examined changes the cost: `relax` does not read `parameters`, or "
            "`parameters_changed` does not send them to the device.",
        )
    return sentences


def _pairs(a: _Floats, b: _Floats) -> list[tuple[_Floats, _Floats]]:
    return [(a, b), (b, b), (a, a)]
