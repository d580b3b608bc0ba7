"""Records of training: a step, an epoch, an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Metrics:
    """One training step, before its update.

    Attributes
    ----------
    objective : float
        Mean cost at the free states.
    error : float
        Fraction of samples misclassified; root mean squared error for float targets.
    free_iterations, second_iterations : float
        Mean iterations of the two phases.
    residual : float
        Largest residual of a free state.
    unconverged : int
        Samples either phase left above its tolerance.
    advice : tuple of str
        Sentences that name the cures; none if every sample converged.
    """

    objective: float
    error: float
    free_iterations: float
    second_iterations: float
    residual: float
    unconverged: int
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class Epoch:
    """One line of a history: means over the epoch's steps, and the error on held-out data.

    `validation_error` is None without validation data; `seconds` is the time spent training.
    """

    epoch: int
    train_error: float
    validation_error: float | None
    objective: float
    free_iterations: float
    second_iterations: float
    residual: float
    unconverged: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class Evaluation:
    """Error and mean cost on a data set; `unconverged` counts samples above the tolerance."""

    error: float
    objective: float
    unconverged: int


def summarise(
    epoch: int, steps: Sequence[Metrics], weights: NDArray[np.int64], error: float | None, seconds: float
) -> Epoch:
    """Return the record of an epoch.

    Parameters
    ----------
    epoch : int
    steps : sequence of Metrics
    weights : (steps,) integers
        Samples of each step.
    error : float, optional
        On validation data.
    seconds : float
    """

    def mean(name: str) -> float:
        return float(np.average([getattr(m, name) for m in steps], weights=weights))

    return Epoch(
        epoch=epoch,
        train_error=mean("error"),
        validation_error=error,
        objective=mean("objective"),
        free_iterations=mean("free_iterations"),
        second_iterations=mean("second_iterations"),
        residual=max(m.residual for m in steps),
        unconverged=sum(m.unconverged for m in steps),
        seconds=seconds,
    )
