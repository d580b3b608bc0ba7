"""Second phases: the gradient at a fixed point, by Equilibrium or by Recurrent Backpropagation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.checks import check_type, whole
from equiprop.costs import Cost, SquaredError, bind_cost
from equiprop.models import Model
from equiprop.nudging import Nudging, centered
from equiprop.results import FixedPoint, Gradient, Status, advise
from equiprop.solvers import FREE_SOLVER_RULE, BlockUpdate, ConjugateGradient, FreeSolver, LinearSolver


@dataclass(frozen=True)
class FreeState:
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

    def gradient(self, free: FreeState) -> Gradient:
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
    symmetrize : bool
        Add the term -(A - A^T)(s - s*) to the nudged dynamics, A the Jacobian of the velocity at s*. The
        gradient is then exact for any Jacobian (Scurria et al. 2026), at the price of two more products
        a step. FixedPointIteration takes its map T under that term as a force on all units, which keeps
        the eigenvalues of its Jacobian at s*. Not for BlockUpdate.
    """

    nudging: Nudging = centered(0.25)  # noqa: RUF009
    solver: FreeSolver | None = None
    symmetrize: bool = False

    def __post_init__(self) -> None:
        where = "EquilibriumPropagation"
        check_type(self.nudging, Nudging, where, "A nudging is made by centered(beta), exact_limit(), ...")
        check_type(self.solver, FreeSolver | None, where, FREE_SOLVER_RULE)

    def cure(self, model: Model, free_solver: FreeSolver, failure: Status) -> str:
        """Return what helps where a nudged phase failed that followed a free phase by `free_solver`."""
        solver = self.solver or free_solver
        if self.nudging.exact:
            block_update = model.has_block_update and model.conservative and not self.symmetrize
            return solver.cure(failure, model, change=solver.change(block_update))
        # The free phase converged: as beta falls to zero, so do nudged phases by the same solver.
        as_free = solver == free_solver or isinstance(solver, BlockUpdate)
        change = "" if as_free else solver.change(block_update=False)
        beta = f"lower |beta| ({abs(self.nudging.beta):g})"
        return solver.cure(failure, model, change=change, otherwise=beta)

    def options(self, model: Model, free_solver: FreeSolver, step: int) -> _core.NudgedPhases:
        """Return what the core's training step needs; `step` counts calls, for random signs."""
        nudging = self.nudging
        if nudging.circle:
            _check_holomorphic(model)
        nodes = nudging.circle or (() if nudging.exact else nudging.nodes(step))
        return _nudged_phases(
            nudging.exact, bool(nudging.circle), nodes, self.solver or free_solver, self.symmetrize
        )

    def gradient(self, free: FreeState) -> Gradient:
        """Return the gradient at the free state."""
        p, core, options = free, free.model.core, (self.solver or free.solver).core
        if not (self.nudging.exact or self.nudging.circle):
            energy = p.energy.symmetrized(_double(p.state)) if self.symmetrize else p.energy
            nodes = self.nudging.nodes(p.step)
            result = core.equilibrium_propagation(energy, p.cost, p.state, nodes, options, p.inputs)
            return _gradient(p.model, result, partial(self.cure, p.model, p.solver))
        state = _double(p.state)
        if self.nudging.exact:
            dual = p.model.clamp_dual(p.x)
            dual = dual.symmetrized(state) if self.symmetrize else dual
            result = core.equilibrium_propagation_limit(dual, p.cost, state, options, p.inputs)
        else:
            _check_holomorphic(p.model)
            energy = p.model.clamp_complex(p.x)
            energy = energy.symmetrized(state) if self.symmetrize else energy
            circle = self.nudging.circle
            result = core.holomorphic_equilibrium_propagation(
                energy, p.cost, state, circle, options, p.inputs
            )
        return _gradient(p.model, result, partial(self.cure, p.model, p.solver))


@dataclass(frozen=True)
class RecurrentBackpropagation:
    """Recurrent Backpropagation (Almeida 1987; Pineda 1987) as a `Trainer`'s second phase.

    Parameters
    ----------
    linear_solver : LinearSolver
        Of the side network. The default is for training: a tighter one changes the direction of the gradient
        less than the free phase's own tolerance does (docs/performance.md).
    """

    linear_solver: LinearSolver = ConjugateGradient(tolerance=1e-2)  # noqa: RUF009

    def __post_init__(self) -> None:
        rule = "A linear solver is a ConjugateGradient(), Richardson(), Neumann() or GMRES()"
        check_type(self.linear_solver, LinearSolver, "RecurrentBackpropagation", rule)

    def options(self, model: Model, free_solver: FreeSolver, step: int) -> _core.SideNetwork:  # noqa: ARG002
        """Return what the core's training step needs."""
        return _side_network(self.linear_solver)

    def gradient(self, free: FreeState) -> Gradient:
        """Return the gradient at the free state."""
        p, options = free, self.linear_solver.core
        result = p.model.core.recurrent_backpropagation(p.energy, p.cost, p.state, options, p.inputs)
        return _gradient(p.model, result, partial(self.cure, p.model, p.solver))

    def cure(self, model: Model, free_solver: FreeSolver, failure: Status) -> str:  # noqa: ARG002
        """Return what helps where the side network failed."""
        return self.linear_solver.cure(failure, model)


@lru_cache(maxsize=64)
def _nudged_phases(
    exact: bool,
    circle: bool,
    nodes: tuple[tuple[complex, complex], ...],
    solver: FreeSolver,
    symmetrize: bool,
) -> _core.NudgedPhases:
    kinds = _core.NudgingKind
    kind = kinds.EXACT_LIMIT if exact else kinds.HOLOMORPHIC if circle else kinds.FINITE
    return _core.NudgedPhases(kind, nodes, solver.core, symmetrize)


@lru_cache(maxsize=64)
def _side_network(solver: LinearSolver) -> _core.SideNetwork:
    return _core.SideNetwork(solver.core)


def core_options(
    phase: SecondPhase, model: Model, free_solver: FreeSolver, step: int
) -> _core.NudgedPhases | _core.SideNetwork | None:
    """Return what the core needs to run a second phase, or None for one with a `gradient` of its own."""
    known = (EquilibriumPropagation.gradient, RecurrentBackpropagation.gradient)
    if getattr(type(phase), "gradient", None) not in known:
        return None
    assert isinstance(phase, EquilibriumPropagation | RecurrentBackpropagation)
    return phase.options(model, free_solver, step)


def _double(state: Array) -> Array:
    return np.ascontiguousarray(state, np.float64)


def _check_holomorphic(model: Model) -> None:
    if not model.holomorphic:
        raise ValueError(
            "[holomorphic] Complex nudging needs a model that is complex-differentiable: smooth activations, "
            f"or methods that accept complex states. Received {model!r}. Use centered(beta)."
        )


def _gradient(
    model: Model,
    result: tuple[Array, Array, float, tuple[Any, Any, Any, Any]],
    cure: Callable[[Status], str],
) -> Gradient:
    parameters, inputs, objective, outcome = result
    return Gradient(
        *outcome,
        parameters.astype(model.dtype, copy=False),
        inputs.astype(model.dtype, copy=False),
        objective,
        model,
        advice=advise(outcome[0], cure),
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
    gradient = phase.gradient(FreeState(model, energy, free.x, free.state, bound, free.solver, step, True))
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
    symmetrize: bool = False,
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
    symmetrize : bool
        See `EquilibriumPropagation`: exact gradients without an energy.
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
    phase = EquilibriumPropagation(nudging, solver, symmetrize)
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
    linear_solver : ConjugateGradient, Richardson, Neumann or GMRES
        Conjugate gradients need a symmetric Hessian; use GMRES where there is no energy.
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


def backpropagation_through_time(
    model: Model,
    free: FixedPoint,
    y: Any,
    *,
    cost: Cost = SquaredError(),  # noqa: B008
) -> Gradient:
    r"""Compute the gradient of the cost after the recorded steps of a relaxation, by a sweep back in time.

    .. math:: a_t = (\partial s_{t+1} / \partial s_t)^T a_{t+1}, \quad
              dL/d\theta = \sum_t (\partial s_{t+1} / \partial \theta)^T a_{t+1}, \quad a_T = dC/ds(s_T)

    The reference of both second phases: in the last K steps at a fixed point it is the gradient truncated
    to K steps, which K nudged steps of Equilibrium Propagation compute, too (Ernoult et al. 2019).

    Parameters
    ----------
    model : HopfieldNetwork, Energy or VectorField
    free : FixedPoint
        From ``free_phase(..., record=True)`` by Euler or FixedPointIteration with ``tolerance=0``, so that
        every sample took every step, and without acceleration.
    y : (batch, outputs) array, or (batch,) integer labels
    cost : SquaredError or CrossEntropy

    Returns
    -------
    Gradient

    Raises
    ------
    ValueError
        Without such a recording, or if `free` belongs to other parameters.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], activation="tanh", dtype="float64")
    >>> steps = eq.FixedPointIteration(tolerance=0, max_iterations=80)
    >>> free = eq.free_phase(net, [[0.5, 1.0]], solver=steps, record=True)
    >>> unrolled = eq.backpropagation_through_time(net, free, [[1.0]]).parameters
    >>> implicit = eq.recurrent_backpropagation(net, free, [[1.0]]).parameters
    >>> bool(abs(unrolled - implicit).max() < 1e-8)
    True
    """
    where = "backpropagation_through_time"
    check_type(free, FixedPoint, where, "`free` is what free_phase returned")
    if free.trajectory is None or free.solver.tolerance != 0:
        raise ValueError(
            f"[{where}] The relaxation is a recorded one of a fixed number of steps: "
            "free_phase(..., solver=Euler(tolerance=0, max_iterations=T), record=True). "
            f"Received {free.solver}, {'not ' if free.trajectory is None else ''}recorded."
        )
    energy = _clamp_again(where, model, free)
    bound = bind_cost(cost, model, y, len(free.state), where)
    sweep = model.core.backpropagation_through_time
    result, _, _ = sweep(energy, bound, free.trajectory, free.solver.core, True, False)
    return _gradient(model, result, partial(free.solver.cure, model=model))
