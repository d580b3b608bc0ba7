"""The claim that Equilibrium Propagation in the limit beta -> 0 is the gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from equiprop.checks import check_flag
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.nudging import Nudging, exact_limit
from equiprop.results import Gradient
from equiprop.solvers import FreeSolver
from equiprop.verify.problem import Problem
from equiprop.verify.reference import implicit_gradient, relative_error
from equiprop.verify.timed import Timed
from equiprop.verify.verdict import Report, Row
from equiprop.verify.watch import tracked

_STEP = 1e-100
#: The fixed point has a residual of 1e-14, and the solution of the linear system loses two to three digits.
_TOLERANCE = 1e-11


@dataclass(frozen=True, kw_only=True)
class LimitReport(Report):
    """EqProp in the limit by dual numbers and by a complex step, compared with implicit differentiation."""

    claim: ClassVar[str] = "limit"
    statement: ClassVar[str] = (
        "In the limit beta -> 0 EqProp is the gradient dJ/dtheta (Scellier & Bengio 2017, theorem 1)."
    )


def limit(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    cost: Cost = SquaredError(),  # noqa: B008
    symmetrize: bool = False,
    solver: FreeSolver | None = None,
    time_limit: float | None = None,
    progress: bool = False,
) -> LimitReport:
    """Compare EqProp in the limit beta -> 0 with implicit differentiation.

    The limit is computed with dual numbers, and with a complex step beta = 1e-100 i for a holomorphic model.
    Source: Scellier & Bengio (2017), theorem 1.

    Parameters
    ----------
    model, x, y, cost, symmetrize, solver, time_limit, progress
        See `equivalence`.

    Returns
    -------
    LimitReport

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")
    >>> eq.verify.limit(net, [[0.1, 0.5, 0.9, 0.3]], [2]).passed
    True
    """
    check_flag(symmetrize, "limit", "symmetrize")
    timed = Timed("limit", time_limit, progress)
    problem = timed.prepared(model, x, y, cost, solver)
    settings = {"symmetrize": symmetrize}
    return timed.report(LimitReport, problem, settings, lambda rows: _check(problem, symmetrize, rows))


def _check(problem: Problem, symmetrize: bool, rows: list[Row]) -> dict[str, Any]:
    """Append a row for each method."""
    reference, iterations = implicit_gradient(problem), 0
    names = ["dual numbers", *(["complex step"] if problem.model.holomorphic else [])]
    for name in tracked(names, str):
        if name == "dual numbers":
            result = problem.nudged(exact_limit(), symmetrize=symmetrize)
            iterations = int(result.iterations.max())
        else:
            result = _by_complex_step(problem, symmetrize, iterations)
        error = relative_error(result.parameters, reference)
        rows.append(Row(f"gradient by {name}", error, high=_TOLERANCE))
    return {}


def _by_complex_step(problem: Problem, symmetrize: bool, iterations: int) -> Gradient:
    """Return EqProp at beta = 1e-100 i; its changes do not affect the residual, so the steps are given."""
    steps = replace(problem.nudged_solver(symmetrize), tolerance=0.0, max_iterations=2 * iterations)
    h = 1j * _STEP
    return problem.nudged(Nudging("complex_step", _STEP, circle=((h, 1 / h),)), steps, symmetrize)
