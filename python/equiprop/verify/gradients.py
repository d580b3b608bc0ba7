"""Every way to the gradient, against implicit differentiation and finite differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array
from equiprop.checks import whole
from equiprop.costs import Cost, SquaredError, bind_cost
from equiprop.models import Model
from equiprop.nudging import centered, exact_limit, one_sided
from equiprop.results import FixedPoint
from equiprop.second_phase import equilibrium_propagation, recurrent_backpropagation
from equiprop.solvers import ConjugateGradient, FreeSolver, LinearSolver, Neumann, Richardson, free_phase
from equiprop.verify.fixed_point import in_double, precise_free_phase, stable_step


@dataclass(frozen=True)
class GradientRow:
    """One way to the gradient, compared with the implicit one.

    `tolerance` is None where nothing is promised: a finite beta, which has a bias, or a stationary linear
    solver that reports divergence.
    """

    name: str
    relative_error: float
    tolerance: float | None
    converged: bool

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance, if there is one."""
        return self.tolerance is None or (self.converged and self.relative_error <= self.tolerance)


@dataclass(frozen=True)
class GradientsReport:
    """Every way to dJ/dtheta, against implicit differentiation with a dense solve."""

    rows: tuple[GradientRow, ...]
    objective: float
    free: FixedPoint = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether every row passed and the fixed point was found."""
        return self.free.converged and all(row.passed for row in self.rows)

    def __str__(self) -> str:
        lines = [f"{'gradient by':<34} {'relative error':>14}  {'tolerance':>9}"]
        for row in self.rows:
            limit = "none" if row.tolerance is None else f"{row.tolerance:.0e}"
            mark = "  did not converge" if not row.converged else "" if row.passed else "  FAILED"
            lines.append(f"{row.name:<34} {row.relative_error:>14.1e}  {limit:>9}{mark}")
        return "\n".join(lines)


#: Tolerances: 1e-10 leaves two digits to a free phase of residual 1e-14 and a condition number of 100;
#: central differences of step 1e-5 lose 1e-10 / J to truncation and 1e-11 / |dJ| to rounding.
_EXACT, _DIFFERENCES = 1e-10, 1e-7


def gradients(
    model: Model,
    x: Any,
    y: Any,
    *,
    cost: Cost = SquaredError(),  # noqa: B008
    betas: Sequence[float] = (0.1, 1e-3),
    linear_solvers: Sequence[LinearSolver] | None = None,
    solver: FreeSolver | None = None,
    max_differences: int = 400,
) -> GradientsReport:
    """Compare EqProp (each nudging), RBP (each linear solver), and central finite differences.

    The reference is implicit differentiation, dJ/dtheta = -(d2E/dtheta ds) H^-1 dC/ds, with H built
    column by column and solved densely.

    Parameters
    ----------
    model : HopfieldNetwork or Energy
    x : (batch, inputs) array
    y : (batch, outputs) array, or (batch,) integer labels
    cost : SquaredError or CrossEntropy
    betas : sequence of float
        Nudging factors whose bias is shown.
    linear_solvers : sequence, optional
        By default all three, to 1e-13.
    solver : FreeSolver, optional
        By default one that reaches a residual of 1e-14.
    max_differences : int
        Central differences are taken for at most this many parameters, spread over all.

    Returns
    -------
    GradientsReport

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")
    >>> eq.verify.gradients(net, [[0.1, 0.5, 0.9, 0.3]], [2], betas=[]).passed
    True
    """
    max_differences = whole(max_differences, "gradients", "max_differences", 1)
    model = in_double(model)
    x = model.as_input(x, "gradients")
    free = precise_free_phase(model, x, solver)
    reference = implicit_gradient(model, free, y, cost)
    rows = []
    for nudging in [exact_limit(), *(rule(beta) for beta in betas for rule in (one_sided, centered))]:
        result = equilibrium_propagation(model, free, y, cost=cost, nudging=nudging, on_failure="ignore")
        limit = _EXACT if nudging.exact else None
        error = relative_error(result.parameters, reference)
        rows.append(GradientRow(f"EqProp, {nudging!r}", error, limit, result.converged))
    for linear in linear_solvers or _precise_linear_solvers(model.clamp(x), free.state):
        result = recurrent_backpropagation(
            model, free, y, cost=cost, linear_solver=linear, on_failure="ignore"
        )
        # Stationary iterations need a spectral radius below 1; one that says it diverged was not wrong.
        judged = result.converged or isinstance(linear, ConjugateGradient)
        error = relative_error(result.parameters, reference)
        rows.append(
            GradientRow(f"RBP, {type(linear).__name__}", error, _EXACT if judged else None, result.converged)
        )
    chosen = np.unique(np.linspace(0, len(reference) - 1, min(len(reference), max_differences)).astype(int))
    differences = finite_differences(model, x, y, cost, free.solver, chosen)
    error = float(np.abs(differences - reference[chosen]).max() / np.abs(reference).max())
    rows.append(GradientRow("central finite differences", error, _DIFFERENCES, free.converged))
    return GradientsReport(tuple(rows), result.objective, free)


def _precise_linear_solvers(energy: _core.Energy, state: Array) -> list[LinearSolver]:
    step_size = stable_step(energy, state, energy.mobility(state))
    return [
        ConjugateGradient(tolerance=1e-13, max_iterations=1000),
        Richardson(tolerance=1e-13, max_iterations=200_000, step_size=step_size),
        Neumann(tolerance=1e-13, max_iterations=200_000),
    ]


def implicit_gradient(model: Model, free: FixedPoint, y: Any, cost: Cost) -> NDArray[np.float64]:
    """Return dJ/dtheta by a dense solve with the Hessian on the free units: the oracle of the others."""
    energy, units = model.clamp(free.x), model.num_units
    batch = len(free.state)
    hessian = np.empty((batch, units, units))
    for unit in range(units):
        direction = np.zeros_like(free.state)
        direction[:, unit] = 1
        hessian[:, :, unit] = energy.hessian_vector_product(free.state, direction)
    force = bind_cost(cost, model, y, batch, "implicit_gradient").state_gradient(free.state)
    free_units = energy.mobility(free.state) != 0
    adjoint = np.zeros_like(free.state)
    for j in range(batch):
        held = free_units[j]
        adjoint[j, held] = np.linalg.solve(hessian[j][np.ix_(held, held)], force[j, held])
    return np.asarray(-energy.mixed_derivative_product(free.state, adjoint) / batch)


def finite_differences(
    model: Model,
    x: Array,
    y: Any,
    cost: Cost,
    solver: FreeSolver,
    chosen: NDArray[np.int64],
    step: float = 1e-5,
) -> NDArray[np.float64]:
    """Return central differences of the objective J for the parameters `chosen`, each by two free phases."""
    theta = model.parameters

    def objective() -> float:
        free = free_phase(model, x, solver=solver, on_failure="ignore")
        bound = bind_cost(cost, model, y, len(x), "finite_differences")
        return float(bound.value(np.ascontiguousarray(free.outputs)).mean())

    slopes = np.empty(len(chosen))
    for k, i in enumerate(chosen):
        kept = theta[i]
        try:
            theta[i] = kept + step
            above = objective()
            theta[i] = kept - step
            slopes[k] = (above - objective()) / (2 * step)
        finally:
            theta[i] = kept
    return slopes


def relative_error(value: Array, reference: Array) -> float:
    """Return max |value - reference| / max |reference|."""
    with np.errstate(all="ignore"):  # a diverged value is as wrong as infinity
        return float(np.abs(value - reference).max() / (np.abs(reference).max() or 1.0))
