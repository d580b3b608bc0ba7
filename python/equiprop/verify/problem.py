"""Problems, on which checks run: a model in double precision at a fixed point, with samples and a cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array, as_contiguous, as_numpy
from equiprop.checks import check_flag, real, require, several
from equiprop.costs import Cost, bind_cost
from equiprop.gradients import equilibrium_propagation
from equiprop.model_interface import Model
from equiprop.nudging import Nudging
from equiprop.results import FixedPoint, Gradient, Status
from equiprop.solvers import BlockUpdate, Euler, FreeSolver, relaxed
from equiprop.verify.cause_sentences import Cause
from equiprop.verify.causes import find_causes
from equiprop.verify.diagnosis import Diagnosis, diagnosis
from equiprop.verify.directions import along_directions
from equiprop.verify.model_parts import in_double, kept_parameters, kink_margins
from equiprop.verify.own_methods import named_shapes
from equiprop.verify.spectrum import Spectrum, ritz_values, stable_step

_RESIDUAL = 1e-14
_ITERATIONS = 200_000
#: Largest input of a check; figures contain squares of states and derivatives.
_LARGEST = 1e100


@dataclass(frozen=True)
class Problem:
    """A model with samples and a cost at its fixed point; `prepare` returns objects of this class.

    Attributes
    ----------
    model : Model
        The model in double precision.
    x : (batch, inputs)
    y : (batch, outputs) or (batch,) labels
        Targets that the caller passed.
    cost : Cost
    solver : FreeSolver
        Solver of the free phase, and of other phases in a check.
    free : FixedPoint
        The free phase, to a residual near rounding.
    """

    model: Model
    x: Array = field(repr=False)
    y: Any = field(repr=False)
    cost: Cost
    solver: FreeSolver
    free: FixedPoint = field(repr=False)

    @cached_property
    def energy(self) -> _core.Energy:
        """The core's energy with x clamped."""
        return self.model.clamp(self.x)

    @cached_property
    def bound(self) -> _core.Cost:
        """The core's cost with the targets y."""
        return self.bind(self.y)

    def bind(self, y: Any) -> _core.Cost:
        """Return the core's cost for targets y."""
        y = as_numpy(y, "verify", "y")
        require(y.ndim > 0, "verify", "y holds one target for each sample", "a number")
        cost: _core.Cost = bind_cost(self.cost, self.model, y, len(y), "verify")
        return cost

    @contextmanager
    def overflowing(self) -> Iterator[None]:
        """Ignore overflows in the block, and their results, if the free phase diverged."""
        if (self.free.status == Status.DIVERGED).any():
            with np.errstate(all="ignore"):
                yield
        else:
            yield

    @property
    def state(self) -> NDArray[np.float64]:
        """The free fixed point, (batch, units)."""
        return self.free.state

    @cached_property
    def free_units(self) -> NDArray[np.bool_]:
        """True for units that are not held by a bound, (batch, units)."""
        held: NDArray[np.bool_] = self.energy.mobility(self.state) != 0
        return held

    @cached_property
    def spectrum(self) -> Spectrum:
        """The spectrum of the Hessian at the fixed point, on the free units."""
        return ritz_values(self.energy, self.state, self.free_units)

    @cached_property
    def causes(self) -> tuple[Cause, ...]:
        """Causes inside the model that make figures of all checks wrong."""
        return find_causes(self.model, self.x, self.state)

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """Figures and advice on the free phase."""
        return diagnosis(self.free, () if self.free.converged else self.causes)

    @cached_property
    def force(self) -> NDArray[np.float64]:
        """dC/ds at the fixed point, (batch, units)."""
        return self.bound.state_gradient(self.state)

    def difference_step(self, betas: Sequence[float] = (0.0,)) -> float:
        """Return a step for finite differences: 3e-4, or less if a state at one of `betas` is near a kink."""
        margin = np.inf
        for beta in several(betas, "difference_step", "betas", real):
            energy = _core.f64.total_energy(self.energy, self.bound, beta)
            state, *_ = self.model.core.relax(energy, self.solver.core, self.state)
            margin = min(margin, float(kink_margins(self.model, energy, state).min()))
        return min(3e-4, margin / 20)

    def objective(self, state: Array) -> float:
        """Return the mean cost of a state."""
        return float(self.bound.value(as_contiguous(state, self.model.dtype, "objective", "state")).mean())

    def nudged(
        self, nudging: Nudging, solver: FreeSolver | None = None, symmetrize: bool = False
    ) -> Gradient:
        """Return the gradient of EqProp at the fixed point; the default solver is `nudged_solver`."""
        return equilibrium_propagation(
            self.model,
            self.free,
            self.y,
            cost=self.cost,
            nudging=nudging,
            solver=self.nudged_solver(symmetrize) if solver is None else solver,
            symmetrize=symmetrize,
            on_failure="ignore",
        )

    def nudged_solver(self, symmetrize: bool) -> FreeSolver:
        """Return the solver of the free phase, or Euler if it does not support the antisymmetric term."""
        check_flag(symmetrize, "nudged_solver", "symmetrize")
        solver = self.solver
        if not (symmetrize and isinstance(solver, BlockUpdate)):
            return solver
        step_size = self.step_size(None)
        return Euler(tolerance=solver.tolerance, max_iterations=solver.max_iterations, step_size=step_size)

    def step_size(self, wanted: float | None) -> float:
        """Return `wanted`, or a stable step of at most 0.3 if it is None."""
        return stable_step(self.energy, self.state) if wanted is None else real(wanted, "verify", "step_size")


def prepare(
    where: str, model: Model | Problem, x: Any, y: Any, cost: Cost, solver: FreeSolver | None
) -> Problem:
    """Return a `Problem` with a model at its fixed point; a `Problem` is returned unchanged.

    A model that a user wrote with more than 300 parameters, and without the derivative by them, is checked
    along random directions of the parameters (`equiprop.verify.directions`).

    Parameters
    ----------
    where : str
        Name of the check, for errors.
    model : Model or Problem
    x : (batch, inputs) array
    y : (batch, outputs) array, or (batch,) integer labels
    cost : Cost
    solver : FreeSolver, optional
        Solver of the free phase; by default one that reaches a residual of 1e-14.
    """
    if isinstance(model, Problem):
        return model
    model = along_directions(in_double(model, where))
    return at_rest(where, model, model.as_input(x, where), y, cost, solver)


def at_rest(
    where: str, model: Model, x: Array, y: Any, cost: Cost, solver: FreeSolver | None = None
) -> Problem:
    """Return the `Problem` of a model in double precision and an input that its `as_input` has converted."""
    largest = float(np.abs(x).max(initial=0.0))
    require(
        largest <= _LARGEST, where, f"Numbers of x are at most {_LARGEST:g}, whose square is finite", largest
    )
    bind_cost(cost, model, y, len(x), where)
    y = as_numpy(y, where, "y")
    # A method of the model may change the parameters, or overflow.
    with kept_parameters(model), named_shapes(model, x), np.errstate(all="ignore"):
        free = precise_free_phase(model, x, solver)
    return Problem(model, x, y, cost, free.solver, free)


def precise_free_phase(model: Model, x: Array, solver: FreeSolver | None = None) -> FixedPoint:
    """Relax to a residual of 1e-14, then take as many steps again, so that only rounding errors remain.

    The input x has been converted by the model's `as_input`.
    At a linear rate, twice the steps square the residual. The default solver is `BlockUpdate` if the model
    supports it, otherwise `Euler` with a stable step.
    """
    if solver is None and model.has_block_update:
        solver = BlockUpdate(tolerance=_RESIDUAL, max_iterations=_ITERATIONS)
    elif solver is None:
        step_size = stable_step(model.clamp(x), model.initial_state(len(x)))
        solver = Euler(tolerance=_RESIDUAL, max_iterations=_ITERATIONS, step_size=step_size)
    free = relaxed(model, x, solver)
    free.report_failure("free_phase", "warn")
    if not free.converged or solver.tolerance == 0:
        return free
    again = replace(solver, tolerance=0.0, max_iterations=int(free.iterations.max()))
    polished = relaxed(model, x, again, initial=free.state)
    return replace(polished, status=free.status, solver=solver)
