"""Verification: what the theory claims, as functions that return numbers.

Everything is computed in double precision, on a copy if the network is in single precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array
from equiprop.costs import Cost, SquaredError
from equiprop.models import HopfieldNetwork, Model
from equiprop.results import FixedPoint
from equiprop.second_phase import (
    Nudging,
    centered,
    equilibrium_propagation,
    exact_limit,
    one_sided,
    recurrent_backpropagation,
)
from equiprop.solvers import (
    BlockUpdate,
    ConjugateGradient,
    Euler,
    FreeSolver,
    LinearSolver,
    Neumann,
    Richardson,
    free_phase,
)

_MEMORY_LIMIT = 2**31
_RESIDUAL = 1e-14
_ITERATIONS = 200_000


@dataclass(frozen=True)
class Process:
    """One of the two processes at steps 0 to `steps`.

    Attributes
    ----------
    states : (steps + 1, batch, units)
    parameters : (steps + 1, parameters), averaged over the batch like a gradient
    """

    states: NDArray[np.float64]
    parameters: NDArray[np.float64]


@dataclass(frozen=True)
class EquivalenceReport:
    """The theorem, checked at every step of the second phase.

    Attributes
    ----------
    error_derivatives : Process
        S-bar and Theta-bar, of Recurrent Backpropagation.
    temporal_derivatives : Process
        S-tilde and Theta-tilde, of Equilibrium Propagation; the theorem says S-tilde = -D S-bar and
        Theta-tilde = Theta-bar.
    free_units : (batch, units) bool
        D: False for units a bound holds at the fixed point.
    state_errors, parameter_errors : (steps + 1,)
        Largest difference at each step, relative to the process's largest entry over all steps.
    free : FixedPoint
        The state both start from.
    """

    error_derivatives: Process = field(repr=False)
    temporal_derivatives: Process = field(repr=False)
    free_units: NDArray[np.bool_] = field(repr=False)
    state_errors: NDArray[np.float64] = field(repr=False)
    parameter_errors: NDArray[np.float64] = field(repr=False)
    free: FixedPoint = field(repr=False)
    nudging: Nudging
    step_size: float
    tolerance: float

    @property
    def max_relative_error(self) -> float:
        """The largest difference over all steps, states and parameters; nan if a number was not finite."""
        return float(np.maximum(self.state_errors.max(), self.parameter_errors.max()))

    @property
    def passed(self) -> bool:
        """Whether the fixed point was found and the largest difference is within the tolerance."""
        return self.free.converged and self.max_relative_error <= self.tolerance

    def plot(self, units: int = 6, axes: Any = None) -> Any:
        """Draw the theorem for a few units; see `equiprop.plotting.theorem`."""
        from equiprop.plotting import theorem

        return theorem(self, units, axes)

    def __str__(self) -> str:
        verdict = "holds" if self.passed else "DOES NOT HOLD"
        return (
            f"EqProp ({self.nudging!r}) = RBP {verdict} over {len(self.state_errors) - 1} steps: states within "
            f"{self.state_errors.max():.1e}, parameters within {self.parameter_errors.max():.1e} "
            f"(tolerance {self.tolerance:.0e}; residual of the fixed point {self.free.residual.max():.1e}; "
            f"{int((~self.free_units).sum())} of {self.free_units.size} units held by a bound)"
        )


def equivalence(
    model: Model,
    x: Any,
    y: Any,
    *,
    steps: int = 200,
    step_size: float | None = None,
    cost: Cost = SquaredError(),  # noqa: B008
    nudging: Nudging = exact_limit(),  # noqa: B008
    solver: FreeSolver | None = None,
    tolerance: float = 1e-12,
) -> EquivalenceReport:
    r"""Compare both second phases at every Euler step (Scellier & Bengio 2019, eq. 8).

    .. math:: \tilde S_t = -\bar S_t, \qquad \tilde\Theta_t = \bar\Theta_t

    In the limit beta -> 0 the equality is exact for every step and any step size, so the differences
    are rounding; a finite nudging shows its bias instead.

    Parameters
    ----------
    model : HopfieldNetwork or Energy
    x : (batch, inputs) array
    y : (batch, outputs) array, or (batch,) integer labels
    steps : int
    step_size : float, optional
        Euler step of both processes, in units of time; by default 0.3, or less where that is unstable.
    cost : SquaredError or CrossEntropy
    nudging : Nudging
    solver : FreeSolver, optional
        Of the free phase; by default one that reaches a residual of 1e-14.
    tolerance : float
        Of `EquivalenceReport.passed`.

    Returns
    -------
    EquivalenceReport

    Raises
    ------
    ValueError
        For bad arguments, or if recording every step would take more than 2 GiB.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
    >>> report = eq.verify.equivalence(net, [[0.1, 0.5, 0.9, 0.3]], [2], steps=100)
    >>> report.passed, report.max_relative_error < 1e-12
    (True, True)
    """
    model = in_double(model)
    x = model.as_input(x, "equivalence")
    bound = cost.bind(model, y, "equivalence")
    _check_memory(steps, model, len(x))
    free = precise_free_phase(model, x, solver)
    energy = model.clamp(x)
    step_size = stable_step(energy, free.state) if step_size is None else step_size
    error = Process(*_core.verification.error_derivatives(energy, bound, free.state, steps, step_size))
    temporal = _temporal(model, energy, x, bound, free.state, nudging, steps, step_size)
    free_units = energy.mobility(free.state) != 0
    return EquivalenceReport(
        error,
        temporal,
        free_units,
        _relative_errors(-temporal.states, error.states * free_units, error.states),
        _relative_errors(temporal.parameters, error.parameters, error.parameters),
        free,
        nudging,
        step_size,
        tolerance,
    )


def _temporal(
    model: Model, energy: Any, x: Array, bound: Any, state: Array, nudging: Nudging, steps: int, step_size: float
) -> Process:
    if nudging.exact:
        dual = model.clamp_dual(x)
        return Process(
            *_core.verification.temporal_derivatives_limit(dual, bound, state, steps, step_size)
        )
    return Process(
        *_core.verification.temporal_derivatives(energy, bound, state, nudging.nodes(0), steps, step_size)
    )


def _relative_errors(
    value: NDArray[np.float64], reference: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return max |value - reference| at each step over max |scale| of all steps."""
    largest = float(np.abs(scale).max(initial=0.0)) or 1.0
    differences = np.abs(value - reference).reshape(len(value), -1)
    return np.asarray(differences.max(axis=1, initial=0.0) / largest)


def _check_memory(steps: int, model: Model, batch: int) -> None:
    needed = 16 * (steps + 1) * (batch * model.num_units + len(model.parameters))
    if needed > _MEMORY_LIMIT:
        raise ValueError(
            f"[equivalence] Recording every step takes at most {_MEMORY_LIMIT >> 20} MiB. "
            f"Received {steps} steps of {len(model.parameters)} parameters and {batch} states, "
            f"{needed >> 20} MiB: use fewer steps or samples, or a smaller network."
        )


@dataclass(frozen=True)
class OrdersReport:
    """How the error of a nudging falls with beta.

    Attributes
    ----------
    betas : (betas,)
    errors : dict of (betas,)
        Largest relative difference from Recurrent Backpropagation over all steps, by nudging.
    slopes : dict of float
        Fitted orders d log(error) / d log(beta): 1 for one-sided, 2 for centered.
    """

    betas: NDArray[np.float64]
    errors: dict[str, NDArray[np.float64]]
    slopes: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether the slopes are 1 and 2 within 0.1."""
        expected = {"one_sided": 1.0, "centered": 2.0}
        return all(abs(self.slopes[name] - order) <= 0.1 for name, order in expected.items())

    def __str__(self) -> str:
        rows = [f"{'beta':>8}  one-sided   centered"]
        rows += [
            f"{beta:8.0e}  {one:9.1e}  {two:9.1e}"
            for beta, one, two in zip(self.betas, self.errors["one_sided"], self.errors["centered"], strict=True)
        ]
        rows.append(f"{'order':>8}  {self.slopes['one_sided']:9.2f}  {self.slopes['centered']:9.2f}")
        return "\n".join(rows)


def orders(
    model: Model,
    x: Any,
    y: Any,
    *,
    betas: Sequence[float] = (1e-1, 1e-2, 1e-3, 1e-4),
    steps: int = 200,
    step_size: float | None = None,
    cost: Cost = SquaredError(),  # noqa: B008
) -> OrdersReport:
    """Fit the order in beta of one-sided and centered Equilibrium Propagation.

    Parameters
    ----------
    model, x, y, steps, step_size, cost
        As in `equivalence`.
    betas : sequence of float
        At least two different nudging factors.

    Returns
    -------
    OrdersReport

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", potential="quadratic", dtype="float64")
    >>> eq.verify.orders(net, [[0.1, 0.5, 0.9, 0.3]], [2]).passed
    True
    """
    if len(set(betas)) < 2:
        raise ValueError(f"[orders] A slope needs at least two different betas. Received {list(betas)}.")
    errors = {
        rule.__name__: np.array(
            [
                equivalence(
                    model, x, y, steps=steps, step_size=step_size, cost=cost, nudging=rule(beta)
                ).max_relative_error
                for beta in betas
            ]
        )
        for rule in (one_sided, centered)
    }
    slopes = {name: float(np.polyfit(np.log(betas), np.log(e), 1)[0]) for name, e in errors.items()}
    return OrdersReport(np.array(betas, dtype=np.float64), errors, slopes)


@dataclass(frozen=True)
class GradientRow:
    """One way to the gradient, compared with the implicit one.

    `tolerance` is None where nothing is promised: a finite beta, which has a bias, or a stationary linear
    solver that reports divergence.
    """

    name: str
    relative_error: float
    tolerance: float | None
    converged: bool

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance, if there is one."""
        return self.tolerance is None or (self.converged and self.relative_error <= self.tolerance)


@dataclass(frozen=True)
class GradientsReport:
    """Every way to dJ/dtheta, against implicit differentiation with a dense solve."""

    rows: tuple[GradientRow, ...]
    objective: float
    free: FixedPoint = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether every row passed and the fixed point was found."""
        return self.free.converged and all(row.passed for row in self.rows)

    def __str__(self) -> str:
        lines = [f"{'gradient by':<34} {'relative error':>14}  {'tolerance':>9}"]
        for row in self.rows:
            limit = "none" if row.tolerance is None else f"{row.tolerance:.0e}"
            mark = "  did not converge" if not row.converged else "" if row.passed else "  FAILED"
            lines.append(f"{row.name:<34} {row.relative_error:>14.1e}  {limit:>9}{mark}")
        return "\n".join(lines)


#: Tolerances: 1e-10 leaves two digits to a free phase of residual 1e-14 and a condition number of 100;
#: central differences of step 1e-5 lose 1e-10 / J to truncation and 1e-11 / |dJ| to rounding.
_EXACT, _DIFFERENCES = 1e-10, 1e-7


def gradients(
    model: Model,
    x: Any,
    y: Any,
    *,
    cost: Cost = SquaredError(),  # noqa: B008
    betas: Sequence[float] = (0.1, 1e-3),
    linear_solvers: Sequence[LinearSolver] | None = None,
    solver: FreeSolver | None = None,
    max_differences: int = 400,
) -> GradientsReport:
    """Compare EqProp (each nudging), RBP (each linear solver), and central finite differences.

    The reference is implicit differentiation, dJ/dtheta = -(d2E/dtheta ds) H^-1 dC/ds, with H built
    column by column and solved densely.

    Parameters
    ----------
    model : HopfieldNetwork or Energy
    x : (batch, inputs) array
    y : (batch, outputs) array, or (batch,) integer labels
    cost : SquaredError or CrossEntropy
    betas : sequence of float
        Nudging factors whose bias is shown.
    linear_solvers : sequence, optional
        By default all three, to 1e-13.
    solver : FreeSolver, optional
        By default one that reaches a residual of 1e-14.
    max_differences : int
        Central differences are taken for at most this many parameters, spread over all.

    Returns
    -------
    GradientsReport

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([4, 6, 3], activation="tanh", dtype="float64")
    >>> eq.verify.gradients(net, [[0.1, 0.5, 0.9, 0.3]], [2], betas=[]).passed
    True
    """
    model = in_double(model)
    x = model.as_input(x, "gradients")
    free = precise_free_phase(model, x, solver)
    reference = implicit_gradient(model, free, y, cost)
    rows = []
    for nudging in [exact_limit(), *(rule(beta) for beta in betas for rule in (one_sided, centered))]:
        result = equilibrium_propagation(model, free, y, cost=cost, nudging=nudging, on_failure="ignore")
        limit = _EXACT if nudging.exact else None
        error = relative_error(result.parameters, reference)
        rows.append(GradientRow(f"EqProp, {nudging!r}", error, limit, result.converged))
    for linear in linear_solvers or _precise_linear_solvers():
        result = recurrent_backpropagation(model, free, y, cost=cost, linear_solver=linear, on_failure="ignore")
        # Stationary iterations need a spectral radius below 1; one that says it diverged was not wrong.
        judged = result.converged or isinstance(linear, ConjugateGradient)
        error = relative_error(result.parameters, reference)
        rows.append(
            GradientRow(f"RBP, {type(linear).__name__}", error, _EXACT if judged else None, result.converged)
        )
    chosen = np.unique(np.linspace(0, len(reference) - 1, min(len(reference), max_differences)).astype(int))
    differences = finite_differences(model, x, y, cost, free.solver, chosen)
    error = float(np.abs(differences - reference[chosen]).max() / np.abs(reference).max())
    rows.append(GradientRow("central finite differences", error, _DIFFERENCES, free.converged))
    return GradientsReport(tuple(rows), result.objective, free)


def _precise_linear_solvers() -> list[LinearSolver]:
    options = {"tolerance": 1e-13, "max_iterations": _ITERATIONS}
    return [
        ConjugateGradient(tolerance=1e-13, max_iterations=1000),
        Richardson(**options, step_size=0.3),
        Neumann(**options),
    ]


def implicit_gradient(model: Model, free: FixedPoint, y: Any, cost: Cost) -> NDArray[np.float64]:
    """Return dJ/dtheta by a dense solve with the Hessian on the free units: the oracle of the others."""
    energy, units = model.clamp(free.x), model.num_units
    batch = len(free.state)
    hessian = np.empty((batch, units, units))
    for unit in range(units):
        direction = np.zeros_like(free.state)
        direction[:, unit] = 1
        hessian[:, :, unit] = energy.hessian_vector_product(free.state, direction)
    force = cost.bind(model, y, "implicit_gradient").state_gradient(free.state)
    free_units = energy.mobility(free.state) != 0
    adjoint = np.zeros_like(free.state)
    for j in range(batch):
        held = free_units[j]
        adjoint[j, held] = np.linalg.solve(hessian[j][np.ix_(held, held)], force[j, held])
    return np.asarray(-energy.mixed_derivative_product(free.state, adjoint) / batch)


def finite_differences(
    model: Model, x: Array, y: Any, cost: Cost, solver: FreeSolver, chosen: NDArray[np.int64], step: float = 1e-5
) -> NDArray[np.float64]:
    """Return central differences of the objective J for the parameters `chosen`, each by two free phases."""
    theta = model.parameters

    def objective() -> float:
        free = free_phase(model, x, solver=solver, on_failure="ignore")
        bound = cost.bind(model, y, "finite_differences")
        return float(bound.value(np.ascontiguousarray(free.outputs)).mean())

    slopes = np.empty(len(chosen))
    for k, i in enumerate(chosen):
        kept = theta[i]
        try:
            theta[i] = kept + step
            above = objective()
            theta[i] = kept - step
            slopes[k] = (above - objective()) / (2 * step)
        finally:
            theta[i] = kept
    return slopes


def relative_error(value: Array, reference: Array) -> float:
    """Return max |value - reference| / max |reference|."""
    with np.errstate(all="ignore"):  # a diverged value is as wrong as infinity
        return float(np.abs(value - reference).max() / (np.abs(reference).max() or 1.0))


def in_double(model: Model) -> Model:
    """Return the model itself, or a double-precision copy."""
    if isinstance(model, HopfieldNetwork) and model.dtype != np.float64:
        return model.astype("float64")
    return model


def stable_step(energy: Any, state: Array) -> float:
    """Return an Euler step: 0.3, or 1 / (largest eigenvalue of the Hessian) if that is less.

    The eigenvalue comes from 100 power iterations, through products with the Hessian alone.
    """
    v = np.ones_like(state)
    largest = 1.0
    for _ in range(100):
        v = energy.hessian_vector_product(state, v / np.linalg.norm(v))
        largest = float(np.linalg.norm(v))
    return min(0.3, 1 / largest)


def precise_free_phase(model: Model, x: Array, solver: FreeSolver | None = None) -> FixedPoint:
    """Relax to a residual of 1e-14, by block updates if the model has them, else by Euler; then polish.

    As many steps again square the residual of a linear rate, which ends at rounding.
    """
    if solver is None and model.has_block_update:
        solver = BlockUpdate(tolerance=_RESIDUAL, max_iterations=_ITERATIONS)
    elif solver is None:
        solver = Euler(tolerance=_RESIDUAL, max_iterations=_ITERATIONS, step_size=0.3)
    free = free_phase(model, x, solver=solver)
    if not free.converged:
        return free
    again = replace(solver, tolerance=0.0, max_iterations=int(free.iterations.max()))
    polished = free_phase(model, x, solver=again, initial=free.state)
    return replace(polished, status=free.status, solver=solver)
