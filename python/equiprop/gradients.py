"""The gradient at a fixed point, by Equilibrium Propagation, Recurrent Backpropagation, or through time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.checks import check_type, whole
from equiprop.costs import Cost, SquaredError, bind_cost
from equiprop.cuda import on_host
from equiprop.linear_solvers import ConjugateGradient, LinearSolver
from equiprop.model_interface import Model, check_model
from equiprop.nudging import Nudging, centered
from equiprop.overlap import reading
from equiprop.results import FixedPoint, Gradient, Outcome, Status
from equiprop.second_phase import (
    EquilibriumPropagation,
    FreeState,
    RecurrentBackpropagation,
    SecondPhase,
    gradient_of,
)
from equiprop.solvers import FreeSolver

Second = TypeVar("Second", bound=Outcome)
#: Largest estimated error of a free state, relative to its largest number, from which a second phase starts
#: unmarked: from further away it can reach another fixed point.
_FARTHEST_START = 0.1


def _second_phase(
    where: str,
    phase: SecondPhase,
    model: Model,
    free: FixedPoint,
    y: Any,
    cost: Cost,
    sample_weight: Any,
    step: int,
    on_failure: str,
) -> Gradient:
    _check_phase(where, model, free)
    step = whole(step, where, "step", 0)
    with reading(model, where):
        energy = clamp_again(where, model, free)
        y, sample_weight = on_host(model, where, y=y, sample_weight=sample_weight)
        bound = bind_cost(cost, model, y, len(free.state), where, sample_weight)
        start = FreeState(model, energy, free.x, free.state, bound, free.solver, step, True)
        gradient = phase.gradient(start)
    gradient = judged_by_its_start(gradient, np.abs(free.state).max(axis=1), free.status, free.error_estimate)
    gradient.report_failure(where, on_failure)
    return gradient


def _check_phase(where: str, model: Any, free: Any) -> None:
    check_model(model, where)
    check_type(free, FixedPoint, where, "`free` is a result of free_phase")


def judged_by_its_start(second: Second, largest: Array, status: Array, error: Array) -> Second:
    """Mark the samples whose free phase stopped too far from the fixed point to start from there.

    Parameters
    ----------
    second : Gradient or Outcome
        Result of the second phase.
    largest, status, error : (batch,)
        max |s| of the free states, and their status and estimated errors; see `FixedPoint`.
    """
    far = (status == Status.CONVERGED) & (error > _FARTHEST_START * largest)
    far &= second.status == Status.CONVERGED
    if not far.any():
        return second
    status = np.where(far, np.int8(Status.INACCURATE), second.status)
    advice = f"Lower the tolerance of the free phase: its error is about {error[far].max():.1g}."
    return replace(second, status=status, advice=(*second.advice, advice))


def clamp_again(where: str, model: Model, free: FixedPoint) -> _core.Energy:
    """Clamp the input of a free phase again; raise ValueError if parameters or state changed since then."""
    energy = model.clamp(free.x)
    now = energy.residual(free.state)
    if not np.array_equal(now, free.fingerprint, equal_nan=True):
        raise ValueError(
            f"[{where}] `free` is a free phase with the present parameters of the model. Received one whose "
            f"residual was {free.fingerprint.max():.3g} and is {now.max():.3g} now: the parameters or the "
            "state changed. Run free_phase again."
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
    sample_weight: Any = None,
    on_failure: str = "warn",
) -> Gradient:
    r"""Estimate dJ/dtheta by relaxations from the free state with a force towards the target.

    .. math:: dJ/d\theta = \lim_{\beta \to 0} (dE/d\theta(s^\beta) - dE/d\theta(s^*)) / \beta

    s^beta is the fixed point of E + beta C. At a finite beta the estimate is the exact gradient of the mean
    of C(s^beta) over the interval of beta. Source: Scellier & Bengio (2017).

    Parameters
    ----------
    model : HopfieldNetwork, Energy or VectorField
    free : FixedPoint
        Result of `free_phase` with the present parameters of the model.
    y : (batch, outputs) array, or (batch,) integer labels
    cost : SquaredError, CrossEntropy or LayerCosts
    nudging : Nudging
        Nudging factors beta and their weights.
    solver : BlockUpdate, FixedPointIteration or Euler, optional
        Solver of the nudged phases; by default that of the free phase.
    symmetrize : bool
        Add the term of `EquilibriumPropagation` that makes the gradient exact without an energy.
    step : int
        Number that selects the sign of `random_sign`.
    sample_weight : (batch,) array, optional
        Weights w_i of the samples, at least 0, of the objective J = sum_i w_i C_i / batch; by default 1.
    on_failure : {"warn", "raise", "ignore"}
        Action if some samples do not converge; "raise" raises a ConvergenceError.

    Returns
    -------
    Gradient
        The status of a sample is the worst one of its nudged phases.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape, or the parameters changed since `free` was computed.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], activation="tanh", dtype="float64")
    >>> free = eq.free_phase(net, [[0.5, 1.0]])
    >>> eq.equilibrium_propagation(net, free, [[1.0]]).parameters.shape
    (21,)
    """
    where, phase = "equilibrium_propagation", EquilibriumPropagation(nudging, solver, symmetrize)
    return _second_phase(where, phase, model, free, y, cost, sample_weight, step, on_failure)


def recurrent_backpropagation(
    model: Model,
    free: FixedPoint,
    y: Any,
    *,
    cost: Cost = SquaredError(),  # noqa: B008
    linear_solver: LinearSolver = ConjugateGradient(),  # noqa: B008
    sample_weight: Any = None,
    on_failure: str = "warn",
) -> Gradient:
    r"""Compute dJ/dtheta by solving the linear side network at the fixed point.

    .. math:: H^T \lambda = dC/ds, \quad dJ/d\theta = -\langle \lambda, d^2E/d\theta ds \rangle

    H is the Hessian d2E/ds2 at s*, restricted to the free units, which are not held by a bound. Sources:
    Almeida (1987), Pineda (1987), Scellier & Bengio (2019, sec. 4).

    Parameters
    ----------
    model : HopfieldNetwork, Energy or VectorField
    free : FixedPoint
        Result of `free_phase` with the present parameters of the model.
    y : (batch, outputs) array, or (batch,) integer labels
    cost : SquaredError, CrossEntropy or LayerCosts
    linear_solver : ConjugateGradient, Richardson, Neumann or GMRES
        ConjugateGradient needs a symmetric Hessian; use GMRES for a model without an energy.
    sample_weight : (batch,) array, optional
        Weights w_i of the samples, at least 0, of the objective J = sum_i w_i C_i / batch; by default 1.
    on_failure : {"warn", "raise", "ignore"}
        Action if some samples do not converge.

    Returns
    -------
    Gradient

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type or shape, or the parameters changed since `free` was computed.
    ConvergenceError
        If some samples do not converge, with ``on_failure="raise"``.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], activation="tanh", dtype="float64")
    >>> free = eq.free_phase(net, [[0.5, 1.0]])
    >>> eq.recurrent_backpropagation(net, free, [[1.0]]).converged
    True
    """
    phase = RecurrentBackpropagation(linear_solver)
    where = "recurrent_backpropagation"
    return _second_phase(where, phase, model, free, y, cost, sample_weight, 0, on_failure)


def backpropagation_through_time(
    model: Model,
    free: FixedPoint,
    y: Any,
    *,
    cost: Cost = SquaredError(),  # noqa: B008
    sample_weight: Any = None,
) -> Gradient:
    r"""Compute the gradient of the cost of the last state of a recorded relaxation, by a sweep back in time.

    .. math:: a_t = (\partial s_{t+1} / \partial s_t)^T a_{t+1}, \quad
              dL/d\theta = \sum_t (\partial s_{t+1} / \partial \theta)^T a_{t+1}, \quad a_T = dC/ds(s_T)

    It is a reference for both second phases: K steps at a fixed point give the gradient truncated to K steps,
    which K nudged steps of Equilibrium Propagation compute, too (Ernoult et al. 2019).

    Parameters
    ----------
    model : HopfieldNetwork, Energy or VectorField
    free : FixedPoint
        Result of ``free_phase(..., record=True)`` with the present parameters, by Euler or
        FixedPointIteration with ``tolerance=0`` (every sample takes every step) and ``anderson=0``.
    y : (batch, outputs) array, or (batch,) integer labels
    cost : SquaredError, CrossEntropy or LayerCosts
    sample_weight : (batch,) array, optional
        Weights w_i of the samples, at least 0, of the objective J = sum_i w_i C_i / batch; by default 1.

    Returns
    -------
    Gradient

    Raises
    ------
    TypeError, ValueError
        If `free` is not such a recording, or the parameters changed since it was computed.

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
    _check_phase(where := "backpropagation_through_time", model, free)
    if free.trajectory is None or free.solver.tolerance != 0:
        raise ValueError(
            f"[{where}] `free` is a recorded relaxation with a fixed number of steps: "
            "free_phase(..., solver=Euler(tolerance=0, max_iterations=T), record=True). "
            f"Received {free.solver}, {'not ' if free.trajectory is None else ''}recorded."
        )
    with reading(model, where):
        energy = clamp_again(where, model, free)
        bound = bind_cost(cost, model, y, len(free.state), where, sample_weight)
        steps = (energy, bound, free.trajectory, free.solver.core)
        result, _, _ = model.core.backpropagation_through_time(*steps, True, False)
    return gradient_of(model, result, lambda failure, _: free.solver.cure(failure, model))
