"""The claim that recorded relaxations of a simulator follow the gradient flow of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import as_array
from equiprop.checks import real
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.nudging import Nudging, centered, one_sided
from equiprop.solvers import Euler, FreeSolver
from equiprop.verify.equivalence import equivalence
from equiprop.verify.problem import Problem, prepare
from equiprop.verify.relation import relation
from equiprop.verify.verdict import Report, Row

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TracesReport(Report):
    """Recorded nudged relaxations compared with those of the model."""

    claim: ClassVar[str] = "traces"
    statement: ClassVar[str] = (
        "The recorded states are those of s <- s - h (dE/ds + beta dC/ds) from the fixed point, and their "
        "temporal derivatives are minus the error derivatives of RBP."
    )


def traces(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    trajectories: Mapping[float, Any],
    step_size: float,
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
    tolerance: float = 1e-9,
) -> TracesReport:
    """Compare recorded nudged phases at beta, or at beta and -beta, with the flow of the model.

    Parameters
    ----------
    model, x, y, cost, solver
        See `equivalence`.
    trajectories : mapping of float to array
        States (steps + 1, batch, units) by beta: {beta: s} or {beta: s, -beta: t}. State 0 is the fixed
        point; state n is the state after n Euler steps.
    step_size : float
        Step size of the recording, in units of time.
    tolerance : float
        Largest difference from the flow of the model that passes; for a measurement, its noise.

    Returns
    -------
    TracesReport

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
    >>> x, y, beta = np.array([[0.1, 0.5, 0.9, 0.3]]), np.array([[0.0, 0.0, 1.0]]), 0.01
    >>> s = [eq.free_phase(net, x, solver=eq.Euler(tolerance=1e-14, max_iterations=10_000)).state]
    >>> for _ in range(50):
    ...     slope = net.clamp(x).gradient(s[-1])
    ...     slope[:, -3:] += beta * (s[-1][:, -3:] - y)
    ...     s.append(s[-1] - 0.2 * slope)
    >>> eq.verify.traces(net, x, y, trajectories={beta: s}, step_size=0.2).passed
    True
    """
    problem = prepare("traces", model, x, y, cost, solver)
    step_size, tolerance = real(step_size, "traces", "step_size"), real(tolerance, "traces", "tolerance")
    recorded = _checked(problem, trajectories)
    steps = min(len(path) for path in recorded.values()) - 1
    own = {beta: _flow(problem, beta, step_size, steps) for beta in recorded}
    rows, advice = [], []
    for beta, path in recorded.items():
        start, flow = _distances(problem, beta, path[: steps + 1], own[beta], tolerance)
        rows += [start, flow]
        if not flow.passed:
            advice += _cause(problem, beta, path[: steps + 1], own[beta], tolerance)
    rows.append(_temporal_row(problem, recorded, steps, step_size, tolerance))
    return TracesReport(
        problem=problem,
        settings={"step_size": step_size, "tolerance": tolerance},
        rows=tuple(rows),
        advice=tuple(advice),
    )


def _checked(problem: Problem, trajectories: Mapping[float, Any]) -> dict[float, _Floats]:
    paths = {float(beta): as_array(path, "traces", "a trajectory") for beta, path in trajectories.items()}
    betas = sorted(paths)
    opposite = len(betas) == 2 and betas[0] == -betas[1]
    if not (len(betas) == 1 or opposite) or 0.0 in paths:
        raise ValueError(f"[traces] Trajectories are given at beta, or at beta and -beta. Received {betas}.")
    for path in paths.values():
        if path.ndim != 3 or path.shape[1:] != problem.state.shape or len(path) < 2:
            raise ValueError(
                f"[traces] A trajectory has shape (steps + 1, {', '.join(map(str, problem.state.shape))}). "
                f"Received shape {path.shape}."
            )
    return {beta: path.astype(np.float64) for beta, path in paths.items()}


def _flow(problem: Problem, beta: float, step_size: float, steps: int) -> _Floats:
    """Return the states of the nudged gradient flow of the model, (steps + 1, batch, units)."""
    core = _core.f64
    solver = Euler(tolerance=0, max_iterations=steps, step_size=step_size).core
    energy = core.total_energy(problem.energy, problem.bound, beta)
    *_, states = core.relax(energy, solver, problem.state, False, True)
    return np.asarray(states)


def _distances(
    problem: Problem, beta: float, path: _Floats, own: _Floats, tolerance: float
) -> tuple[Row, Row]:
    """Return the distances of a recording from the fixed point, at its start, and from the model's flow."""
    start, error = float(np.abs(path[0] - problem.state).max()), float(np.abs(path - own).max())
    return (
        Row(f"beta = {beta:g}: distance of state 0 from the fixed point", start, high=tolerance),
        Row(f"beta = {beta:g}: distance from the model's flow", error, high=tolerance),
    )


def _rule(recorded: Mapping[float, _Floats]) -> Nudging:
    beta = max(recorded, key=abs) if len(recorded) == 1 else max(recorded)
    return one_sided(beta) if len(recorded) == 1 else centered(beta)


def _temporal_row(
    problem: Problem, recorded: Mapping[float, _Floats], steps: int, step_size: float, tolerance: float
) -> Row:
    """Compare temporal with error derivatives, within the bias of beta and the noise of the recording."""
    gap, bias = _temporal_error(problem, recorded, steps, step_size)
    noise = tolerance / (min(abs(beta) for beta in recorded) * step_size)
    limit, note = 1.01 * bias + noise, f"bias of beta {bias:.1e}"
    return Row("S~ = -D S-bar, largest difference", gap, high=limit, note=note)


def _temporal_error(
    problem: Problem, recorded: Mapping[float, _Floats], steps: int, step_size: float
) -> tuple[float, float]:
    """Return max |S~ + D S-bar| / max |S-bar| of the recording, and that of the nudged flow of the model."""
    rule = _rule(recorded)
    weights = dict(rule.nodes(0))
    own = equivalence(problem, steps=steps, step_size=step_size, nudging=rule)
    traced = own.traced
    part = np.ix_(np.arange(steps), traced.samples, traced.units)
    velocity = (
        sum(weights[b] * np.diff(path[: steps + 1], axis=0) for b, path in recorded.items()) / step_size
    )
    error = own.error_derivatives.states[:-1] * problem.free_units[np.ix_(traced.samples, traced.units)]
    scale = float(np.abs(own.error_derivatives.states).max()) or 1.0
    gap = float(np.abs(np.asarray(velocity)[part] + error).max(initial=0.0)) / scale
    return gap, float(own.state_errors.max())


def _cause(problem: Problem, beta: float, path: _Floats, own: _Floats, tolerance: float) -> list[str]:
    """Return advice that names the simplest difference between the recording and the flow of the model."""
    near = max(tolerance, 1e-3 * float(np.abs(path - own).max()))
    for shift, word in ((1, "late"), (-1, "early")):
        a, b = (path[1:], own[:-1]) if shift == 1 else (path[:-1], own[1:])
        if np.abs(a - b).max() <= near:
            return [
                f"beta = {beta:g}: the recording is one step {word}: its state n is state n{-shift:+d} of "
                "the flow. This shift gives the theorem a relative error of the order of the step size."
            ]
    if np.abs(path[0] - problem.state).max() > tolerance:
        return [f"beta = {beta:g}: the recording does not start at the free fixed point."]
    first, whole = _factor(path[1] - path[0], own[1] - own[0]), _factor(path - path[0], own - own[0])
    if abs(first - 1) > 0.01:
        scaled = abs(whole - first) < 0.1 * abs(first)
        what = "the cost or beta is scaled by this factor" if scaled else "the step size differs"
        return [
            f"beta = {beta:g}: the response is {whole:.3g} times that of the model, and its first step "
            f"{first:.3g} times: {what}."
        ]
    sentences = []
    for name, at in problem.model.layer_slices.items():
        a, b = (path - path[0])[:, :, at].ravel(), (own - own[0])[:, :, at].ravel()
        if np.abs(a - b).max() > tolerance:
            words = relation(float(a @ b), float(b @ b), float(a @ a))
            sentences.append(f"beta = {beta:g}: the response of {name} {words}.")
    return sentences


def _factor(a: _Floats, b: _Floats) -> float:
    """Return the factor f that minimises |a - f b|."""
    return float((a * b).sum() / ((b * b).sum() or 1.0))
