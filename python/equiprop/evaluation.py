"""Evaluation and prediction of a data set by free phases, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array, as_array
from equiprop.checks import check_type, real
from equiprop.costs import Cost, bind_cost
from equiprop.data import Dataset, checked_scale, scaled
from equiprop.history import Evaluation
from equiprop.models import Model
from equiprop.results import FixedPoint, Outcome, Status
from equiprop.solvers import FreeSolver, free_phase

#: Largest number of samples of a batch.
_BATCH = 1000


def measure(model: Model, cost: Cost, solver: FreeSolver, data: Dataset) -> tuple[Evaluation, Outcome]:
    """Return error and mean cost on a data set, and the outcome of the free phases."""
    errors, objectives, phases = [], [], []
    for x, y in dataset_batches(data, model.dtype):
        free = _relaxed(model, solver, x)
        bound = bind_cost(cost, model, y, len(x), "Trainer.evaluate")
        objectives.append(bound.value(np.ascontiguousarray(free.outputs)))
        errors.append(sample_errors(free.outputs, y, data.is_classification))
        phases.append(free)
    outcome = _joined(phases)
    evaluation = Evaluation(
        mean_error(np.concatenate(errors), data.is_classification),
        float(np.concatenate(objectives).mean(dtype=np.float64)),
        int((outcome.status > Status.FIXED_STEPS).sum()),
    )
    return evaluation, outcome


def predict(model: Model, solver: FreeSolver, batches: Iterable[Array]) -> tuple[Array, Outcome]:
    """Return the outputs (samples, outputs) for batches of inputs, and the outcome of the free phases."""
    phases = [_relaxed(model, solver, x) for x in batches]
    return np.concatenate([free.outputs for free in phases]), _joined(phases)


def _relaxed(model: Model, solver: FreeSolver, x: Array) -> FixedPoint:
    return free_phase(model, x, solver=solver, on_failure="ignore")


def check_data(data: Any, where: str, name: str) -> None:
    """Raise TypeError or ValueError if `data` is not a Dataset with at least one sample."""
    check_type(data, Dataset, where, f"{name} is a Dataset")
    if len(data) == 0:
        raise ValueError(f"[{where}] {name} holds at least one sample. Received none.")


def array_batches(x: Array) -> list[Array]:
    """Return the rows of an array as batches of nearly equal size, in order."""
    return np.array_split(x, max(1, -(-len(x) // _BATCH)))


def dataset_batches(data: Dataset, dtype: np.dtype[Any]) -> Iterator[tuple[Array, Array]]:
    """Yield inputs, and labels or targets, of all samples in batches of nearly equal size, in order."""
    for indices in array_batches(np.arange(len(data))):
        yield data.batch(indices, dtype)


def sample_errors(outputs: Array, y: Array, classification: bool) -> NDArray[np.float64]:
    """Return 1 for each misclassified sample and 0 for others, or the mean squared error of each sample."""
    if classification:
        return np.asarray(outputs.argmax(axis=1) != y, dtype=np.float64)
    return np.asarray(((outputs.astype(np.float64) - y) ** 2).mean(axis=1))


def mean_error(errors: NDArray[np.float64], classification: bool) -> float:
    """Return the fraction of misclassified samples, or the root mean squared error."""
    mean = float(errors.mean())
    return mean if classification else mean**0.5


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
    """Return one outcome for the samples of several batches."""
    return Outcome(
        np.concatenate([o.status for o in outcomes]),
        np.concatenate([o.iterations for o in outcomes]),
        np.concatenate([o.residual for o in outcomes]),
        np.concatenate([o.fallbacks for o in outcomes]),
        np.concatenate([o.error_estimate for o in outcomes]),
        advice=tuple(dict.fromkeys(sentence for o in outcomes for sentence in o.advice)),
    )


def scaled_input(x: Any, scale: float | None, training_scale: float, dtype: np.dtype[Any]) -> Any:
    """Return the array that `Trainer.predict` received, multiplied by its scale.

    Parameters
    ----------
    x : array (samples, inputs)
    scale : float, optional
        By default `training_scale`.
    training_scale : float
        Scale of the training data.
    dtype : numpy.float32 or numpy.float64
        Type of the product.
    """
    where = "Trainer.predict"
    array = as_array(x, where, "x")
    if scale is None:
        if array.dtype.kind == "f" and training_scale != 1:
            raise ValueError(
                f"[{where}] An array of floats needs its `scale`: {training_scale:g}, as in training, or 1 "
                "for inputs that Dataset.batch returned. "
                f"Received {array.dtype} and no scale, after training with scale {training_scale:g}."
            )
        scale = training_scale
    scale = checked_scale(where, real(scale, where, "scale"))
    return array if scale == 1 else scaled(array, scale, dtype)
