"""The theorem: both second phases compared at every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array
from equiprop.checks import check_type, real, whole
from equiprop.costs import Cost, SquaredError, bind_cost
from equiprop.models import Model
from equiprop.nudging import Nudging, exact_limit
from equiprop.results import FixedPoint
from equiprop.solvers import FreeSolver
from equiprop.verify.fixed_point import in_double, precise_free_phase, stable_step

_MEMORY_LIMIT = 2**31


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
            f"EqProp ({self.nudging!r}) = RBP {verdict} over {len(self.state_errors) - 1} steps: "
            f"states within {self.state_errors.max():.1e}, "
            f"parameters within {self.parameter_errors.max():.1e} "
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
    bound = bind_cost(cost, model, y, len(x), "equivalence")
    steps = whole(steps, "equivalence", "steps", 0)
    step_size = None if step_size is None else real(step_size, "equivalence", "step_size")
    check_type(nudging, Nudging, "equivalence", "A nudging is made by centered(beta), exact_limit(), ...")
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
    model: Model,
    energy: _core.Energy,
    x: Array,
    bound: _core.Cost,
    state: Array,
    nudging: Nudging,
    steps: int,
    step_size: float,
) -> Process:
    if nudging.exact:
        dual = model.clamp_dual(x)
        return Process(*_core.verification.temporal_derivatives_limit(dual, bound, state, steps, step_size))
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
