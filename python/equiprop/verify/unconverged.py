"""The claim on free phases that are stopped before convergence, and the error of the gradient after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.checks import positive, several, whole
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.nudging import Nudging, centered, exact_limit, one_sided
from equiprop.results import FixedPoint
from equiprop.solvers import Euler, FreeSolver, relaxed
from equiprop.verify.problem import Problem
from equiprop.verify.reference import implicit_gradient, relative_error
from equiprop.verify.timed import Timed
from equiprop.verify.verdict import Report, Row
from equiprop.verify.watch import tracked


@dataclass(frozen=True, kw_only=True)
class UnconvergedReport(Report):
    """Errors of EqProp after free phases with few steps."""

    claim: ClassVar[str] = "unconverged"
    statement: ClassVar[str] = (
        "The difference between a nudged state and a stored free state that has not converged has an error "
        "of residual / beta; with a free state that is relaxed for as many steps as the nudged one, or with "
        "the centered rule, only the bias of beta remains."
    )


def unconverged(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    steps: Sequence[int] = (10, 20, 40, 80),
    beta: float = 1e-3,
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
    time_limit: float | None = None,
    progress: bool = False,
) -> UnconvergedReport:
    """Stop the free phase after a number of Euler steps, and measure the error of each nudging.

    Parameters
    ----------
    model, x, y, cost, solver, time_limit, progress
        See `equivalence`; the model has an energy.
    steps : sequence of int
        Numbers of steps of the free phase.
    beta : float
        Nudging factor.

    Returns
    -------
    UnconvergedReport

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
    >>> eq.verify.unconverged(net, [[0.1, 0.5, 0.9, 0.3]], [2]).passed
    True
    """
    beta = positive(beta, "unconverged", "beta")
    lengths = sorted(set(several(steps, "unconverged", "steps", partial(whole, low=1, high=10**7))))
    timed = Timed("unconverged", time_limit, progress)
    problem = timed.prepared(model, x, y, cost, solver)
    if not problem.model.conservative:
        raise ValueError(f"[unconverged] The model has an energy. Received {problem.model!r}.")
    settings = {"steps": lengths, "beta": beta}
    return timed.report(
        UnconvergedReport, problem, settings, lambda rows: _check(problem, lengths, beta, rows)
    )


def _check(problem: Problem, lengths: Sequence[int], beta: float, rows: list[Row]) -> dict[str, Any]:
    """Append the rows for each number of steps."""
    reference, step_size = implicit_gradient(problem), problem.step_size(None)
    nudged = _long_phase(problem, step_size)

    def error(free: FixedPoint, rule: Nudging) -> float:
        return relative_error(replace(problem, free=free).nudged(rule, nudged).parameters, reference)

    bias = {rule: error(problem.free, rule) for rule in (one_sided(beta), centered(beta))}
    for length in tracked(lengths, lambda length: f"{length} steps"):
        short = Euler(tolerance=0, max_iterations=length, step_size=step_size)
        free = relaxed(problem.model, problem.x, short)
        stored = _against_stored(problem, free, one_sided(beta), nudged)
        after = f"after {length} steps"
        rows += [
            Row(f"residual {after}", float(free.residual.max())),
            Row(f"against the stored state, {after}", relative_error(stored, reference), note="amplified"),
        ]
        for rule, floor in bias.items():
            limit = 1.01 * floor + 1e-13 / beta
            rows.append(Row(f"{rule!r}, {after}", error(free, rule), high=limit))
        rows.append(Row(f"exact limit, {after}", error(free, exact_limit()), high=1e-10))
    return {}


def _long_phase(problem: Problem, step_size: float) -> Euler:
    """Return a solver of so many steps that a distance from the fixed point falls by a factor of 1e14."""
    rate = problem.spectrum.rate(step_size)
    long = int(np.ceil(np.log(1e-14) / np.log(rate))) if 0 < rate < 1 else 10_000
    return Euler(tolerance=0, max_iterations=min(long, 100_000), step_size=step_size)


def _against_stored(problem: Problem, free: FixedPoint, rule: Nudging, nudged: Euler) -> NDArray[np.float64]:
    """Return (dE/dtheta(s^beta) - dE/dtheta(s_0)) / beta with the stored state s_0 of the free phase."""
    model = problem.model
    energy = model.clamp(problem.x)
    beta = rule.beta
    total = _core.f64.total_energy(energy, problem.bound, beta)
    state, *_ = model.core.relax(total, nudged.core, free.state)
    contrast = energy.parameter_gradient(state) - energy.parameter_gradient(free.state)
    return np.asarray(contrast / (beta * len(state)))
