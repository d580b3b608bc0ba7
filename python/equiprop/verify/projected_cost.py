"""The claim that error derivatives are the derivatives of the projected cost L(s, t)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import require, several, whole
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.solvers import Euler, FreeSolver
from equiprop.verify.equivalence import equivalence
from equiprop.verify.problem import Problem
from equiprop.verify.reference import extrapolated_differences, spread
from equiprop.verify.timed import Timed
from equiprop.verify.verdict import Report, Row
from equiprop.verify.watch import tracked

#: Limits of the truncation error of extrapolated differences, and of their rounding error times the step.
_TOLERANCE, _ROUNDING = 1e-9, 1e-13


@dataclass(frozen=True, kw_only=True)
class ProjectedCostReport(Report):
    """Error derivatives compared with finite differences of the projected cost."""

    claim: ClassVar[str] = "projected-cost"
    statement: ClassVar[str] = (
        "The error derivatives are the derivatives of the projected cost L(s, t), the cost at time t of the "
        "free dynamics from s: S-bar_t = dL/ds, Theta-bar_t = dL/dtheta (Scellier & Bengio 2019, sec. 4)."
    )


def projected_cost(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    steps: Sequence[int] = (0, 1, 5, 20, 100),
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
    max_differences: int = 24,
    time_limit: float | None = None,
    progress: bool = False,
) -> ProjectedCostReport:
    """Compare S-bar and Theta-bar with finite differences of L(s*, t), from relaxations of displaced states.

    Source: Scellier & Bengio (2019, sec. 4).

    Parameters
    ----------
    model, x, y, cost, solver, time_limit, progress
        See `equivalence`.
    steps : sequence of int
        Times t as numbers of Euler steps.
    max_differences : int
        Largest number of free units, and of parameters, for which differences are computed; they are spread
        over all.

    Returns
    -------
    ProjectedCostReport

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
    >>> eq.verify.projected_cost(net, [[0.1, 0.5, 0.9, 0.3]], [2]).passed
    True
    """
    times = sorted(set(several(steps, "projected_cost", "steps", partial(whole, low=0))))
    require(len(times) > 0, "projected_cost", "steps has at least one time", "none")
    most = whole(max_differences, "projected_cost", "max_differences", 1)
    timed = Timed("projected_cost", time_limit, progress)
    problem = timed.prepared(model, x, y, cost, solver)
    settings = {"steps": times, "max_differences": max_differences}
    return timed.report(
        ProjectedCostReport, problem, settings, lambda rows: _check(problem, times, most, rows)
    )


def _check(problem: Problem, times: Sequence[int], most: int, rows: list[Row]) -> dict[str, Any]:
    """Append the rows for each time."""
    report = equivalence(problem, steps=times[-1])
    traced, step_size = report.traced, report.step_size
    free = traced.units[problem.free_units[0, traced.units]]
    units, step = free[spread(len(free), most)], problem.difference_step()
    parameters = traced.parameters[spread(len(traced.parameters), most)]
    s_bar, theta_bar = report.error_derivatives.states, report.error_derivatives.parameters
    at_units = np.searchsorted(traced.units, units)
    at_parameters = np.searchsorted(traced.parameters, parameters)
    limit = _TOLERANCE + _ROUNDING / step
    for t in tracked(times, lambda t: f"step {t}"):
        by_state, by_theta = _differences(problem, t, step_size, step, units, parameters)
        state_error = _error(s_bar, s_bar[t, 0, at_units], by_state)
        theta_error = _error(theta_bar, theta_bar[t, at_parameters], by_theta)
        rows += [
            Row(f"S-bar at step {t} = dL/ds", state_error, high=limit),
            Row(f"Theta-bar at step {t} = dL/dtheta", theta_error, high=limit),
        ]
    return {}


def _error(process: NDArray[np.float64], value: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Return max |value - expected| / max |process|."""
    scale = float(np.abs(process).max(initial=0.0)) or 1.0
    return float(np.abs(value - expected).max(initial=0.0)) / scale


def _differences(
    problem: Problem,
    t: int,
    step_size: float,
    step: float,
    units: NDArray[np.int64],
    parameters: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return extrapolated differences: dL/ds of the first sample, dL/dtheta of the mean over the batch."""
    model, solver = problem.model, Euler(tolerance=0, max_iterations=t, step_size=step_size).core
    start = problem.state.copy()

    def projected() -> NDArray[np.float64]:
        state, *_ = model.core.relax(model.clamp(problem.x), solver, start)
        return problem.bound.value(state)

    by_state = extrapolated_differences(lambda: float(projected()[0]), start[0], units, step)
    by_theta = extrapolated_differences(lambda: float(projected().mean()), model.parameters, parameters, step)
    return by_state, by_theta
