"""The theorem of Scellier & Bengio (2019) that both second phases are equal at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop.checks import check_flag, check_type, real, whole
from equiprop.costs import Cost, SquaredError
from equiprop.model_interface import Model
from equiprop.nudging import Nudging, exact_limit
from equiprop.solvers import FreeSolver
from equiprop.verify.confidence import certain
from equiprop.verify.diagnosis import of_stability, of_symmetry
from equiprop.verify.model_parts import unit_name
from equiprop.verify.problem import Problem
from equiprop.verify.processes import Gaps, Process, Processes, Traced, run_processes
from equiprop.verify.relation import described
from equiprop.verify.spectrum import skewness, symmetry
from equiprop.verify.timed import Timed, Work
from equiprop.verify.verdict import JSON, Report, Row

#: Limit of the rounding error of two inner products of states.
_SKEW = 1e-11


@dataclass(frozen=True, kw_only=True)
class EquivalenceReport(Report):
    """Both second phases compared at every step: S-tilde = -D S-bar, Theta-tilde = Theta-bar.

    Attributes
    ----------
    error_derivatives : Process
        S-bar and Theta-bar of Recurrent Backpropagation.
    temporal_derivatives : Process
        S-tilde and Theta-tilde of Equilibrium Propagation.
    traced : Traced
        Indices of the samples, units and parameters that the processes contain.
    free_units : (batch, units) bool
        The diagonal of D: False for units that are held by a bound at the fixed point.
    state_errors, parameter_errors : (steps + 1,)
        Largest difference at each step, relative to the largest entry of the process.
    layer_errors, block_errors : dict of (steps + 1,)
        Largest difference at each step for each layer and each block of parameters.
    nudging : Nudging
    step_size : float
        Step of both processes, in units of time.
    tolerance : float
        Largest difference that passes.
    """

    claim: ClassVar[str] = "equality"
    statement: ClassVar[str] = (
        "At every step of the second phase S~ = -D S-bar and Theta~ = Theta-bar "
        "(Scellier & Bengio 2019, eq. 8)."
    )

    error_derivatives: Process = field(repr=False)
    temporal_derivatives: Process = field(repr=False)
    traced: Traced = field(repr=False)
    free_units: NDArray[np.bool_] = field(repr=False)
    state_errors: NDArray[np.float64] = field(repr=False)
    parameter_errors: NDArray[np.float64] = field(repr=False)
    layer_errors: Mapping[str, NDArray[np.float64]] = field(repr=False)
    block_errors: Mapping[str, NDArray[np.float64]] = field(repr=False)
    nudging: Nudging
    step_size: float
    tolerance: float

    @property
    def name(self) -> str:
        """The key of the claim in `CLAIMS`, which has one claim for each integrator."""
        return "equality" if self.settings["integrator"] == "euler" else "runge-kutta"

    @property
    def free(self) -> Any:
        """The fixed point from which both processes start."""
        return self.problem.free

    @property
    def max_relative_error(self) -> float:
        """The largest difference over all steps, states and parameters; NaN if a number was not finite."""
        return float(np.maximum(self.state_errors.max(), self.parameter_errors.max()))

    def series(self) -> JSON:
        """Return errors by time, and both processes for six units of the first sample; see `most_active`."""
        chosen = self.most_active(6)
        names = [unit_name(self.problem.model, int(self.traced.units[k])) for k in chosen]
        return {
            "time": (self.step_size * np.arange(len(self.state_errors))).tolist(),
            "state_error": self.state_errors.tolist(),
            "parameter_error": self.parameter_errors.tolist(),
            "layer_error": {name: float(e.max()) for name, e in self.layer_errors.items()},
            "block_error": {name: float(e.max()) for name, e in self.block_errors.items()},
            "units": names,
            "error_derivative": self.error_derivatives.states[:, 0, chosen].T.tolist(),
            "minus_temporal_derivative": (-self.temporal_derivatives.states[:, 0, chosen]).T.tolist(),
        }

    def most_active(self, count: int) -> NDArray[np.int64]:
        """Return the indices of the traced free units of sample 0 with the largest error derivatives."""
        count = whole(count, "most_active", "count", 0)
        free = self.free_units[0, self.traced.units]
        sizes = np.abs(self.error_derivatives.states[:, 0]).max(axis=0) * free
        return np.argsort(-sizes, kind="stable")[:count]

    def plot(self, axes: Any = None, units: int = 6) -> Any:
        """Draw the theorem for a few units; see `equiprop.plotting.theorem`."""
        return next(self.pictures()).draw(axes, units=units)

    @property
    def summary(self) -> str:
        """The verdict in one sentence."""
        if self.left_out:
            return super().summary
        verdict = "holds" if self.passed else "DOES NOT HOLD"
        scheme = "" if self.settings["integrator"] == "euler" else ", classic Runge-Kutta"
        return (
            f"EqProp ({self.nudging!r}) = RBP {verdict} over {len(self.state_errors) - 1} steps{scheme}: "
            f"states within {self.state_errors.max():.1e}, "
            f"parameters within {self.parameter_errors.max():.1e} "
            f"(tolerance {self.tolerance:.0e}; residual of the fixed point {self.free.residual.max():.1e}; "
            f"{int((~self.free_units).sum())} of {self.free_units.size} units held by a bound)"
        )

    def __str__(self) -> str:
        return "\n".join([self.summary, *self.remarks()])


def equivalence(
    model: Model | Problem,
    x: Any = None,
    y: Any = None,
    *,
    steps: int = 200,
    step_size: float | None = None,
    integrator: str = "euler",
    cost: Cost = SquaredError(),  # noqa: B008
    nudging: Nudging = exact_limit(),  # noqa: B008
    symmetrize: bool = False,
    solver: FreeSolver | None = None,
    tolerance: float = 1e-12,
    time_limit: float | None = None,
    progress: bool = False,
) -> EquivalenceReport:
    r"""Compare both second phases at every step (Scellier & Bengio 2019, equation 8).

    In the limit beta -> 0, :math:`\tilde S_t = -\bar S_t` and :math:`\tilde\Theta_t = \bar\Theta_t` at every
    step of any size, up to rounding. A finite beta shows its bias. The memory does not depend on `steps`.

    Parameters
    ----------
    model : HopfieldNetwork, Energy, VectorField, or a prepared Problem
    x : (batch, inputs) array
    y : (batch, outputs) array, or (batch,) integer labels
    steps : int
    step_size : float, optional
        Step of both processes, in units of time; by default 0.3, or less if that is not stable.
    integrator : {"euler", "runge-kutta"}
        With Runge-Kutta, S-tilde is the value of the vector field; no bound may hold a unit.
    cost : SquaredError, CrossEntropy or LayerCosts
    nudging : Nudging, but not `holomorphic`
    symmetrize : bool
        Add the antisymmetric term of `EquilibriumPropagation` to the nudged dynamics.
    solver : FreeSolver, optional
        Solver of the free phase; by default one that reaches a residual of 1e-14.
    tolerance : float
        Largest relative difference that passes.
    time_limit : float, optional
        Seconds, after which a report with the finished rows is returned; `left_out` says what is missing.
    progress : bool, on stderr

    Raises
    ------
    ValueError, TypeError, TimeoutError
        If an argument has a wrong type or shape, or is out of range; if the time is up in the free phase.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
    >>> report = eq.verify.equivalence(net, [[0.1, 0.5, 0.9, 0.3]], [2], steps=100)
    >>> report.passed, report.max_relative_error < 1e-12
    (True, True)
    """
    settings = _checked(steps, step_size, integrator, nudging, symmetrize, tolerance)
    timed = Timed("equivalence", time_limit, progress)
    problem = timed.prepared(model, x, y, cost, solver)
    return timed.report(EquivalenceReport, problem, vars(settings), *_work(problem, settings))


@dataclass(frozen=True)
class _Settings:
    """The checked settings of `equivalence`."""

    steps: int
    step_size: float | None
    integrator: str
    nudging: Nudging
    symmetrize: bool
    tolerance: float


def _checked(
    steps: int,
    step_size: float | None,
    integrator: str,
    nudging: Nudging,
    symmetrize: bool,
    tolerance: float,
) -> _Settings:
    where = "equivalence"
    steps = whole(steps, where, "steps", 0)
    check_flag(symmetrize, where, "symmetrize")
    step_size = None if step_size is None else real(step_size, where, "step_size")
    tolerance = real(tolerance, where, "tolerance")
    check_type(nudging, Nudging, where, "A nudging is the result of centered(beta), exact_limit(), ...")
    if nudging.circle or not isinstance(integrator, str) or integrator not in ("euler", "runge-kutta"):
        raise ValueError(
            f"[{where}] The integrator is 'euler' or 'runge-kutta', and the nudging is real. "
            f"Received {integrator!r} and {nudging!r}."
        )
    return _Settings(steps, step_size, integrator, nudging, symmetrize, tolerance)


def _work(problem: Problem, settings: _Settings) -> tuple[Work, Mapping[str, Any]]:
    """Return the check, and the fields of its report if it did not end."""
    return lambda rows: _compare(problem, settings, rows), _unknown(settings)


def _unknown(settings: _Settings) -> dict[str, Any]:
    """Return the fields of a report whose processes did not end."""
    none, nothing = np.zeros(0, np.int64), Process(np.zeros((1, 1, 0)), np.zeros((1, 0)))
    return {
        "error_derivatives": nothing,
        "temporal_derivatives": nothing,
        "traced": Traced(none, none, none),
        "free_units": np.ones((1, 0), np.bool_),
        "state_errors": np.full(1, np.nan),
        "parameter_errors": np.full(1, np.nan),
        "layer_errors": {},
        "block_errors": {},
        "nudging": settings.nudging,
        "step_size": np.nan if settings.step_size is None else settings.step_size,
        "tolerance": settings.tolerance,
    }


def _compare(problem: Problem, settings: _Settings, rows: list[Row]) -> dict[str, Any]:
    """Run both processes from the fixed point, compare them, and return the fields of the report."""
    nudging, symmetrize, tolerance = settings.nudging, settings.symmetrize, settings.tolerance
    step = problem.step_size(settings.step_size)
    processes = run_processes(problem, settings.steps, step, settings.integrator, nudging, symmetrize)
    state_errors, parameter_errors = _largest(processes.layers), _largest(processes.blocks)
    rows += _rows(problem, state_errors, parameter_errors, tolerance)
    return {
        "advice": (*_asymmetry(problem), *_advice(problem, processes, step, symmetrize, tolerance)),
        "error_derivatives": processes.error_derivatives,
        "temporal_derivatives": processes.temporal_derivatives,
        "traced": processes.traced,
        "free_units": problem.free_units,
        "state_errors": state_errors,
        "parameter_errors": parameter_errors,
        "layer_errors": {name: gaps.errors for name, gaps in processes.layers.items()},
        "block_errors": {name: gaps.errors for name, gaps in processes.blocks.items()},
        "nudging": nudging,
        "step_size": step,
        "tolerance": tolerance,
    }


def _largest(groups: Mapping[str, Gaps]) -> NDArray[np.float64]:
    return np.asarray(np.max([gaps.errors for gaps in groups.values()], axis=0))


def _rows(
    problem: Problem,
    state_errors: NDArray[np.float64],
    parameter_errors: NDArray[np.float64],
    tolerance: float,
) -> tuple[Row, ...]:
    rows = [
        Row("states, largest over all steps", float(state_errors.max()), high=tolerance),
        Row("parameters, largest over all steps", float(parameter_errors.max()), high=tolerance),
        Row("residual of the fixed point", float(problem.free.residual.max())),
    ]
    if problem.model.conservative:  # RBP needs products with H^T, and uses H because it is symmetric
        skew = skewness(problem.energy, problem.state)
        rows.append(Row("symmetry of the Hessian, <u, H v> - <v, H u>", skew, high=_SKEW))
    return (*rows, Row("units held by a bound", float((~problem.free_units).sum())))


def _asymmetry(problem: Problem) -> list[str]:
    if not problem.model.conservative or skewness(problem.energy, problem.state) <= _SKEW:
        return []
    even = symmetry(problem.energy, problem.state, problem.model.layer_slices)
    return of_symmetry(problem.model, even)


def _advice(
    problem: Problem, processes: Processes, step_size: float, symmetrize: bool, tolerance: float
) -> list[str]:
    """Return known causes of differences; then the layers and blocks that differ, with their relation."""
    details = []
    for groups, what in ((processes.layers, "S~ of"), (processes.blocks, "Theta~ of")):
        for name, gaps in groups.items():
            if not gaps.errors.max() <= tolerance:
                first = int(np.argmax(~(gaps.errors <= tolerance)))
                details.append(described(f"{what} {name}", *gaps.relation, f" from step {first} on"))
    if not details:
        return []
    causes = []
    if not symmetrize and not problem.model.conservative:
        causes.append(
            certain(
                "The model is a vector field, for which EqProp equals RBP only if the Jacobian is symmetric: "
                "use symmetrize=True."
            )
        )
    stable = problem.spectrum.largest_stable_step
    if problem.free.converged:
        causes += of_stability(problem.spectrum)
    if step_size > stable > 0:
        causes.append(
            certain(
                f"The step size {step_size:g} is not stable, because it is above {stable:.3g}: both "
                "processes grow, and so do the rounding errors of the fixed point."
            )
        )
    if np.isnan(problem.objective(problem.state)):
        causes.append(certain("The cost is not a number at the fixed point."))
    return [*causes, *details]
