"""Results of the phases: fixed points and gradients, with the status of every sample."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equiprop import _core
from equiprop._core import Status as Status
from equiprop.arrays import Array
from equiprop.markup import html

if TYPE_CHECKING:
    from equiprop.model_interface import Model

#: Largest estimated relative error of a sample's term of the gradient that counts as accurate.
MOST_GRADIENT_ERROR = _core.MOST_GRADIENT_ERROR

#: What each status says of a sample.
MEANING: Mapping[Status, str] = {
    Status.CONVERGED: "converged",
    Status.FIXED_STEPS: "ran the requested steps",
    Status.INACCURATE: "converged, but too loosely for an accurate gradient",
    Status.MAX_ITERATIONS: "did not reach the tolerance",
    Status.INDEFINITE: "met negative curvature",
    Status.DIVERGED: "diverged to infinity or NaN",
}


def advise(status: NDArray[np.int8], cure: Callable[[Status], str]) -> tuple[str, ...]:
    """Return one sentence of advice for each kind of failure among the samples.

    Parameters
    ----------
    status : (batch,) int8
        Values of `Status`.
    cure : callable
        Returns the advice for INACCURATE, MAX_ITERATIONS, INDEFINITE or DIVERGED.
    """
    if status.max(initial=0) <= Status.FIXED_STEPS:
        return ()
    return tuple(cure(s) for s in Status if s > Status.FIXED_STEPS and (status == s).any())


def judged_together(
    outcome: Outcome, weights: NDArray[np.floating[Any]] | None = None
) -> tuple[float, NDArray[np.int8]]:
    """Return the estimated error of the gradient of a batch, and the status of each sample for the batch.

    The error is the root mean square of the estimates e_i, or |w e| / |w| for terms of the sizes w_i, in
    `weights` (batch,). If it counts as accurate, no sample is inaccurate.
    """
    squares, shares = np.square(outcome.error_estimate), None
    if weights is not None and weights.any():
        shares = np.square((weights / weights.max()).astype(np.float64))
    error = float(np.sqrt(np.average(squares, weights=shares)))
    accurate = (outcome.status == Status.INACCURATE) & (error <= MOST_GRADIENT_ERROR)
    return error, np.where(accurate, np.int8(Status.CONVERGED), outcome.status)


def ran_away(status: NDArray[Any]) -> NDArray[np.int8]:
    """Return the statuses (batch,) of a second phase whose gradient has a norm that is not finite.

    The samples that did not converge have diverged; all have if each of them converged.
    """
    failed = status > Status.FIXED_STEPS
    return np.where(failed | ~failed.any(), Status.DIVERGED, status).astype(np.int8)


class ConvergenceWarning(UserWarning):
    """Warns that some samples of a phase did not converge; `Outcome.status` tells which ones."""


class TrainingWarning(UserWarning):
    """Warns of a measured cause from which training suffers; the message names the cure."""


class ConvergenceError(RuntimeError):
    """Raised with ``on_failure="raise"`` if some samples of a phase did not converge.

    Attributes
    ----------
    outcome : Outcome
        The result that the phase returns without ``on_failure="raise"``.
    """

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.outcome), vars(self)


@dataclass(frozen=True)
class Outcome:
    """The result of an iterative solver for each sample.

    Attributes
    ----------
    status : (batch,) int8
        Values of `Status`.
    iterations : (batch,) int64
        Number of steps.
    residual : (batch,) float64
        Distance from the solution in the norm that the solver uses (see docs/notation.md).
    fallbacks : (batch,) int64
        Number of steps that Anderson acceleration rejected or did not accelerate; 0 without acceleration.
    error_estimate : (batch,) float64
        Estimated error of the result. Of a free phase: max |s - s*|. Of a second phase: error of the sample's
        term of the gradient, relative to that term, because its phases were not relaxed fully.
    advice : tuple of str
        One sentence for each kind of failure, which names its cure.
    """

    status: NDArray[np.int8]
    iterations: NDArray[np.int64]
    residual: NDArray[np.float64]
    fallbacks: NDArray[np.int64]
    error_estimate: NDArray[np.float64]
    advice: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def converged(self) -> bool:
        """True if every sample converged, or took the fixed number of steps of ``tolerance=0``."""
        return bool((self.status <= Status.FIXED_STEPS).all())

    def _repr_html_(self) -> str:
        return html(self)

    def summary(self) -> str:
        """Return a line with counts, iterations and residual, and one line for each sentence of advice."""
        counts = {s: int((self.status == s).sum()) for s in Status}
        parts = [f"{n} {MEANING[s]}" for s, n in counts.items() if n]
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
        """Warn, raise or do nothing, as `on_failure` says, if some samples did not converge.

        Parameters
        ----------
        where : str
            Name of the calling function.
        on_failure : {"warn", "raise", "ignore"}
        """
        if not isinstance(on_failure, str) or on_failure not in ("warn", "raise", "ignore"):
            raise ValueError(f"[{where}] on_failure is 'warn', 'raise' or 'ignore'. Received {on_failure!r}.")
        if self.converged or on_failure == "ignore":
            return
        message = f"[{where}] {self.summary()}"
        if on_failure == "raise":
            raise ConvergenceError(message, self)
        warnings.warn(message, ConvergenceWarning, stacklevel=3)


#: Numbers of the samples of a phase: status, iterations, residual, fallbacks and error estimate.
Report = tuple[Any, Any, Any, Any, Any]


def report_of(outcome: Outcome) -> Report:
    """Return the numbers of an outcome."""
    return (outcome.status, outcome.iterations, outcome.residual, outcome.fallbacks, outcome.error_estimate)


def outcome_of(rows: NDArray[np.float64], cure: Callable[[Status], str]) -> Outcome:
    """Return the outcome whose numbers are the rows of an array (5, samples), with advice from `cure`."""
    status, iterations, residual, fallbacks, error = rows
    codes = status.astype(np.int8)
    counts = (iterations.astype(np.int64), residual, fallbacks.astype(np.int64), error)
    return Outcome(codes, *counts, advice=advise(codes, cure))


def warn_of_epoch(epoch: int, unconverged: int, inaccurate: int, samples: int, advice: Iterable[str]) -> bool:
    """Warn if more than 5 % of the samples of an epoch did not converge, or 90 % of the first are inaccurate.

    A single sample changes the gradient of its batch little; the history has its number. In later epochs many
    samples are classified well, and their terms are small and inaccurate. Repeated advice is shown once.
    Returns True if a warning was emitted.
    """
    if unconverged > 0.05 * samples:
        event = f"{unconverged} of {samples} samples did not converge, so the gradients are approximate"
    elif epoch == 1 and inaccurate > 0.9 * samples:
        event = f"the gradients of {inaccurate} of {samples} samples are inaccurate"
    else:
        return False
    warnings.warn(
        f"[Trainer] In epoch {epoch}, {event}. {' '.join(dict.fromkeys(advice))}",
        ConvergenceWarning,
        stacklevel=6,
    )
    return True


@singledispatch
def explanation(outcome: Outcome) -> str:
    """Return a text on an outcome; `equiprop.verify.diagnosis` registers a diagnosis of free phases."""
    return outcome.summary()


@dataclass(frozen=True)
class FixedPoint(Outcome):
    """The result of a free phase.

    Attributes
    ----------
    state : (batch, units)
        Final state: the units of all layers but the input, in the order of the layers.
    outputs : (batch, outputs)
        The prediction: the units of the last layer.
    status, iterations, fallbacks, error_estimate, advice
        See `Outcome`.
    residual : (batch,) float64
        max |T(s) - s| with the fixed-point map T; for a quadratic leak, the max-norm of the projected dE/ds.
    residual_trace : (iterations + 1, batch) float64, or None
        Residual at every iteration; only with ``trace=True``.
    trajectory : (iterations + 1, batch, units), or None
        State at every iteration; only with ``record=True``.
    x : (batch, inputs)
        The input that was clamped.
    model : Model
    solver : FreeSolver
    fingerprint : (batch,) float64
        Residual under the parameters at the end of the phase; it tells whether they have changed since.
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
        """The prediction, the last `num_outputs` units of the state, (batch, outputs)."""
        return self.state[:, -self.model.num_outputs :]

    def explain(self) -> None:
        """Print a diagnosis: spectrum of the Hessian, stable steps, symmetry, kinks, and advice."""
        print(explanation(self))

    def __str__(self) -> str:
        return f"Free phase of {self.model}\n{self.summary()}"


@dataclass(frozen=True)
class Gradient(Outcome):
    """The gradient of the objective J, the mean over the batch of the cost C at the fixed point.

    Attributes
    ----------
    parameters : (parameters,)
        dJ/dtheta, a flat array in the layout of ``model.parameters``.
    blocks : dict of str to array
        Views of `parameters` by name: W1, b1, ...
    inputs : (batch, inputs)
        dJ/dx; empty if the energy has no derivative with respect to x.
    objective : float
        J at the free state.
    status, iterations, residual, fallbacks, error_estimate, advice
        Result of the second phase; see `Outcome`.
    model : Model
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
