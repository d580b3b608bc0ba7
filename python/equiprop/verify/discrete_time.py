"""The claim that updates of Equilibrium Propagation are gradients of backpropagation through time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.checks import enough_memory, whole
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.solvers import Euler, FixedPointIteration, FreeSolver
from equiprop.verify.problem import Problem, at_rest
from equiprop.verify.timed import Timed
from equiprop.verify.verdict import Report, Row
from equiprop.verify.watch import tracked

_Floats = NDArray[np.float64]
_TOLERANCE = 1e-12


@dataclass(frozen=True, kw_only=True)
class DiscreteTimeReport(Report):
    """Updates of EqProp compared with gradients of BPTT at every step, as in Ernoult et al. (2019)."""

    claim: ClassVar[str] = "discrete-time"
    statement: ClassVar[str] = (
        "At a steady state each update of EqProp is minus a gradient of BPTT: Delta_s(t) = -N_s(t), "
        "Delta_theta(t) = -N_theta(t) (Ernoult et al. 2019)."
    )


def discrete_time(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    steps: int = 30,
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
    time_limit: float | None = None,
    progress: bool = False,
) -> DiscreteTimeReport:
    """Compare Delta_s(t) and Delta_theta(t) of EqProp with N_s(t) and N_theta(t) of BPTT, at every step t.

    The *energy-based* setting uses Euler steps. The *prototypical* setting, s <- sigma(M s + c), is checked
    for networks of smooth units, on a copy with a Legendre potential. With the nudge inside sigma, the
    parameters agree exactly, and the states up to the factor D = sigma'. With the nudge outside of sigma,
    neither agrees; these figures have no limit. For parameters, the sums over the steps up to t are compared.
    Source: Ernoult et al. (2019).

    Parameters
    ----------
    model, x, y, cost, solver, time_limit, progress
        See `equivalence`; the model has an energy.
    steps : int
        Number of steps, at least 1.

    Returns
    -------
    DiscreteTimeReport

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
    >>> eq.verify.discrete_time(net, [[0.1, 0.5, 0.9, 0.3]], [2]).passed
    True
    """
    steps = whole(steps, "discrete_time", "steps", 1)
    timed = Timed("discrete_time", time_limit, progress)
    problem = timed.prepared(model, x, y, cost, solver)
    if not problem.model.conservative:
        raise ValueError(f"[discrete_time] The model has an energy. Received {problem.model!r}.")
    size = 24 * (steps + 2) * (problem.state.size + len(problem.model.parameters))
    with enough_memory(size, "discrete_time", f"the states of {steps} steps", cure="Choose fewer steps"):
        return timed.report(
            DiscreteTimeReport, problem, {"steps": steps}, lambda rows: _check(problem, steps, rows)
        )


def _check(problem: Problem, steps: int, rows: list[Row]) -> dict[str, Any]:
    """Append the differences in the energy-based setting, and in the prototypical one if there is one."""
    twin = _prototypical(problem)
    settings = {"energy-based": lambda: _energy_based(problem, steps)}
    if twin is not None:
        settings["prototypical, nudge inside"] = lambda: _prototypical_rows(twin, steps, False)
        settings["prototypical, nudge outside"] = lambda: _prototypical_rows(twin, steps, True)
    for name in tracked(list(settings), str):
        rows += settings[name]()
    return {}


def _energy_based(problem: Problem, steps: int) -> list[Row]:
    """Return the differences with Euler steps."""
    euler = Euler(tolerance=0, max_iterations=steps, step_size=problem.step_size(None))
    states, thetas = _compare(problem, euler, steps, False, problem.free_units.astype(np.float64))
    return [
        Row("energy-based: states", states, high=_TOLERANCE),
        Row("energy-based: parameters", thetas, high=_TOLERANCE),
    ]


def _prototypical_rows(twin: Problem, steps: int, outside: bool) -> list[Row]:
    """Return the differences with the map sigma(M s + c), with the nudge inside or outside of sigma."""
    iteration = FixedPointIteration(tolerance=0, max_iterations=steps)
    mobility = twin.energy.mobility(twin.state)
    factor = np.ones_like(mobility) if outside else mobility
    states, thetas = _compare(twin, iteration, steps, outside, factor)
    if outside:
        return [
            Row("prototypical, nudge outside: states", states, note="not claimed"),
            Row("prototypical, nudge outside: parameters", thetas, note="not claimed"),
        ]
    return [
        Row("prototypical, nudge inside: states up to D", states, high=_TOLERANCE),
        Row("prototypical, nudge inside: parameters", thetas, high=_TOLERANCE),
    ]


def _prototypical(problem: Problem) -> Problem | None:
    """Return a problem with the fixed-point map sigma(M s + c), or None if it does not converge."""
    model = problem.model
    if not (isinstance(model, HopfieldNetwork) and model.holomorphic):
        return None
    legendre = model.variant(potential="legendre")
    twin = at_rest("discrete_time", legendre, problem.x, problem.y, problem.cost)
    contracts = np.isfinite(twin.state).all() and twin.free.converged
    return twin if contracts else None


def _compare(
    problem: Problem, solver: Euler | FixedPointIteration, steps: int, outside: bool, factor: Any
) -> tuple[float, float]:
    """Return the largest relative errors of Delta_s(t) = -factor N_s(t) and of the summed parameters."""
    model, state = problem.model, problem.state
    rate = solver.step_size if isinstance(solver, Euler) else 1.0
    dual = model.clamp_dual(problem.x)
    tangents, thetas = _core.verification.nudged_tangents(
        dual, problem.bound, state, solver.core, steps + 1, outside
    )
    steady = np.ascontiguousarray(np.broadcast_to(state, (steps + 2, *state.shape)))
    _, adjoints, sweeps = model.core.backpropagation_through_time(
        problem.energy, problem.bound, steady, solver.core, False, True
    )
    updates, expected = np.diff(tangents, axis=0) / rate, -factor * adjoints[:-1]
    states = _relative(updates, expected, adjoints)
    cumulative = -thetas[1:]  # sum of Delta_theta up to t: dPhi/dtheta = -dE/dtheta
    return states, _relative(cumulative, -sweeps[1:], sweeps)


def _relative(value: _Floats, expected: _Floats, scale: _Floats) -> float:
    return float(np.abs(value - expected).max(initial=0.0) / (np.abs(scale).max(initial=0.0) or 1.0))
