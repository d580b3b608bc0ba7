"""The loop of every iterative solver for tensors: each sample stops by its own residual."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from equiprop.results import Outcome, Status
from equiprop.solvers import Solver


def tolerance_of(solver: Solver, dtype: torch.dtype) -> float:
    """Return the tolerance of a solver; by default eps^(2/3): 2e-5 in float32, 4e-11 in float64."""
    return float(torch.finfo(dtype).eps ** (2 / 3)) if solver.tolerance is None else solver.tolerance


@dataclass(frozen=True)
class Solved:
    """The result of an iterative solver for each sample.

    Attributes
    ----------
    value : (batch, units)
    residual : (batch,)
        Residual in the norm that the tolerance bounds.
    iterations : (batch,) int64
        Number of steps.
    status : (batch,) int64
        Values of `Status`.
    error : (batch,)
        Estimated error of the value: the residual times q / (1 - q), where q is its last ratio.
    """

    value: torch.Tensor
    residual: torch.Tensor
    iterations: torch.Tensor
    status: torch.Tensor
    error: torch.Tensor

    def outcome(self) -> Outcome:
        """Return the figures as arrays, without advice."""
        status = self.status.cpu().numpy().astype("int8")
        iterations = self.iterations.cpu().numpy()
        residual, error = (t.double().cpu().numpy() for t in (self.residual, self.error))
        return Outcome(status, iterations, residual, 0 * iterations, error)


class Search:
    """Stops each sample at a tolerance, and all of them at the largest number of steps.

    Parameters
    ----------
    samples : (batch, units)
        Tensor with the batch, the type and the device of the states.
    solver : Solver
        With ``tolerance=0``, every sample takes exactly `max_iterations` steps.
    tolerance : float
        Tolerance in place of that of the solver.
    """

    def __init__(self, samples: torch.Tensor, solver: Solver, tolerance: float) -> None:
        batch, device = samples.shape[:1], samples.device
        self._tolerance, self._most, self._taken = tolerance, solver.max_iterations, 0
        self._status = torch.full(batch, int(Status.MAX_ITERATIONS), device=device)
        self._iterations = torch.zeros(batch, dtype=torch.int64, device=device)
        self._residual = samples.new_full(batch, torch.inf)
        self._ratio = samples.new_zeros(batch)
        self.active: torch.Tensor = torch.ones(batch, dtype=torch.bool, device=device)

    def goes_on(self, residual: torch.Tensor) -> bool:
        """Stop samples by their residual (batch,); return True if the others take one more step."""
        self._ratio = torch.where(self.active, residual / self._residual, self._ratio)
        self._residual = torch.where(self.active, residual, self._residual)
        self.stop(~torch.isfinite(residual), Status.DIVERGED)
        if self._tolerance > 0:
            self.stop(residual <= self._tolerance, Status.CONVERGED)
        elif self._taken >= self._most:
            self.stop(self.active, Status.FIXED_STEPS)
        if self._taken >= self._most or not bool(self.active.any()):
            return False
        self.count(1)
        return True

    def count(self, steps: int) -> None:
        """Count steps of the active samples."""
        self._taken += steps
        self._iterations = self._iterations + steps * self.active

    def stop(self, which: torch.Tensor, status: Status) -> None:
        """Stop the active samples of a mask with a status."""
        which = which & self.active
        self._status = torch.where(which, int(status), self._status)
        self.active = self.active & ~which

    def moved(self, value: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Return value + step for active samples, and the value of the others."""
        return torch.where(self.active[:, None], value + step, value)

    def result(self, value: torch.Tensor) -> Solved:
        """Return the value with the figures of each sample."""
        ratio = self._ratio.clamp(0, 1 - 1e-6)
        error = self._residual * ratio / (1 - ratio)
        return Solved(value, self._residual, self._iterations, self._status, error)
