"""The theorem: both second phases compared at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.checks import check_type, real, whole
from equiprop.costs import Cost, SquaredError
from equiprop.models import Model
from equiprop.nudging import Nudging, exact_limit
from equiprop.solvers import FreeSolver
from equiprop.verify.diagnosis import of_symmetry
from equiprop.verify.model_parts import unit_name
from equiprop.verify.problem import Problem, prepare
from equiprop.verify.relation import relation
from equiprop.verify.spectrum import skewness, symmetry
from equiprop.verify.verdict import Report, Row

#: Every step of every number is kept as long as that takes no more than this; else a few traces are.
_EVERYTHING = 2**26
_TRACES = 24
#: States, in units of (samples, units) doubles, that one run of both processes holds; measured.
_STATES_PER_RUN = 40
#: Rounding of two inner products of any length that is met.
_SKEW = 1e-11


@dataclass(frozen=True)
class Process:
    """One of the two processes at steps 0 to `steps`, for the traced units, samples and parameters.

    Attributes
    ----------
    states : (steps + 1, samples, units)
    parameters : (steps + 1, parameters), averaged over the batch like a gradient
    """

    states: NDArray[np.float64]
    parameters: NDArray[np.float64]


@dataclass(frozen=True)
class Traced:
    """Which samples, units and parameters a `Process` shows: all of them unless that is too much."""

    samples: NDArray[np.int64]
    units: NDArray[np.int64]
    parameters: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class EquivalenceReport(Report):
    """The theorem, checked at every step of the second phase.

    Attributes
    ----------
    error_derivatives : Process
        S-bar and Theta-bar, of Recurrent Backpropagation.
    temporal_derivatives : Process
        S-tilde and Theta-tilde, of Equilibrium Propagation; the theorem says S-tilde = -D S-bar and
        Theta-tilde = Theta-bar.
    traced : Traced
        What of them was kept.
    free_units : (batch, units) bool
        D: False for units a bound holds at the fixed point.
    state_errors, parameter_errors : (steps + 1,)
        Largest difference at each step, over everything, relative to the process's largest entry.
    layer_errors, block_errors : dict of (steps + 1,)
        The same for each layer and each block of parameters.
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
        """The key of the claim in `CLAIMS`, which has one for each integrator."""
        return "equality" if self.settings["integrator"] == "euler" else "runge-kutta"

    @property
    def free(self) -> Any:
        """The fixed point both processes start from."""
        return self.problem.free

    @property
    def max_relative_error(self) -> float:
        """The largest difference over all steps, states and parameters; nan if a number was not finite."""
        return float(np.maximum(self.state_errors.max(), self.parameter_errors.max()))

    def series(self) -> dict[str, Any]:
        """Return the errors against time, and both processes of the liveliest units of the first sample."""
        chosen = self.liveliest(6)
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

    def liveliest(self, count: int) -> NDArray[np.int64]:
        """Return which traced units have the largest error derivatives, of those free in sample 0."""
        free = self.free_units[0, self.traced.units]
        sizes = np.abs(self.error_derivatives.states[:, 0]).max(axis=0) * free
        return np.argsort(-sizes, kind="stable")[:count]

    def plot(self, axes: Any = None, units: int = 6) -> Any:
        """Draw the theorem for a few units; see `equiprop.plotting.theorem`."""
        return next(self.pictures()).draw(axes, units=units)

    @property
    def summary(self) -> str:
        """The verdict in one sentence."""
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
        return "\n".join([self.summary, *(f"    -> {sentence}" for sentence in self.all_advice())])


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
) -> EquivalenceReport:
    r"""Compare both second phases at every step (Scellier & Bengio 2019, eq. 8).

    .. math:: \tilde S_t = -\bar S_t, \qquad \tilde\Theta_t = \bar\Theta_t

    In the limit beta -> 0 the equality is exact for every step and any step size: the differences are
    rounding. A finite nudging shows its bias. Memory does not grow with the steps.

    Parameters
    ----------
    model : HopfieldNetwork, Energy, VectorField, or a prepared Problem
    x : (batch, inputs) array
    y : (batch, outputs) array, or (batch,) integer labels
    steps : int
    step_size : float, optional
        Step of both processes, in units of time; by default 0.3, or less where that is unstable.
    integrator : {"euler", "runge-kutta"}
        With the classic Runge-Kutta scheme S-tilde is the field value; no unit may be held by a bound.
    cost : SquaredError or CrossEntropy
    nudging : Nudging
        `holomorphic` excepted.
    symmetrize : bool
        Add the antisymmetric term of `EquilibriumPropagation` to the nudged dynamics.
    solver : FreeSolver, optional
        Of the free phase; by default one that reaches a residual of 1e-14.
    tolerance : float
        Of `EquivalenceReport.passed`.

    Returns
    -------
    EquivalenceReport

    Raises
    ------
    ValueError, TypeError
        For bad arguments.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
    >>> report = eq.verify.equivalence(net, [[0.1, 0.5, 0.9, 0.3]], [2], steps=100)
    >>> report.passed, report.max_relative_error < 1e-12
    (True, True)
    """
    where = "equivalence"
    steps = whole(steps, where, "steps", 0)
    step_size = None if step_size is None else real(step_size, where, "step_size")
    tolerance = real(tolerance, where, "tolerance")
    check_type(nudging, Nudging, where, "A nudging is made by centered(beta), exact_limit(), ...")
    if nudging.circle or integrator not in ("euler", "runge-kutta"):
        raise ValueError(
            f"[{where}] The integrator is 'euler' or 'runge-kutta', and the nudging is real. "
            f"Received {integrator!r} and {nudging!r}."
        )
    problem = prepare(where, model, x, y, cost, solver)
    settings = {
        "steps": steps,
        "step_size": step_size,
        "integrator": integrator,
        "nudging": nudging,
        "symmetrize": symmetrize,
        "tolerance": tolerance,
    }
    request = _core.verification.Request()
    request.steps, request.step_size = steps, problem.step_size(step_size)
    request.runge_kutta = integrator == "runge-kutta"
    return _report(problem, settings, request, _run(problem, request, nudging, symmetrize))


def _report(
    problem: Problem, settings: dict[str, Any], request: Any, parts: list[dict[str, Any]]
) -> EquivalenceReport:
    layers = _joined_errors(parts, "states", problem.model.layer_slices)
    blocks = _joined_errors(parts, "parameters", problem.model.block_slices)
    state_errors, parameter_errors = (np.max(list(e.values()), axis=0) for e in (layers, blocks))
    traced, tolerance = _traced(problem, request.steps), settings["tolerance"]
    return EquivalenceReport(
        problem=problem,
        settings=settings,
        rows=(
            Row("states, largest over all steps", float(state_errors.max()), high=tolerance),
            Row("parameters, largest over all steps", float(parameter_errors.max()), high=tolerance),
            Row("residual of the fixed point", float(problem.free.residual.max())),
            *_symmetry_row(problem),
            Row("units held by a bound", float((~problem.free_units).sum())),
        ),
        advice=_advice(problem, parts, layers, blocks, request, settings),
        error_derivatives=_process(parts, "error", traced, request.steps),
        temporal_derivatives=_process(parts, "temporal", traced, request.steps),
        traced=traced,
        free_units=problem.free_units,
        state_errors=state_errors,
        parameter_errors=parameter_errors,
        layer_errors=layers,
        block_errors=blocks,
        nudging=settings["nudging"],
        step_size=request.step_size,
        tolerance=tolerance,
    )


def _symmetry_row(problem: Problem) -> list[Row]:
    """Judge the symmetry that an energy promises: a wrong one would put H in the place of H^T unnoticed."""
    if not problem.model.conservative:
        return []
    skew = skewness(problem.energy, problem.state)
    return [Row("symmetry of the Hessian, <u, H v> - <v, H u>", skew, high=_SKEW)]


def _samples_per_run(problem: Problem) -> int:
    """Return how many samples fit beside six states of the batch and a spare vector of parameters."""
    batch, units = problem.state.shape
    room = 6 * batch * units + len(problem.model.parameters)
    return int(max(1, min(batch, room // (_STATES_PER_RUN * units))))


def _run(problem: Problem, request: Any, nudging: Nudging, symmetrize: bool) -> list[dict[str, Any]]:
    """Compare the batch some samples at a time; each part carries its share of the batch."""
    model, (batch, _), size = problem.model, problem.state.shape, _samples_per_run(problem)
    request.layer_ends = [where.stop for where in model.layer_slices.values()]
    request.block_ends = [where.stop for where in model.block_slices.values()]
    traced = _traced(problem, request.steps)
    request.units, request.parameters = traced.units.tolist(), traced.parameters.tolist()
    y, parts = np.asarray(problem.y), []
    for begin in range(0, batch, size):
        some = slice(begin, min(begin + size, batch))
        state, x = problem.state[some], problem.x[some]
        request.samples = [int(j) - begin for j in traced.samples if some.start <= j < some.stop]
        energy, bound = model.clamp(x), problem.bind(y[some])
        nudged: Any = model.clamp_dual(x) if nudging.exact else energy
        nudged = nudged.symmetrized(state) if symmetrize else nudged
        if nudging.exact:
            part = _core.verification.compare_limit(energy, bound, nudged, state, request)
        else:
            nodes = nudging.nodes(0)
            part = _core.verification.compare(energy, bound, nudged, state, nodes, request)
        parts.append({**part, "share": (some.stop - some.start) / batch})
    return parts


def _joined_errors(
    parts: list[dict[str, Any]], kind: str, slices: Mapping[str, slice]
) -> dict[str, NDArray[np.float64]]:
    """Return max |difference| at each step over max |reference| of all steps, group by group."""
    scale = max(float(part[kind]["size"].max(initial=0.0)) for part in parts) or 1.0
    with np.errstate(invalid="ignore"):  # a process that grew to infinity differs by NaN
        differences = np.max([part[kind]["difference"] for part in parts], axis=0) / scale
    return {name: differences[:, g] for g, name in enumerate(slices)} or {"": np.zeros(len(differences))}


def _traced(problem: Problem, steps: int) -> Traced:
    batch, units = problem.state.shape
    parameters = len(problem.model.parameters)
    if 16 * (steps + 1) * (batch * units + parameters) <= _EVERYTHING:
        return Traced(np.arange(batch), np.arange(units), np.arange(parameters))
    outputs = np.arange(units - min(problem.model.num_outputs, _TRACES // 2), units)
    spread = np.linspace(0, units - 1, _TRACES - len(outputs)).astype(np.int64)
    chosen = np.linspace(0, parameters - 1, min(_TRACES, parameters)).astype(np.int64)
    return Traced(np.arange(1), np.unique(np.concatenate([spread, outputs])), np.unique(chosen))


def _process(parts: list[dict[str, Any]], name: str, traced: Traced, steps: int) -> Process:
    states = np.concatenate([part[f"{name}_states"] for part in parts], axis=1)
    with np.errstate(invalid="ignore"):
        parameters = sum(part["share"] * part[f"{name}_parameters"] for part in parts)
    shape = (steps + 1, len(traced.samples), len(traced.units))
    return Process(states.reshape(shape), np.asarray(parameters))


def _advice(
    problem: Problem,
    parts: list[dict[str, Any]],
    layers: Mapping[str, NDArray[np.float64]],
    blocks: Mapping[str, NDArray[np.float64]],
    request: Any,
    settings: dict[str, Any],
) -> tuple[str, ...]:
    """Say what is known of the cause; then which layers and blocks differ, and how."""
    details = []
    for kind, errors, what in (("states", layers, "S~ of"), ("parameters", blocks, "Theta~ of")):
        for g, (name, error) in enumerate(errors.items()):
            if not error.max() <= settings["tolerance"]:
                sums = [
                    sum(part[kind][key][g] for part in parts) for key in ("product", "power", "value_power")
                ]
                at = int(np.argmax(~(error <= settings["tolerance"])))
                details.append(f"{what} {name} {relation(*sums)} from step {at} on.")
    causes = []
    if problem.model.conservative and skewness(problem.energy, problem.state) > _SKEW:
        even = symmetry(problem.energy, problem.state, problem.model.layer_slices)
        causes += of_symmetry(problem.model, even)
    if not details:
        return tuple(causes)
    if not settings["symmetrize"] and not problem.model.conservative:
        causes.append(
            "The model is a vector field, for which EqProp is RBP only where the Jacobian is symmetric: "
            "use symmetrize=True."
        )
    stable = problem.spectrum.largest_stable_step
    if request.step_size > stable:
        causes.append(
            f"The step size {request.step_size:g} is beyond stability, {stable:.3g}: both processes "
            f"grow, and "
            "the rounding of the fixed point with them."
        )
    if np.isnan(problem.objective(problem.state)):
        causes.append("The cost is not a number at the fixed point.")
    return (*causes, *details)
