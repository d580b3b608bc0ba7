"""The claim that Equilibrium Propagation in the limit beta -> 0 is the gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from equiprop.checks import check_flag
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.nudging import Nudging, exact_limit
from equiprop.solvers import FreeSolver
from equiprop.verify.problem import Problem, prepare
from equiprop.verify.reference import implicit_gradient, relative_error
from equiprop.verify.verdict import Report, Row

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
) -> LimitReport:
    """Compare EqProp in the limit beta -> 0 with implicit differentiation.

    The limit is computed with dual numbers, and with a complex step beta = 1e-100 i for a holomorphic model.
    Source: Scellier & Bengio (2017), theorem 1.

    Parameters
    ----------
    model, x, y, cost, symmetrize, solver
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
    problem = prepare("limit", model, x, y, cost, solver)
    reference = implicit_gradient(problem)
    dual = problem.nudged(exact_limit(), symmetrize=symmetrize)
    found = {"dual numbers": dual}
    if problem.model.holomorphic:
        # Changes of 1e-100 do not affect the residual, so the number of steps is that of the dual numbers.
        steps = replace(
            problem.nudged_solver(symmetrize), tolerance=0.0, max_iterations=2 * int(dual.iterations.max())
        )
        h = 1j * _STEP
        rule = Nudging("complex_step", _STEP, circle=((h, 1 / h),))
        found["complex step"] = problem.nudged(rule, steps, symmetrize)
    rows = [
        Row(f"gradient by {name}", relative_error(result.parameters, reference), high=_TOLERANCE)
        for name, result in found.items()
    ]
    return LimitReport(problem=problem, settings={"symmetrize": symmetrize}, rows=tuple(rows))
