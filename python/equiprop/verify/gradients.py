"""The claim that all methods give the same gradient, with implicit differentiation as the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np

from equiprop.arrays import Array
from equiprop.checks import real, several, whole
from equiprop.costs import Cost, SquaredError
from equiprop.gradients import (
    backpropagation_through_time,
    recurrent_backpropagation,
)
from equiprop.linear_solvers import (
    GMRES,
    ConjugateGradient,
    LinearSolver,
    Neumann,
    Richardson,
    check_linear_solver,
)
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.nudging import Nudging, centered, exact_limit, one_sided
from equiprop.results import Gradient
from equiprop.solvers import Euler, FreeSolver, relaxed
from equiprop.verify.problem import Problem
from equiprop.verify.reference import finite_differences, implicit_gradient, relative_error, spread
from equiprop.verify.spectrum import stable_step
from equiprop.verify.timed import Timed
from equiprop.verify.verdict import Report, Row
from equiprop.verify.watch import tracked


@dataclass(frozen=True)
class GradientRow:
    """The gradient of one method, compared with implicit differentiation.

    Attributes
    ----------
    name : str
        Name of the method.
    relative_error : float
        Largest error, relative to the largest entry of the gradient.
    tolerance : float, optional
        Largest error that passes. None, no limit, for a finite beta, which has a bias, and for a stationary
        linear solver that reports divergence.
    converged : bool
    """

    name: str
    relative_error: float
    tolerance: float | None
    converged: bool

    @property
    def row(self) -> Row:
        """The comparison as a row of a report."""
        value = self.relative_error if self.converged or self.tolerance is None else np.inf
        note = "" if self.converged else "did not converge"
        return Row(self.name, value, high=self.tolerance, note=note)


@dataclass(frozen=True, kw_only=True)
class GradientsReport(Report):
    """dJ/dtheta of every method, compared with implicit differentiation.

    Attributes
    ----------
    ways : tuple of GradientRow
        One comparison for each method.
    objective : float
        J at the fixed point.
    """

    claim: ClassVar[str] = "gradients"
    statement: ClassVar[str] = (
        "EqProp in the limit beta -> 0, RBP with every linear solver, backpropagation through time, and "
        "finite differences agree with implicit differentiation."
    )

    ways: tuple[GradientRow, ...] = field(repr=False)
    objective: float


#: A method in words, and a function that compares its gradients.
_Method = tuple[str, Callable[[], list[GradientRow]]]
#: A residual of 1e-14 and a condition number of 100 give errors of 1e-12; the limit is 100 times larger.
#: Central differences of step 1e-5 have a truncation error of about 1e-10 and a rounding error of 1e-11.
_EXACT, _DIFFERENCES = 1e-10, 1e-7
_UNROLLED = 20_000
#: Largest number of terms of a Neumann series.
_MOST_TERMS = 200_000


def gradients(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    cost: Cost = SquaredError(),  # noqa: B008
    betas: Sequence[float] = (0.1, 1e-3),
    linear_solvers: Sequence[LinearSolver] | None = None,
    solver: FreeSolver | None = None,
    max_differences: int = 400,
    time_limit: float | None = None,
    progress: bool = False,
) -> GradientsReport:
    """Compare the gradients of EqProp, RBP, BPTT and finite differences with implicit differentiation.

    The reference is dJ/dtheta = -(d2E/dtheta ds) H^-T dC/ds with the dense Hessian H, or with GMRES for more
    than 512 units. A vector field is nudged with ``symmetrize=True``.

    Parameters
    ----------
    model : HopfieldNetwork, Energy, VectorField, or a prepared Problem
    x : (batch, inputs) array
    y : (batch, outputs) array, or (batch,) integer labels
    cost : SquaredError, CrossEntropy or LayerCosts
    betas : sequence of float
        Nudging factors whose bias is shown.
    linear_solvers : sequence of LinearSolver, optional
        By default all solvers that apply to the model, with a tolerance of 1e-13.
    solver : FreeSolver, optional
        Solver of the free phase; by default one that reaches a residual of 1e-14.
    max_differences : int
        Largest number of parameters for which differences are computed; they are spread over all.
    time_limit, progress
        See `equivalence`.

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
    betas, linear_solvers = several(betas, "gradients", "betas", real), _solvers(linear_solvers)
    timed = Timed("gradients", time_limit, progress)
    problem = timed.prepared(model, x, y, cost, solver)
    settings = {"betas": betas, "linear_solvers": linear_solvers, "max_differences": max_differences}
    unknown = {"ways": (), "objective": np.nan}
    return timed.report(
        GradientsReport,
        problem,
        settings,
        lambda rows: _check(problem, betas, linear_solvers, max_differences, rows),
        unknown,
    )


def _check(
    problem: Problem,
    betas: Sequence[float],
    solvers: Sequence[LinearSolver] | None,
    most: int,
    rows: list[Row],
) -> dict[str, Any]:
    """Append a row for each method, and return the other fields of the report."""
    reference = implicit_gradient(problem)
    methods: list[_Method] = [
        *_nudgings(problem, reference, betas),
        *_linear_solvers(problem, reference, solvers or _precise_linear_solvers(problem)),
        ("BPTT", lambda: _by_time(problem, reference)),
        ("central finite differences", lambda: [_by_differences(problem, reference, most)]),
    ]
    ways = []
    for _, method in tracked(methods, lambda method: method[0]):
        found = method()
        ways += found
        rows += [way.row for way in found]
    objective = problem.objective(problem.state)
    return {"ways": tuple(ways), "objective": objective, "advice": _advice(problem, ways)}


def _advice(problem: Problem, ways: Sequence[GradientRow]) -> tuple[str, ...]:
    """Return advice if converged gradients of a model that a user wrote differ from the reference."""
    wrong = [way.name for way in ways if way.converged and not way.row.passed]
    if not wrong or not problem.free.converged or isinstance(problem.model, HopfieldNetwork):
        return ()
    return (
        f"The gradients of {', '.join(wrong)} differ from implicit differentiation, which uses the model's "
        "derivatives: one of these may be wrong. eq.verify.derivatives(model) compares each of them with the "
        "function it belongs to, and names the wrong one.",
    )


def _solvers(given: Sequence[LinearSolver] | None) -> list[LinearSolver] | None:
    return None if given is None else several(given, "gradients", "linear_solvers", check_linear_solver)


def _compared(name: str, result: Gradient, reference: Array, judged: bool = True) -> GradientRow:
    error = relative_error(result.parameters, reference)
    return GradientRow(name, error, _EXACT if judged else None, result.converged)


def _nudgings(problem: Problem, reference: Array, betas: Sequence[float]) -> list[_Method]:
    """Return the name of each nudging, and a function that compares its gradient."""

    def compared(nudging: Nudging) -> list[GradientRow]:
        result = problem.nudged(nudging, symmetrize=not problem.model.conservative)
        return [_compared(f"EqProp, {nudging!r}", result, reference, nudging.exact)]

    rules = [exact_limit(), *(rule(beta) for beta in betas for rule in (one_sided, centered))]
    return [(f"EqProp, {rule!r}", partial(compared, rule)) for rule in rules]


def _linear_solvers(problem: Problem, reference: Array, solvers: Sequence[LinearSolver]) -> list[_Method]:
    """Return the name of each linear solver, and a function that compares its gradient."""

    def compared(linear: LinearSolver) -> list[GradientRow]:
        result = recurrent_backpropagation(
            problem.model,
            problem.free,
            problem.y,
            cost=problem.cost,
            linear_solver=linear,
            on_failure="ignore",
        )
        # Stationary iterations need a spectral radius below 1; one that reports divergence has no limit.
        judged = result.converged or isinstance(linear, ConjugateGradient | GMRES)
        return [_compared(f"RBP, {type(linear).__name__}", result, reference, judged)]

    return [(f"RBP, {type(linear).__name__}", partial(compared, linear)) for linear in solvers]


def _precise_linear_solvers(problem: Problem) -> list[LinearSolver]:
    step_size = stable_step(problem.energy, problem.state, problem.energy.mobility(problem.state))
    others: list[LinearSolver] = [
        GMRES(tolerance=1e-13, max_iterations=5000),
        Richardson(tolerance=1e-13, max_iterations=200_000, step_size=step_size),
        Neumann(tolerance=1e-13, max_iterations=_neumann_iterations(problem)),
    ]
    if problem.model.conservative:
        return [ConjugateGradient(tolerance=1e-13, max_iterations=1000), *others]
    return others


def _neumann_iterations(problem: Problem) -> int:
    """Return a limit of the terms of a Neumann series: twice those that the spectrum predicts, and 100 more.

    Only samples whose series converges are counted. A series that stagnates at rounding errors takes all
    terms, and each is a call of a user's method in Python; networks of the library are fast enough for the
    limit of 200,000.
    """
    if isinstance(problem.model, HopfieldNetwork):
        return _MOST_TERMS
    rates = [np.abs(1 - values).max(initial=0.0) for values in problem.spectrum.values]
    slowest = max((rate for rate in rates if 0 < rate < 1), default=0.5)
    return min(_MOST_TERMS, 100 + 2 * int(np.ceil(np.log(1e-13) / np.log(slowest))))


def _by_time(problem: Problem, reference: Array) -> list[GradientRow]:
    """Unroll so many Euler steps that an error falls by a factor of 1e12, unless the memory is too large."""
    step = problem.step_size(None)
    rate = problem.spectrum.rate(step)
    steps = int(np.ceil(np.log(1e-12) / np.log(rate))) if 0 < rate < 1 else _UNROLLED
    if steps * problem.state.size > 2**25 or steps >= _UNROLLED:
        return []
    unrolled = Euler(tolerance=0, max_iterations=steps, step_size=step)
    free = relaxed(problem.model, problem.x, unrolled, initial=problem.state, record=True)
    result = backpropagation_through_time(problem.model, free, problem.y, cost=problem.cost)
    return [_compared(f"BPTT, {steps} Euler steps", result, reference)]


def _by_differences(problem: Problem, reference: Array, most: int) -> GradientRow:
    """Compare central differences in at most `most` parameters, which are spread over all."""
    chosen = spread(len(reference), most)
    differences = finite_differences(problem, chosen)
    error = float(np.abs(differences - reference[chosen]).max() / (np.abs(reference).max() or 1.0))
    return GradientRow("central finite differences", error, _DIFFERENCES, problem.free.converged)
