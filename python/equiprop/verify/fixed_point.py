"""Where every check starts: a double-precision model, at a fixed point found to rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from equiprop import _core
from equiprop.arrays import Array
from equiprop.models import HopfieldNetwork, Model
from equiprop.results import FixedPoint
from equiprop.solvers import BlockUpdate, Euler, FreeSolver, free_phase

_RESIDUAL = 1e-14
_ITERATIONS = 200_000


def in_double(model: Model) -> Model:
    """Return the model itself, or a double-precision copy."""
    if isinstance(model, HopfieldNetwork) and model.dtype != np.float64:
        return model.astype("float64")
    return model


def stable_step(energy: _core.Energy, state: Array, diagonal: Array | float = 1.0) -> float:
    """Return a step for s <- s - step D H s: 0.3, or 1 / (largest eigenvalue of D H) if that is less.

    The eigenvalue comes from 100 power iterations, through products with the Hessian H alone; `diagonal`
    is D.
    """
    v = np.ones_like(state)
    largest = 1.0
    for _ in range(100):
        v = diagonal * energy.hessian_vector_product(state, v / (np.linalg.norm(v) or 1.0))
        largest = float(np.linalg.norm(v))
    return min(0.3, 1 / max(largest, 1.0))


def precise_free_phase(model: Model, x: Array, solver: FreeSolver | None = None) -> FixedPoint:
    """Relax to a residual of 1e-14, by block updates if the model has them, else by Euler; then polish.

    As many steps again square the residual of a linear rate, which ends at rounding.
    """
    if solver is None and model.has_block_update:
        solver = BlockUpdate(tolerance=_RESIDUAL, max_iterations=_ITERATIONS)
    elif solver is None:
        step_size = stable_step(model.clamp(x), model.initial_state(len(x)))
        solver = Euler(tolerance=_RESIDUAL, max_iterations=_ITERATIONS, step_size=step_size)
    free = free_phase(model, x, solver=solver)
    if not free.converged:
        return free
    again = replace(solver, tolerance=0.0, max_iterations=int(free.iterations.max()))
    polished = free_phase(model, x, solver=again, initial=free.state)
    return replace(polished, status=free.status, solver=solver)
