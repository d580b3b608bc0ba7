"""Solvers of the linear side networks of Recurrent Backpropagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from equiprop import _core
from equiprop.checks import check_type
from equiprop.model_interface import Model
from equiprop.results import MOST_GRADIENT_ERROR, Status
from equiprop.solvers import Solver


@dataclass(frozen=True, kw_only=True)
class Linear(Solver):
    """Options of the solvers of linear side networks."""

    def cure(self, failure: Status, model: Model) -> str:
        """Return advice for a side network that this solver did not solve at a free state of `model`.

        Parameters
        ----------
        failure : Status
            INACCURATE, MAX_ITERATIONS, INDEFINITE or DIVERGED.
        model : Model
        """
        if failure == Status.INDEFINITE:
            return (
                "The free state is not a minimum of the energy: lower the tolerance of the free phase; "
                "if it is a saddle point, scale the weights down."
            )
        if failure == Status.INACCURATE:
            return self._sharper()
        change = self.change(model)
        if failure == Status.MAX_ITERATIONS:
            other = f" If the residual still does not fall, {change}." if change else ""
            return self.more_steps(model) + other
        if change:
            return f"{change[0].upper()}{change[1:]}."
        return f"Scale targets and weights down: numbers overflowed in {model.dtype}."

    def change(self, model: Model) -> str:  # noqa: ARG002
        """Return the change of this solver that helps if the iterates grow; "" if there is none."""
        return ""

    def _sharper(self) -> str:
        """Return advice for a gradient whose estimated error is too large, although this solver converged."""
        loose = self.tolerance is not None and self.tolerance > MOST_GRADIENT_ERROR / 2
        own = f"lower the tolerance of the linear solver ({self.tolerance:g}), and " if loose else ""
        text = (
            f"{own}lower the tolerance of the free phase and raise its max_iterations: the error of the free "
            "state is too large for the gradient."
        )
        return text[0].upper() + text[1:]


@dataclass(frozen=True, kw_only=True)
class ConjugateGradient(Linear):
    """Preconditioned conjugate gradients for symmetric side networks (Hestenes & Stiefel 1952).

    Each sample is a linear system of its own. The residual of a linear solver, which `tolerance` bounds, is
    relative to the right-hand side.

    Examples
    --------
    >>> import equiprop as eq
    >>> net = eq.HopfieldNetwork([2, 5, 1], activation="tanh", dtype="float64")
    >>> free = eq.free_phase(net, [[0.5, 1.0]])
    >>> solver = eq.ConjugateGradient(tolerance=1e-6)
    >>> eq.recurrent_backpropagation(net, free, [[1.0]], linear_solver=solver).converged
    True
    """


@dataclass(frozen=True, kw_only=True)
class Richardson(Linear):
    """Richardson iteration lambda <- lambda + step_size D (c - H lambda), c = dC/ds.

    D is diagonal. For a quadratic potential it is 1 for a free unit and 0 for a unit that is held by a bound;
    for a Legendre potential it is rho', which is 0 for a saturated unit. The iteration is the side network of
    Almeida (1987) and Pineda (1987).

    Parameters
    ----------
    step_size : float
    tolerance, max_iterations
        See `Solver`; the residual is relative to the right-hand side.
    """

    step_size: float = _core.Richardson().step_size

    def change(self, model: Model) -> str:
        """Return the change of this solver that helps if the iterates grow."""
        return f"use {_krylov(model)}, or lower step_size ({self.step_size:g})"


@dataclass(frozen=True, kw_only=True)
class Neumann(Linear):
    """Neumann series lambda = sum_k (I - D H)^k D c, which is `Richardson` with a step size of 1.

    Source: Liao et al. (2018).
    """

    def change(self, model: Model) -> str:
        """Return the change of this solver that helps if the iterates grow."""
        return f"use {_krylov(model)}, or Richardson() with a step_size below 1"


@dataclass(frozen=True, kw_only=True)
class GMRES(Linear):
    """Restarted GMRES for side networks that need not be symmetric (Saad & Schultz 1986).

    Parameters
    ----------
    restart : int
        Dimension of the Krylov space at which the method restarts, at least 1. It takes the memory of
        `restart` states.
    tolerance, max_iterations
        See `Solver`; the residual is relative to the right-hand side.
    """

    restart: int = _core.GMRES().restart

    def cure(self, failure: Status, model: Model) -> str:
        """Return advice for a side network that this solver did not solve at a free state of `model`."""
        restarts = failure == Status.MAX_ITERATIONS and self.restart < self.max_iterations
        more = f" A larger restart ({self.restart}) needs fewer steps." if restarts else ""
        return super().cure(failure, model) + more


def _krylov(model: Model) -> str:
    """Return the Krylov solver for the model: GMRES if its Hessian is not symmetric."""
    return "ConjugateGradient()" if model.conservative else "GMRES()"


LinearSolver = ConjugateGradient | Richardson | Neumann | GMRES
_RULE = "A linear solver is a ConjugateGradient(), Richardson(), Neumann() or GMRES()"


def check_linear_solver(value: Any, where: str, _name: str = "") -> Any:
    """Return a solver of side networks; raise TypeError for anything else."""
    check_type(value, LinearSolver, where, _RULE)
    return value
