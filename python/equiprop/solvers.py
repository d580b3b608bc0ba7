"""Solvers: how fixed points and linear side networks are found; and the free phase."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from equiprop import _core
from equiprop.arrays import Array, as_states
from equiprop.checks import check_type, real, whole
from equiprop.models import HopfieldNetwork, Model
from equiprop.results import FixedPoint, Status, advise


@dataclass(frozen=True, kw_only=True)
class Solver:
    """Options every iterative solver shares.

    Parameters
    ----------
    tolerance : float, optional
        A sample stops when its residual is at most this. 0 runs exactly `max_iterations` steps. None is
        eps^(2/3) of the dtype: 2e-5 in float32, 4e-11 in float64.
    max_iterations : int
        Steps after which a sample is given up.
    """

    tolerance: float | None = None
    max_iterations: int = _core.BlockUpdate().max_iterations

    @cached_property
    def core(self) -> Any:
        """The same options for the C++ core."""
        options = getattr(_core, type(self).__name__)()
        where = type(self).__name__
        for option in fields(self):
            value = getattr(self, option.name)
            if option.type == "int":
                value = whole(value, where, option.name, 0)
            elif value is not None:
                value = real(value, where, option.name)
            setattr(options, option.name, value)
        return options

    def more_steps(self, model: Model) -> str:
        """Return the advice to take more steps, and to compute more precisely if the tolerance needs it."""
        text = f"Raise max_iterations ({self.max_iterations})."
        limit = 4 * float(np.finfo(model.dtype).eps)
        if self.tolerance is None or self.tolerance >= limit:
            return text
        precise = "take a network in float64" if model.dtype == np.float32 else "leave it at None"
        return (
            f"{text} Rounding errors of {model.dtype} can exceed the tolerance {self.tolerance:g}: {precise}."
        )

    def __getstate__(self) -> dict[str, Any]:
        # Without `core`, which cannot be pickled.
        return {option.name: getattr(self, option.name) for option in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Relaxation(Solver):
    r"""Options of the solvers of phases, each of which repeats a step g.

    .. math:: s' = g(s) - \sum_i c_i \Delta g_i, \quad
              c = \arg\min \|f - \sum_i c_i \Delta f_i\|_2, \quad f = g(s) - s

    is where a step starts under Anderson acceleration (Anderson 1965; type II of Walker & Ni 2011); the
    differences are those over the last `anderson` steps of a sample.

    Parameters
    ----------
    anderson : int
        Earlier steps that are remembered, 0 (no acceleration) to 20; each holds two states. A step that
        turns out longer than the one before is taken back, and the result's `fallbacks` counts it.
    """

    anderson: int = _core.BlockUpdate().anderson

    def cure(
        self,
        failure: Status,
        model: Model,
        *,
        change: str | None = None,
        otherwise: str = "scale weights and inputs down, for no stable fixed point is in reach",
    ) -> str:
        """Return what helps where a phase of this solver failed on `model`.

        Parameters
        ----------
        failure : Status
            MAX_ITERATIONS or DIVERGED.
        model : Model
        change : str
            Change of the solver against states that grow or oscillate; by default that for a free phase.
        otherwise : str
            What helps where no solver would.
        """
        change = self.change(model.has_block_update and model.conservative) if change is None else change
        unstable = f"{change}; if the states grow all the same, {otherwise}." if change else f"{otherwise}."
        if failure == Status.DIVERGED:
            return unstable[0].upper() + unstable[1:]
        return f"{self.more_steps(model)} If the residual does not fall then, {unstable}"

    def change(self, block_update: bool) -> str:
        """Return the change of this solver that helps against states that grow or oscillate; "" for none.

        Parameters
        ----------
        block_update : bool
            Whether `BlockUpdate` brings samples to rest wherever there is a place to rest.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class BlockUpdate(Relaxation):
    """Exact minimisation over the even layers together, then the odd ones, in turn.

    s_k <- argmin of E over s_k, the others held; for any graph, layers that are not coupled to each
    other move together. No step size, and E never rises. Needs ``potential="legendre"`` or clipping
    activations (Scellier et al. 2023).
    """

    def change(self, block_update: bool) -> str:
        """Return the change of this solver that helps against states that grow or oscillate."""
        return "" if block_update else "use Euler() with a small step_size"


@dataclass(frozen=True, kw_only=True)
class FixedPointIteration(Relaxation):
    """s <- (1 - damping) T(s) + damping s, all units at once (Ernoult et al. 2019).

    T(s) = rho(drive) for ``potential="legendre"``, s - dE/ds for ``"quadratic"``, clipped to the box of
    bounded states.

    Parameters
    ----------
    damping : float
        In [0, 1).
    """

    damping: float = _core.FixedPointIteration().damping

    def change(self, block_update: bool) -> str:
        """Return the change of this solver that helps against states that grow or oscillate."""
        return _instead(block_update) + f"raise the damping ({self.damping:g})"


@dataclass(frozen=True, kw_only=True)
class Euler(Relaxation):
    """Gradient flow ds/dt = -dE/ds by Euler steps, clipped to the box of bounded states.

    Parameters
    ----------
    step_size : float
        In units of time. Stable below 2 / (largest eigenvalue of the Hessian).
    """

    step_size: float = _core.Euler().step_size

    def change(self, block_update: bool) -> str:
        """Return the change of this solver that helps against states that grow or oscillate."""
        return _instead(block_update) + f"lower step_size ({self.step_size:g})"


def _instead(block_update: bool) -> str:
    return "use BlockUpdate(), which has no step size, or " if block_update else ""


@dataclass(frozen=True, kw_only=True)
class Linear(Solver):
    """Options of the solvers of linear side networks."""

    def cure(self, failure: Status, model: Model) -> str:
        """Return what helps where the side network of this solver failed at a free state of `model`.

        Parameters
        ----------
        failure : Status
            MAX_ITERATIONS, INDEFINITE or DIVERGED.
        model : Model
        """
        change = self.change(model)
        if failure == Status.MAX_ITERATIONS:
            other = f" If the residual does not fall then, {change}." if change else ""
            return self.more_steps(model) + other
        if change:
            return f"{change[0].upper()}{change[1:]}."
        return f"Scale targets and weights down: numbers overflowed in {model.dtype}."

    def change(self, model: Model) -> str:  # noqa: ARG002
        """Return the change of this solver that helps against iterates that grow; it may be none."""
        return ""


@dataclass(frozen=True, kw_only=True)
class ConjugateGradient(Linear):
    """Preconditioned conjugate gradients, one system per sample (Hestenes & Stiefel 1952).

    Tolerances of linear solvers are relative to the right-hand side.
    """

    def cure(self, failure: Status, model: Model) -> str:
        """Return what helps where the side network of this solver failed at a free state of `model`."""
        if failure == Status.INDEFINITE:
            return (
                "The free state is not at a minimum of the energy: lower the tolerance of the free phase; "
                "if it rests at a saddle, scale the weights down."
            )
        return super().cure(failure, model)


@dataclass(frozen=True, kw_only=True)
class Richardson(Linear):
    """lambda <- lambda + step_size D (c - H lambda): the side network of Almeida (1987) and Pineda (1987).

    D is 1 on free units and 0 on units held by a bound (rho' for a Legendre potential, 0 where it saturates).
    """

    step_size: float = _core.Richardson().step_size

    def change(self, model: Model) -> str:
        """Return the change of this solver that helps against iterates that grow."""
        return f"use {_krylov(model)}, or lower step_size ({self.step_size:g})"


@dataclass(frozen=True, kw_only=True)
class Neumann(Linear):
    """The Neumann series sum_k (I - D H)^k D c (Liao et al. 2018): Richardson with step size 1."""

    def change(self, model: Model) -> str:
        """Return the change of this solver that helps against iterates that grow."""
        return f"use {_krylov(model)}, or Richardson() with a step_size below 1"


@dataclass(frozen=True, kw_only=True)
class GMRES(Linear):
    """Restarted GMRES (Saad & Schultz 1986), for side networks that are not symmetric.

    Parameters
    ----------
    restart : int
        Dimensions of the Krylov space, at least 1; that many states are kept.
    """

    restart: int = _core.GMRES().restart

    def cure(self, failure: Status, model: Model) -> str:
        """Return what helps where the side network of this solver failed at a free state of `model`."""
        restarts = failure == Status.MAX_ITERATIONS and self.restart < self.max_iterations
        more = f" A higher restart ({self.restart}) needs fewer." if restarts else ""
        return super().cure(failure, model) + more


def _krylov(model: Model) -> str:
    """Return the solver that needs no step size and suits the symmetry of the Hessian."""
    return "ConjugateGradient()" if model.conservative else "GMRES()"


FreeSolver = BlockUpdate | FixedPointIteration | Euler
LinearSolver = ConjugateGradient | Richardson | Neumann | GMRES
FREE_SOLVER_RULE = "A solver of phases is a BlockUpdate(), FixedPointIteration() or Euler()"


def default_solver(model: Model) -> FreeSolver:
    """Return the solver a phase uses when none is named: BlockUpdate if the model allows it, else Euler."""
    return BlockUpdate() if model.has_block_update else Euler()


def start_of(model: Model, samples: int) -> Array:
    """Return where a free phase starts, as the core takes it: one state where it is that of all samples."""
    same = getattr(type(model), "initial_state", None) is HopfieldNetwork.initial_state
    return model.initial_state(1 if same else samples)


def free_phase(
    model: Model,
    x: Any,
    *,
    solver: FreeSolver | None = None,
    initial: Any = None,
    trace: bool = False,
    record: bool = False,
    on_failure: str = "warn",
) -> FixedPoint:
    """Relax `model` with input x to a fixed point s*, where dE/ds = 0; its outputs are the prediction.

    Parameters
    ----------
    model : HopfieldNetwork or Energy
    x : (batch, inputs) array
    solver : BlockUpdate, FixedPointIteration or Euler, optional
    initial : (batch, units) array, optional
        The state to start from; by default the response to no drive.
    trace : bool
        Record the residual at every iteration.
    record : bool
        Record every state, for `backpropagation_through_time`.
    on_failure : {"warn", "raise", "ignore"}
        What to do about samples that do not converge.

    Returns
    -------
    FixedPoint

    Raises
    ------
    ValueError, TypeError
        For wrong shapes, dtypes, or numbers that are not finite.
    ConvergenceError
        Under ``on_failure="raise"``.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], dtype="float64")
    >>> free = eq.free_phase(net, [[0.5, 1.0]])
    >>> free.converged, free.state.shape
    (True, (1, 6))
    """
    solver = default_solver(model) if solver is None else solver
    check_type(solver, FreeSolver, "free_phase", FREE_SOLVER_RULE)
    x = model.as_input(x, "free_phase")
    if initial is None:
        start = start_of(model, len(x))
    else:
        start = as_states(initial, model.num_units, model.dtype, "free_phase", "initial")
        if len(start) != len(x):
            raise ValueError(
                "[free_phase] `initial` has one state for each sample of `x`. "
                f"Received {len(start)} for {len(x)} samples."
            )
    energy = model.clamp(x)
    state, outcome, history, states = model.core.relax(
        energy, solver.core, start, trace, record, samples=len(x)
    )
    cures = advise(outcome[0], lambda failure: solver.cure(failure, model))
    fingerprint = energy.residual(state)
    free = FixedPoint(*outcome, state, x, model, solver, fingerprint, history, states, advice=cures)
    free.report_failure("free_phase", on_failure)
    return free
