"""The claim that recorded relaxations of a simulator follow the gradient flow of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.checks import of_normal_size, real, require
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.nudging import Nudging, centered, one_sided
from equiprop.solvers import Euler, FreeSolver
from equiprop.verify.confidence import certain, explaining
from equiprop.verify.equivalence import equivalence
from equiprop.verify.measured_traces import POWER, judge
from equiprop.verify.noise import Noise, checked_size, found, sufficiency, sufficient_steps
from equiprop.verify.problem import Problem
from equiprop.verify.recordings import Recordings, read
from equiprop.verify.relation import described
from equiprop.verify.timed import Timed
from equiprop.verify.verdict import Report, Row
from equiprop.verify.watch import tracked

_Floats = NDArray[np.float64]
#: Largest difference from the flow of the model of a recording without noise.
_EXACT = 1e-9
#: Largest state of a stable flow over those of its first step.
_GROWTH = 1e6
#: Label of the row on whether the recordings show if they have noise.
_NUMBERS = "recorded numbers over those that tell noise from a deviation"


@dataclass(frozen=True, kw_only=True)
class TracesReport(Report):
    """Recorded nudged relaxations compared with those of the model."""

    claim: ClassVar[str] = "traces"
    statement: ClassVar[str] = (
        "The recorded states are those of s <- s - h (dE/ds + beta dC/ds) from the fixed point, and their "
        "temporal derivatives are minus the error derivatives of RBP."
    )

    @property
    def inconclusive(self) -> bool:
        """True if noise may explain every deviation, and may also hide a wrong device."""
        failed = [row.label for row in self.rows if not row.passed]
        return self.problem.free.converged and failed in ([POWER], [_NUMBERS])


def traces(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    trajectories: Mapping[float, Any],
    step_size: float,
    cost: Cost = SquaredError(),  # noqa: B008
    solver: FreeSolver | None = None,
    tolerance: float | None = None,
    noise: float | Any | None = None,
    significance: float = 0.01,
    time_limit: float | None = None,
    progress: bool = False,
) -> TracesReport:
    """Compare recorded nudged phases, exact or with measurement noise, with the flow of the model.

    Recordings with noise are judged by tests (docs/recordings.md). The report is `inconclusive` if a device
    without response would pass them too, or if a deviation may be noise that is neither stated nor shown.

    Parameters
    ----------
    model, x, y, cost, solver, time_limit, progress
        See `equivalence`.
    trajectories : mapping of float to array
        States (steps + 1, batch, units), or (repeats, steps + 1, batch, units), by beta. State 0 is the fixed
        point; state n is the state after n Euler steps. With noise, NaN is a state that was not recorded. If
        only the outputs were recorded, units are the outputs. `read_recordings` reads them from a file.
    step_size : float
    tolerance : float, optional
        Largest difference from the flow of the model that passes; 1e-9 by default, if there is no noise.
    noise : float or (units,) array, optional
        Standard deviation of one recorded number; 0 for exact recordings. By default it is estimated from
        repeats, or from 40 second differences or more in the second half; smooth recordings are exact.
    significance : float
        Largest probability that a device like the model fails the tests, or that one without response passes.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape or is out of range, or if noise and tolerance are given.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
    >>> x, y = np.array([[0.1, 0.5, 0.9, 0.3]]), np.array([[0.0, 0.0, 1.0]])
    >>> s = [eq.free_phase(net, x, solver=eq.Euler(tolerance=1e-14, max_iterations=10_000)).state]
    >>> for _ in range(50):
    ...     slope = net.clamp(x).gradient(s[-1])
    ...     slope[:, -3:] += 0.05 * (s[-1][:, -3:] - y)
    ...     s.append(s[-1] - 0.2 * slope)
    >>> eq.verify.traces(net, x, y, trajectories={0.05: s}, step_size=0.2).passed
    True
    """
    timed = Timed("traces", time_limit, progress)
    problem = timed.prepared(model, x, y, cost, solver)
    step_size = of_normal_size(step_size, "traces", "step_size")
    compared = _Compared(problem, read(problem, trajectories), step_size)
    return compared.report(timed, tolerance, noise, significance)


@dataclass(frozen=True)
class _Compared:
    """Recordings and the model whose flow, in steps of `step_size`, they should follow."""

    problem: Problem
    recordings: Recordings
    step_size: float

    def report(self, timed: Timed, tolerance: float | None, noise: Any, significance: float) -> TracesReport:
        """Return the report on recordings with a noise that is stated or estimated, or without noise."""
        significance = real(significance, "traces", "significance")
        require(0 < significance < 0.5, "traces", "significance is between 0 and 0.5", significance)
        tolerance = None if tolerance is None else real(tolerance, "traces", "tolerance")
        require(
            noise is None or tolerance is None,
            "traces",
            "Either noise or tolerance is given",
            f"noise {noise} and tolerance {tolerance}",
        )
        first = self.recordings.first
        size = None if noise is None else checked_size(noise, self.problem.state.shape[1] - first)
        whole = size
        if first and isinstance(size, np.ndarray):  # units that were not recorded do not count
            whole = np.concatenate([np.full(first, np.sqrt(np.mean(size**2))), size])

        def check(rows: list[Row]) -> dict[str, Any]:
            found, advice = self.judged(tolerance, whole, significance)
            rows += [_outputs(self.problem)] if self.recordings.outputs_only else []
            rows += found
            return {"advice": advice}

        settings = {
            "trajectories": dict(self.recordings.given),
            "step_size": self.step_size,
            "tolerance": tolerance,
            "noise": size,
            "significance": significance,
        }
        return timed.report(TracesReport, self.problem, settings, check)

    def judged(
        self, tolerance: float | None, size: float | _Floats | None, significance: float
    ) -> tuple[tuple[Row, ...], tuple[str, ...]]:
        """Return rows and advice, by statistics if there is noise, stated or found."""
        noise = None
        if size is not None and np.any(size):
            noise = Noise(size, np.inf, "stated")
        if size is None and tolerance is None:
            noise = self.found_noise()
        if noise is not None:
            return judge(self.problem, self.recordings, self.flow, noise, self.step_size, significance)
        rows, advice = self.exact(_EXACT if tolerance is None else tolerance)
        share = sufficiency(self.recordings)
        if size is None and tolerance is None and share < 1 and not all(row.passed for row in rows):
            return self.undecided(rows, share)
        return rows, advice

    def undecided(self, rows: Sequence[Row], share: float) -> tuple[tuple[Row, ...], tuple[str, ...]]:
        """Return rows without limits and advice for a deviation that may be noise or not."""
        advice = (
            "The recordings deviate from the model's flow, and are too short to show whether the deviation "
            "is noise. State noise=, the standard deviation of one recorded number, or noise=0 for an exact "
            "recording; or record repeats, or at least "
            f"{sufficient_steps(self.recordings)} steps without missing states."
        )
        figures = (replace(row, low=None, high=None) for row in rows)
        return (*figures, Row(_NUMBERS, share, low=1.0)), (advice,)

    def found_noise(self) -> Noise | None:
        """Return the noise that the recordings show, if it is more than exact recordings may have."""
        noise = found(self.recordings, {beta: self.flow(beta) for beta in self.recordings.means})
        return noise if noise is not None and noise.typical > _EXACT else None

    def flow(self, beta: float) -> _Floats:
        """Return the states of the nudged gradient flow of the model, (steps + 1, batch, units)."""
        energy = _core.f64.total_energy(self.problem.energy, self.problem.bound, beta)
        euler = Euler(tolerance=0, max_iterations=self.recordings.steps, step_size=self.step_size)
        *_, states = _core.f64.relax(energy, euler.core, self.problem.state, False, True)
        path = np.asarray(states)
        complete = len(path) == self.recordings.steps + 1
        stable = complete and bool(np.abs(path).max() <= _GROWTH * np.abs(path[:2]).max())
        rule = "The model's flow is stable at the step size of the recording"
        require(stable, "traces", rule, f"step_size {self.step_size:g}, at which it diverges")
        return path

    def completed(self) -> Mapping[float, _Floats]:
        """Return the mean recordings by beta, in which units that were not recorded follow the model."""
        means, first = dict(self.recordings.complete_means), self.recordings.first
        for beta, path in means.items():
            path[..., :first] = self.flow(beta)[..., :first]
        return means

    def exact(self, tolerance: float) -> tuple[tuple[Row, ...], tuple[str, ...]]:
        """Return the rows and the advice for recordings that a tolerance judges."""
        recorded = self.completed()
        rows, advice = [], []
        for beta in tracked(list(recorded), lambda beta: f"beta = {beta:g}"):
            path, own = recorded[beta], self.flow(beta)
            start, distance = _distances(self.problem, beta, path, own, tolerance)
            rows += [start, distance]
            if not distance.passed:
                advice += _cause(self.problem, beta, path, own, tolerance)
        for size in sorted({abs(beta) for beta in recorded}):
            pair = {beta: path for beta, path in recorded.items() if abs(beta) == size}
            name = "" if len(recorded) == len(pair) else f"|beta| = {size:g}: "
            steps = self.recordings.steps
            rows.append(_temporal_row(self.problem, pair, steps, self.step_size, tolerance, name))
        return tuple(rows), tuple(advice)


def _outputs(problem: Problem) -> Row:
    """Return a row on what recordings of the outputs alone can show."""
    model = problem.model
    note = f"outputs, of {model.num_units}: nothing is claimed on the other units, or on gradients"
    return Row("recorded units", model.num_outputs, note=note)


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
    problem: Problem,
    recorded: Mapping[float, _Floats],
    steps: int,
    step_size: float,
    tolerance: float,
    name: str,
) -> Row:
    """Compare temporal with error derivatives, within the bias of beta and the noise of the recording."""
    gap, bias = _temporal_error(problem, recorded, steps, step_size)
    noise = tolerance / (min(abs(beta) for beta in recorded) * step_size)
    limit, note = 1.01 * bias + noise, f"bias of beta {bias:.1e}"
    return Row(f"{name}S~ = -D S-bar, largest difference", gap, high=limit, note=note)


def _temporal_error(
    problem: Problem, recorded: Mapping[float, _Floats], steps: int, step_size: float
) -> tuple[float, float]:
    """Return max |S~ + D S-bar| / max |S-bar| of the recording, and that of the nudged flow of the model."""
    rule = _rule(recorded)
    weights = dict(rule.nodes(0))
    own = equivalence(problem, steps=steps, step_size=step_size, nudging=rule)
    traced = own.traced
    part = np.ix_(np.arange(steps), traced.samples, traced.units)
    velocity = sum(weights[b] * np.diff(path, axis=0) for b, path in recorded.items()) / step_size
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
                certain(
                    f"beta = {beta:g}: the recording is one step {word}: its state n is state n{-shift:+d} "
                    "of the flow. This shift gives the theorem a relative error of the order of the step "
                    "size."
                )
            ]
    if np.abs(path[0] - problem.state).max() > tolerance:
        return [certain(f"beta = {beta:g}: the recording does not start at the free fixed point.")]
    first, whole = _factor(path[1] - path[0], own[1] - own[0]), _factor(path - path[0], own - own[0])
    if abs(first - 1) > 0.01:
        scaled = abs(whole - first) < 0.1 * abs(first)
        what = "the cost or beta is scaled by this factor" if scaled else "the step size differs"
        gap, rest = path - own, path - path[0] - whole * (own - own[0])
        text = (
            f"beta = {beta:g}: the response is {whole:.3g} times that of the model, and its first step "
            f"{first:.3g} times: {what}."
        )
        return [explaining(text, 1 - float((rest**2).sum() / (gap**2).sum()))]
    sentences = []
    for name, at in problem.model.layer_slices.items():
        a, b = (path - path[0])[:, :, at].ravel(), (own - own[0])[:, :, at].ravel()
        if np.abs(a - b).max() > tolerance:
            subject = f"beta = {beta:g}: the response of {name}"
            sentences.append(described(subject, float(a @ b), float(b @ b), float(a @ a)))
    return sentences


def _factor(a: _Floats, b: _Floats) -> float:
    """Return the factor f that minimises |a - f b|."""
    return float((a * b).sum() / ((b * b).sum() or 1.0))
