"""Second phases: methods that compute the gradient at a fixed point, for `Trainer` and for functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop.arrays import Array
from equiprop.checks import check_flag, check_type
from equiprop.linear_solvers import ConjugateGradient, LinearSolver, check_linear_solver
from equiprop.model_interface import Model
from equiprop.nudging import Nudging, centered
from equiprop.results import MOST_GRADIENT_ERROR, Gradient, Status, advise
from equiprop.solvers import FREE_SOLVER_RULE, BlockUpdate, FreeSolver, descends

#: Largest |beta| that advice names: beyond it the nudge itself is no longer small.
_LARGEST_BETA = 0.5


@dataclass(frozen=True)
class FreeState:
    """The arguments of a second phase: a clamped model at its free state, and a cost.

    Attributes
    ----------
    model : Model
    energy : core energy
        Energy of `model` with `x` clamped.
    x : (batch, inputs)
    state : (batch, units)
        The free state.
    cost : core cost
        Cost with the targets of the batch. The gradient is that of sum_i w_i C_i / batch; the functions of
        the library use the weights w_i, ``cost.sample_weight``, which is None if all are 1.
    solver : FreeSolver
        Solver of the free phase.
    step : int
        Number of the training step, which selects the sign of `random_sign`.
    inputs : bool
        If True, compute dJ/dx, too; this takes one more product with the weights of the input.
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
    """Interface of a second phase; a `Trainer` accepts any object with this method."""

    def gradient(self, free: FreeState) -> Gradient:
        """Return the gradient of the objective at the free state."""
        ...


_DEFAULT_NUDGING = centered(0.25)


@dataclass(frozen=True)
class EquilibriumPropagation:
    """Equilibrium Propagation (Scellier & Bengio 2017) as the second phase of a `Trainer`.

    Parameters
    ----------
    nudging : Nudging, optional
        Nudging factors and weights of the nudged phases. By default centered(1/4); a Trainer divides 1/4 by
        the slope L of the outputs, and by a^2 for a cross-entropy of logit scale a; for LayerCosts, by the
        largest scale * a^2 L of its layers.
    solver : FreeSolver, optional
        Solver of the nudged phases; by default that of the free phase.
    symmetrize : bool
        Add the term -(A - A^T)(s - s*) to the nudged dynamics, where A is the Jacobian of the velocity at s*.
        The gradient is then exact for any Jacobian (Scurria et al. 2026); each step takes two more products.
        FixedPointIteration adds the term to the force on all units in its map T, so that the Jacobian of T at
        s* keeps its eigenvalues. BlockUpdate does not support the term.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 8, 2], seed=1)
    >>> trainer = eq.Trainer(net, second_phase=eq.EquilibriumPropagation(eq.centered(0.2)))
    >>> trainer.step([[0.0, 1.0], [1.0, 0.0]], [0, 1]).unconverged
    0
    """

    nudging: Nudging | None = None
    solver: FreeSolver | None = None
    symmetrize: bool = False

    def __post_init__(self) -> None:
        where = "EquilibriumPropagation"
        rule = "A nudging is the result of centered(beta), exact_limit(), ..."
        check_type(self.nudging, Nudging | None, where, rule)
        check_type(self.solver, FreeSolver | None, where, FREE_SOLVER_RULE)
        check_flag(self.symmetrize, where, "symmetrize")

    @property
    def rule(self) -> Nudging:
        """The nudging, or centered(1/4) if none was given."""
        return self.nudging or _DEFAULT_NUDGING

    def cure(
        self, model: Model, free_solver: FreeSolver, failure: Status, errors: NDArray[np.float64]
    ) -> str:
        """Return advice for a nudged phase that failed after a free phase by `free_solver`.

        Parameters
        ----------
        model : Model
        free_solver : FreeSolver
        failure : Status
            INACCURATE, MAX_ITERATIONS, INDEFINITE or DIVERGED.
        errors : (samples,) float64
            Estimated errors of the samples that failed in this way.
        """
        solver = self.solver or free_solver
        if failure == Status.INDEFINITE:
            return (
                "The free state is a saddle point of the energy, not a minimum: scale the weights down, or "
                "relax the free phase from another state."
            )
        if failure == Status.INACCURATE:
            return self._larger_beta(model, solver, float(errors.max()))
        if self.rule.exact:
            block_update = descends(model) and not self.symmetrize
            return solver.cure(failure, model, change=solver.change(block_update))
        # The free phase converged, so a nudged phase by the same solver converges if |beta| is small enough.
        as_free = solver == free_solver or isinstance(solver, BlockUpdate)
        change = "" if as_free else solver.change(block_update=False)
        beta = f"lower |beta| ({abs(self.rule.beta):g})"
        return solver.cure(failure, model, change=change, otherwise=beta)

    def _larger_beta(self, model: Model, solver: FreeSolver, error: float) -> str:
        """Return advice for nudged phases that cannot be relaxed far enough for an accurate gradient.

        The error of states in units of the response falls as 1 / |beta|.
        """
        beta = float(f"{2 * abs(self.rule.beta) * error / MOST_GRADIENT_ERROR:.1g}")
        if not self.rule.exact and beta <= _LARGEST_BETA:
            return f"Raise |beta| ({abs(self.rule.beta):g}) to {beta:g}: {model.dtype} cannot resolve it."
        precise = "use a network in float64, or " if model.dtype == np.float32 else ""
        return (
            f"The network is close to a loss of stability. Raise max_iterations ({solver.max_iterations}). "
            f"If that does not help, {precise}scale the weights down."
        )

    def options(self, model: Model, free_solver: FreeSolver, step: int) -> _core.NudgedPhases:
        """Return the options of the core's training step; `step` selects the sign of `random_sign`."""
        nudging = self.rule
        if nudging.circle:
            _check_holomorphic(model)
        nodes = nudging.circle or (() if nudging.exact else nudging.nodes(step))
        return _nudged_phases(
            nudging.exact, bool(nudging.circle), nodes, self.solver or free_solver, self.symmetrize
        )

    def gradient(self, free: FreeState) -> Gradient:
        """Return the gradient of the objective at the free state."""
        p, core, options = free, free.model.core, (self.solver or free.solver).core
        rule = self.rule
        if not (rule.exact or rule.circle):
            energy = p.energy.symmetrized(_double(p.state)) if self.symmetrize else p.energy
            nodes = rule.nodes(p.step)
            result = core.equilibrium_propagation(energy, p.cost, p.state, nodes, options, p.inputs)
            return gradient_of(p.model, result, partial(self.cure, p.model, p.solver))
        state = _double(p.state)
        if rule.exact:
            dual = p.model.clamp_dual(p.x)
            dual = dual.symmetrized(state) if self.symmetrize else dual
            result = core.equilibrium_propagation_limit(dual, p.cost, state, options, p.inputs)
        else:
            _check_holomorphic(p.model)
            energy = p.model.clamp_complex(p.x)
            energy = energy.symmetrized(state) if self.symmetrize else energy
            circle = rule.circle
            result = core.holomorphic_equilibrium_propagation(
                energy, p.cost, state, circle, options, p.inputs
            )
        return gradient_of(p.model, result, partial(self.cure, p.model, p.solver))


@dataclass(frozen=True)
class RecurrentBackpropagation:
    """Recurrent Backpropagation (Almeida 1987; Pineda 1987) as the second phase of a `Trainer`.

    Parameters
    ----------
    linear_solver : LinearSolver
        Solver of the side network. The tolerance of the default is chosen for training: a smaller one changes
        the direction of the gradient less than the tolerance of the free phase does (docs/performance.md).

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 8, 2], seed=1)
    >>> trainer = eq.Trainer(net, second_phase=eq.RecurrentBackpropagation())
    >>> trainer.step([[0.0, 1.0], [1.0, 0.0]], [0, 1]).unconverged
    0
    """

    linear_solver: LinearSolver = ConjugateGradient(tolerance=1e-3)  # noqa: RUF009

    def __post_init__(self) -> None:
        check_linear_solver(self.linear_solver, "RecurrentBackpropagation")

    def options(self, model: Model, free_solver: FreeSolver, step: int) -> _core.SideNetwork:  # noqa: ARG002
        """Return the options of the core's training step."""
        return _side_network(self.linear_solver)

    def gradient(self, free: FreeState) -> Gradient:
        """Return the gradient of the objective at the free state."""
        p, options = free, self.linear_solver.core
        result = p.model.core.recurrent_backpropagation(p.energy, p.cost, p.state, options, p.inputs)
        return gradient_of(p.model, result, partial(self.cure, p.model, p.solver))

    def cure(
        self,
        model: Model,
        free_solver: FreeSolver,  # noqa: ARG002
        failure: Status,
        errors: NDArray[np.float64],  # noqa: ARG002
    ) -> str:
        """Return advice for a side network that was not solved."""
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


class CoreOptions:
    """The options of second phases for the core; options that are equal in each step are kept."""

    def __init__(self) -> None:
        self._made_of: tuple[SecondPhase | None, Model | None, FreeSolver | None] = (None, None, None)
        self._kept: _core.NudgedPhases | _core.SideNetwork | None = None

    def of(
        self, phase: SecondPhase, model: Model, free_solver: FreeSolver, step: int
    ) -> _core.NudgedPhases | _core.SideNetwork | None:
        """Return the options of `phase`, or None if the phase defines its own `gradient`."""
        kept = self._made_of
        if kept[0] is phase and kept[1] is model and kept[2] is free_solver:
            return self._kept
        known = (EquilibriumPropagation.gradient, RecurrentBackpropagation.gradient)
        if getattr(type(phase), "gradient", None) not in known:
            return None
        assert isinstance(phase, EquilibriumPropagation | RecurrentBackpropagation)
        options = phase.options(model, free_solver, step)
        drawn = type(phase) is EquilibriumPropagation and len(phase.rule.rules) > 1
        if not drawn and type(phase) in (EquilibriumPropagation, RecurrentBackpropagation):
            self._made_of, self._kept = (phase, model, free_solver), options
        return options


def _double(state: Array) -> Array:
    return np.ascontiguousarray(state, np.float64)


def _check_holomorphic(model: Model) -> None:
    if not model.holomorphic:
        raise ValueError(
            "[holomorphic] Complex nudging needs a model that is complex-differentiable: smooth activations, "
            f"or methods that accept complex states. Received {model!r}; use centered(beta) for it."
        )


def judged(
    outcome: tuple[Any, Any, Any, Any, Any], cure: Callable[[Status, NDArray[np.float64]], str]
) -> Callable[[Status], str]:
    """Return `cure` with the estimated errors of the samples that have the status."""
    return lambda failure: cure(failure, outcome[4][outcome[0] == failure])


def gradient_of(
    model: Model,
    result: tuple[Array, Array, float, tuple[Any, Any, Any, Any, Any]],
    cure: Callable[[Status, NDArray[np.float64]], str],
) -> Gradient:
    """Return the result of the core, (dJ/dtheta, dJ/dx, J, outcome), as a `Gradient` with advice."""
    parameters, inputs, objective, outcome = result
    return Gradient(
        *outcome,
        parameters.astype(model.dtype, copy=False),
        inputs.astype(model.dtype, copy=False),
        objective,
        model,
        advice=advise(outcome[0], judged(outcome, cure)),
    )
