"""The phase portrait of a network of two free units: its free and its nudged flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.checks import real, require, several, whole
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.solvers import Euler, FreeSolver
from equiprop.verify.model_parts import unit_name
from equiprop.verify.problem import Problem, prepare
from equiprop.verify.spectrum import stable_step

_Floats = NDArray[np.float64]
#: Largest number of grid points in each direction, and of steps of a path.
_MOST_POINTS, _PATH = 500, 2000
#: Largest nudging factor and bound.
_LARGEST = 1e100


@dataclass(frozen=True)
class PhasePortrait:
    """The flow of two units on a grid of states, with and without a nudge.

    Attributes
    ----------
    units : (str, str)
        Names of the units, such as "hidden1[0]".
    beta : float
        Nudging factor.
    first, second : (points,)
        States of the first and of the second unit on the grid.
    free_flow, nudged_flow : (points, points, 2)
        ds/dt = -dE/ds and -dF/ds with F = E + beta C; [j, i] is that at first[i], second[j]. Not finite
        where the energy is not defined. Bounds of the units are not part of it.
    free_state, nudged_state : (2,)
        The fixed points s* and s^beta.
    path : (steps, 2)
        The nudged phase: Euler steps of the nudged flow from s*, within the bounds of the units.
    """

    units: tuple[str, str]
    beta: float
    first: _Floats
    second: _Floats
    free_flow: _Floats
    nudged_flow: _Floats
    free_state: _Floats
    nudged_state: _Floats
    path: _Floats


def phase_portrait(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    beta: float = 0.5,
    *,
    bounds: Sequence[Sequence[float]] | None = None,
    points: int = 11,
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
) -> PhasePortrait:
    r"""Return the free and the nudged flow of a model of two free units, for one sample.

    .. math:: ds/dt = -dE/ds - \beta \, dC/ds

    Parameters
    ----------
    model, x, y, cost, solver
        See `equiprop.verify.equivalence`; the model has two free units, and there is one sample.
    beta : float
        Nudging factor.
    bounds : ((low, high), (low, high)), optional
        Range of each unit on the grid; by default around both fixed points.
    points : int
        Number of grid points in each direction.

    Returns
    -------
    PhasePortrait

    Raises
    ------
    ValueError, TypeError
        If an argument has a wrong type or shape, or is out of range.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([1, 1, 1], activation="tanh", potential="quadratic", dtype="float64")
    >>> portrait = eq.analysis.phase_portrait(net, [[1.0]], [[0.5]], beta=1.0)
    >>> portrait.units, portrait.nudged_flow.shape
    (('hidden1[0]', 'output[0]'), (11, 11, 2))
    """
    where = "phase_portrait"
    beta, points = real(beta, where, "beta"), whole(points, where, "points", 2, _MOST_POINTS)
    require(abs(beta) <= _LARGEST, where, f"beta lies in -{_LARGEST:g} .. {_LARGEST:g}", beta)
    ranges = None if bounds is None else _ranges(bounds, where)
    problem = prepare(where, model, x, y, cost, solver)
    shape = problem.state.shape
    require(shape == (1, 2), where, "There is one sample, and the model has two free units", shape)
    return _portrait(problem, beta, ranges, points)


def _portrait(
    problem: Problem, beta: float, ranges: Sequence[tuple[float, float]] | None, points: int
) -> PhasePortrait:
    """Run the nudged phase, and compute both flows on a grid."""
    state, path = _nudged_phase(problem, _core.f64.total_energy(problem.energy, problem.bound, beta))
    ranges = _around(problem.state[0], state, path) if ranges is None else ranges
    first, second = (np.linspace(low, high, points) for low, high in ranges)
    return PhasePortrait(
        units=(unit_name(problem.model, 0), unit_name(problem.model, 1)),
        beta=beta,
        first=first,
        second=second,
        free_flow=_flow(problem, 0.0, first, second),
        nudged_flow=_flow(problem, beta, first, second),
        free_state=problem.state[0],
        nudged_state=state,
        path=path,
    )


def _ranges(bounds: Any, where: str) -> list[tuple[float, float]]:
    rule = "bounds are ((low, high), (low, high)), finite, each low below its high"
    pairs = several(bounds, where, "bounds", lambda pair, at, name: several(pair, at, name, real))
    shaped = len(pairs) == 2 and all(len(pair) == 2 for pair in pairs)
    require(shaped and all(-_LARGEST <= a < b <= _LARGEST for a, b in pairs), where, rule, bounds)
    return [(pair[0], pair[1]) for pair in pairs]


def _nudged_phase(problem: Problem, nudged: _core.Energy) -> tuple[_Floats, _Floats]:
    """Return the nudged fixed point, and Euler steps from the free one towards it."""
    step = Euler(tolerance=0, max_iterations=_PATH, step_size=stable_step(nudged, problem.state) / 2)
    core, solver = problem.model.core, problem.solver
    if isinstance(solver, Euler):
        solver = replace(solver, step_size=step.step_size)
    state, *_ = core.relax(nudged, solver.core, problem.state)
    *_, states = core.relax(nudged, step.core, problem.state, False, True)
    assert states is not None
    path = states[:, 0]
    near = np.abs(path - path[-1]).max(axis=1) <= 1e-3 * np.abs(path[0] - path[-1]).max()
    return state[0], path[: int(np.argmax(near)) + 1]


def _around(free: _Floats, nudged: _Floats, path: _Floats) -> list[tuple[float, float]]:
    """Return ranges around both fixed points: three times the distance between them in both directions."""
    states = np.vstack([free, nudged, path])
    states = states[np.isfinite(states).all(axis=1)]
    middle, size = (states.max(axis=0) + states.min(axis=0)) / 2, np.ptp(states, axis=0).max()
    half = 1.5 * size if 0 < size < _LARGEST else 1.0
    return [(float(m) - half, float(m) + half) for m in middle]


def _flow(problem: Problem, beta: float, first: _Floats, second: _Floats) -> _Floats:
    """Return -dF/ds on a grid, (points, points, 2)."""
    grid = np.stack(np.meshgrid(first, second), axis=-1)
    states = np.ascontiguousarray(grid.reshape(-1, 2))
    x = np.repeat(problem.x, len(states), axis=0)
    y = np.repeat(np.asarray(problem.y), len(states), axis=0)
    energy = _core.f64.total_energy(problem.model.clamp(x), problem.bind(y), beta)
    with np.errstate(all="ignore"):  # states outside of the range of the units
        flow = -np.asarray(energy.gradient(states))
    return flow.reshape(grid.shape)
