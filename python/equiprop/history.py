"""Records of training: a step, an epoch, an evaluation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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
    """

    objective: float
    error: float
    free_iterations: float
    second_iterations: float
    residual: float
    unconverged: int


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
