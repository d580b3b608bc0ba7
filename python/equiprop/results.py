"""What phases return: arrays, and the truth about how well they were found."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiprop._core import Status as Status
from equiprop.arrays import Array

if TYPE_CHECKING:
    from equiprop.models import Model

_MEANING: Mapping[Status, str] = {
    Status.CONVERGED: "converged",
    Status.FIXED_STEPS: "ran the requested steps",
    Status.MAX_ITERATIONS: "did not reach the tolerance",
    Status.INDEFINITE: "met negative curvature",
    Status.DIVERGED: "diverged to infinity or NaN",
}


def advise(status: NDArray[np.int8], cure: Callable[[Status], str]) -> tuple[str, ...]:
    """Return the cure of every kind of failure among the samples.

    Parameters
    ----------
    status : (batch,) int8
        Values of `Status`.
    cure : callable
        Maps MAX_ITERATIONS, INDEFINITE or DIVERGED to a sentence.
    """
    if status.max(initial=0) <= Status.FIXED_STEPS:
        return ()
    return tuple(cure(s) for s in Status if s > Status.FIXED_STEPS and (status == s).any())


class ConvergenceWarning(UserWarning):
    """Some samples of a phase did not converge; the result says which."""


class ConvergenceError(RuntimeError):
    """The same under ``on_failure="raise"``; `outcome` is the result that would have been returned."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.outcome), vars(self)


@dataclass(frozen=True)
class Outcome:
    """How an iterative solver ended, sample by sample.

    Attributes
    ----------
    status : (batch,) int8
        Values of `Status`.
    iterations : (batch,) int64
        Steps taken.
    residual : (batch,) float64
        Distance from the solution, in the solver's own measure (see docs/notation.md).
    fallbacks : (batch,) int64
        Steps that Anderson acceleration took back or left plain; 0 without it.
    advice : tuple of str
        For each kind of failure a sentence that names its cure.
    """

    status: NDArray[np.int8]
    iterations: NDArray[np.int64]
    residual: NDArray[np.float64]
    fallbacks: NDArray[np.int64]
    advice: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def converged(self) -> bool:
        """Whether every sample converged, or ran the number of steps it was asked to."""
        return bool((self.status <= Status.FIXED_STEPS).all())

    def summary(self) -> str:
        """Return one line of counts and numbers, and a line for each sentence of advice."""
        counts = {s: int((self.status == s).sum()) for s in Status}
        parts = [f"{n} {_MEANING[s]}" for s, n in counts.items() if n]
        counted = (
            f"{len(self.status)} samples: {', '.join(parts)}; "
            f"iterations {self.iterations.mean():.1f} on average, {self.iterations.max()} at most; "
            f"largest residual {self.residual.max():.1e}{self._fallbacks()}."
        )
        return "\n".join([counted, *self.advice])

    def _fallbacks(self) -> str:
        if not self.fallbacks.any():
            return ""
        return f"; the acceleration fell back {self.fallbacks.mean():.1f} times on average"

    def report_failure(self, where: str, on_failure: str) -> None:
        """Warn, raise or stay silent about samples that failed."""
        if on_failure not in ("warn", "raise", "ignore"):
            raise ValueError(f"[{where}] on_failure is 'warn', 'raise' or 'ignore'. Received {on_failure!r}.")
        if self.converged or on_failure == "ignore":
            return
        message = f"[{where}] {self.summary()}"
        if on_failure == "raise":
            raise ConvergenceError(message, self)
        warnings.warn(message, ConvergenceWarning, stacklevel=3)


@singledispatch
def explanation(outcome: Outcome) -> str:
    """Say why a phase ended as it did; `equiprop.verify.diagnosis` registers more than a summary."""
    return outcome.summary()


@dataclass(frozen=True)
class FixedPoint(Outcome):
    """The state a free phase ended in.

    Attributes
    ----------
    state : (batch, units)
        Free units of all layers, in layer order.
    outputs : (batch, outputs)
        The prediction.
    residual : (batch,) float64
        max |T(s) - s|, the max-norm of the projected dE/ds where the leak is quadratic.
    residual_trace : (iterations + 1, batch) float64, or None
        Residual at every iteration, if ``trace=True`` asked for it.
    trajectory : (iterations + 1, batch, units), or None
        Every state, if ``record=True`` asked for it.
    """

    state: Array
    x: Array = field(repr=False)
    model: Model = field(repr=False)
    solver: Any = field(repr=False)
    fingerprint: NDArray[np.float64] = field(repr=False)
    residual_trace: NDArray[np.float64] | None = field(default=None, repr=False)
    trajectory: Array | None = field(default=None, repr=False)

    @property
    def outputs(self) -> Array:
        """The last `num_outputs` units, (batch, outputs)."""
        return self.state[:, -self.model.num_outputs :]

    def explain(self) -> None:
        """Print why this free phase ended as it did: spectrum, stable steps, kinks, and what to do."""
        print(explanation(self))

    def __str__(self) -> str:
        return f"Free phase of {self.model}\n{self.summary()}"


@dataclass(frozen=True)
class Gradient(Outcome):
    """A gradient of the objective J = mean over the batch of C at the fixed point.

    Attributes
    ----------
    parameters : (parameters,)
        dJ/dtheta, flat; optimizers subtract it.
    blocks : dict of views of `parameters`
        By name: W1, b1, ...
    inputs : (batch, inputs)
        dJ/dx; empty for energies that do not offer it.
    objective : float
        J at the free state.
    """

    parameters: Array
    inputs: Array
    objective: float
    model: Model = field(repr=False)

    @property
    def blocks(self) -> dict[str, Array]:
        """Views of `parameters` by name."""
        return self.model.block_views(self.parameters)

    def __str__(self) -> str:
        return f"Gradient of {self.model}, objective {self.objective:.6g}\n{self.summary()}"
