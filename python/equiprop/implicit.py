"""The outputs of a network at its fixed point as a function of its parameters and inputs, with derivatives.

Packages for automatic differentiation need two functions: the outputs o*(theta, x), and the vector-Jacobian
products g^T do*/dtheta and g^T do*/dx for a given vector g. The gradient of C = 1/2 |o - y|^2 at o* is
o* - y, so every second phase computes these products with the target y = o* - g.
"""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array
from equiprop.checks import check_choice, check_type, require
from equiprop.cost_defaults import training_phase
from equiprop.costs import SquaredError, bind_cost
from equiprop.energies import OwnModel
from equiprop.gradients import judged_by_its_start
from equiprop.linear_solvers import GMRES, ConjugateGradient
from equiprop.models import HopfieldNetwork
from equiprop.results import Gradient, Outcome, Status, judged_together
from equiprop.second_phase import EquilibriumPropagation, FreeState, RecurrentBackpropagation, SecondPhase
from equiprop.solvers import FREE_SOLVER_RULE, FreeSolver, default_solver, relaxed
from equiprop.trainable import check_trainable


class States(NamedTuple):
    """The free states of a batch, as arrays that a package for automatic differentiation can keep.

    Attributes
    ----------
    state : (batch, units)
        NaN for the samples without a result.
    status : (batch,) int8
        Values of `Status`.
    error : (batch,)
        Estimated errors of the states; see `FixedPoint`.
    """

    state: Array
    status: NDArray[np.int8]
    error: Array


class ImplicitFunction:
    """The function (theta, x) -> outputs at the fixed point, and its vector-Jacobian products.

    It has a copy of the model, so calls do not change the parameters of the original, and may come from
    several threads. Numbers that are not finite give NaN for the samples that they concern.

    Parameters
    ----------
    model : HopfieldNetwork, Energy or VectorField
        A model that knows its number of inputs.
    second_phase : EquilibriumPropagation or RecurrentBackpropagation, optional
        Method of the products; by default RecurrentBackpropagation, solved to the tolerance of the precision.
    solver : BlockUpdate, FixedPointIteration or Euler, optional
        Solver of the free phase, by default that of `free_phase`.
    on_failure : {"warn", "nan"}
        Result of a sample that does not converge: what the solver reached, with a ConvergenceWarning, or NaN.
        A sample that diverged has no result, and is always NaN.
    where : str
        Name of the caller, for errors.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type, or model, solver and second phase do not fit together.
    """

    def __init__(
        self,
        model: HopfieldNetwork | OwnModel,
        second_phase: EquilibriumPropagation | RecurrentBackpropagation | None,
        solver: FreeSolver | None,
        on_failure: str,
        where: str,
    ) -> None:
        rule = "network is a HopfieldNetwork, an Energy or a VectorField"
        check_type(model, HopfieldNetwork | OwnModel, where, rule)
        rule = "The model knows its number of inputs: pass num_inputs"
        require(model.num_inputs is not None, where, rule, model.num_inputs)
        require(model.num_outputs > 0, where, "The model has outputs", model.num_outputs)
        check_type(solver, FreeSolver | None, where, FREE_SOLVER_RULE)
        check_choice(on_failure, where, "on_failure", "warn", "nan")
        self.model: Any = _independent(model)
        self.phase: SecondPhase = _checked_phase(self.model, second_phase, where)
        self.solver: FreeSolver = default_solver(self.model) if solver is None else solver
        self._warns, self._where, self._lock = on_failure == "warn", where, threading.Lock()
        self.has_input_derivative: bool = self._trial().inputs.size > 0

    def relax(self, parameters: Array, x: Array) -> States:
        """Return the free states of inputs (batch, inputs) under `parameters`, (parameters,)."""
        states = self._no_states(len(x))
        sound = np.isfinite(x).all(axis=1) & np.isfinite(parameters).all()
        if sound.any():
            with self._lock:
                self.model.parameters[:] = parameters
                free = relaxed(self.model, x[sound], self.solver)
            states.state[sound] = free.state
            states.status[sound] = free.status
            states.error[sound] = free.error_estimate
            self._report(free, "")
        states.state[self._lost(states.status)] = np.nan
        return states

    def pull_back(self, parameters: Array, x: Array, states: States, vector: Array) -> tuple[Array, Array]:
        """Return the products of vectors (batch, outputs) with do/dtheta, summed over the batch, and do/dx.

        The first product is (parameters,), the second one (batch, inputs). A sample whose vector is 0 adds
        nothing, even if it has no free state.
        """
        asked = (vector != 0).any(axis=1)
        lost = asked & ~(np.isfinite(vector).all(axis=1) & np.isfinite(states.state).all(axis=1))
        by_parameters, by_x = np.zeros_like(parameters), np.zeros_like(x)
        solved = asked & ~lost
        if solved.any():
            chosen = States(*(part[solved] for part in states))
            with self._lock:
                self.model.parameters[:] = parameters
                gradient = self._products(x[solved], chosen, vector[solved])
            by_parameters[:] = gradient.parameters
            by_x[solved] = gradient.inputs if self.has_input_derivative else np.nan
            self._report(gradient, ", backward")
            lost[solved] = self._lost(gradient.status)
        by_x[lost] = np.nan
        if lost.any():
            by_parameters[:] = np.nan
        return by_parameters, by_x

    def _products(self, x: Array, states: States, vector: Array) -> Gradient:
        """Return `vector_products`, in which samples are inaccurate only if the sum is."""
        found = vector_products(self.model, self.phase, self.solver, x, states, vector, self._where)
        return replace(found, status=judged_together(found, np.abs(vector).max(axis=1))[1])

    def _trial(self) -> Gradient:
        """Return the products of one sample; raise ValueError if the phases do not support the model."""
        model = self.model
        x = np.zeros((1, model.num_inputs), model.dtype)
        states = States(model.initial_state(1), np.zeros(1, np.int8), np.zeros(1))
        relaxed(model, x, self.solver)
        return self._products(x, states, np.ones((1, model.num_outputs), model.dtype))

    def _no_states(self, batch: int) -> States:
        state = np.full((batch, self.model.num_units), np.nan, self.model.dtype)
        status = np.full(batch, Status.DIVERGED, np.int8)
        return States(state, status, np.full(batch, np.nan, self.model.dtype))

    def _lost(self, status: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Return which samples have no result."""
        return np.asarray(status == Status.DIVERGED if self._warns else status > Status.FIXED_STEPS)

    def _report(self, outcome: Outcome, phase: str) -> None:
        outcome.report_failure(self._where + phase, "warn" if self._warns else "ignore")


def vector_products(
    model: Any,
    phase: SecondPhase,
    solver: FreeSolver,
    x: Array,
    states: States,
    vector: Array,
    where: str,
    step: int = 0,
) -> Gradient:
    """Return a gradient whose parameters and inputs are sum_n g_n^T do_n/dtheta and g_n^T do_n/dx_n.

    Each vector is divided by its largest entry, so that a nudge has a size for which beta is meant, and
    rounding does not depend on the size of the vector; the weight of the sample is this entry.

    Parameters
    ----------
    model : HopfieldNetwork, Energy or VectorField
        With the parameters of the free phase.
    phase : SecondPhase
    solver : FreeSolver
        Solver of the free phase, which EqProp uses again.
    x : (batch, inputs)
    states : States
    vector : (batch, outputs)
        The vectors g, of finite numbers.
    where : str
        Name of the caller, for errors.
    step : int
        Selects the signs of `random_sign`.
    """
    size = np.abs(vector).max(axis=1)
    largest = size.max() or size.dtype.type(1)
    target = states.state[:, -model.num_outputs :] - vector / np.where(size > 0, size, 1)[:, None]
    cost = bind_cost(SquaredError(), model, target, len(x), where, size / largest)
    start = FreeState(model, model.clamp(x), x, states.state, cost, solver, step, True)
    mean = judged_by_its_start(
        phase.gradient(start), np.abs(states.state).max(axis=1), states.status, states.error
    )
    with np.errstate(over="ignore"):
        factor = model.dtype.type(len(x)) * largest
        return replace(mean, parameters=mean.parameters * factor, inputs=mean.inputs * factor)


def _independent(model: Any) -> Any:
    """Return a copy of a model that has its own parameters."""
    own = copy.copy(model)
    if isinstance(own, OwnModel):
        own.parameters = model.parameters.copy()
    return own


def _checked_phase(
    model: Any, phase: EquilibriumPropagation | RecurrentBackpropagation | None, where: str
) -> SecondPhase:
    """Return the second phase, or its default; raise TypeError or ValueError if it is not allowed."""
    if phase is None:
        return RecurrentBackpropagation(ConjugateGradient() if model.conservative else GMRES())
    rule = "second_phase is an EquilibriumPropagation() or a RecurrentBackpropagation()"
    check_type(phase, EquilibriumPropagation | RecurrentBackpropagation, where, rule)
    drawn = isinstance(phase, EquilibriumPropagation) and len(phase.rule.rules) > 1
    rule = "A function returns equal results for equal arguments: use centered(beta)"
    require(not drawn, where, rule, phase)
    checked = training_phase(model, SquaredError(), phase)
    check_trainable(model, SquaredError(), checked, where)
    return checked
