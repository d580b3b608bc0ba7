"""Judges a training after few of its epochs and at its end, and reports each fault once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from equiprop.arrays import Array, as_codes_or_targets
from equiprop.costs import Cost, cost_of_outputs
from equiprop.dataset import Dataset
from equiprop.health import Health
from equiprop.health_probe import MARGINS, PROBED, Probe, probe
from equiprop.history import Epoch, History
from equiprop.model_interface import Model
from equiprop.optimizers import Optimizer
from equiprop.results import TrainingWarning
from equiprop.run_faults import EARLY, Run, faults, has_unbounded_units
from equiprop.solvers import FreeSolver

#: The units are examined after an epoch with so many steps, then when there are four times the steps of the
#: last time, and at the end if there are 1.25 times these steps: a look takes as long as about two steps.
_FIRST, _AGAIN, _AT_END = 200, 4.0, 1.25
#: Kind of the report on an error at chance.
CHANCE = "chance"
#: An error above this part of that of guessing is no better.
_CHANCE = 0.95


class Watched(Protocol):
    """The part of a `Trainer` that is judged."""

    model: Model
    optimizer: Optimizer
    cost: Cost
    solver: FreeSolver | None
    history: History
    steps: int
    _automatic: bool
    _health: Health

    def growth_advice(self) -> tuple[str, ...]: ...  # noqa: D102


def watch_epoch(trainer: Watched) -> None:
    """Examine the units after an epoch if it is time, and warn of faults that were not reported yet."""
    if trainer.steps >= max(_FIRST, _AGAIN * trainer._health.probed):
        _report(trainer, run_of(trainer, _probe(trainer), at_chance=False), stacklevel=6)


def watch_end(trainer: Watched, data: Any, records: Sequence[Epoch]) -> None:
    """Judge a training at its end: examine the units, warn of faults, and of an error at chance.

    Parameters
    ----------
    trainer : Watched
    data : Dataset, or iterable of batches
        Training data.
    records : sequence of Epoch
        Records of the training.
    """
    trains_outputs = cost_of_outputs(trainer.cost, trainer.model, "Trainer.fit") is not None
    guessing = _guessing(data) if trains_outputs else 0.0
    at_chance = guessing > 0.1 and trainer.steps >= EARLY and records[-1].train_error >= _CHANCE * guessing
    due = at_chance or trainer.steps >= max(EARLY, _AT_END * trainer._health.probed)
    run = run_of(trainer, _probe(trainer) if due else None, at_chance)
    if not at_chance:
        _report(trainer, run, stacklevel=5)
        return
    causes = faults(run)
    trainer._health.said += [*(fault.kind for fault in causes), CHANCE]
    warnings.warn(
        f"[Trainer.fit] After {trainer.steps} steps the training error, {records[-1].train_error:.1%}, is no "
        f"better than that of guessing the most frequent class, {guessing:.1%}. "
        + (" ".join(map(str, causes)) or NO_CAUSE),
        TrainingWarning,
        stacklevel=4,
    )


NO_CAUSE = (
    "No cause was found in the network: check that the labels belong to the samples, and that the defaults "
    "of optimizer, second phase and schedule do no better."
)


def _guessing(data: Any) -> float:
    """Return the error of guessing the most frequent class; 0 if the data are not labels."""
    if not isinstance(data, Dataset) or not data.is_classification:
        return 0.0
    shares = np.bincount(data.y, data.sample_weight)
    return float(1 - shares.max() / shares.sum())


def _report(trainer: Watched, run: Run, stacklevel: int) -> None:
    """Emit a TrainingWarning for each fault of a kind that was not reported yet in this run."""
    for fault in faults(run):
        if fault.kind not in trainer._health.said:
            trainer._health.said.append(fault.kind)
            message = f"[Trainer.fit] After {trainer.steps} steps: {fault}"
            warnings.warn(message, TrainingWarning, stacklevel=stacklevel)


def run_of(trainer: Watched, figures: Probe | None, at_chance: bool) -> Run:
    """Return what is known of the training of a trainer; see `Run`."""
    return Run(
        trainer.model,
        trainer.steps,
        getattr(trainer.optimizer, "learning_rate", None),
        trainer._automatic,
        trainer.history,
        trainer._health,
        trainer.growth_advice(),
        figures,
        at_chance,
    )


def _probe(trainer: Watched) -> Probe | None:
    """Examine the units on the samples that were kept, if there are any."""
    health = trainer._health
    if health.probe is None or trainer.solver is None:
        return None
    health.probed = trainer.steps
    margins = MARGINS if has_unbounded_units(trainer.model) else 0
    x, y = health.probe
    part = slice(None, None, 2 if len(x) >= PROBED // 2 else 1)  # half of the samples, unless they are few
    return probe(trainer.model, trainer.solver, x[part], y[part], margins=margins)


def rows_of(data: Dataset, model: Model, where: str) -> tuple[Array, Array]:
    """Return at most 100 samples at equal distances, as the inputs and the labels or targets of a step."""
    rows = np.unique(np.linspace(0, len(data) - 1, PROBED).astype(np.intp))
    x, y = data.batch(rows, model.dtype)
    return model.as_input(x, where), y


def rows_of_batch(x: Any, y: Any, model: Model) -> tuple[Array, Array]:
    """Return at most 100 samples of a batch, copied, as `rows_of` does."""
    where = "Trainer.fit"
    targets = as_codes_or_targets(y, model.num_outputs, model.dtype, where)
    return np.asarray(model.as_input(x, where))[:PROBED].copy(), targets[:PROBED].copy()
