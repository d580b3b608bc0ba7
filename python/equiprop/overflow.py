"""Parameters that grow until they overflow: how to tell, and what to advise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from equiprop.arrays import Array
from equiprop.optimizers import Rate
from equiprop.results import ConvergenceError, Outcome, Status

#: If the largest parameter grew by more than this factor, the advice is to lower the learning rate.
_GROWTH = 1.5


def largest_size(parameters: Array) -> float:
    """Return the largest absolute value; NaN if one is NaN."""
    return float(np.abs(parameters).max(initial=0))


def growth_advice(start: float, largest: float, steps: int, learning_rate: Rate | None) -> tuple[str, ...]:
    """Return advice to lower the learning rate if the largest parameter grew during training.

    Parameters
    ----------
    start, largest : float
        Largest absolute value of a parameter before training, and now.
    steps : int
        Number of training steps between them.
    learning_rate : float or mapping, optional
        Learning rate of the optimizer.
    """
    if largest <= _GROWTH * start:
        return ()
    return (
        f"{lower(learning_rate)} and start training again: the largest parameter grew "
        f"from {start:.2g} to {largest:.2g} in {steps} steps.",
    )


def lower(learning_rate: Rate | None) -> str:
    """Return the advice to lower a learning rate; all rates of blocks by a schedule."""
    if isinstance(learning_rate, Mapping):
        return "Lower the learning rates, for example with schedule=lambda progress: 0.1,"
    return (
        "Lower the learning rate" if learning_rate is None else f"Lower the learning rate ({learning_rate})"
    )


def overflow_error(advice: tuple[str, ...]) -> ConvergenceError:
    """Return the error of a step that finds parameters which earlier updates made infinite, NaN or huge."""
    return _error("the update of an earlier step made parameters infinite or NaN, or too large", advice)


def runaway_error(objective: float, start: float, advice: tuple[str, ...]) -> ConvergenceError:
    """Return the error of a step whose objective is far beyond its start."""
    return _error(f"the objective grew from {start:.3g} to {objective:.3g}", advice)


def _error(event: str, advice: tuple[str, ...]) -> ConvergenceError:
    zero, status = np.zeros(1, np.int64), np.array([Status.DIVERGED], np.int8)
    outcome = Outcome(status, zero, np.array([np.nan]), zero, np.array([np.nan]), advice=advice)
    return ConvergenceError(" ".join((f"[Trainer.step] Training diverged: {event}.", *advice)), outcome)
