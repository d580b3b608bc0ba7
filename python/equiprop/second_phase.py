"""Second phases: the gradient at a fixed point, by Equilibrium or by Recurrent Backpropagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.checks import check_type, whole
from equiprop.costs import Cost, SquaredError, bind_cost
from equiprop.models import Model
from equiprop.nudging import Nudging, centered
from equiprop.results import FixedPoint, Gradient
from equiprop.solvers import FREE_SOLVER_RULE, ConjugateGradient, FreeSolver, LinearSolver


@dataclass(frozen=True)
class Problem:
    """What a second phase is given: a clamped model at its free state, and a cost.

    Attributes
    ----------
    energy : core energy
        `model` with `x` (batch, inputs) clamped.
    state : (batch, units)
        The free state.
    cost : core cost
        With the targets of the batch.
    solver : FreeSolver
        That of the free phase.
    step : int
        Counts calls, for random signs.
    inputs : bool
        Whether dJ/dx is wanted too; it costs one more product with the input's weights.
    """

    model: Model
    energy: _core.Energy
    x: Array
    state: Array
    cost: _core.Cost
    solver: FreeSolver
    step: int
    inputs: bool


class SecondPhase(Protocol):
    """A way to a gradient at a fixed point."""

    def gradient(self, problem: Problem) -> Gradient:
        """Return the gradient at the free state."""
        ...


@dataclass(frozen=True)
class EquilibriumPropagation:
    """Equilibrium Propagation (Scellier & Bengio 2017) as a `Trainer`'s second phase.

    Parameters
    ----------
    nudging : Nudging
    solver : FreeSolver, optional
        Of the nudged phases; by default that of the free phase.
    """

    nudging: Nudging = centered(0.25)  # noqa: RUF009
    solver: FreeSolver | None = None

    def __post_init__(self) -> None:
        where = "EquilibriumPropagation"
        check_type(self.nudging, Nudging, where, "A nudging is made by centered(beta), exact_limit(), ...")
        check_type(self.solver, FreeSolver | None, where, FREE_SOLVER_RULE)

    def gradient(self, problem: Problem) -> Gradient:
        """Return the gradient at the free state."""
        p, options = problem, (self.solver or problem.solver).core
        if self.nudging.exact:
            dual, state = p.model.clamp_dual(p.x), np.ascontiguousarray(p.state, np.float64)
            result = p.model.core.equilibrium_propagation_limit(dual, p.cost, state, options, p.inputs)
        else:
            nodes = self.nudging.nodes(p.step)
            result = p.model.core.equilibrium_propagation(p.energy, p.cost, p.state, nodes, options, p.inputs)
        return _gradient(p.model, result)


@dataclass(frozen=True)
class RecurrentBackpropagation:
    """Recurrent Backpropagation (Almeida 1987; Pineda 1987) as a `Trainer`'s second phase.

    Parameters
    ----------
    linear_solver : LinearSolver
        Of the side network.
    """

    linear_solver: LinearSolver = ConjugateGradient()  # noqa: RUF009

    def __post_init__(self) -> None:
        rule = "A linear solver is a ConjugateGradient(), Richardson() or Neumann()"
        check_type(self.linear_solver, LinearSolver, "RecurrentBackpropagation", rule)

    def gradient(self, problem: Problem) -> Gradient:
        """Return the gradient at the free state."""
        p, options = problem, self.linear_solver.core
        result = p.model.core.recurrent_backpropagation(p.energy, p.cost, p.state, options, p.inputs)
        return _gradient(p.model, result)


def _gradient(model: Model, result: tuple[Array, Array, float, tuple[Any, Any, Any]]) -> Gradient:
    parameters, inputs, objective, outcome = result
    return Gradient(
        *outcome,
        parameters.astype(model.dtype, copy=False),
        inputs.astype(model.dtype, copy=False),
        objective,
        model,
    )


def _second_phase(
    where: str,
    phase: SecondPhase,
    model: Model,
    free: FixedPoint,
    y: Any,
    cost: Cost,
    step: int,
    on_failure: str,
) -> Gradient:
    check_type(free, FixedPoint, where, "`free` is what free_phase returned")
    energy = _clamp_again(where, model, free)
    bound = bind_cost(cost, model, y, len(free.state), where)
    gradient = phase.gradient(Problem(model, energy, free.x, free.state, bound, free.solver, step, True))
    gradient.report_failure(where, on_failure)
    return gradient


def _clamp_again(where: str, model: Model, free: FixedPoint) -> _core.Energy:
    """Clamp the input under the present parameters, and refuse a free phase that was run under others."""
    energy = model.clamp(free.x)
    now = energy.residual(free.state)
    if not np.array_equal(now, free.fingerprint, equal_nan=True):
        raise ValueError(
            f"[{where}] The free phase belongs to the model's present parameters and its own state. "
            f"Received one whose residual was {free.fingerprint.max():.3g} and is {now.max():.3g} now: "
            "run free_phase again."
        )
    return energy


def equilibrium_propagation(
    model: Model,
    free: FixedPoint,
    y: Any,
    *,
    cost: Cost = SquaredError(),  # noqa: B008
    nudging: Nudging = centered(0.1),  # noqa: B008
    solver: FreeSolver | None = None,
    step: int = 0,
    on_failure: str = "warn",
) -> Gradient:
    r"""Estimate dJ/dtheta by relaxing again from the free state, nudged towards the target.

    .. math:: dJ/d\theta = \lim_{\beta \to 0} (dE/d\theta(s^\beta) - dE/d\theta(s^*)) / \beta

    Scellier & Bengio (2017). The estimate at any finite beta is the exact gradient of the mean of
    C(s^beta) between the betas used.

    Parameters
    ----------
    model : HopfieldNetwork or Energy
    free : FixedPoint
        From `free_phase`, under the model's present parameters.
    y : (batch, outputs) array, or (batch,) integer labels
    cost : SquaredError or CrossEntropy
    nudging : Nudging
    solver : BlockUpdate, FixedPointIteration or Euler, optional
        Of the nudged phases; by default that of the free phase.
    step : int
        Counts calls for `random_sign`.
    on_failure : {"warn", "raise", "ignore"}

    Returns
    -------
    Gradient
        Its status is, sample by sample, the worst of the nudged phases.

    Raises
    ------
    ValueError
        For wrong shapes, or if `free` belongs to other parameters.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], activation="tanh", dtype="float64")
    >>> free = eq.free_phase(net, [[0.5, 1.0]])
    >>> eq.equilibrium_propagation(net, free, [[1.0]]).parameters.shape
    (21,)
    """
    step = whole(step, "equilibrium_propagation", "step", 0)
    phase = EquilibriumPropagation(nudging, solver)
    return _second_phase("equilibrium_propagation", phase, model, free, y, cost, step, on_failure)


def recurrent_backpropagation(
    model: Model,
    free: FixedPoint,
    y: Any,
    *,
    cost: Cost = SquaredError(),  # noqa: B008
    linear_solver: LinearSolver = ConjugateGradient(),  # noqa: B008
    on_failure: str = "warn",
) -> Gradient:
    r"""Compute dJ/dtheta by solving the linear side network at the fixed point.

    .. math:: H \lambda = dC/ds, \quad dJ/d\theta = -\langle \lambda, d^2E/d\theta ds \rangle

    with H the Hessian d2E/ds2 at s*, restricted to the units no bound holds (Almeida 1987; Pineda
    1987; Scellier & Bengio 2019, sec. 4).

    Parameters
    ----------
    model : HopfieldNetwork or Energy
    free : FixedPoint
        From `free_phase`, under the model's present parameters.
    y : (batch, outputs) array, or (batch,) integer labels
    cost : SquaredError or CrossEntropy
    linear_solver : ConjugateGradient, Richardson or Neumann
    on_failure : {"warn", "raise", "ignore"}

    Returns
    -------
    Gradient

    Raises
    ------
    ValueError
        For wrong shapes, or if `free` belongs to other parameters.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], activation="tanh", dtype="float64")
    >>> free = eq.free_phase(net, [[0.5, 1.0]])
    >>> eq.recurrent_backpropagation(net, free, [[1.0]]).converged
    True
    """
    phase = RecurrentBackpropagation(linear_solver)
    return _second_phase("recurrent_backpropagation", phase, model, free, y, cost, 0, on_failure)
