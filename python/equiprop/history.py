"""Records of training: the metrics of a step, of an epoch and of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equiprop.markup import html


class Metrics(NamedTuple):
    """Metrics of one training step, under the parameters before its update.

    Attributes
    ----------
    objective : float
        Mean cost of the free states; with weights w_i, sum_i w_i C_i / samples.
    error : float
        Fraction of samples that are misclassified; root mean squared error if the targets are floats. Both
        are means sum_i w_i e_i / sum_i w_i if the samples have weights, and 0 if all of them are 0.
    free_iterations, second_iterations : float
        Mean number of iterations of the free phase and of the second phase.
    residual : float
        Largest residual of a free state.
    unconverged : int
        Number of samples that did not converge in at least one phase, or that `inaccurate` counts.
    gradient_norm : float
        Euclidean norm of the gradient before it was clipped; NaN if the trainer's `clip` is infinite.
    gradient_error : float
        Estimated relative error of the gradient: the root mean square of the errors of the samples' terms
        over that of the terms. The step is marked if it is above 0.05.
    inaccurate : int
        In a marked step, number of samples that converged, but whose terms are too inaccurate; otherwise 0.
    advice : tuple of str
        One sentence for each cure; empty if every sample converged.
    """

    objective: float
    error: float
    free_iterations: float
    second_iterations: float
    residual: float
    unconverged: int
    gradient_norm: float
    gradient_error: float
    inaccurate: int
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class Epoch:
    """Metrics of one epoch: means over its samples, the largest residual, and the validation error.

    Errors and objective have the weights of the samples, which `Trainer.fit` divides by their mean.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 1.
    train_error, objective, free_iterations, second_iterations : float
        Means over the samples; see `Metrics`.
    validation_error : float, optional
        Error on the validation data after the epoch; None without validation data.
    residual : float
        Largest residual of a free state.
    unconverged : int
        Number of samples that did not converge.
    seconds : float
        Time of the training steps in seconds, without the evaluation.
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


class History(list[Epoch]):
    """The list of the epochs of a training, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        return html(self)


@dataclass(frozen=True)
class Evaluation:
    """Error and mean cost on a data set.

    Attributes
    ----------
    error : float
        Fraction of samples that are misclassified; root mean squared error if the targets are floats.
    objective : float
        Mean cost. Both are weighted means if the samples have weights.
    unconverged : int
        Number of samples whose free phase did not converge.
    """

    error: float
    objective: float
    unconverged: int


def summarise(
    epoch: int,
    steps: Sequence[Metrics],
    sizes: NDArray[np.int64],
    weights: NDArray[np.float64],
    error: float | None,
    seconds: float,
) -> Epoch:
    """Return the record of an epoch from those of its steps.

    Parameters
    ----------
    epoch : int
        Number of the epoch, from 1.
    steps : sequence of Metrics
    sizes : (steps,) integers
        Number of samples of each step.
    weights : (steps,) floats
        Sum of the weights of the samples of each step.
    error : float, optional
        Error on the validation data.
    seconds : float
        Time of the training steps in seconds.
    """

    def mean(name: str) -> float:
        return float(np.average([getattr(m, name) for m in steps], weights=sizes))

    errors = np.array([m.error for m in steps])
    return Epoch(
        epoch=epoch,
        train_error=float(np.average(errors, weights=weights)) if weights.any() else 0.0,
        validation_error=error,
        objective=mean("objective"),
        free_iterations=mean("free_iterations"),
        second_iterations=mean("second_iterations"),
        residual=max(m.residual for m in steps),
        unconverged=sum(m.unconverged for m in steps),
        seconds=seconds,
    )
