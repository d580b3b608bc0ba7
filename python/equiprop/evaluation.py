"""Evaluation and prediction of a data set by free phases, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equiprop.arrays import Array, as_samples, dense
from equiprop.costs import Cost, bind_cost
from equiprop.dataset import Dataset
from equiprop.history import Evaluation
from equiprop.model_interface import Model
from equiprop.models import HopfieldNetwork
from equiprop.processes import Communicator, gathered
from equiprop.progress import tracked
from equiprop.results import FixedPoint, Outcome, Status, outcome_of, report_of
from equiprop.scaling import Scaling
from equiprop.solvers import FreeSolver, free_phase

#: Largest number of samples of a batch.
_BATCH = 1000


def measure(
    model: Model, cost: Cost, solver: FreeSolver, data: Dataset, group: Communicator
) -> tuple[Evaluation, Outcome]:
    """Return error and mean cost on a data set, with its weights, and the outcome of the free phases.

    The processes of a group take the batches in turn.
    """
    batches, numbers = array_batches(np.arange(len(data))), np.zeros((7, len(data)))
    own = batches[group.rank :: group.size]
    for rows in tracked(iter(own), len(own)):
        x, y = data.batch(rows, model.dtype)
        free = free_phase(model, x, solver=solver, on_failure="ignore")
        bound = bind_cost(cost, model, y, len(x), "Trainer.evaluate")
        errors = sample_errors(free.outputs, y, data.is_classification)
        numbers[:, rows] = (errors, bound.value(free.state), *report_of(free))
    errors, objectives, *report = gathered(numbers, slice(None), len(data), group)
    outcome = outcome_of(np.stack(report), partial(solver.cure, model=model))
    evaluation = Evaluation(
        mean_error(errors, data.is_classification, data.sample_weight),
        weighted_mean(objectives, data.sample_weight),
        int((outcome.status > Status.FIXED_STEPS).sum()),
    )
    return evaluation, outcome


def predict(model: Model, solver: FreeSolver, batches: Iterable[Array]) -> tuple[Array, Outcome]:
    """Return the outputs (samples, outputs) for batches of inputs, and the outcome of the free phases."""
    phases = [_relaxed(model, solver, x) for x in batches]
    return np.concatenate([outputs for outputs, _ in phases]), _joined([outcome for _, outcome in phases])


def _relaxed(model: Model, solver: FreeSolver, x: Array) -> tuple[Array, Outcome]:
    """Return outputs and outcome of a free phase, without its inputs and states, which may be large."""
    free = free_phase(model, x, solver=solver, on_failure="ignore")
    return free.outputs.copy(), _outcome_of(free)


def _outcome_of(free: FixedPoint) -> Outcome:
    numbers = (free.status, free.iterations, free.residual, free.fallbacks, free.error_estimate)
    return Outcome(*numbers, advice=free.advice)


def array_batches(x: Array) -> list[Array]:
    """Return the rows of an array as batches of nearly equal size, in order."""
    return np.array_split(x, num_batches(len(x)))


def num_batches(samples: int) -> int:
    """Return the number of batches in which so many samples are evaluated."""
    return max(1, -(-samples // _BATCH))


def dataset_batches(data: Dataset, dtype: np.dtype[Any]) -> Iterator[tuple[Array, Array]]:
    """Yield inputs, and labels or targets, of all samples in batches of nearly equal size, in order."""
    for indices in array_batches(np.arange(len(data))):
        yield data.batch(indices, dtype)


def dataset_inputs(model: Model, data: Dataset) -> Iterator[Array]:
    """Yield the inputs of all samples in batches, in order."""
    if len(data) == 0:
        raise ValueError("[Trainer.predict] `x` holds at least one sample. Received none.")
    return (x for x, _ in dataset_batches(data, model.dtype))


def sample_errors(outputs: Array, y: Array, classification: bool) -> NDArray[np.float64]:
    """Return 1 for each misclassified sample and 0 for others, or the mean squared error of each sample."""
    if classification:
        return np.asarray(outputs.argmax(axis=1) != y, dtype=np.float64)
    return np.asarray(((outputs.astype(np.float64) - y) ** 2).mean(axis=1))


def mean_error(
    errors: NDArray[np.float64], classification: bool, weights: NDArray[np.float64] | None = None
) -> float:
    """Return the fraction of misclassified samples, or the root mean squared error; see `weighted_mean`."""
    mean = weighted_mean(errors, weights)
    return mean if classification else mean**0.5


def weighted_mean(values: Array, weights: NDArray[np.float64] | None) -> float:
    """Return sum_i w_i v_i / sum_i w_i of values (samples,), their mean without weights, 0 if all are 0."""
    if weights is None:
        return float(values.mean(dtype=np.float64))
    total = float(weights.sum())
    return float(weights @ values) / total if total else 0.0


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


def input_samples(model: Model, x: Any) -> Any:
    """Return an array that `Trainer.predict` received as checked samples, which may be sparse."""
    where = "Trainer.predict"
    samples, inputs = as_samples(x, where, "x"), getattr(model, "num_inputs", None)
    if isinstance(model, HopfieldNetwork):
        samples = model.flat(samples, where)
    if samples.ndim != 2 or not samples.shape[0] or samples.shape[1] != (inputs or samples.shape[1]):
        return model.as_input(samples, where)
    return samples


def input_batches(model: Model, samples: Any, scale: Scaling) -> Iterator[Array]:
    """Yield checked samples, to which their scale is applied, in batches."""
    for rows in array_batches(np.arange(samples.shape[0])):
        part = samples[rows]
        part = dense(part) if scale.is_none else scale.apply(part, model.dtype)
        model.as_input(part, "Trainer.predict")  # errors name the caller; the free phase converts the inputs
        yield part
