"""Reference gradients of the claims, by implicit differentiation and by finite differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from equiprop.array_arguments import as_indices
from equiprop.arrays import Array
from equiprop.checks import check_type, positive
from equiprop.gradients import recurrent_backpropagation
from equiprop.linear_solvers import GMRES
from equiprop.solvers import relaxed
from equiprop.verify.problem import Problem
from equiprop.verify.spectrum import DENSE, dense_hessian
from equiprop.verify.watch import tracked

_RULE = "problem is a result of equiprop.verify.prepare"


def implicit_gradient(problem: Problem) -> NDArray[np.float64]:
    """Return dJ/dtheta = -(d2E/dtheta ds) H^-T dC/ds, with the Hessian H on the free units.

    Up to 512 units the Hessian is a dense matrix; larger systems are solved by GMRES to a residual of 1e-14.
    The result is NaN if the Hessian is singular.
    """
    check_type(problem, Problem, "implicit_gradient", _RULE)
    energy, state, batch = problem.energy, problem.state, len(problem.state)
    if problem.model.num_units > DENSE:
        return recurrent_backpropagation(
            problem.model,
            problem.free,
            problem.y,
            cost=problem.cost,
            linear_solver=GMRES(tolerance=1e-14, max_iterations=5000),
            on_failure="ignore",
        ).parameters
    hessian, adjoint = dense_hessian(energy, state), np.zeros_like(state)
    for j in range(batch):
        loose = problem.free_units[j]
        try:
            adjoint[j, loose] = np.linalg.solve(hessian[j][np.ix_(loose, loose)].T, problem.force[j, loose])
        except np.linalg.LinAlgError:
            adjoint[j] = np.nan
    return np.asarray(-energy.mixed_derivative_product(state, adjoint) / batch)


def finite_differences(
    problem: Problem, chosen: NDArray[np.int64], step: float = 1e-5
) -> NDArray[np.float64]:
    """Return central differences of the objective J for the parameters `chosen`, two free phases for each."""
    where = "finite_differences"
    check_type(problem, Problem, where, _RULE)
    step, model = positive(step, where, "step"), problem.model
    chosen = as_indices(chosen, len(model.parameters), where, "parameter")

    def objective() -> float:
        free = relaxed(model, problem.x, problem.solver, initial=problem.state)
        return problem.objective(free.state)

    return central_differences(objective, model.parameters, chosen, step)


def central_differences(
    function: Callable[[], float], theta: Array, chosen: NDArray[np.int64], step: float
) -> NDArray[np.float64]:
    """Return (f(theta_i + step) - f(theta_i - step)) / (2 step) for i in `chosen`; theta is restored."""
    slopes = np.empty(len(chosen))
    for k, i in tracked(list(enumerate(chosen)), lambda entry: f"differences of parameter {entry[1]}"):
        kept = theta[i]
        try:
            theta[i] = kept + step
            above = function()
            theta[i] = kept - step
            slopes[k] = (above - function()) / (2 * step)
        finally:
            theta[i] = kept
    return slopes


def extrapolated_differences(
    function: Callable[[], float], theta: Array, chosen: NDArray[np.int64], step: float
) -> NDArray[np.float64]:
    """Return central differences with steps h and 2 h, extrapolated to an error of order h^4."""
    fine, coarse = (central_differences(function, theta, chosen, k * step) for k in (1, 2))
    return np.asarray((4 * fine - coarse) / 3)


def spread(count: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` indices, spread evenly over `count` entries."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).astype(np.int64))


def relative_error(value: Array, reference: Array) -> float:
    """Return max |value - reference| / max |reference|."""
    with np.errstate(all="ignore"):  # a diverged value gives infinity or NaN
        return float(np.abs(value - reference).max() / (np.abs(reference).max() or 1.0))
