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
from equiprop.solvers import Euler, FreeSolver
from equiprop.verify.exact_traces import judge_exact
from equiprop.verify.measured_traces import POWER, judge
from equiprop.verify.noise import Noise, checked_size, found, sufficiency, sufficient_steps
from equiprop.verify.problem import Problem
from equiprop.verify.recordings import Recordings, read
from equiprop.verify.timed import Timed
from equiprop.verify.verdict import Report, Row

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
        undecided = failed == [_NUMBERS] or (failed and all(label.endswith(POWER) for label in failed))
        return bool(self.problem.free.converged and undecided)


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
        point; state n is the state after n Euler steps. NaN is a state that was not recorded, as are those
        after the end of a recording that is shorter than others. If only the outputs were recorded, units are
        the outputs.
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
    size = of_normal_size(step_size, "traces", "step_size")
    return _Compared(problem, read(problem, trajectories), size).report(timed, tolerance, noise, significance)


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
        self.check_stable()
        noise, estimated = None, size is None and tolerance is None
        if size is not None and np.any(size):
            noise = Noise(size, np.inf, "stated")
        if estimated:
            noise = self.found_noise()
        if noise is not None:
            return judge(self.problem, self.recordings, self.flow, noise, self.step_size, significance)
        tolerance = _EXACT if tolerance is None else tolerance
        rows, advice = judge_exact(self.problem, self.recordings, self.flow_at, self.step_size, tolerance)
        share = sufficiency(self.recordings)
        if estimated and share < 1 and not all(row.passed for row in rows):
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
        """Return the states of the model at the step size of the recordings."""
        return self.flow_at(beta, self.step_size)

    def flow_at(self, beta: float, step_size: float) -> _Floats:
        """Return the states (steps + 1, batch, units) of the nudged flow, infinite if it diverges."""
        energy = _core.f64.total_energy(self.problem.energy, self.problem.bound, beta)
        euler = Euler(tolerance=0, max_iterations=self.recordings.steps, step_size=step_size)
        *_, states = _core.f64.relax(energy, euler.core, self.problem.state, False, True)
        path = np.asarray(states)
        complete = len(path) == self.recordings.steps + 1
        if complete and np.abs(path).max() <= _GROWTH * np.abs(path[:2]).max():
            return path
        return np.full((self.recordings.steps + 1, *self.problem.state.shape), np.inf)

    def check_stable(self) -> None:
        """Raise ValueError if the flow of the model diverges at a recorded beta."""
        stable = all(np.isfinite(self.flow(beta)).all() for beta in self.recordings.means)
        rule = "The model's flow is stable at the step size of the recording"
        require(stable, "traces", rule, f"step_size {self.step_size:g}, at which it diverges")


def _outputs(problem: Problem) -> Row:
    """Return a row on what recordings of the outputs alone can show."""
    model = problem.model
    note = f"outputs, of {model.num_units}: nothing is claimed on the other units, or on gradients"
    return Row("recorded units", model.num_outputs, note=note)
